"""Gold customers: what each did in a month, has been worth so far, and how cohorts stay."""

from datetime import date

import pandera.polars as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

import lakehouse_assets.core.contracts.row_checks  # noqa: F401 -- registers the whole-row checks named in Config
from lakehouse_assets.core.contracts.types import Day, Money, Whole
from lakehouse_assets.core.declarations.table import table
from lakehouse_assets.core.frames import Inputs, Recomputed, exact_sum, keys_of
from lakehouse_assets.core.spark_sql import in_list

MEASURES = {
    "gross_sales": ["amount", {"line_type": "sale"}],
    "returns": ["amount", {"line_type": "return"}],
    "units": ["quantity", {"line_type": "sale"}],
}
"""What the measures of every aggregate come to in silver: the sum of a column over the lines of a type."""

_SALE, _RETURN = "line_type = 'sale'", "line_type = 'return'"


class CustomerMonths(pa.DataFrameModel):
    """What a known customer did in a month: the state from which customer_value and cohort_retention are brought up to
    date.
    """

    customer_id: Whole = pa.Field(description="customer number")
    month: Day = pa.Field(description="first day of the month")
    first_sale_date: Day = pa.Field(nullable=True, description="business date of the first sale line of the month")
    last_sale_date: Day = pa.Field(nullable=True, description="business date of the last sale line of the month")
    orders: Whole = pa.Field(ge=0, description="distinct invoices a day with a sale line")
    units: Whole = pa.Field(ge=0, description="units of sale lines")
    gross_sales: Money = pa.Field(ge=0, description="GBP: sum of sale lines")
    returns: Money = pa.Field(description="GBP: sum of return lines, as it stands")
    net_sales: Money = pa.Field(description="GBP: gross_sales plus returns")
    sale_lines: Whole = pa.Field(ge=0, description="sale lines")
    return_lines: Whole = pa.Field(ge=0, description="return lines")

    class Config:
        name = "gold.customer_months"
        strict = True
        sums_to = {"total": "net_sales", "parts": ["gross_sales", "returns"]}
        metadata = {
            "key": ["customer_id", "month"],
            "partition_by": ["month"],
            "business_date": "month",
            "agrees": {
                "with": "silver.order_lines",
                "by": {"month": "invoice_month", "customer_id": "customer_id"},
                "sums": MEASURES,
                "gate": "gold.sales_lines",
            },
        }


@table(CustomerMonths, upstreams=["gold.sales_lines"])
def customer_months(inputs: Inputs) -> Recomputed:
    """What known customers did in the touched months. An invoice counts on each day it spans."""
    changes = inputs.changes["gold.sales_lines"]
    if changes is None:
        lines, target = _known(inputs.snapshots["gold.sales_lines"]), inputs.target
    else:
        touched = keys_of([_known(changes)], "customer_id", "month")
        months = [r[0] for r in touched.select("month").distinct().collect()]
        within = in_list("month", months)
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


class CustomerValue(pa.DataFrameModel):
    """What a known customer has been worth so far."""

    customer_id: Whole = pa.Field(description="customer number")
    first_order_date: Day = pa.Field(nullable=True, description="business date of the first sale line")
    last_order_date: Day = pa.Field(nullable=True, description="business date of the last sale line")
    orders: Whole = pa.Field(ge=0, description="distinct invoices with a sale line")
    units: Whole = pa.Field(ge=0, description="units of sale lines")
    gross_sales: Money = pa.Field(ge=0, description="GBP: sum of sale lines")
    returns: Money = pa.Field(description="GBP: sum of return lines, as it stands")
    net_sales: Money = pa.Field(description="GBP: gross_sales plus returns")

    class Config:
        name = "gold.customer_value"
        strict = True
        sums_to = {"total": "net_sales", "parts": ["gross_sales", "returns"]}
        metadata = {
            "key": ["customer_id"],
            "handoff": {"kind": "hash", "buckets": 16},
            "agrees": {"with": "silver.order_lines", "by": ["customer_id"], "sums": MEASURES},
        }


@table(CustomerValue, upstreams=["gold.customer_months"])
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


class CohortRetention(pa.DataFrameModel):
    """Customers by the month of their first sale, and what became of them by month; of the returns before a first sale
    those of its month count, and no earlier ones.
    """

    cohort_month: Day = pa.Field(description="first day of the month of the first sale")
    months_since: Whole = pa.Field(ge=0, description="months since cohort_month")
    cohort_size: Whole = pa.Field(ge=1, description="customers of the cohort")
    active_customers: Whole = pa.Field(ge=0, description="customers of the cohort with a sale line in that month")
    net_sales: Money = pa.Field(description="GBP: sale and return lines of the whole cohort in that month")

    class Config:
        name = "gold.cohort_retention"
        strict = True
        metadata = {"key": ["cohort_month", "months_since"], "handoff": {"kind": "whole"}}


@table(CohortRetention, upstreams=["gold.customer_months"])
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
