"""Messages of a topic: their columns in bronze, and what a value in JSON says.

A message lands with topic, partition, offset, time and key, and its value as text; bytes that are no text land as
`base64:…`. The value is read when silver is computed, by the rules of JSON lines, so that a value that cannot be read
is a row in quarantine, and one that a later version can read is judged again. Does not belong here: brokers
(`streams/`), under which paths messages land (`core/sources/blocks.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from lakehouse_assets.core.contracts.side_tables import Provenance
from lakehouse_assets.core.format import Landed
from lakehouse_assets.core.sources.kinds.json_lines import columns_by_key, read_object
from lakehouse_assets.core.sources.lines import BadLine
from lakehouse_assets.core.sources.rows import DropProblem
from lakehouse_assets.core.spark_sql import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

MESSAGE: Final = (
    Landed("topic", "the topic"),
    Landed("partition", "the partition of the topic, a whole number as text"),
    Landed("offset", "the number of the message in its partition, as text"),
    Landed("timestamp", "the time that the broker gives for the message, UTC; null where it gives none"),
    Landed("key", "the key of the message; base64:… where it is not UTF-8", personal=True),
    Landed("value", "the value of the message; null where it has none, or is not UTF-8", personal=True),
)
"""The columns of the bronze table of a topic."""


@dataclass(frozen=True)
class Messages:
    """The kind of a source whose rows come by a topic, and never as a file."""

    def parse(self, content: bytes, columns: Sequence[Landed]) -> pa.Table:
        """Raises `DropProblem`: a file is no message."""
        raise DropProblem("drop.unreadable", "Rows of this source come by its topic; take the file away.")


def fields(landed: DataFrame, columns: Sequence[Landed]) -> DataFrame:
    """Landed messages → one row each with these columns of its value as texts, and in `_malformed` why it could not be
    read.
    """
    own = list(Provenance.to_schema().columns)
    column_of, names = columns_by_key(columns), [column.name for column in columns]
    given = landed.select(*own, "_malformed", "value")
    types = dict(given.dtypes)
    schema = [*((name, types[name]) for name in own), ("_malformed", "string"), *((name, "string") for name in names)]

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            malformed, values = batch.column("_malformed").to_pylist(), batch.column("value").to_pylist()
            found = [_read(value, rule, column_of) for value, rule in zip(values, malformed, strict=True)]
            texts = [pa.array([known.get(name) for _, known in found], pa.string()) for name in names]
            rules = pa.array([rule for rule, _ in found], pa.string())
            yield pa.RecordBatch.from_arrays(
                [*(batch.column(name) for name in own), rules, *texts], names=[*own, "_malformed", *names]
            )

    return given.mapInArrow(read, ", ".join(f"{quoted(name)} {kind}" for name, kind in schema))


def _read(value: str | None, rule: str | None, column_of: dict[str, str]) -> tuple[str | None, dict[str, Any]]:
    """Why a value cannot be read, None where it can, and what it says."""
    if rule is not None:
        return rule, {}
    try:
        return None, read_object((value or "").encode(), column_of)[1]
    except BadLine as problem:
        return problem.rule, {}
