"""Small drops to test with, and readers of parsed ones. Shared by the tests of this folder."""

import csv
import gzip
import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import lakehouse_assets.areas  # noqa: F401 -- some tests use this in a process of their own
from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.sources import parse

PUBLISHED = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
LATER = ["Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country"]
LINE = ["536365", "85123A", "WHITE HANGING HEART", "6", "2010-12-01 08:26:00", "2.55", "17850.0", "United Kingdom"]

BRONZE_VALUES = {name: source.format.values for name, source in SOURCES.items()}
"""Name of a source → its columns as landed."""


def parse_drop(source: str, content: bytes) -> pa.Table:
    """The landed rows of a drop of the source of that name."""
    return parse.parse_drop(SOURCES[source].format, content)


def order_lines(count: int) -> list[list[str]]:
    """Distinct order lines that break no rule."""
    return [[str(536_365 + number), *LINE[1:]] for number in range(count)]


def csv_drop(
    header: Sequence[str], rows: Sequence[Sequence[str]], end: str = "\n", quoting: Any = csv.QUOTE_MINIMAL
) -> bytes:
    """A CSV drop, as Python's own writer writes it."""
    text = io.StringIO()
    csv.writer(text, lineterminator=end, quoting=quoting).writerows([header, *rows])
    return text.getvalue().encode()


def good(table: pa.Table) -> list[list[str | None]]:
    """The values of the rows that could be read."""
    rows = table.filter(pc.field("_malformed").is_null()).drop_columns(
        ["_rescued", "row_number", "_malformed", "_detail", "_raw", "_drift"]
    )
    return [list(row.values()) for row in rows.to_pylist()]


def problems(table: pa.Table) -> list[tuple[int, str]]:
    """(row number, rule) of the rows that could not be read."""
    return [(row["row_number"], row["_malformed"]) for row in table.to_pylist() if row["_malformed"] is not None]


def parsed(source: str, content: bytes, zipped: bool = False) -> pa.Table:
    """The drop parsed, compressed before if asked for."""
    return parse_drop(source, gzip.compress(content, mtime=0) if zipped else content)
