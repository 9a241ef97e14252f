"""The source `customers`: change records of the CRM, what a record means, and the living customers as they are
served.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import pandera.polars as pa
from pydantic import SecretStr
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse_assets.core.contracts.side_tables import Provenance
from lakehouse_assets.core.contracts.types import Flag, Moment, Text, Whole
from lakehouse_assets.core.declarations.source import Landed, Pulled, Source
from lakehouse_assets.core.declarations.table import table
from lakehouse_assets.core.frames import Inputs, Recomputed, copied
from lakehouse_assets.core.sources.kinds.json_lines import JsonLines
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.settings import Settings


class Customers(Provenance):
    """The last word of the CRM on each customer. An ended customer keeps a row without attributes, so that late records
    stay late.
    """

    customer_id: Whole = pa.Field(ge=1, description="customer number")
    name: Text = pa.Field(nullable=True, description="name", metadata={"personal": True})
    email: Text = pa.Field(
        nullable=True,
        description="e-mail address in lower case; null unless LAKEHOUSE_KEEP_EMAIL allows it",
        metadata={"personal": True},
    )
    email_hash: Text = pa.Field(
        nullable=True, description="keyed hash (HMAC-SHA-256) of the e-mail address in lower case"
    )
    city: Text = pa.Field(nullable=True, description="city", metadata={"personal": True})
    country: Text = pa.Field(nullable=True, description="country")
    segment: Text = pa.Field(nullable=True, description="segment")
    updated_at: Moment = pa.Field(description="when the CRM made the change, UTC")
    is_deleted: Flag = pa.Field(description="the CRM has ended this customer")

    class Config:
        name = "silver.customers"
        strict = True
        metadata = {"key": ["customer_id"], "blocking": {"rows": 5, "share": 0.10}}


_WHOLE = r"^[+-]?[0-9]{1,18}(\\.0*)?\\z"
# Years as people write them: Python and the engines part ways on the year 0 and on five digits.
_INSTANT = (
    r"^[12][0-9]{3}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,6})?(Z|[+-][0-9]{2}:?[0-9]{2})?\\z"
)
ATTRIBUTES = ("name", "email", "email_hash", "city", "country", "segment")


def typed(landed: DataFrame, email_key: str, keep_email: bool = False) -> DataFrame:
    """Landed records → one row each with the contract's columns and `_problems`.

    email_key: the secret of the keyed hash (HMAC-SHA-256, RFC 2104). keep_email: whether the address itself goes on
    too; else it is null. A record that ends its customer carries no attributes on.
    """
    address = "_email" if keep_email else "CAST(NULL AS STRING)"
    cleaned = landed.selectExpr(
        "*",
        "trim(customer_id) AS _customer_id",
        "trim(updated_at) AS _updated_at",
        "lower(trim(deleted)) AS _deleted",
        "lower(trim(email)) AS _email",
    )
    converted = cleaned.selectExpr(
        "batch_date",
        "path",
        "content_hash",
        "row_number",
        "_malformed",
        "_customer_id",
        "_updated_at",
        "_deleted",
        f"CASE WHEN _customer_id RLIKE '{_WHOLE}' THEN try_cast(split_part(_customer_id, '.', 1) AS BIGINT) END AS"
        " customer_id",
        f"CASE WHEN _updated_at RLIKE '{_INSTANT}' THEN try_cast(_updated_at AS TIMESTAMP) END AS updated_at",
        "coalesce(_deleted = 'true', false) AS is_deleted",
        # an empty text says nothing
        *(f"nullif({a}, '') AS {a}" for a in ("name", "city", "country", "segment")),
        "_email",
        f"nullif({address}, '') AS email",
    ).withColumn("email_hash", _keyed_hash("_email", email_key))
    kept = [f"CASE WHEN NOT is_deleted THEN {a} END AS {a}" for a in ATTRIBUTES]
    return converted.selectExpr(
        "batch_date",
        "path",
        "content_hash",
        "row_number",
        "customer_id",
        *kept,
        "updated_at",
        "is_deleted",
        "array_compact(array(_malformed,"
        " CASE WHEN _customer_id IS NOT NULL AND customer_id IS NULL THEN 'customer_id.type' END,"
        " CASE WHEN _updated_at IS NOT NULL AND updated_at IS NULL THEN 'updated_at.type' END,"
        " CASE WHEN _deleted NOT IN ('true', 'false') THEN 'deleted.type' END)) AS _problems",
    )


def _keyed_hash(column: str, key: str) -> F.Column:  # type: ignore[name-defined]
    """HMAC-SHA-256 in SQL that every engine runs: H(outer key ‖ H(inner key ‖ message)), on hexadecimal texts of the
    pads.
    """
    secret = key.encode()
    block = (hashlib.sha256(secret).digest() if len(secret) > 64 else secret).ljust(64, b"\0")
    inner, outer = (bytes(b ^ pad for b in block).hex() for pad in (0x36, 0x5C))
    return F.expr(
        f"CASE WHEN {column} <> '' THEN sha2(concat(unhex('{outer}'),"
        f" unhex(sha2(concat(unhex('{inner}'), encode({column}, 'UTF-8')), 256))), 256) END"
    )


LAPTOP_EMAIL_KEY = "no secret: for the embedded account only"


def email_settings(settings: Settings) -> Mapping[str, Any]:
    """The key of the e-mail hash, and whether addresses are kept beside it. Raises `LakehouseError` where a real
    account lacks the key.
    """
    key = settings.email_key
    if key is None and settings.snowflake != "embedded":
        raise LakehouseError(
            "LAKEHOUSE_EMAIL_KEY is not set, and with a real account it has no default; set it to a long random text."
        )
    return {"email_key": key or SecretStr(LAPTOP_EMAIL_KEY), "keep_email": settings.keep_email}


CUSTOMERS = Source(
    name="customers",
    kind=JsonLines(),
    description="CRM change records as they landed. Holds personal data in clear: restrict who reads it.",
    landed=(
        "Taken in from the JSON lines of the folder `customers/`, and pulled from the customers' database where one is"
        " set."
    ),
    columns=(
        Landed("customer_id", "customer number as landed"),
        Landed("name", "name as landed", personal=True),
        Landed("email", "e-mail address as landed", personal=True),
        Landed("city", "city as landed", personal=True),
        Landed("country", "country as landed"),
        Landed("segment", "segment as landed"),
        Landed("updated_at", "time of the change as landed"),
        # Most customers are never ended.
        Landed("deleted", "whether the change ends the customer, as landed", optional=True),
    ),
    contract_model=Customers,
    typed=typed,
    parameters=email_settings,
    order=("updated_at DESC", "batch_date DESC", "path DESC", "content_hash DESC", "row_number DESC"),
    wins="The greatest time of change wins.",
    pulled=Pulled(key="customer_id", stamp="updated_at", deleted="deleted"),
)


class DimCustomers(pa.DataFrameModel):
    """Living customers as the CRM knows them."""

    customer_id: Whole = pa.Field(description="customer number")
    name: Text = pa.Field(nullable=True, description="name", metadata={"personal": True})
    email: Text = pa.Field(
        nullable=True,
        description="e-mail address in lower case; null unless LAKEHOUSE_KEEP_EMAIL allows it",
        metadata={"personal": True},
    )
    email_hash: Text = pa.Field(
        nullable=True, description="keyed hash (HMAC-SHA-256) of the e-mail address in lower case"
    )
    city: Text = pa.Field(nullable=True, description="city", metadata={"personal": True})
    country: Text = pa.Field(nullable=True, description="country")
    segment: Text = pa.Field(nullable=True, description="segment")
    updated_at: Moment = pa.Field(description="when the CRM made the last change, UTC")

    class Config:
        name = "gold.dim_customers"
        strict = True
        metadata = {
            "key": ["customer_id"],
            "handoff": {"kind": "hash", "buckets": 8},
            "references": {"customer_id": "silver.customers"},
        }


@table(DimCustomers, upstreams=["silver.customers"])
def dim_customers(inputs: Inputs) -> Recomputed:
    """The living customers, without what only matters to the merge."""
    living = inputs.snapshots["silver.customers"].where("NOT is_deleted").select(*inputs.columns)
    return copied(inputs, living, ["customer_id"])
