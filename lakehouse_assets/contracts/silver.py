"""Contracts of the silver layer: typed, cleansed, deduplicated tables and what was rejected on the way.

The side tables of a source table (`*_quarantine`, `*_verdicts`) share one model each.
"""

from datetime import datetime

import pandera.polars as pa

import lakehouse_assets.contracts.checks  # noqa: F401 -- registers the whole-row checks named in Config
from lakehouse_assets.contracts.types import Day, Flag, Moment, Money, Price, Rate, ShopClock, Text, TextList, Whole

LINE_TYPES = ["sale", "return", "bad_debt", "adjustment"]
DERIVED = {"derived": True}
BLOCKING = {"rows": 5, "share": 0.10}
BILLION = {"min_value": -1_000_000_000, "max_value": 1_000_000_000}
"""More than any line of the shop can be about, and so little that the sum of a million such lines still fits: a sum
that overflows stops gold.
"""


class Provenance(pa.DataFrameModel):
    """Where a row comes from: the least of the live drops that support it."""

    batch_date: Day = pa.Field(description="the day on which the supporting drop landed")
    path: Text = pa.Field(description="the supporting drop, below the landing zone")
    content_hash: Text = pa.Field(description="SHA-256 of the drop's bytes, hexadecimal")
    row_number: Whole = pa.Field(ge=1, description="running number of the row in the drop")


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
        strict = True
        metadata = {
            "key": ["line_id"],
            "partition_by": ["invoice_month"],
            "business_date": "invoice_date",
            "blocking": BLOCKING,
        }


class Customers(Provenance):
    """The last word of the CRM on each customer. An ended customer keeps a row without attributes, so that late records
    stay late.
    """

    customer_id: Whole = pa.Field(ge=1, description="customer number")
    name: Text = pa.Field(nullable=True, description="name", metadata={"personal": True})
    email: Text = pa.Field(
        nullable=True,
        description="e-mail address in lower case; null unless LAKEHOUSE_KEEP_EMAIL allows it",
        metadata={"personal": True},
    )
    email_hash: Text = pa.Field(
        nullable=True, description="keyed hash (HMAC-SHA-256) of the e-mail address in lower case"
    )
    city: Text = pa.Field(nullable=True, description="city", metadata={"personal": True})
    country: Text = pa.Field(nullable=True, description="country")
    segment: Text = pa.Field(nullable=True, description="segment")
    updated_at: Moment = pa.Field(description="when the CRM made the change, UTC")
    is_deleted: Flag = pa.Field(description="the CRM has ended this customer")

    class Config:
        strict = True
        metadata = {"key": ["customer_id"], "blocking": BLOCKING}


class FxRates(Provenance):
    """ECB euro reference rates: units of a currency per euro."""

    rate_date: Day = pa.Field(description="the day the rate was published for")
    currency: Text = pa.Field(str_matches=r"^[A-Z]{3}$", description="ISO 4217 code")
    rate: Rate = pa.Field(gt=0, description="units of the currency per euro")

    class Config:
        strict = True
        metadata = {"key": ["rate_date", "currency"], "business_date": "rate_date", "blocking": BLOCKING}


class Products(pa.DataFrameModel):
    """Product descriptions over time (slowly changing dimension of type 2)."""

    product_code: Text = pa.Field(description="stock code trimmed, in upper case")
    description: Text = pa.Field(description="trimmed description")
    valid_from: Day = pa.Field(description="first day of validity; 1900-01-01 for the first version")
    valid_to: Day = pa.Field(description="last day of validity; 9999-12-31 for the current version")
    first_seen_on: Day = pa.Field(description="the business date on which this version was first sold")
    is_current: Flag = pa.Field(description="the version is the last one")

    class Config:
        strict = True
        in_order = {"columns": ["valid_from", "valid_to"]}
        metadata = {"key": ["product_code", "valid_from"]}


class Quarantine(pa.DataFrameModel):
    """Rejected rows of a source, with the rules they break."""

    path: Text = pa.Field(description="the drop, below the landing zone")
    content_hash: Text = pa.Field(description="SHA-256 of the drop's bytes, hexadecimal")
    row_number: Whole = pa.Field(ge=0, description="running number of the row in the drop; 0 is the drop as a whole")
    contract_fingerprint: Text = pa.Field(description="the contract by which the row was judged")
    batch_date: Day = pa.Field(description="the day on which the drop landed")
    rules: TextList = pa.Field(description="every rule the row breaks, sorted")
    detail: Text = pa.Field(
        nullable=True, description="what is wrong with it, in a sentence, where the parser could say"
    )
    raw: Text = pa.Field(
        nullable=True,
        description="the row as landed: a JSON object of its values, or its text where it could not be parsed",
        metadata={"personal": True},
    )

    class Config:
        strict = True
        metadata = {"key": ["path", "content_hash", "row_number", "contract_fingerprint"]}


class Verdicts(pa.DataFrameModel):
    """What the contract says of each content that landed under a path."""

    path: Text = pa.Field(description="the drop, below the landing zone")
    content_hash: Text = pa.Field(description="SHA-256 of the drop's bytes, hexadecimal")
    batch_date: Day = pa.Field(description="the day on which the drop landed")
    verdict: Text = pa.Field(
        isin=["accepted", "refused", "unreadable"], description="whether the content may enter the table"
    )
    landed: Whole = pa.Field(ge=0, description="rows landed")
    bad_rows: Whole = pa.Field(ge=0, description="rows that break a rule")
    warned_rows: Whole = pa.Field(ge=0, description="rows that break a rule of severity warn")
    reason: Text = pa.Field(nullable=True, description="why it is refused or unreadable, in a sentence")
    drift: Text = pa.Field(nullable=True, description="how its columns differ from those of the source")

    class Config:
        strict = True
        metadata = {"key": ["path", "content_hash"]}


class Intake(pa.DataFrameModel):
    """The account of every drop: landed = published + quarantined + duplicates."""

    source: Text = pa.Field(isin=["orders", "customers", "fx"], description="the source")
    path: Text = pa.Field(description="the drop, below the landing zone")
    content_hash: Text = pa.Field(description="SHA-256 of the drop's bytes, hexadecimal")
    batch_date: Day = pa.Field(description="the day on which the drop landed")
    standing: Text = pa.Field(
        isin=["live", "refused", "unreadable", "superseded", "withdrawn"], description="what the content counts for"
    )
    landed: Whole = pa.Field(ge=0, description="rows landed; 0 where the content no longer counts")
    published: Whole = pa.Field(ge=0, description="rows of the silver table that stand on this drop")
    quarantined: Whole = pa.Field(ge=0, description="rows rejected")
    duplicates: Whole = pa.Field(
        ge=0, description="rows that say what another row says, or that a later record supersedes"
    )

    class Config:
        strict = True
        metadata = {"key": ["path", "content_hash"]}
