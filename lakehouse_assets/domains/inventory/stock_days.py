"""For how many days the stock of each product lasts, for those who order it."""

from datetime import timedelta

import pandera.polars as pa
from pyspark.sql import functions as F

from lakehouse_assets.core.contracts.types import Day, Text, Whole
from lakehouse_assets.core.declarations.table import table
from lakehouse_assets.core.frames import Inputs, Recomputed, from_arrow, least_by

WINDOW_DAYS = 28
"""Over so many days up to the last count the sales of a day are averaged: four weeks, so that each weekday counts four
times.
"""


class StockDays(pa.DataFrameModel):
    """The last count of each product, and for how many days it lasts at the pace of the last four weeks."""

    product_code: Text = pa.Field(description="stock code in upper case")
    on_hand: Whole = pa.Field(ge=0, description="units at the last count that has the product")
    counted_on: Day = pa.Field(description="the day of that count")
    ended_on: Day = pa.Field(
        nullable=True, description="the first count that lacks the product; null while it is counted"
    )
    units_sold: Whole = pa.Field(ge=0, description="units of sale lines in the 28 days up to the newest count")
    days_left: Whole = pa.Field(
        nullable=True, ge=0, description="on_hand divided by the units sold in a day, whole days; null without sales"
    )

    class Config:
        name = "gold.stock_days"
        strict = True
        metadata = {
            "key": ["product_code"],
            "handoff": {"kind": "hash", "buckets": 8},
        }


@table(StockDays, upstreams=["silver.stock_levels", "gold.product_sales"])
def stock_days(inputs: Inputs) -> Recomputed:
    """Every product, from its last count and the sales of four weeks. A count is of all products, so each of them is
    touched every day; there are few.
    """
    levels = inputs.snapshots["silver.stock_levels"].select("product_code", "on_hand", "counted_on")
    last = least_by(levels, ["product_code"], ["counted_on DESC"])
    days = levels.select("counted_on").distinct().toArrow()
    newest = max(days["counted_on"].to_pylist(), default=None)
    if newest is None:
        return Recomputed(inputs.target.limit(0), inputs.target)
    counts = from_arrow(last.sparkSession, days.rename_columns(["day"]))
    ended = last.join(counts, F.expr("day > counted_on")).groupBy("product_code").agg(F.expr("min(day) AS ended_on"))
    first = newest - timedelta(days=WINDOW_DAYS - 1)
    sales = inputs.snapshots.part("gold.product_sales", "invoice_date", first, newest)
    sold = (
        sales.where(f"invoice_date BETWEEN DATE '{first}' AND DATE '{newest}'")
        .groupBy("product_code")
        .agg(F.expr("CAST(sum(units) AS BIGINT) AS units_sold"))
    )
    rows = last.join(ended, ["product_code"], "left").join(sold, ["product_code"], "left")
    rows = rows.selectExpr("*", "coalesce(units_sold, 0) AS _sold").selectExpr(
        "product_code",
        "on_hand",
        "counted_on",
        "ended_on",
        "_sold AS units_sold",
        f"CASE WHEN _sold > 0 THEN (on_hand * {WINDOW_DAYS}) div _sold END AS days_left",
    )
    return Recomputed(rows.select(*inputs.columns), inputs.target)
