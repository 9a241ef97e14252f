"""Gold sales: lines with their euro amounts, and what days and products sold."""

from datetime import date, timedelta

import pandera.polars as pa
from pyspark.sql import DataFrame

import lakehouse_assets.core.contracts.row_checks  # noqa: F401 -- registers the whole-row checks named in Config
from lakehouse_assets.core.contracts.types import Day, Euro, Flag, Money, Price, ShopClock, Text, Whole
from lakehouse_assets.core.declarations.table import table
from lakehouse_assets.core.frames import FOREVER, Days, Inputs, Recomputed, days_of, exact_sum
from lakehouse_assets.core.spark_sql import literal
from lakehouse_assets.domains.sales.order_lines import LINE_TYPES

MEASURES = {
    "gross_sales": ["amount", {"line_type": "sale"}],
    "returns": ["amount", {"line_type": "return"}],
    "units": ["quantity", {"line_type": "sale"}],
}
"""What the measures of every aggregate come to in silver: the sum of a column over the lines of a type."""

_FAR = FOREVER - timedelta(days=31)


class SalesLines(pa.DataFrameModel):
    """Order lines with keys and facts, the amount also in euro."""

    line_id: Text = pa.Field(description="key of the order line")
    invoice: Text = pa.Field(description="invoice number")
    line_type: Text = pa.Field(isin=LINE_TYPES, description="return, bad_debt, sale or adjustment")
    is_product: Flag = pa.Field(description="the product code is five digits and up to three letters")
    product_code: Text = pa.Field(description="stock code trimmed, in upper case")
    quantity: Whole = pa.Field(description="units, negative on returns")
    unit_price: Price = pa.Field(description="GBP for a unit")
    amount: Money = pa.Field(description="GBP: quantity times unit_price")
    amount_eur: Euro = pa.Field(
        nullable=True, description="EUR by the rate of fx_rate_date, half up; null where no rate is known yet"
    )
    fx_rate_date: Day = pa.Field(
        nullable=True, description="the invoice day, or the last day before it that has a rate"
    )
    customer_id: Whole = pa.Field(nullable=True, description="customer number, where one stands on the line")
    country: Text = pa.Field(description="country of the customer")
    invoiced_at: ShopClock = pa.Field(description="date and time of the invoice by the shop's clock")
    invoice_date: Day = pa.Field(description="business date")
    invoice_month: Day = pa.Field(description="first day of the month of invoice_date; the physical partition")
    batch_date: Day = pa.Field(description="the day on which the supporting drop landed")

    class Config:
        name = "gold.sales_lines"
        strict = True
        present = {"columns": ["amount_eur"]}
        metadata = {
            "key": ["line_id"],
            "partition_by": ["invoice_month"],
            "business_date": "invoice_date",
            "handoff": {"kind": "column", "column": "invoice_date"},
            "volume_by": "invoice_date",
            "rows": {"min": 1},
            "references": {"line_id": "silver.order_lines", "customer_id": "silver.customers"},
            "agrees": {
                "with": "silver.order_lines",
                "by": ["invoice_date"],
                "sums": {"amount": ["amount", {}], "quantity": ["quantity", {}]},
                "gate": "silver.order_lines",
            },
            "single": {"invoice_date": ["invoice"]},
            # A customer of whom the CRM has never heard is no reason to doubt a sale, nor is a rate that lands later,
            # nor an invoice over midnight.
            "severity": {"customer_id.references": "warn", "row.present": "warn", "invoice_date.single": "warn"},
        }


@table(SalesLines, upstreams=["silver.order_lines", "silver.fx_rates"])
def sales_lines(inputs: Inputs) -> Recomputed:
    """Order lines of the touched days, with the amount in euro by the rate of the invoice day or the last day before it
    that has one.

    A rate touches the days from its own up to the next rate's.
    """
    rates = inputs.snapshots["silver.fx_rates"].where("currency = 'GBP'")
    known = sorted((r["rate_date"], r["rate"]) for r in rates.select("rate_date", "rate").collect())
    line_changes, rate_changes = inputs.changes["silver.order_lines"], inputs.changes["silver.fx_rates"]
    if line_changes is not None and rate_changes is not None:
        moved = days_of(rate_changes.where("currency = 'GBP'"), "rate_date")
        borders = sorted({d for d, _ in known} | set(moved))
        windows = [(d, next((b for b in borders if b > d), _FAR)) for d in moved]
        days = Days.of(days_of(line_changes), windows)
        scope = days.where("invoice_date", "invoice_month")
        lines = inputs.snapshots.part("silver.order_lines", "invoice_date", *days.span).where(scope)
        target = inputs.target_part("invoice_date", *days.span).where(scope)
    else:
        lines, target = inputs.snapshots["silver.order_lines"], inputs.target
    return Recomputed(_in_euro(lines, known).select(*inputs.columns), target)


