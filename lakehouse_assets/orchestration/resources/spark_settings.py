"""Settings of Spark: those that results depend on, and one's own.

Does not belong here: what one kind of engine alone is given (`spark_local.py`).
"""

from __future__ import annotations

import re
import shlex

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.settings import Settings

DELTA_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
"""What makes a Spark session speak Delta; a Connect server needs them as well."""

SESSION_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
}
"""What results depend on: set on every session, whatever its server's own defaults are."""


def own_settings() -> dict[str, str]:
    """What LAKEHOUSE_SPARK_CONF says: `key=value`, separated by spaces, quoted as in a shell. No message tells a value:
    it may be the key of a storage.

    Raises `LakehouseError` for a word that is no setting of Spark, and for a setting that results or tables depend on.
    """
    said = Settings.model_validate({}).spark_conf
    try:
        words = shlex.split(said.get_secret_value()) if said else []
    except ValueError as error:  # it says nothing of the value
        raise LakehouseError(f"LAKEHOUSE_SPARK_CONF cannot be read ({error}); quote it as in a shell.") from error
    for number, word in enumerate(words, 1):
        if not re.match(r"spark\.[^=]+=", word):
            raise LakehouseError(
                f"Word {number} of LAKEHOUSE_SPARK_CONF is no setting; write them as spark.sql.shuffle.partitions=64,"
                " with a space between two."
            )
    found = {key: value for key, _, value in (word.partition("=") for word in words)}
    for key in found.keys() & {**DELTA_SETTINGS, **SESSION_SETTINGS}.keys():
        raise LakehouseError(f"LAKEHOUSE_SPARK_CONF sets {key}, on which tables and figures depend; leave it out.")
    return found
