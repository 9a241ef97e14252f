"""Parquet drops, whatever their columns. Values of every type land as texts that lose nothing; the contract says what
they are to become.

| type in the file | text |
|---|---|
| numbers, decimals | as they are written, `12.50` |
| booleans | `true`, `false` |
| days, times | `2026-09-01`, `2026-09-01T12:30:00.000000`, with `Z` where the file has a time zone |
| lists, structs, maps | JSON |
| bytes | `base64:` and the bytes |

Columns are found by their names as in CSV drops. Does not belong here: judging values.
"""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakehouse_assets.core.format import Landed
from lakehouse_assets.core.sources.kinds.csv import Header, read_header
from lakehouse_assets.core.sources.lines import MAX_COLUMNS, MAX_LINES, MAX_UNPACKED_MB
from lakehouse_assets.core.sources.rows import DropProblem, drift_column, drop_schema, rescued_json

_MAGIC: Final = b"PAR1"


@dataclass(frozen=True)
class Parquet:
    """Apache Parquet, one file a drop."""

    def parse(self, content: bytes, columns: Sequence[Landed]) -> pa.Table:
        """The rows of a drop; raises `DropProblem` where it cannot be read."""
        if not content.strip():
            raise DropProblem("drop.unreadable", "The drop is empty; send it again.")
        if not content.startswith(_MAGIC):
            raise DropProblem("drop.unreadable", "The drop is no Parquet file; send it as Parquet.")
        try:
            file = pq.ParquetFile(io.BytesIO(content))
            _refuse_large(file.metadata)
            header = read_header(list(file.schema_arrow.names), columns)
            return _table(file.read(), header)
        except (pa.ArrowException, OSError) as error:
            raise DropProblem(
                "drop.unreadable", "The drop begins like a Parquet file but is damaged; send it again."
            ) from error


def _refuse_large(metadata: Any) -> None:
    """Raise `DropProblem` where reading the file would take more memory than a drop may."""
    groups = (metadata.row_group(n) for n in range(metadata.num_row_groups))
    if sum(group.total_byte_size for group in groups) > MAX_UNPACKED_MB * 1_000_000 or metadata.num_rows > MAX_LINES:
        detail = f"The drop holds more than {MAX_UNPACKED_MB} MB or {MAX_LINES:,} rows; send it in several drops."
        raise DropProblem("drop.unreadable", detail)
    if metadata.num_columns > MAX_COLUMNS:
        raise DropProblem(
            "drop.unreadable",
            f"The drop has {metadata.num_columns:,} columns, more than {MAX_COLUMNS:,}; send those of its source.",
        )


def _table(read: pa.Table, header: Header) -> pa.Table:
    rows = read.num_rows
    nothing = pa.nulls(rows, pa.string())
    values = [nothing if at is None else _texts(read.column(at)) for at in header.expected.values()]
    rescued: pa.Array = nothing
    if header.unexpected:
        keys = [key for key, _ in header.unexpected]
        found = zip(*[_texts(read.column(at)).to_pylist() for _, at in header.unexpected], strict=True)
        rescued = pa.array([rescued_json(dict(zip(keys, row, strict=True))) for row in found], pa.string())
    numbers = pa.arange(1, rows + 1) if rows else pa.array([], pa.int64())
    return pa.table(
        [*values, rescued, numbers, nothing, nothing, nothing, drift_column(header.drift, rows)],
        schema=drop_schema(list(header.expected)),
    )


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """The values of a column as texts."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _texts(column.cast(kind.value_type))
    if pa.types.is_timestamp(kind):
        whole = column.cast(pa.timestamp("us", kind.tz), safe=False)
        exact = whole.cast(kind).equals(column)  # nanoseconds that count stay, and the contract refuses them
        kept = whole if exact else column
        text = pc.strftime(  # pyright: ignore[reportAttributeAccessIssue] -- made when pyarrow is imported
            kept.cast(pa.timestamp(kept.type.unit, "UTC")) if kind.tz else kept, format="%Y-%m-%dT%H:%M:%S", locale="C"
        )
        if not kind.tz:
            return text
        return pc.binary_join_element_wise(text, "Z", "")  # pyright: ignore[reportAttributeAccessIssue] -- as above
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.array(
            [None if v is None else "base64:" + base64.b64encode(v).decode() for v in column.to_pylist()], pa.string()
        )
    if pa.types.is_nested(kind):
        texts = [None if v is None else json.dumps(v, default=str, ensure_ascii=False) for v in column.to_pylist()]
        return pa.array(texts, pa.string())
    return column.cast(pa.string())