def _in_euro(lines: DataFrame, rates: list[tuple[date, object]]) -> DataFrame:
    """amount_eur = amount ÷ rate, six decimals, half up, by whole numbers: engines differ in the scale of a decimal
    quotient.
    """
    if not rates:
        return lines.selectExpr("*", "CAST(NULL AS DECIMAL(24,6)) AS amount_eur", "CAST(NULL AS DATE) AS fx_rate_date")
    bounds = [(d, rates[i + 1][0] if i + 1 < len(rates) else FOREVER, r) for i, (d, r) in enumerate(rates)]
    values = ", ".join(f"({literal(a)}, {literal(b)}, CAST({literal(r)} AS DECIMAL(18,6)))" for a, b, r in bounds)
    table = lines.sparkSession.sql(f"SELECT * FROM VALUES {values} AS r(fx_rate_date, _until, _rate)")
    # One row a calendar day, so that the join is an equality.
    days = (
        lines.select("invoice_date")
        .distinct()
        .join(table, on=_within(), how="inner")
        .select("invoice_date", "fx_rate_date", "_rate")
    )
    # The few days first, for an engine that makes its table of hashes from what comes first.
    joined = days.join(lines, "invoice_date", "right")
    # amount × 10^12 ÷ (rate × 10^6) has six decimals more than the amount's three... so numerator and denominator are
    # whole numbers.
    numerator = "(CAST(abs(amount) * 1000 AS DECIMAL(20,0)) * CAST(1000000000 AS DECIMAL(10,0)))"
    denominator = "CAST(_rate * 1000000 AS DECIMAL(19,0))"
    return (
        joined.selectExpr(
            "*",
            f"CAST({numerator} AS DECIMAL(38,0)) AS _n",
            f"{denominator} AS _d",
        )
        .selectExpr(
            "*",
            # half up on magnitudes: floor((2n + d) / 2d)
            "CASE WHEN _d IS NOT NULL THEN CAST(sign(amount) AS INT) * CAST((2 * _n + _d) div (2 * _d) AS"
            " DECIMAL(38,0)) END AS _micro",
        )
        .selectExpr(
            "*",
            "CAST(CAST(_micro AS DECIMAL(32,0)) * CAST(0.000001 AS DECIMAL(6,6)) AS DECIMAL(24,6)) AS amount_eur",
        )
    )


def _within():  # type: ignore[no-untyped-def]
    from pyspark.sql import functions as F

    return F.expr("invoice_date >= fx_rate_date AND invoice_date < _until")


_SALE, _RETURN = "line_type = 'sale'", "line_type = 'return'"


def _touched(inputs: Inputs, month: str | None) -> tuple[DataFrame, DataFrame]:
    changes = inputs.changes["gold.sales_lines"]
    if changes is None:
        return inputs.snapshots["gold.sales_lines"], inputs.target
    days = Days.of(days_of(changes))
    lines = inputs.snapshots.part("gold.sales_lines", "invoice_date", *days.span).where(
        days.where("invoice_date", "invoice_month")
    )
    return lines, inputs.target_part("invoice_date", *days.span).where(days.where("invoice_date", month))


class DailySales(pa.DataFrameModel):
    """Sales of a day in a country."""

    invoice_date: Day = pa.Field(description="business date")
    country: Text = pa.Field(description="country of the customer")
    gross_sales: Money = pa.Field(ge=0, description="GBP: sum of sale lines")
    returns: Money = pa.Field(description="GBP: sum of return lines, as it stands")
    net_sales: Money = pa.Field(description="GBP: gross_sales plus returns")
    gross_sales_eur: Euro = pa.Field(
        nullable=True, description="EUR: sum of sale lines; null where one of them has no rate yet"
    )
    returns_eur: Euro = pa.Field(
        nullable=True, description="EUR: sum of return lines; null where one of them has no rate yet"
    )
    net_sales_eur: Euro = pa.Field(nullable=True, description="EUR: gross_sales_eur plus returns_eur")
    orders: Whole = pa.Field(ge=0, description="distinct invoices with a sale line")
    return_invoices: Whole = pa.Field(ge=0, description="distinct invoices with a return line")
    units: Whole = pa.Field(ge=0, description="units of sale lines")
    customers: Whole = pa.Field(ge=0, description="distinct known customers with a sale line")
    average_order_value: Money = pa.Field(
        nullable=True, description="GBP: gross_sales divided by orders, half up; null without orders"
    )

    class Config:
        name = "gold.daily_sales"
        strict = True
        sums_to = {"total": "net_sales", "parts": ["gross_sales", "returns"]}
        metadata = {
            "key": ["invoice_date", "country"],
            "business_date": "invoice_date",
            "handoff": {"kind": "column", "column": "invoice_date"},
            "agrees": {
                "with": "silver.order_lines",
                "by": ["invoice_date", "country"],
                "sums": MEASURES,
                "gate": "gold.sales_lines",
            },
        }


