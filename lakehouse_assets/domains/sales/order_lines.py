"""The source `orders`: the shop's export of order lines, and what a landed line means."""

from datetime import datetime

import pandera.polars as pa
from pyspark.sql import DataFrame

from lakehouse_assets.core.contracts.side_tables import Provenance
from lakehouse_assets.core.contracts.types import Day, Flag, Money, Price, ShopClock, Text, Whole
from lakehouse_assets.core.declarations.source import Landed, Source
from lakehouse_assets.core.sources.kinds.csv import Csv

LINE_TYPES = ["sale", "return", "bad_debt", "adjustment"]
DERIVED = {"derived": True}
BILLION = {"min_value": -1_000_000_000, "max_value": 1_000_000_000}
"""More than any line of the shop can be about, and so little that the sum of a million such lines still fits: a sum
that overflows stops gold.
"""


class OrderLines(Provenance):
    """Distinct order lines: identical in all eight typed values counts once."""

    line_id: Text = pa.Field(
        str_length={"min_value": 32, "max_value": 32},
        description="128 bits of the SHA-256 of the eight typed values",
        metadata=DERIVED,
    )
    invoice: Text = pa.Field(
        str_matches=r"^[AC]?[0-9]{6}$", description="invoice number; C starts a return, A a bad debt"
    )
    stock_code: Text = pa.Field(description="stock code, untrimmed")
    description: Text = pa.Field(nullable=True, description="product description, untrimmed")
    quantity: Whole = pa.Field(in_range=BILLION, description="units, negative on returns")
    invoiced_at: ShopClock = pa.Field(
        in_range={"min_value": datetime(1995, 1, 1), "max_value": datetime(2100, 1, 1)},
        description="date and time of the invoice by the shop's clock",
    )
    unit_price: Price = pa.Field(description="GBP for a unit, three decimals")
    customer_id: Whole = pa.Field(nullable=True, ge=1, description="customer number, where one stands on the line")
    country: Text = pa.Field(description="country of the customer")
    invoice_date: Day = pa.Field(description="business date: the day of invoiced_at", metadata=DERIVED)
    invoice_month: Day = pa.Field(
        description="first day of the month of invoice_date; the physical partition", metadata=DERIVED
    )
    line_type: Text = pa.Field(isin=LINE_TYPES, description="return, bad_debt, sale or adjustment", metadata=DERIVED)
    product_code: Text = pa.Field(description="stock code trimmed, in upper case", metadata=DERIVED)
    is_product: Flag = pa.Field(description="the product code is five digits and up to three letters", metadata=DERIVED)
    amount: Money = pa.Field(in_range=BILLION, description="GBP: quantity times unit_price", metadata=DERIVED)

    class Config:
        name = "silver.order_lines"
        strict = True
        metadata = {
            "key": ["line_id"],
            "partition_by": ["invoice_month"],
            "business_date": "invoice_date",
            "blocking": {"rows": 5, "share": 0.10},
        }


_NUMBER = r"^[+-]?[0-9]+(\\.[0-9]*)?\\z"
_FINER = "[.][0-9]{3}[0-9]*[1-9]"
_WHOLE = r"^[+-]?[0-9]{1,18}(\\.0*)?\\z"
# Years as people write them: Python and the engines part ways on the year 0 and on five digits.
_CLOCK = r"^[12][0-9]{3}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(:[0-9]{2})?\\z"
_PROBLEMS = (
    "array_compact(array(_malformed, CASE WHEN _quantity IS NOT NULL AND quantity IS NULL THEN 'quantity.type'"
    " END, CASE WHEN _customer_id IS NOT NULL AND customer_id IS NULL THEN 'customer_id.type' END, CASE WHEN"
    " _invoiced_at IS NOT NULL AND invoiced_at IS NULL THEN 'invoiced_at.type' END, CASE WHEN _unit_price IS NULL"
    f" OR unit_price IS NOT NULL THEN NULL WHEN _unit_price RLIKE '{_NUMBER}' AND _unit_price RLIKE '{_FINER}' THEN"
    " 'unit_price.scale' ELSE 'unit_price.type' END))"
)
"""SQL: what could not be read or converted, as the names of rules."""

_PROVENANCE = ("batch_date", "path", "content_hash", "row_number")
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
        *_PROVENANCE,
        "_malformed",
        "invoice",
        "stock_code",
        "description",
        "country",
        f"CASE WHEN _quantity RLIKE '{_WHOLE}' THEN try_cast(split_part(_quantity, '.', 1) AS BIGINT) END AS quantity",
        f"CASE WHEN _customer_id RLIKE '{_WHOLE}' THEN try_cast(split_part(_customer_id, '.', 1) AS BIGINT) END AS"
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
        *_PROVENANCE,
        "line_id",
        *IDENTITY,
        "invoice_date",
        "make_date(year(invoice_date), month(invoice_date), 1) AS invoice_month",
        "CASE WHEN invoice LIKE 'C%' THEN 'return' WHEN invoice LIKE 'A%' THEN 'bad_debt'"
        " WHEN quantity > 0 AND unit_price > 0 THEN 'sale' ELSE 'adjustment' END AS line_type",
        "product_code",
        "product_code RLIKE '^[0-9]{5}[A-Z]{0,3}\\\\z' AS is_product",
        "amount",
        f"{_PROBLEMS} AS _problems",
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


ORDERS = Source(
    name="orders",
    kind=Csv(),
    description="Order lines as the shop's export wrote them.",
    landed="Taken in from the CSV drops of the folder `orders/`.",
    columns=(
        Landed("invoice", "invoice number as landed", ("InvoiceNo", "Invoice")),
        Landed("stock_code", "stock code as landed", ("StockCode",)),
        Landed("description", "product description as landed", ("Description",)),
        Landed("quantity", "quantity as landed", ("Quantity",)),
        Landed("invoice_date", "date and time of the invoice as landed", ("InvoiceDate",)),
        Landed("unit_price", "price of a unit in GBP as landed", ("UnitPrice", "Price")),
        Landed("customer_id", "customer number as landed", ("CustomerID", "Customer ID")),
        Landed("country", "country as landed", ("Country",)),
    ),
    contract_model=OrderLines,
    typed=typed,
    order=("batch_date", "path", "content_hash", "row_number"),
    wins="A line that several drops say stands on the least of them.",
)
