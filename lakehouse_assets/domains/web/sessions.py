"""Visits to the shop: a visitor's events without a gap of half an hour."""

import pandera.polars as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse_assets.core.contracts.types import Day, Flag, Moment, Money, Text, Whole
from lakehouse_assets.core.declarations.table import table
from lakehouse_assets.core.frames import Inputs, Recomputed, exact_sum, keys_of

GAP_MINUTES = 30
"""An event that comes later than this after the one before begins another session."""


class Sessions(pa.DataFrameModel):
    """The events of a visitor that follow each other within 30 minutes, whatever the browser says of its session."""

    visitor_id: Text = pa.Field(description="the visitor", metadata={"personal": True})
    started_at: Moment = pa.Field(description="the first event, UTC")
    ended_at: Moment = pa.Field(description="the last event, UTC")
    started_on: Day = pa.Field(description="the day of the first event, UTC")
    country: Text = pa.Field(description="country of the first event")
    events: Whole = pa.Field(ge=1, description="events")
    products: Whole = pa.Field(ge=1, description="distinct product codes")
    orders: Whole = pa.Field(ge=0, description="events of type order")
    amount: Money = pa.Field(ge=0, description="GBP: sum of the orders")
    is_converted: Flag = pa.Field(description="there is an order in it")

    class Config:
        name = "gold.sessions"
        strict = True
        metadata = {
            "key": ["visitor_id", "started_at"],
            "business_date": "started_on",
            "handoff": {"kind": "column", "column": "started_on"},
        }


@table(Sessions, upstreams=["silver.events"])
def sessions(inputs: Inputs) -> Recomputed:
    """All sessions of the touched visitors: a late event may join two sessions, or move where one begins."""
    events, target = inputs.snapshots["silver.events"], inputs.target
    if (changes := inputs.changes["silver.events"]) is not None:
        visitors = keys_of([changes], "visitor_id")
        events, target = (frame.join(visitors, ["visitor_id"], "left_semi") for frame in (events, target))
    return Recomputed(_sessions(events).select(*inputs.columns), target)


def _sessions(events: DataFrame) -> DataFrame:
    """Events of one time are in one session whatever their order, so that only the country depends on it: by the
    least event number.
    """
    own = "PARTITION BY visitor_id ORDER BY occurred_at"
    told = events.selectExpr(
        "*",
        "unix_micros(occurred_at) AS _at",
        f"unix_micros(lag(occurred_at) OVER ({own}, event_id)) AS _before",
    )
    begun = told.selectExpr(
        "*", f"CASE WHEN _before IS NULL OR _at - _before > {GAP_MINUTES * 60_000_000} THEN 1 ELSE 0 END AS _begins"
    )
    numbered = begun.selectExpr("*", f"sum(_begins) OVER ({own}, event_id) AS _session")
    rows = numbered.groupBy("visitor_id", "_session").agg(
        F.expr("min(occurred_at)").alias("started_at"),
        F.expr("max(occurred_at)").alias("ended_at"),
        F.expr("max(CASE WHEN _begins = 1 THEN country END)").alias("country"),
        F.expr("count(*)").alias("events"),
        F.expr("count(DISTINCT product_code)").alias("products"),
        F.expr("count(CASE WHEN event_type = 'order' THEN 1 END)").alias("orders"),
        exact_sum("amount", 3, "event_type = 'order'").alias("_amount"),
    )
    return rows.selectExpr(
        "*",
        "CAST(date_trunc('DAY', started_at) AS DATE) AS started_on",
        "CAST(_amount AS DECIMAL(18,3)) AS amount",
        "orders > 0 AS is_converted",
    )
