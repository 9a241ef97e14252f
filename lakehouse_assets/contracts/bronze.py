"""Contracts of the bronze layer: rows as they landed, every value a string, and the journal of what landed."""

import pandera.polars as pa

from lakehouse_assets.contracts.types import Day, Text, Whole

PROVENANCE_KEY = ["path", "content_hash", "row_number"]


class Landed(pa.DataFrameModel):
    """What every landed row carries beside its values."""

    rescued: Text = pa.Field(
        alias="_rescued", nullable=True, description="unexpected columns of the row, as a JSON object"
    )
    malformed: Text = pa.Field(
        alias="_malformed", nullable=True, description="the rule broken by a row that could not be parsed"
    )
    detail: Text = pa.Field(alias="_detail", nullable=True, description="what is wrong with it, in a sentence")
    raw: Text = pa.Field(alias="_raw", nullable=True, description="the text of a row that could not be parsed")
    drift: Text = pa.Field(
        alias="_drift",
        nullable=True,
        description="on the first row of a drop: how its columns differ from those of the source",
    )
    path: Text = pa.Field(description="the drop, below the landing zone")
    content_hash: Text = pa.Field(description="SHA-256 of the drop's bytes, hexadecimal")
    row_number: Whole = pa.Field(
        ge=0, description="running number of the row in the drop, from 1; 0 is the drop as a whole"
    )
    batch_date: Day = pa.Field(description="the day on which the drop landed")


class Orders(Landed):
    """Order lines as the shop's export wrote them."""

    invoice: Text = pa.Field(nullable=True, description="invoice number as landed")
    stock_code: Text = pa.Field(nullable=True, description="stock code as landed")
    description: Text = pa.Field(nullable=True, description="product description as landed")
    quantity: Text = pa.Field(nullable=True, description="quantity as landed")
    invoice_date: Text = pa.Field(nullable=True, description="date and time of the invoice as landed")
    unit_price: Text = pa.Field(nullable=True, description="price of a unit in GBP as landed")
    customer_id: Text = pa.Field(nullable=True, description="customer number as landed")
    country: Text = pa.Field(nullable=True, description="country as landed")

    class Config:
        strict = True
        metadata = {"key": PROVENANCE_KEY, "partition_by": ["batch_date"]}


class Customers(Landed):
    """CRM change records as they landed. Holds personal data in clear: restrict who reads it."""

    customer_id: Text = pa.Field(nullable=True, description="customer number as landed")
    name: Text = pa.Field(nullable=True, description="name as landed", metadata={"personal": True})
    email: Text = pa.Field(nullable=True, description="e-mail address as landed", metadata={"personal": True})
    city: Text = pa.Field(nullable=True, description="city as landed", metadata={"personal": True})
    country: Text = pa.Field(nullable=True, description="country as landed")
    segment: Text = pa.Field(nullable=True, description="segment as landed")
    updated_at: Text = pa.Field(nullable=True, description="time of the change as landed")
    deleted: Text = pa.Field(nullable=True, description="whether the change ends the customer, as landed")

    class Config:
        strict = True
        metadata = {"key": PROVENANCE_KEY, "partition_by": ["batch_date"]}


class FxRates(Landed):
    """ECB reference rates as they landed, one row a date and currency that has a value."""

    rate_date: Text = pa.Field(nullable=True, description="date of the rate as landed")
    currency: Text = pa.Field(nullable=True, description="ISO 4217 code as landed")
    rate: Text = pa.Field(nullable=True, description="units of the currency per euro as landed")

    class Config:
        strict = True
        metadata = {"key": PROVENANCE_KEY, "partition_by": ["batch_date"]}


class Landings(pa.DataFrameModel):
    """The journal: an append-only record of what landed and what was taken back."""

    source: Text = pa.Field(
        isin=["orders", "customers", "fx"], description="the source, which is the folder of the landing zone"
    )
    path: Text = pa.Field(description="the drop, below the landing zone")
    sequence: Whole = pa.Field(ge=1, description="running number of the entry for its path")
    content_hash: Text = pa.Field(description="SHA-256 of the drop's bytes, hexadecimal")
    batch_date: Day = pa.Field(description="the day on which the drop landed")
    state: Text = pa.Field(isin=["landed", "withdrawn", "acknowledged"], description="what the entry says of the drop")

    class Config:
        strict = True
        metadata = {"key": ["path", "sequence"]}
