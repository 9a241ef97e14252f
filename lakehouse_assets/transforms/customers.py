"""Silver customers: what a CRM change record means, and which of a customer's records has the last word."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse_assets.transforms.frames import Inputs, Recomputed, keys_of

KEY = ("customer_id",)
ORDER = ("updated_at DESC", "batch_date DESC", "path DESC", "content_hash DESC", "row_number DESC")
"""The greatest time of change wins, then the latest drop and row."""

_WHOLE = r"^[+-]?[0-9]{1,18}(\\.0*)?\\z"
# Years as people write them: Python and the engines part ways on the year 0 and on five digits.
_INSTANT = (
    r"^[12][0-9]{3}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,6})?(Z|[+-][0-9]{2}:?[0-9]{2})?\\z"
)
ATTRIBUTES = ("name", "email", "email_hash", "city", "country", "segment")


def typed(email_key: str, keep_email: bool = False) -> Callable[[DataFrame], DataFrame]:
    """Landed records → one row each with the contract's columns and `_problems`.

    email_key: the secret of the keyed hash (HMAC-SHA-256, RFC 2104). keep_email: whether the address itself goes on
    too; else it is null. A record that ends its customer carries no attributes on.
    """
    address = "_email" if keep_email else "CAST(NULL AS STRING)"

    def convert(landed: DataFrame) -> DataFrame:
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
            f"CASE WHEN _customer_id RLIKE '{_WHOLE}' THEN try_cast(split(_customer_id, '[.]')[0] AS BIGINT) END AS"
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

    return convert


def _keyed_hash(column: str, key: str) -> F.Column:  # type: ignore[name-defined]
    """HMAC-SHA-256 in SQL that every engine runs: H(outer key ‖ H(inner key ‖ message)), on hexadecimal texts of the
    pads.
    """
    import hashlib

    secret = key.encode()
    block = (hashlib.sha256(secret).digest() if len(secret) > 64 else secret).ljust(64, b"\0")
    inner, outer = (bytes(b ^ pad for b in block).hex() for pad in (0x36, 0x5C))
    return F.expr(
        f"CASE WHEN {column} <> '' THEN sha2(concat(unhex('{outer}'),"
        f" unhex(sha2(concat(unhex('{inner}'), encode({column}, 'UTF-8')), 256))), 256) END"
    )


def dim_customers(inputs: Inputs) -> Recomputed:
    """The living customers, without what only matters to the merge."""
    living = inputs.snapshots["silver.customers"].where("NOT is_deleted").select(*inputs.columns)
    if inputs.everything:
        return Recomputed(living, inputs.target)
    touched = keys_of([c for c in inputs.changes.values() if c is not None], *KEY)
    return Recomputed(living.join(touched, list(KEY), "left_semi"), inputs.target.join(touched, list(KEY), "left_semi"))
