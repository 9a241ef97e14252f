"""Contracts of the tables beside those of a source: where a row comes from, what was rejected, what was said of each
drop, and the accounts.

`<table>_quarantine` and `<table>_verdicts` of all sources share one model each.
"""

from collections.abc import Sequence

import pandera.polars as pa

from lakehouse_assets.core.contracts.types import Day, Text, TextList, Whole


class Provenance(pa.DataFrameModel):
    """Where a row comes from: the least of the live drops that support it."""

    batch_date: Day = pa.Field(description="the day on which the supporting drop landed")
    path: Text = pa.Field(description="the supporting drop, below the landing zone")
    content_hash: Text = pa.Field(description="SHA-256 of the drop's bytes, hexadecimal")
    row_number: Whole = pa.Field(ge=1, description="running number of the row in the drop")


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


def intake_model(sources: Sequence[str]) -> type[pa.DataFrameModel]:
    """The model of the accounts of those sources."""

    class Intake(pa.DataFrameModel):
        """The account of every drop: landed = published + quarantined + duplicates."""

        source: Text = pa.Field(isin=list(sources), description="the source")
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
            name = "silver.intake"
            strict = True
            metadata = {"key": ["path", "content_hash"]}

    return Intake
