"""Rows that are all new, appended to a table of this machine: pyarrow writes the files where they are to lie, batch by
batch, and one commit names them.

delta-rs would write them too, in twice the time and with gigabytes for ten million rows. Belongs here: the files, and
what the log says of each, from its footer. Does not belong here: commits (`rs.py`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.delta.rs_rows import slice_rows

_GROUP_ROWS = 131_072
_MOST_WAITING = 1_000_000
"""Rows that wait in memory for their group to be full."""
_LONGEST_BOUND = 64
"""Of longer texts the log says no least and greatest, for it is read whole."""
_NULL = "__HIVE_DEFAULT_PARTITION__"


@contextmanager
def written_files(
    folder: Path, contract: Contract, slice_uri: str, bounded: Iterable[str]
) -> Iterator[list[AddAction]]:
    """The rows of a staged slice as files of the table that lies in `folder`, and what a commit says of them. Where the
    commit fails, they are removed.

    bounded: the columns of texts, whole numbers and days whose least and greatest value the log keeps.
    """
    rows = slice_rows(slice_uri, contract, with_operation=False)
    files = _Files(folder, contract.partition_by[0] if contract.partition_by else None, rows.schema)
    try:
        for batch in rows:
            files.write(pa.Table.from_batches([batch]))
        columns = sorted({*bounded} & {*files.schema.names})
        yield [_added(folder, file, footer, columns) for file, footer in sorted(files.close().items())]
    except BaseException:
        files.remove()
        raise


class _Files:
    """One file for each value of the partition column, or one for all rows, written in groups of rows."""

    def __init__(self, folder: Path, partition: str | None, schema: pa.Schema):
        self._folder, self._partition, self._name = folder, partition, f"part-{uuid4().hex}-0.parquet"
        self.schema = schema.remove(schema.get_field_index(partition)) if partition else schema
        self._waiting: dict[Any, list[pa.Table]] = {}
        self._rows: Counter[Any] = Counter()
        self._writers: dict[Any, tuple[Path, pq.ParquetWriter]] = {}

    def write(self, rows: pa.Table) -> None:
        """Take rows in. Groups that are full are written, and the fullest of the others where too many rows wait."""
        for value, part in self._parts(rows):
            self._waiting.setdefault(value, []).append(part)
            self._rows[value] += len(part)
            if self._rows[value] >= _GROUP_ROWS:
                self._flush(value, self._rows[value] % _GROUP_ROWS)
        while self._rows.total() > _MOST_WAITING:
            self._flush(self._rows.most_common(1)[0][0])

    def _parts(self, rows: pa.Table) -> Iterator[tuple[Any, pa.Table]]:
        if self._partition is None:
            yield None, rows
            return
        column = rows.column(self._partition)
        for value in column.unique().to_pylist():
            field = ds.field(self._partition)
            mine = field.is_null() if value is None else field == pa.scalar(value, column.type)
            yield value, rows.filter(mine).drop_columns([self._partition])

    def _flush(self, value: Any, kept: int = 0) -> None:
        """Write what waits for one file, but for the last `kept` rows."""
        waiting = pa.concat_tables(self._waiting.pop(value))
        rows = waiting.slice(0, len(waiting) - kept)
        del self._rows[value]
        if kept:
            self._waiting[value], self._rows[value] = [waiting.slice(len(rows))], kept
        if value not in self._writers:
            file = self._folder / self._place(value) / self._name
            file.parent.mkdir(parents=True, exist_ok=True)
            self._writers[value] = file, pq.ParquetWriter(file, self.schema, compression="zstd", store_schema=False)
        self._writers[value][1].write_table(rows, row_group_size=_GROUP_ROWS)

    def _place(self, value: Any) -> str:
        if self._partition is None:
            return ""
        text = _NULL if value is None else quote(str(value), safe=" ")
        return f"{self._partition}={text}"

    def close(self) -> dict[Path, pq.FileMetaData]:
        """End all files: each with its footer."""
        for value in list(self._waiting):
            self._flush(value)
        for _, writer in self._writers.values():
            writer.close()
        return {file: pq.read_metadata(file) for file, _ in self._writers.values()}

    def remove(self) -> None:
        """Delete what has been written."""
        for file, writer in self._writers.values():
            with suppress(OSError, pa.ArrowException):
                writer.close()
            file.unlink(missing_ok=True)


def _added(folder: Path, file: Path, footer: pq.FileMetaData, bounded: list[str]) -> AddAction:
    path, found = file.relative_to(folder), file.stat()
    values = dict(part.split("=", 1) for part in path.parts[:-1])
    return AddAction(
        path=str(path),
        size=found.st_size,
        partition_values={n: None if value == _NULL else unquote(value) for n, value in values.items()},
        modification_time=found.st_mtime_ns // 1_000_000,
        data_change=True,
        stats=json.dumps(_statistics(footer, bounded)),
    )


def _statistics(footer: pq.FileMetaData, bounded: list[str]) -> dict[str, Any]:
    """What Delta keeps of a file: rows, and of some columns nulls, least and greatest value. Of a column whose footer
    says less, nothing is kept.
    """
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    position = {footer.schema.column(i).path: i for i in range(footer.num_columns)}
    least: dict[str, Any] = {}
    greatest: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for name in bounded:
        said = [group.column(position[name]).statistics for group in groups]
        if any(s is None or not s.has_null_count for s in said):
            continue
        nulls[name] = sum(s.null_count for s in said)
        of_values = [s for s, group in zip(said, groups, strict=True) if s.null_count < group.num_rows]
        if of_values and all(s.has_min_max for s in of_values):
            low, high = min(s.min for s in of_values), max(s.max for s in of_values)
            if not any(isinstance(v, str) and len(v) > _LONGEST_BOUND for v in (low, high)):
                least[name], greatest[name] = _json(low), _json(high)
    return {"numRecords": footer.num_rows, "minValues": least, "maxValues": greatest, "nullCount": nulls}


def _json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
