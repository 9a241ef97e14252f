"""Contracts of the bronze layer: rows as they landed, every value a string, and the journal of what landed."""

from collections.abc import Iterable, Sequence
from typing import cast

import pandera.polars as pa

from lakehouse_assets.core.contracts.types import Day, Text, Whole

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


def bronze_model(
    name: str, description: str, columns: Iterable[tuple[str, str, bool]], module: str
) -> type[pa.DataFrameModel]:
    """The model of a bronze table: what every landed row carries, and the columns of its source as texts.

    columns: name, description, whether it is personal data. module: where the source is declared.
    """
    fields = {
        column: pa.Field(nullable=True, description=said, metadata={"personal": True} if personal else None)
        for column, said, personal in columns
    }
    config = {"name": name, "strict": True, "metadata": {"key": PROVENANCE_KEY, "partition_by": ["batch_date"]}}
    members = {
        "__doc__": description,
        "__module__": module,
        "__annotations__": dict.fromkeys(fields, Text),
        **fields,
        "Config": type("Config", (), config),
    }
    return cast(type[pa.DataFrameModel], type(Landed)("Landed", (Landed,), members))


def landings_model(sources: Sequence[str]) -> type[pa.DataFrameModel]:
    """The model of the journal of those sources."""

    class Landings(pa.DataFrameModel):
        """The journal: an append-only record of what landed and what was taken back."""

        source: Text = pa.Field(isin=list(sources), description="the source, which is the folder of the landing zone")
        path: Text = pa.Field(description="the drop, below the landing zone")
        sequence: Whole = pa.Field(ge=1, description="running number of the entry for its path")
        content_hash: Text = pa.Field(description="SHA-256 of the drop's bytes, hexadecimal")
        batch_date: Day = pa.Field(description="the day on which the drop landed")
        state: Text = pa.Field(
            isin=["landed", "withdrawn", "acknowledged"], description="what the entry says of the drop"
        )

        class Config:
            name = "bronze.landings"
            strict = True
            metadata = {"key": ["path", "sequence"]}

    return Landings