@table(DailySales, upstreams=["gold.sales_lines"])
def daily_sales(inputs: Inputs) -> Recomputed:
    """Sales of the touched days by country. A euro sum is null where one of its lines has no rate yet."""
    lines, target = _touched(inputs, None)

    def euro(when: str) -> str:
        missing = f"sum(CASE WHEN {when} AND amount_eur IS NULL THEN 1 ELSE 0 END)"
        total = f"sum(CAST(CASE WHEN {when} THEN amount_eur ELSE 0 END AS DECIMAL(28,6)))"
        return f"CASE WHEN {missing} = 0 THEN CAST({total} AS DECIMAL(24,6)) END"

    from pyspark.sql import functions as F

    sums = lines.groupBy("invoice_date", "country").agg(
        exact_sum("amount", 3, _SALE).alias("_gross"),
        exact_sum("amount", 3, _RETURN).alias("_returns"),
        F.expr(euro(_SALE)).alias("gross_sales_eur"),
        F.expr(euro(_RETURN)).alias("returns_eur"),
        F.expr(f"count(DISTINCT CASE WHEN {_SALE} THEN invoice END)").alias("orders"),
        F.expr(f"count(DISTINCT CASE WHEN {_RETURN} THEN invoice END)").alias("return_invoices"),
        F.expr(f"CAST(coalesce(sum(CASE WHEN {_SALE} THEN quantity END), 0) AS BIGINT)").alias("units"),
        F.expr(f"count(DISTINCT CASE WHEN {_SALE} THEN customer_id END)").alias("customers"),
    )
    rows = sums.selectExpr(
        "invoice_date",
        "country",
        "CAST(_gross AS DECIMAL(18,3)) AS gross_sales",
        "CAST(_returns AS DECIMAL(18,3)) AS returns",
        "CAST(_gross + _returns AS DECIMAL(18,3)) AS net_sales",
        "gross_sales_eur",
        "returns_eur",
        "CAST(gross_sales_eur + returns_eur AS DECIMAL(24,6)) AS net_sales_eur",
        "orders",
        "return_invoices",
        "units",
        "customers",
        # half up in thousandths: floor((2g + n) / 2n); gross is never negative
        "CASE WHEN orders > 0 THEN CAST(CAST((2 * CAST(_gross * 1000 AS DECIMAL(25,0)) + orders) div (2 * orders) AS"
        " DECIMAL(18,0)) * CAST(0.001 AS DECIMAL(3,3)) AS DECIMAL(18,3)) END AS average_order_value",
    )
    return Recomputed(rows, target)


class ProductSales(pa.DataFrameModel):
    """Sales of a product code on a day."""

    invoice_date: Day = pa.Field(description="business date")
    product_code: Text = pa.Field(description="stock code trimmed, in upper case")
    is_product: Flag = pa.Field(description="the product code is five digits and up to three letters")
    units: Whole = pa.Field(ge=0, description="units of sale lines")
    gross_sales: Money = pa.Field(ge=0, description="GBP: sum of sale lines")
    returns: Money = pa.Field(description="GBP: sum of return lines, as it stands")
    invoice_month: Day = pa.Field(description="first day of the month of invoice_date; the physical partition")

    class Config:
        name = "gold.product_sales"
        strict = True
        metadata = {
            "key": ["invoice_date", "product_code"],
            "partition_by": ["invoice_month"],
            "business_date": "invoice_date",
            "handoff": {"kind": "column", "column": "invoice_date"},
            "agrees": {
                "with": "silver.order_lines",
                "by": ["invoice_date", "product_code"],
                "sums": MEASURES,
                "gate": "gold.sales_lines",
            },
        }


@table(ProductSales, upstreams=["gold.sales_lines"])
def product_sales(inputs: Inputs) -> Recomputed:
    """Sales of the touched days by product code."""
    lines, target = _touched(inputs, "invoice_month")
    from pyspark.sql import functions as F

    sums = lines.groupBy("invoice_date", "product_code").agg(
        F.expr("max(is_product)").alias("is_product"),
        F.expr(f"CAST(coalesce(sum(CASE WHEN {_SALE} THEN quantity END), 0) AS BIGINT)").alias("units"),
        exact_sum("amount", 3, _SALE).alias("_gross"),
        exact_sum("amount", 3, _RETURN).alias("_returns"),
    )
    rows = sums.selectExpr(
        "invoice_date",
        "product_code",
        "is_product",
        "units",
        "CAST(_gross AS DECIMAL(18,3)) AS gross_sales",
        "CAST(_returns AS DECIMAL(18,3)) AS returns",
        "make_date(year(invoice_date), month(invoice_date), 1) AS invoice_month",
    )
    return Recomputed(rows, target)
