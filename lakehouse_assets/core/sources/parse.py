"""Parsing a drop: `parse_drop`, the one function that the engine maps over files. Pure: bytes in, Arrow out; no I/O, no
Spark, no Dagster, no type conversion.

What is other about the columns of a drop is in `_drift` of its first row (`drift.py`). The rules it reports in
`_malformed`, with a sentence for the person who must fix the data in `_detail` and the text in `_raw`:

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
from typing import Final

import pyarrow as pa

from lakehouse_assets.core.format import Format
from lakehouse_assets.core.sources.lines import unpack
from lakehouse_assets.core.sources.rows import DropProblem, RowBuilder

DROP_RULES: Final = ("drop.duplicate_column", "drop.missing_column", "drop.unreadable")
"""What can be wrong with a drop as a whole: it is then a single row with the number 0."""

ROW_RULES: Final = ("row.encoding", "row.json", "row.long", "row.nul", "row.open_quote", "row.ragged", "row.truncated")
"""What can be wrong with the form of a row; the other rows of its drop are read."""


def parse_drop(format: Format, content: bytes) -> pa.Table:
    """The landed rows of a drop, whatever its bytes are, in the schema of `rows.drop_schema`.

    format: that of its source. content: the bytes of the file, gzipped or not. `row_number` counts the landed rows from
    1; a row that cannot be read has null values, a rule in `_malformed`, and its text in `_raw`. A drop that cannot be
    read is one row with the number 0, its `_raw` the text of the drop or, where it is not text, its bytes as
    `base64:…`. Raises nothing for any content.
    """
    try:
        return format.kind.parse(content, format.columns)
    except DropProblem as problem:
        rows = RowBuilder(format.values)
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
