"""Gold sales: lines with their euro amounts, and what days and products sold."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import DataFrame

from lakehouse_assets.transforms.frames import FOREVER, Days, Inputs, Recomputed, days_of, exact_sum

_FAR = FOREVER - timedelta(days=31)


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
    values = ", ".join(f"(DATE '{a}', DATE '{b}', CAST({r} AS DECIMAL(18,6)))" for a, b, r in bounds)
    table = lines.sparkSession.sql(f"SELECT * FROM VALUES {values} AS r(fx_rate_date, _until, _rate)")
    # One row a calendar day, so that the join is an equality.
    days = (
        lines.select("invoice_date")
        .distinct()
        .join(table, on=_within(), how="inner")
        .select("invoice_date", "fx_rate_date", "_rate")
    )
    joined = lines.join(days, "invoice_date", "left")
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
