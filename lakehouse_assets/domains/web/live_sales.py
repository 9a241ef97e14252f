"""What the shop sells by the minute, and how many visitors come as far as an order."""

import pandera.polars as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakehouse_assets.core.contracts.types import Day, Moment, Money, Text, Whole
from lakehouse_assets.core.declarations.table import table
from lakehouse_assets.core.frames import Days, Inputs, Recomputed, days_of, exact_sum

_ORDER = "event_type = 'order'"


def _touched(inputs: Inputs, day: str) -> tuple[DataFrame, DataFrame]:
    """The events of the touched days, and what the table holds of these. day: its column with the business date."""
    changes = inputs.changes["silver.events"]
    if changes is None:
        return inputs.snapshots["silver.events"], inputs.target
    days = Days.of(days_of(changes, "occurred_on"))
    events = inputs.snapshots.part("silver.events", "occurred_on", *days.span).where(days.where("occurred_on"))
    return events, inputs.target_part(day, *days.span).where(days.where(day))


def _count(event_type: str) -> F.Column:  # type: ignore[name-defined]
    return F.expr(f"count(CASE WHEN event_type = '{event_type}' THEN 1 END)").alias(f"{event_type}s")


def _visitors(event_type: str, name: str) -> F.Column:  # type: ignore[name-defined]
    return F.expr(f"count(DISTINCT CASE WHEN event_type = '{event_type}' THEN visitor_id END)").alias(name)


class LiveSales(pa.DataFrameModel):
    """Events and orders of a minute in a country."""

    minute: Moment = pa.Field(description="the minute in which the events happened, UTC")
    country: Text = pa.Field(description="country of the visitors")
    views: Whole = pa.Field(ge=0, description="events of type view")
    baskets: Whole = pa.Field(ge=0, description="events of type basket")
    orders: Whole = pa.Field(ge=0, description="events of type order")
    units: Whole = pa.Field(ge=0, description="units ordered")
    amount: Money = pa.Field(ge=0, description="GBP: sum of the orders")
    occurred_on: Day = pa.Field(description="the day of the minute")

    class Config:
        name = "gold.live_sales"
        strict = True
        metadata = {
            "key": ["minute", "country"],
            "business_date": "occurred_on",
            "handoff": {"kind": "column", "column": "occurred_on"},
            "agrees": {
                "with": "silver.events",
                "by": ["occurred_on", "country"],
                "sums": {"amount": ["amount", {"event_type": "order"}], "units": ["quantity", {"event_type": "order"}]},
                "gate": "silver.events",
            },
        }


@table(LiveSales, upstreams=["silver.events"])
def live_sales(inputs: Inputs) -> Recomputed:
    """Every minute of the touched days in which there was an event, by country."""
    events, target = _touched(inputs, "occurred_on")
    rows = events.groupBy("occurred_minute", "country", "occurred_on").agg(
        *map(_count, ("view", "basket", "order")),
        F.expr(f"CAST(coalesce(sum(CASE WHEN {_ORDER} THEN quantity END), 0) AS BIGINT)").alias("units"),
        exact_sum("amount", 3, _ORDER).alias("_amount"),
    )
    rows = rows.selectExpr("*", "occurred_minute AS minute", "CAST(_amount AS DECIMAL(18,3)) AS amount")
    return Recomputed(rows.select(*inputs.columns), target)


class FunnelDaily(pa.DataFrameModel):
    """How many visitors of a day in a country come how far."""

    occurred_on: Day = pa.Field(description="the day, UTC")
    country: Text = pa.Field(description="country of the visitors")
    events: Whole = pa.Field(ge=0, description="events of all types")
    visitors: Whole = pa.Field(ge=0, description="distinct visitors with an event")
    viewers: Whole = pa.Field(ge=0, description="distinct visitors who saw a product")
    collectors: Whole = pa.Field(ge=0, description="distinct visitors who laid one into the basket")
    buyers: Whole = pa.Field(ge=0, description="distinct visitors who ordered one")
    amount: Money = pa.Field(ge=0, description="GBP: sum of the orders")

    class Config:
        name = "gold.funnel_daily"
        strict = True
        metadata = {
            "key": ["occurred_on", "country"],
            "business_date": "occurred_on",
            "handoff": {"kind": "column", "column": "occurred_on"},
        }


@table(FunnelDaily, upstreams=["silver.events"])
def funnel_daily(inputs: Inputs) -> Recomputed:
    """The touched days by country. A visitor counts on each day, and in each country, of an event."""
    events, target = _touched(inputs, "occurred_on")
    rows = events.groupBy("occurred_on", "country").agg(
        F.expr("count(*)").alias("events"),
        F.expr("count(DISTINCT visitor_id)").alias("visitors"),
        _visitors("view", "viewers"),
        _visitors("basket", "collectors"),
        _visitors("order", "buyers"),
        exact_sum("amount", 3, _ORDER).alias("_amount"),
    )
    rows = rows.selectExpr("*", "CAST(_amount AS DECIMAL(18,3)) AS amount")
    return Recomputed(rows.select(*inputs.columns), target)
