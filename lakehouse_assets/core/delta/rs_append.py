"""Rows that are all new, appended to a table of this machine: pyarrow writes the files where they are to lie, batch by
batch, and one commit names them.

delta-rs would write them too, in twice the time and with gigabytes for ten million rows. Belongs here: the files, and
what the log says of each, from its footer. Does not belong here: commits (`rs.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.delta.rs_rows import slice_rows

_GROUP_ROWS = 131_072
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
    name = uuid4().hex
    rows = slice_rows(slice_uri, contract, with_operation=False)
    parts = pa.schema([rows.schema.field(n) for n in contract.partition_by])
    written: dict[Path, pq.FileMetaData] = {}
    try:
        ds.write_dataset(
            rows,
            folder,
            basename_template=f"part-{name}-{{i}}.parquet",
            format="parquet",
            file_options=ds.ParquetFileFormat().make_write_options(compression="zstd", store_schema=False),
            partitioning=ds.partitioning(parts, flavor="hive"),
            max_partitions=1_000_000,  # one a day
            # A batch holds rows of many partitions, and each file is to have few groups.
            min_rows_per_group=_GROUP_ROWS,
            max_rows_per_group=_GROUP_ROWS,
            existing_data_behavior="overwrite_or_ignore",
            file_visitor=lambda file: written.update({Path(file.path): file.metadata}),
        )
        columns = sorted(set(bounded) - set(parts.names))
        yield [_added(folder, file, written[file], columns) for file in sorted(written)]
    except BaseException:
        for file in folder.rglob(f"part-{name}-*.parquet"):
            file.unlink(missing_ok=True)
        raise


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
