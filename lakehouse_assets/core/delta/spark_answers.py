"""What Apache Spark and Delta answer when a statement fails, and what it means here.

Does not belong here: carrying statements out (`spark.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from lakehouse_assets.core.delta.commits import overtaken

ENGINE_ERRORS = (PySparkException, Py4JError)
"""Whatever a statement may raise: Spark in this process has errors of its bridge as well."""

NO_TABLE = re.compile(
    r"DELTA_(MISSING_DELTA_TABLE|TABLE_ONLY_OPERATION|TABLE_NOT_FOUND|PATH_DOES_NOT_EXIST)|PATH_NOT_FOUND"
    r"|TABLE_OR_VIEW_NOT_FOUND|SCHEMA_NOT_FOUND"
)
NO_SNAPSHOT = re.compile(
    r"DELTA_(VERSION_NOT_FOUND|VERSIONS_NOT_CONTIGUOUS|FILE_NOT_FOUND\w*|LOG_FILE_NOT_FOUND\w*|TRUNCATED_TRANSACTION_LOG|UNSUPPORTED_TIME_TRAVEL\w*)"
    r"|FILE_NOT_EXIST|FileNotFoundException|VersionNotFoundException|Cannot time travel Delta table to version"
)
NO_FILES = re.compile(r"UNABLE_TO_INFER_SCHEMA")
UNSETTABLE = re.compile(r"CONFIG_NOT_AVAILABLE|CANNOT_MODIFY_CONFIG|CONFIGURATION_NOT_AVAILABLE")
"""A setting that the endpoint's sessions may not have, as on serverless compute."""

_OVERTAKEN = re.compile(
    r"DELTA_(CONCURRENT|METADATA_CHANGED|PROTOCOL_CHANGED)|Concurrent\w+Exception|(Metadata|Protocol)ChangedException"
)


@contextmanager
def first_alone(name: str) -> Iterator[None]:
    """Turns what the protocol says to the second of two publishers into a `StaleSliceError`."""
    try:
        yield
    except ENGINE_ERRORS as error:
        if _OVERTAKEN.search(str(error)):
            raise overtaken(name, error) from error
        raise
