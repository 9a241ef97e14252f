"""CSV drops, whatever their columns. Reads values as they landed; converts and judges none.

Columns may be in any order; upper and lower case and blanks around a name make no difference. A clean drop takes a
fast path (`fast_table`) through Arrow's CSV reader; wherever anything is odd the careful path of `lines.csv_records`
reads the drop. Both give the same answer for every drop that the fast one accepts.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.csv as pa_csv

from lakehouse_assets.core.format import Landed
from lakehouse_assets.core.sources.drift import column_drift, look_alikes
from lakehouse_assets.core.sources.lines import (
    BYTE_ORDER_MARK,
    CSV,
    BadLine,
    csv_records,
    drop_body,
    has_long_line,
    split_header,
    truncated_line,
)
from lakehouse_assets.core.sources.rows import (
    DropProblem,
    RowBuilder,
    drift_column,
    drop_schema,
    rescued_json,
    unused_key,
)

_FIELD: Final = rb'(?:"(?:[^"]++|"")*+"|(?!")[^,]*+)'
_WELL_QUOTED_LINE: Final = re.compile(_FIELD + rb"(?:," + _FIELD + rb")*+")


class Header(NamedTuple):
    """Where the columns of a drop are: the position of each column of the source, None for one that is left out, and
    (key, position) of each unexpected one; and what is other about them.
    """

    width: int
    expected: Mapping[str, int | None]
    unexpected: tuple[tuple[str, int], ...]
    drift: str | None = None


@dataclass(frozen=True)
class Csv:
    """Comma-separated values with a header, UTF-8, gzipped or not (RFC 4180, with any line end)."""

    def parse(self, content: bytes, columns: Sequence[Landed]) -> pa.Table:
        """The rows of a drop; raises `DropProblem` where no row can be read."""
        body, remainder = drop_body(content, CSV)
        names, body = split_header(body)
        header = read_header(names, columns)
        if remainder is None:
            table = fast_table(body, header)
            if table is not None:
                return table
        return careful_table(body, header, remainder)


def read_header(names: Sequence[str], columns: Sequence[Landed]) -> Header:
    """Find the columns by their names; raises `DropProblem` (`drop.missing_column`, `drop.duplicate_column`)."""
    spellings = {column.name: column.written for column in columns}
    column_of = {written.lower(): column for column, of in spellings.items() for written in of}
    optional = {column.name for column in columns if column.optional}
    positions: dict[str, list[int]] = {column: [] for column in spellings}
    unexpected: dict[str, int] = {}
    for position, name in enumerate(names):
        column = column_of.get(name.lower())
        if column is not None:
            positions[column].append(position)
        else:
            unexpected[unused_key(name, position, unexpected)] = position
    drift = column_drift(names, spellings, optional=optional)
    missing = [
        " or ".join(spellings[column]) for column, found in positions.items() if not found and column not in optional
    ]
    if missing:
        detail = (
            f"The header lacks {', '.join(missing)}{look_alikes(unexpected, column_of)}; send the drop with all its"
            " columns."
        )
        raise DropProblem("drop.missing_column", detail, drift)
    twice = [" or ".join(spellings[column]) for column, found in positions.items() if len(found) > 1]
    if twice:
        raise DropProblem(
            "drop.duplicate_column",
            f"The header names {', '.join(twice)} more than once; send the drop with each column once.",
            drift,
        )
    expected = {column: found[0] if found else None for column, found in positions.items()}
    return Header(len(names), expected, tuple(unexpected.items()), drift)


def fast_table(body: bytes, header: Header) -> pa.Table | None:
    """The rows of a clean body (after the header), or None where anything is odd: quotes, line ends, encoding, number
    of fields.
    """
    # Arrow takes a byte order mark off, but here it is part of a value: the drop's own is gone.
    if (
        b"\0" in body
        or body.startswith(BYTE_ORDER_MARK)
        or body.count(b"\r") != body.count(b"\r\n")
        or has_long_line(body)
    ):
        return None
    body = body.rstrip(b"\r\n")
    if not body:
        return drop_schema(list(header.expected)).empty_table()
    try:
        body.decode()
    except UnicodeDecodeError:
        return None
    # Arrow reads text behind a closing quote, and goes over the end of a line inside quotes: the former is looked for
    # here, the latter shows in the number of rows.
    if b'"' in body and not all(
        _WELL_QUOTED_LINE.fullmatch(line.rstrip(b"\r")) for line in body.split(b"\n") if b'"' in line
    ):
        return None
    names = [str(position) for position in range(header.width)]
    try:
        read = pa_csv.read_csv(
            io.BytesIO(body),
            read_options=pa_csv.ReadOptions(
                column_names=names, use_threads=False, block_size=min(len(body) + 1, 1 << 30)
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                check_utf8=False,
            ),
        )
    except pa.ArrowInvalid:
        return None
    if read.num_rows != body.count(b"\n") + 1:
        return None
    nothing = pa.nulls(read.num_rows, pa.string())
    rescued: pa.Array = nothing
    if header.unexpected:
        keys = [key for key, _ in header.unexpected]
        values = zip(*[read.column(position).to_pylist() for _, position in header.unexpected], strict=True)
        rescued = pa.array([rescued_json(dict(zip(keys, row, strict=True))) for row in values], pa.string())
    columns = [nothing if position is None else read.column(position) for position in header.expected.values()]
    drift = drift_column(header.drift, read.num_rows)
    return pa.table(
        [*columns, rescued, pa.arange(1, read.num_rows + 1), nothing, nothing, nothing, drift],
        schema=drop_schema(list(header.expected)),
    )


def careful_table(body: bytes, header: Header, remainder: bytes | None = None) -> pa.Table:
    """The rows of any body (after the header), each bad line a row of its own; `remainder` is what a broken gzip stream
    left over.
    """
    rows = RowBuilder(list(header.expected))
    for record in csv_records(body, header.width):
        if isinstance(record, BadLine):
            rows.bad(record.rule, record.detail, record.raw)
            continue
        rescued = rescued_json({key: record[position] or None for key, position in header.unexpected})
        values = (None if position is None else record[position] for position in header.expected.values())
        rows.good([value or None for value in values], rescued)
    if remainder is not None:
        lost = truncated_line(remainder)
        rows.bad(lost.rule, lost.detail, lost.raw)
    return rows.table(header.drift)
