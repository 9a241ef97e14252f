"""Silver order lines: what a landed row means, and which of the drops that say the same line it stands on."""

from __future__ import annotations

from pyspark.sql import DataFrame

KEY = ("line_id",)
ORDER = ("batch_date", "path", "content_hash", "row_number")
"""A line stands on the least of the live drops that support it."""

_NUMBER = r"^[+-]?[0-9]+(\\.[0-9]*)?\\z"
_FINER = "[.][0-9]{3}[0-9]*[1-9]"
_WHOLE = r"^[+-]?[0-9]{1,18}(\\.0*)?\\z"
# Years as people write them: Python and the engines part ways on the year 0 and on five digits.
_CLOCK = r"^[12][0-9]{3}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(:[0-9]{2})?\\z"
IDENTITY = ("invoice", "stock_code", "description", "quantity", "invoiced_at", "unit_price", "customer_id", "country")


def typed(landed: DataFrame) -> DataFrame:
    """Landed rows → one row each with the contract's columns and `_problems`, the conversion rules it breaks (array of
    strings).

    A price of more than three decimals is a problem and is never rounded, for that would merge lines. Customer ids are
    written `17850.0` or `17850`.
    """
    trimmed = landed.selectExpr(
        "*",
        "trim(quantity) AS _quantity",
        "trim(unit_price) AS _unit_price",
        "trim(customer_id) AS _customer_id",
        "trim(invoice_date) AS _invoiced_at",
    )
    converted = trimmed.selectExpr(
        "batch_date",
        "path",
        "content_hash",
        "row_number",
        "_malformed",
        "invoice",
        "stock_code",
        "description",
        "country",
        f"CASE WHEN _quantity RLIKE '{_WHOLE}' THEN try_cast(split(_quantity, '[.]')[0] AS BIGINT) END AS quantity",
        f"CASE WHEN _customer_id RLIKE '{_WHOLE}' THEN try_cast(split(_customer_id, '[.]')[0] AS BIGINT) END AS"
        " customer_id",
        f"CASE WHEN _unit_price RLIKE '{_NUMBER}' AND NOT _unit_price RLIKE '{_FINER}'"
        " THEN try_cast(_unit_price AS DECIMAL(12,3)) END AS unit_price",
        f"CASE WHEN _invoiced_at RLIKE '{_CLOCK}' THEN try_cast(replace(_invoiced_at, 'T', ' ') AS TIMESTAMP_NTZ) END"
        " AS invoiced_at",
        "_quantity",
        "_unit_price",
        "_customer_id",
        "_invoiced_at",
    )
    derived = converted.selectExpr(
        "*",
        "CAST(invoiced_at AS DATE) AS invoice_date",
        "upper(trim(stock_code)) AS product_code",
        "try_cast(CAST(quantity AS DECIMAL(19,0)) * unit_price AS DECIMAL(18,3)) AS amount",
        f"left(sha2({_identity()}, 256), 32) AS line_id",
    )
    return derived.selectExpr(
        "batch_date",
        "path",
        "content_hash",
        "row_number",
        "line_id",
        "invoice",
        "stock_code",
        "description",
        "quantity",
        "invoiced_at",
        "unit_price",
        "customer_id",
        "country",
        "invoice_date",
        "make_date(year(invoice_date), month(invoice_date), 1) AS invoice_month",
        "CASE WHEN invoice LIKE 'C%' THEN 'return' WHEN invoice LIKE 'A%' THEN 'bad_debt'"
        " WHEN quantity > 0 AND unit_price > 0 THEN 'sale' ELSE 'adjustment' END AS line_type",
        "product_code",
        "product_code RLIKE '^[0-9]{5}[A-Z]{0,3}\\\\z' AS is_product",
        "amount",
        "array_compact(array(_malformed, CASE WHEN _quantity IS NOT NULL AND quantity IS NULL THEN 'quantity.type'"
        " END, CASE WHEN _customer_id IS NOT NULL AND customer_id IS NULL THEN 'customer_id.type' END, CASE WHEN"
        " _invoiced_at IS NOT NULL AND invoiced_at IS NULL THEN 'invoiced_at.type' END, CASE WHEN _unit_price IS NULL"
        f" OR unit_price IS NOT NULL THEN NULL WHEN _unit_price RLIKE '{_NUMBER}' AND _unit_price RLIKE '{_FINER}' THEN"
        " 'unit_price.scale' ELSE 'unit_price.type' END)) AS _problems",
    )


def _identity() -> str:
    """The eight typed values as one text that no other eight values give: each with its length before it, null as a
    mark of its own.
    """
    texts = {
        "quantity": "CAST(quantity AS STRING)",
        "invoiced_at": "date_format(invoiced_at, 'yyyy-MM-dd HH:mm:ss')",
        "unit_price": "CAST(unit_price AS STRING)",
        "customer_id": "CAST(customer_id AS STRING)",
    }
    parts = [texts.get(c, c) for c in IDENTITY]
    return "concat(" + ", ".join(f"coalesce(concat(CAST(length({p}) AS STRING), ':', {p}), '-')" for p in parts) + ")"
