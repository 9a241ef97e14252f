"""The source `web_events`: views, baskets and orders of the shop's pages, as messages of a topic, and what a message
means.
"""

import pandera.polars as pa
from pyspark.sql import DataFrame

from lakehouse_assets.core.contracts.side_tables import Provenance
from lakehouse_assets.core.contracts.types import Day, Moment, Money, Price, Text, Whole
from lakehouse_assets.core.declarations.source import Landed, Source
from lakehouse_assets.core.sources.convert import convert
from lakehouse_assets.core.sources.kinds.messages import MESSAGE, Messages, fields

TOPIC = "web-events"

EVENT_TYPES = ["view", "basket", "order"]

VALUE = (
    Landed("event_id", "number of the event"),
    Landed("session_id", "the browser's session"),
    Landed("visitor_id", "the visitor"),
    Landed("event_type", "view, basket or order", ("type", "event_type")),
    Landed("product_code", "stock code"),
    Landed("quantity", "units"),
    Landed("unit_price", "GBP for a unit"),
    Landed("currency", "currency of the price"),
    Landed("country", "country of the visitor"),
    Landed("occurred_at", "when it happened"),
)
"""The keys of a message's value."""


class Events(Provenance):
    """What a visitor did: saw a product, laid it into the basket, or ordered it. An event that came twice is one."""

    event_id: Text = pa.Field(str_length={"min_value": 1, "max_value": 64}, description="number of the event")
    session_id: Text = pa.Field(description="the browser's session, as the page says it")
    visitor_id: Text = pa.Field(description="the visitor", metadata={"personal": True})
    event_type: Text = pa.Field(isin=EVENT_TYPES, description="view, basket or order")
    product_code: Text = pa.Field(description="stock code trimmed, in upper case")
    quantity: Whole = pa.Field(ge=1, le=100_000, description="units")
    unit_price: Price = pa.Field(ge=0, description="GBP for a unit")
    currency: Text = pa.Field(isin=["GBP"], description="currency of the price: the shop sells in GBP")
    country: Text = pa.Field(description="country of the visitor")
    occurred_at: Moment = pa.Field(description="when it happened by the visitor's clock, UTC")
    occurred_on: Day = pa.Field(description="the day of that, UTC: the business date", metadata={"derived": True})
    occurred_minute: Moment = pa.Field(description="the minute of that", metadata={"derived": True})
    amount: Money = pa.Field(description="GBP: quantity times unit_price", metadata={"derived": True})

    class Config:
        name = "silver.events"
        strict = True
        # Messages cannot be sent again corrected, so that no block is ever refused: bad ones go to quarantine.
        metadata = {"key": ["event_id"], "business_date": "occurred_on"}


def typed(landed: DataFrame) -> DataFrame:
    """Landed messages → one row each with the contract's columns and `_problems`."""
    rows = convert(fields(landed, VALUE), Events)
    return rows.selectExpr(
        *(name for name in rows.columns if name not in ("product_code", "_problems")),
        "upper(trim(product_code)) AS product_code",
        "CAST(date_trunc('DAY', occurred_at) AS DATE) AS occurred_on",
        "date_trunc('MINUTE', occurred_at) AS occurred_minute",
        "CAST(quantity * unit_price AS DECIMAL(18,3)) AS amount",
        "_problems",
    )


WEB_EVENTS = Source(
    name="web_events",
    kind=Messages(),
    topic=TOPIC,
    columns=MESSAGE,
    contract_model=Events,
    typed=typed,
    order=("batch_date", "path", "row_number"),
    description="Messages of the shop's pages as they landed, one row a message.",
    landed="Appended by `lakehouse stream` from the topic `web-events`.",
    wins="Of an event that came twice the message that came first is kept.",
)
