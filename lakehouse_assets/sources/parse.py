"""Parsing a drop: `parse_drop`, the one function that the engine maps over files. Pure: bytes in, Arrow out; no I/O, no
Spark, no Dagster, no type conversion.

What is other about the columns of a drop stands in `_drift` of its first row (`drift.py`). The rules it reports in
`_malformed`, with a sentence for the person who must mend the data in `_detail` and the text in `_raw`:

| rule | what is wrong |
|---|---|
| `drop.unreadable` | nothing can be read: empty, not UTF-8 text, damaged gzip, no header, too many columns or lines |
| `drop.missing_column` | the header lacks a required column |
| `drop.duplicate_column` | the header names a required column twice |
| `row.ragged` | more or fewer fields than the header names |
| `row.encoding` | the line is not UTF-8 |
| `row.nul` | the line holds NUL |
| `row.open_quote` | a quote is opened and not closed, or text follows a closing one |
| `row.json` | the line is not one JSON object with distinct keys |
| `row.long` | the line is longer than `MAX_LINE_MB` |
| `row.truncated` | the gzip stream ends early; what came after the last complete line is lost |
"""

import base64
from collections.abc import Callable
from typing import Final

import pyarrow as pa

from lakehouse_assets.sources.customers import parse_customers
from lakehouse_assets.sources.ecb import parse_rates
from lakehouse_assets.sources.lines import unpack
from lakehouse_assets.sources.orders import parse_orders
from lakehouse_assets.sources.rows import BRONZE_VALUES, DropProblem, RowBuilder, drop_schema

__all__ = ["BRONZE_VALUES", "DROP_RULES", "ROW_RULES", "drop_schema", "parse_drop"]

DROP_RULES: Final = ("drop.duplicate_column", "drop.missing_column", "drop.unreadable")
"""What can be wrong with a drop as a whole: it is then a single row with the number 0."""

ROW_RULES: Final = ("row.encoding", "row.json", "row.long", "row.nul", "row.open_quote", "row.ragged", "row.truncated")
"""What can be wrong with the form of a row; the other rows of its drop are read."""

_PARSERS: Final[dict[str, Callable[[bytes], pa.Table]]] = {
    "orders": parse_orders,
    "customers": parse_customers,
    "fx": parse_rates,
}


def parse_drop(source: str, content: bytes) -> pa.Table:
    """The landed rows of a drop, whatever its bytes are, in the schema of `drop_schema(source)`.

    `source` is one of `BRONZE_VALUES`; `content` the bytes of the file, gzipped or not. `row_number` counts the landed
    rows from 1; a row that cannot be read has null values, a rule in `_malformed`, and its text in `_raw`. A drop that
    cannot be read is one row with the number 0, its `_raw` the text of the drop or, where it is not text, its bytes as
    `base64:…`. Raises `KeyError` for an unknown source, and nothing for any content.
    """
    parse = _PARSERS[source]
    try:
        return parse(content)
    except DropProblem as problem:
        rows = RowBuilder(source)
        rows.bad(problem.rule, problem.detail, _raw_drop(content), row_number=0)
        return rows.table(problem.drift)


def _raw_drop(content: bytes) -> str:
    """The text of a drop without compression; where it is none, its bytes as they landed."""
    try:
        body, remainder = unpack(content)
        plain = body + (remainder or b"")
    except DropProblem:
        plain = content
    if b"\0" not in plain:
        try:
            return plain.decode()
        except UnicodeDecodeError:
            pass  # the form of the answer says so
    return "base64:" + base64.b64encode(content).decode()
