"""Rows that are all new, appended to a table of this machine: pyarrow writes the files where they are to lie, batch by
batch, and one commit names them.

delta-rs would write them too, in twice the time and with gigabytes for ten million rows. Belongs here: the files, and
what the log says of each, from its footer. Does not belong here: commits (`rs.py`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote
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
_MOST_OPEN = 200
"""Files that are open at once: a first load has a partition a day, and systems allow a process a thousand files."""
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
    partition = next(iter(contract.partition_by), None)
    files = _Files(folder, partition, rows.schema)
    try:
        for batch in rows:
            files.write(pa.Table.from_batches([batch]))
        files.close()
        columns = sorted({*bounded} & {*files.schema.names})
        yield [_added(folder, file, {partition: value} if partition else {}, columns) for file, value in files.written]
    except BaseException:
        files.remove()
        raise


class _Files:
    """Files that hold one value of the partition column each, or any rows where there is none, written in groups."""

    def __init__(self, folder: Path, partition: str | None, schema: pa.Schema):
        self._folder, self._partition = folder, partition
        self.schema = schema.remove(schema.get_field_index(partition)) if partition else schema
        self.written: list[tuple[Path, Any]] = []
        """Each file that was begun, with the value of its rows."""
        self._waiting: dict[Any, list[pa.Table]] = {}
        self._rows: Counter[Any] = Counter()
        self._writers: dict[Any, pq.ParquetWriter] = {}

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
        """Write what waits for one value, but for the last `kept` rows."""
        waiting = pa.concat_tables(self._waiting.pop(value))
        rows = waiting.slice(0, len(waiting) - kept)
        del self._rows[value]
        if kept:
            self._waiting[value], self._rows[value] = [waiting.slice(len(rows))], kept
        self._writer(value).write_table(rows, row_group_size=_GROUP_ROWS)

    def _writer(self, value: Any) -> pq.ParquetWriter:
        """The open file of a value. Of too many the one that was begun first is ended; its value gets another one."""
        if value not in self._writers:
            if len(self._writers) >= _MOST_OPEN:
                self._writers.pop(next(iter(self._writers))).close()
            folder = self._folder
            if self._partition:
                folder /= f"{self._partition}={_NULL if value is None else quote(_text(value), safe=' ')}"
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"part-{uuid4().hex}.parquet"
            self._writers[value] = pq.ParquetWriter(file, self.schema, compression="zstd", store_schema=False)
            self.written.append((file, value))
        return self._writers[value]

    def close(self) -> None:
        """Write what waits, and end all files."""
        for value in list(self._waiting):
            self._flush(value)
        for writer in self._writers.values():
            writer.close()

    def remove(self) -> None:
        """Delete what has been written."""
        for writer in self._writers.values():
            with suppress(OSError, pa.ArrowException):  # what is wrong has been raised already
                writer.close()
        for file, _ in self.written:
            file.unlink(missing_ok=True)


def _added(folder: Path, file: Path, partition: Mapping[str, Any], bounded: list[str]) -> AddAction:
    found = file.stat()
    return AddAction(
        path=str(file.relative_to(folder)),
        size=found.st_size,
        partition_values={name: None if value is None else _text(value) for name, value in partition.items()},
        modification_time=found.st_mtime_ns // 1_000_000,
        data_change=True,
        stats=json.dumps(_statistics(pq.read_metadata(file), bounded)),
    )


def _text(value: Any) -> str:
    """A value as Delta writes it for a partition. Source: the Delta protocol, "Partition Value Serialization"."""
    return str(value).lower() if isinstance(value, bool) else str(value)


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
