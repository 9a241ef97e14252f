"""Gold customers: what each did in a month, has been worth so far, and how cohorts stay."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse_assets.transforms.frames import Inputs, Recomputed, exact_sum, keys_of

_SALE, _RETURN = "line_type = 'sale'", "line_type = 'return'"


def customer_months(inputs: Inputs) -> Recomputed:
    """What known customers did in the touched months. An invoice counts on each day it spans."""
    changes = inputs.changes["gold.sales_lines"]
    if changes is None:
        lines, target = _known(inputs.snapshots["gold.sales_lines"]), inputs.target
    else:
        touched = keys_of([_known(changes)], "customer_id", "month")
        months = [r[0] for r in touched.select("month").distinct().collect()]
        within = f"month IN ({', '.join(f'DATE {str(m)!r}' for m in months)})" if months else "false"
        span = (min(months, default=date.max), max(months, default=date.min))
        lines = _known(inputs.snapshots.part("gold.sales_lines", "invoice_month", *span))
        lines = lines.where(within).join(touched, ["customer_id", "month"], "left_semi")
        target = inputs.target_part("month", *span).where(within).join(touched, ["customer_id", "month"], "left_semi")
    sums = lines.groupBy("customer_id", "month").agg(
        F.expr(f"min(CASE WHEN {_SALE} THEN invoice_date END)").alias("first_sale_date"),
        F.expr(f"max(CASE WHEN {_SALE} THEN invoice_date END)").alias("last_sale_date"),
        F.expr(f"count(DISTINCT CASE WHEN {_SALE} THEN concat(invoice, ' ', CAST(invoice_date AS STRING)) END)").alias(
            "orders"
        ),
        F.expr(f"CAST(coalesce(sum(CASE WHEN {_SALE} THEN quantity END), 0) AS BIGINT)").alias("units"),
        exact_sum("amount", 3, _SALE).alias("_gross"),
        exact_sum("amount", 3, _RETURN).alias("_returns"),
        F.expr(f"count(CASE WHEN {_SALE} THEN 1 END)").alias("sale_lines"),
        F.expr(f"count(CASE WHEN {_RETURN} THEN 1 END)").alias("return_lines"),
    )
    rows = sums.selectExpr(
        "customer_id",
        "month",
        "first_sale_date",
        "last_sale_date",
        "orders",
        "units",
        "CAST(_gross AS DECIMAL(18,3)) AS gross_sales",
        "CAST(_returns AS DECIMAL(18,3)) AS returns",
        "CAST(_gross + _returns AS DECIMAL(18,3)) AS net_sales",
        "sale_lines",
        "return_lines",
    )
    return Recomputed(rows, target.select(*inputs.columns))


def _known(lines: DataFrame) -> DataFrame:
    """The lines of known customers, with their month."""
    return lines.where("customer_id IS NOT NULL").withColumnRenamed("invoice_month", "month")


def customer_value(inputs: Inputs) -> Recomputed:
    """The worth so far of every customer with a touched month."""
    months, target = inputs.snapshots["gold.customer_months"], inputs.target
    changes = inputs.changes["gold.customer_months"]
    if changes is not None:
        touched = keys_of([changes], "customer_id")
        months = months.join(touched, ["customer_id"], "left_semi")
        target = target.join(touched, ["customer_id"], "left_semi")
    sums = months.groupBy("customer_id").agg(
        F.expr("min(first_sale_date)").alias("first_order_date"),
        F.expr("max(last_sale_date)").alias("last_order_date"),
        F.expr("CAST(sum(orders) AS BIGINT)").alias("orders"),
        F.expr("CAST(sum(units) AS BIGINT)").alias("units"),
        exact_sum("gross_sales", 3).alias("_gross"),
        exact_sum("returns", 3).alias("_returns"),
    )
    rows = sums.selectExpr(
        "customer_id",
        "first_order_date",
        "last_order_date",
        "orders",
        "units",
        "CAST(_gross AS DECIMAL(18,3)) AS gross_sales",
        "CAST(_returns AS DECIMAL(18,3)) AS returns",
        "CAST(_gross + _returns AS DECIMAL(18,3)) AS net_sales",
    )
    return Recomputed(rows, target.select(*inputs.columns))


def cohort_retention(inputs: Inputs) -> Recomputed:
    """All cohorts, from the months of customers: every day touches nearly every cohort, and the state is small.

    The grain is the month: what a customer returned in months before the first sale is left out.
    """
    months = inputs.snapshots["gold.customer_months"]
    cohorts = months.where("sale_lines > 0").groupBy("customer_id").agg(F.expr("min(month)").alias("cohort_month"))
    sizes = cohorts.groupBy("cohort_month").agg(F.expr("count(*)").alias("cohort_size"))
    active = (
        months.where("sale_lines > 0 OR return_lines > 0")
        .join(cohorts, "customer_id")
        .where("month >= cohort_month")
        .selectExpr(
            "cohort_month",
            "CAST((year(month) - year(cohort_month)) * 12 + month(month) - month(cohort_month) AS BIGINT) AS"
            " months_since",
            "sale_lines",
            "net_sales",
        )
        .groupBy("cohort_month", "months_since")
        .agg(
            F.expr("count(CASE WHEN sale_lines > 0 THEN 1 END)").alias("active_customers"),
            exact_sum("net_sales", 3).alias("_net"),
        )
    )
    rows = active.join(sizes, "cohort_month").selectExpr(
        "cohort_month", "months_since", "cohort_size", "active_customers", "CAST(_net AS DECIMAL(18,3)) AS net_sales"
    )
    return Recomputed(rows, inputs.target)
