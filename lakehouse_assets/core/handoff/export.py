"""Step 3, export: from a snapshot to Parquet files. Rows come sorted alike from the table's files or from an engine,
and one pyarrow writer writes them, so the same rows give the same bytes wherever they are read.

Belongs here: rows of a snapshot, files on the local disk. Does not belong here: the stage, Snowflake.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.delta.files import Span
from lakehouse_assets.core.handoff import faults, slices
from lakehouse_assets.core.handoff.attempt import Attempt, Difference
from lakehouse_assets.core.handoff.manifest import Manifest, StagedFile
from lakehouse_assets.core.handoff.sums import SliceSum
from lakehouse_assets.core.spark_sql import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from lakehouse_assets.core.delta.store import DeltaStore

logger = logging.getLogger(__name__)

ROW_GROUP_ROWS = 131_072
_MOST_SORTED_BYTES = 2**31
"""Arrow sorts a column in one piece, and one piece of texts ends here."""
COMPRESSION = "zstd"  # Snowflake detects it, and it takes about a third less to the stage than snappy


def export(attempt: Attempt, difference: Difference) -> Manifest:
    """Write the slices that differ, and their manifest, to the local folder of the hand-off."""
    files = write_files(
        partial(read_rows, attempt.store, attempt.spark, attempt.contract, attempt.version),
        attempt.contract,
        difference.slices,
        attempt.folder,
        file_bytes=attempt.context.file_bytes,
        group_rows=attempt.context.group_rows,
    )
    table = (attempt.contract.name, attempt.delta_table_id)
    versions = (attempt.since, attempt.version, attempt.through, attempt.fingerprint)
    manifest = Manifest(attempt.id, *table, *versions, difference.whole, difference.slices, files)
    (attempt.folder / f"{attempt.id}.json").write_text(manifest.json(), encoding="utf-8")
    return manifest


def touched_slices(changes: DataFrame, contract: Contract) -> list[str]:
    """The slices of rows that came or went."""
    values = changes.selectExpr(f"{slices.spark_value(contract)} AS value").distinct()
    names = values.selectExpr(f"{slices.spark_name(contract, 'value')} AS slice").toArrow()
    return sorted(names["slice"].to_pylist())


def write_files(
    read: Callable[[list[str]], pa.Table],
    contract: Contract,
    sums: Mapping[str, SliceSum],
    folder: Path,
    *,
    file_bytes: int,
    group_rows: int,
) -> tuple[StagedFile, ...]:
    """Write the slices in `sums` of a snapshot to `folder`, sorted by slice and key; files roll at about `file_bytes`.

    read: gives the rows of some slices, in that order. At most about `group_rows` rows (or one slice, where that is
    larger) are in memory at a time.
    """
    folder.mkdir(parents=True)
    writer = _RollingWriter(folder, contract.arrow_schema, file_bytes)
    rows, total = 0, sum(s.rows for s in sums.values())
    for names in _groups(contract, sums, group_rows):
        table = read(names)
        writer.write(table)
        rows += table.num_rows
        logger.info("%s: exported %d of %d rows", contract.name, rows, total)
    return writer.close()


def read_rows(
    store: DeltaStore, spark: SparkSession, contract: Contract, version: int, names: Sequence[str]
) -> pa.Table:
    """The rows of some slices of a snapshot in the contract's types, sorted by slice and key: from the table's files
    where this process sees them, for an engine takes three times as long, else by the engine, which also sorts what is
    very large.
    """
    among, order = slices.among(contract, names), list(contract.key or contract.names)
    by_engine = slices.handoff_slice(contract).kind == "hash" or any(
        contract.column(c).type.kind == "list" for c in order
    )
    rows = None if by_engine else store.rows(contract.name, version, contract.names, among)
    if rows is None or rows.nbytes >= _MOST_SORTED_BYTES:
        within = slices.span(contract, names)
        frame = store.frame(spark, contract.name, version, Span(*within) if within else None)
        return rows_of(frame, contract, names)
    keys = [(c, "ascending", "at_start") for c in dict.fromkeys([*([among.column] if among else []), *order])]
    return rows.sort_by(keys).select(list(contract.names)).cast(contract.arrow_schema)


def rows_of(frame: DataFrame, contract: Contract, names: Iterable[str]) -> pa.Table:
    """The rows of some slices in the contract's types, sorted by slice and key."""
    # Sorted by a column of its own: the engine would otherwise compute the slice's name once a comparison.
    sort = ["_slice", *(quoted(k) for k in contract.key or contract.names)]
    chosen = frame.where(slices.spark_predicate(contract, list(names)))
    ordered = chosen.selectExpr(
        *(quoted(c) for c in contract.names), f"{slices.spark_value(contract)} AS _slice"
    ).orderBy(*sort)
    return ordered.toArrow().select(list(contract.names)).cast(contract.arrow_schema)


def _groups(contract: Contract, sums: Mapping[str, SliceSum], group_rows: int) -> Iterator[list[str]]:
    """The names of slices that are read at once."""
    group: list[str] = []
    rows = 0
    for name in sorted((n for n, s in sums.items() if s.rows), key=slices.order(contract)):
        if group and rows + sums[name].rows > group_rows:
            yield group
            group, rows = [], 0
        group.append(name)
        rows += sums[name].rows
    if group:
        yield group


def digest(file: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


class _RollingWriter:
    """Writes row groups of a fixed size, so that neither batches nor groups show in the bytes."""

    def __init__(self, folder: Path, schema: pa.Schema, file_bytes: int):
        self._folder, self._schema, self._file_bytes = folder, schema, file_bytes
        self._buffered: list[pa.Table] = []
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0
        self._files: list[StagedFile] = []

    @property
    def _open_path(self) -> Path:
        return self._folder / "open.tmp"

    def write(self, table: pa.Table) -> None:
        self._buffered.append(table)
        while sum(t.num_rows for t in self._buffered) >= ROW_GROUP_ROWS:
            rows = pa.concat_tables(self._buffered)
            self._buffered = [rows.slice(ROW_GROUP_ROWS)]
            self._write_row_group(rows.slice(0, ROW_GROUP_ROWS))

    def close(self) -> tuple[StagedFile, ...]:
        rest = pa.concat_tables(self._buffered) if self._buffered else None
        if rest is not None and rest.num_rows:
            self._write_row_group(rest)
        self._finish_file()
        return tuple(self._files)

    def _write_row_group(self, rows: pa.Table) -> None:
        if self._writer is None:
            # store_schema would put Arrow's own description into the file, which differs with where the rows came from
            self._writer = pq.ParquetWriter(self._open_path, self._schema, compression=COMPRESSION, store_schema=False)
        self._writer.write_table(rows.combine_chunks(), row_group_size=ROW_GROUP_ROWS)
        faults.crash_point("writing")
        self._rows += rows.num_rows
        if self._open_path.stat().st_size >= self._file_bytes:
            self._finish_file()

    def _finish_file(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        content = digest(self._open_path)
        path = self._open_path.rename(self._folder / f"{len(self._files):05d}-{content[:16]}.parquet")
        self._files.append(StagedFile(path.name, content, path.stat().st_size, self._rows))
        self._rows = 0
        faults.crash_point("exporting")
