"""The Delta store over delta-rs: Sail or anything else computes, delta-rs commits.

Belongs here: writing by delta-rs, frames for the engine. Does not belong here: looking at tables (`rs_reader.py`).

Every commit carries one application transaction of ours, so that of two publishers who started from the same version
the second one is refused by the protocol itself, appends included.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.fs import DeltaStorageHandler

from lakehouse_assets.core.contracts import Column, Contract
from lakehouse_assets.core.delta.change_feed import netted, unavailable
from lakehouse_assets.core.delta.commits import APPLICATION, METADATA, Consumed, overtaken, written
from lakehouse_assets.core.delta.evolution import properties
from lakehouse_assets.core.delta.files import span_of
from lakehouse_assets.core.delta.log_files import LOG
from lakehouse_assets.core.delta.rs_append import written_files
from lakehouse_assets.core.delta.rs_reader import DeltaRsReader
from lakehouse_assets.core.delta.rs_rows import (
    dataset_of,
    delta_field,
    has_doubled_key,
    retyped,
    slice_rows,
    spark_type_of_arrow,
)
from lakehouse_assets.core.delta.slice_rules import (
    OPERATION,
    UNWRITABLE,
    doubled_key,
    meeting,
    partition_text,
    refuse_columns,
    refuse_moved,
    refuse_nulls,
    refuse_types,
    refuse_unwritable,
    required,
)
from lakehouse_assets.core.delta.store import DeltaStore, recorded
from lakehouse_assets.core.spark_sql import literal, quoted
from lakehouse_assets.processes import scratch_name

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class DeltaRsStore(DeltaRsReader, DeltaStore):
    """Delta tables below `root`; `scratch` is a local folder for change sets on their way to the engine."""

    # -- frames ------------------------------------------------------------------------------------------------------

    def _rows(self, spark: SparkSession, name: str, version: int) -> DataFrame:
        if version >= self._checkpoint(name):
            return super()._rows(spark, name, version)
        # There Sail 0.7.2 looks for commits where they are not: "Missing commit file: expected version 0". So the rows
        # are copied into files of their own, batch by batch.
        dataset = DeltaTable(self.uri(name), version=version).to_pyarrow_dataset()
        file = self._scratch_file("version")
        with pq.ParquetWriter(file, dataset.schema, compression="zstd") as out:
            for batch in dataset.to_batches():
                out.write_batch(batch)
        return spark.read.parquet(str(file.parent))

    def _scratch_file(self, kind: str) -> Path:
        folder = Path(self.scratch, f"{kind}-{scratch_name()}")
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "part-0.parquet"

    def _checkpoint(self, name: str) -> int:
        """The version of the last checkpoint, as the log says it; -1 where it says none."""
        try:
            with DeltaStorageHandler(self.uri(name)).open_input_file(f"{LOG}/_last_checkpoint") as said:
                return int(json.loads(said.read())["version"])
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return -1  # a note that says none is as if it were not there, for every reader

    def _changes(self, spark: SparkSession, name: str, since: int, until: int) -> DataFrame:
        table = self._open(name)
        self._prove_changes(name, since, until)
        try:
            if self._types_differ(name, since, until):
                raise unavailable(name, since, until, "it was written anew in other types")
            feed = pa.table(table.load_cdf(since + 1, until, allow_out_of_range=False))
        except (DeltaError, OSError, pa.ArrowException) as error:  # Arrow reports files that a vacuum took
            raise unavailable(name, since, until, error) from error
        columns = [f.name for f in pa.schema(table.schema().to_arrow())]
        feed = feed.select([*columns, "_change_type"])
        file = self._scratch_file("changes")
        pq.write_table(feed, file, compression="zstd")
        # Where all came, or all went, nothing is to be netted. A single commit may do both to a row that stays: a
        # restore, an overwrite.
        return netted(spark.read.parquet(str(file.parent)), columns, mixed=len(feed["_change_type"].unique()) > 1)

    def _types_differ(self, name: str, since: int, until: int) -> bool:
        """Whether a column has another type in one version than in the other."""
        before, after = (
            {f.name: f.type for f in DeltaTable(self.uri(name), version=v).schema().fields} for v in (since, until)
        )
        return any(after.get(n, t) != t for n, t in before.items())

    # -- tables ------------------------------------------------------------------------------------------------------

    @recorded
    def create(self, contract: Contract, consumed: Consumed | None = None) -> int:
        if not self.exists(contract.name):
            try:
                DeltaTable.create(
                    self.uri(contract.name),
                    # What MERGE rewrites has Utf8View texts, which Sail 0.7.2 cannot read into columns that are NOT
                    # NULL: every read of the table fails from then on. That nothing is null where the contract says so
                    # is the audit's business, before a commit.
                    schema=pa.schema([f.with_nullable(True) for f in contract.arrow_schema]),
                    partition_by=list(contract.partition_by),
                    name=contract.name,
                    description=contract.summary,
                    configuration=properties(contract),
                    commit_properties=_properties(0, written(consumed)),
                )
            except DeltaError:
                # Another process made it first; if not, opening it below says what is wrong.
                if not self.exists(contract.name):
                    raise
        return self.version(contract.name)

    @recorded
    def add_columns(self, contract: Contract, columns: Sequence[Column]) -> int:
        table = self._open(contract.name)
        said = _properties(table.version() + 1, self._kept(contract.name, rows_change=True))
        with _first(contract.name):
            table.alter.add_columns([delta_field(c) for c in columns], commit_properties=said)
        return self.version(contract.name)

    @recorded
    def rewrite(self, contract: Contract) -> int:
        name = contract.name
        with _first(name):
            self._drop_statistics(contract)
            table, head = self._open(name), self.head(name)
            if head:
                refuse_moved(name, table.version(), head.version)
            said = _properties(table.version() + 1, self._kept(name, rows_change=True))
            self.prove(name, table.version())
            rows = retyped(table, contract)
            write_deltalake(table, rows, mode="overwrite", schema_mode="overwrite", commit_properties=said)
        return self.version(name)

    def _drop_statistics(self, contract: Contract) -> None:
        """Keep statistics of no column whose new type has none (`properties`): an overwrite leaves the table's settings
        as they are.
        """
        key = "delta.dataSkippingStatsColumns"
        table = self._open(contract.name)
        was = table.metadata().configuration.get(key, "")
        kept = ",".join(n for n in was.split(",") if n in properties(contract)[key].split(","))
        if kept != was:
            said = _properties(table.version() + 1, self._kept(contract.name, rows_change=False))
            table.alter.set_table_properties({key: kept}, commit_properties=said)

    # -- publishing --------------------------------------------------------------------------------------------------

    def _has_rows(self, contract: Contract, slice_uri: str, *, unique: bool) -> bool:
        dataset = dataset_of(slice_uri)
        if dataset.files:  # an engine may write no file for no rows
            refuse_columns(contract, dataset.schema.names)
            refuse_types(contract, {f.name: spark_type_of_arrow(f.type) for f in dataset.schema})
            refuse_nulls(contract, {c: dataset.count_rows(filter=ds.field(c).is_null()) for c in required(contract)})
            if column := partition_text(contract):
                refuse_unwritable(contract, dataset.count_rows(filter=ds.field(column).isin(list(UNWRITABLE))))
        rows = dataset.count_rows()
        if rows and unique and has_doubled_key(dataset, contract.key):
            raise doubled_key(contract)
        return bool(rows)

    def _append(self, contract: Contract, slice_uri: str, base_version: int, said: str) -> None:
        with self._publishing(contract.name, base_version, said) as (table, properties):
            if "://" in self.root:
                rows = slice_rows(slice_uri, contract, with_operation=False)
                write_deltalake(table, rows, mode="append", commit_properties=properties)
                return
            bounded = table.metadata().configuration.get("delta.dataSkippingStatsColumns", "").split(",")
            with written_files(Path(self.uri(contract.name)), contract, slice_uri, bounded) as files:
                table.create_write_transaction(
                    [*files], "append", table.schema(), list(contract.partition_by), commit_properties=properties
                )

    def _merge(
        self, contract: Contract, slice_uri: str, base_version: int, said: str, partitions: Sequence[Any] | None
    ) -> bool:
        values = {c: f"s.{quoted(c)}" for c in contract.names}
        with self._publishing(contract.name, base_version, said) as (table, properties):
            (
                table.merge(
                    source=slice_rows(slice_uri, contract, with_operation=True),
                    predicate=meeting(contract, partitions, _literal),
                    source_alias="s",
                    target_alias="t",
                    commit_properties=properties,
                    streamed_exec=False,
                )
                .when_matched_delete(f"s.{OPERATION} = 'D'")
                .when_matched_update(values)
                .when_not_matched_insert(values, predicate=f"s.{OPERATION} <> 'D'")
                .execute()
            )
            return table.version() > base_version

    def _record(self, contract: Contract, base_version: int, said: str) -> None:
        with self._publishing(contract.name, base_version, said) as (table, properties):
            table.create_write_transaction([], "append", table.schema(), commit_properties=properties)

    @contextmanager
    def _publishing(self, name: str, base_version: int, said: str) -> Iterator[tuple[DeltaTable, CommitProperties]]:
        """The table at the version that a slice was computed against, and what goes beside the commit."""
        table = self._open(name)
        # Opened at a later version, the transaction of another publisher would be one that it knows of.
        refuse_moved(name, base_version, table.version())
        with _first(name):
            yield table, _properties(base_version + 1, said)

    # -- maintenance -------------------------------------------------------------------------------------------------

    @recorded
    def optimize(self, name: str) -> int:
        table = self._open(name)
        self.prove_compacted(name)
        said = _properties(table.version() + 1, self._kept(name, rows_change=False))
        with _first(name):
            return int(table.optimize.compact(commit_properties=said)["numFilesRemoved"])

    @recorded
    def _z_order(self, contract: Contract, partitions: Sequence[Any] | None, extra: Mapping[str, Any]) -> int:
        name = contract.name
        table = self._open(name)
        self.prove(name, table.version(), span_of(contract, partitions))
        within = None if partitions is None else [(contract.partition_by[0], "in", [str(p) for p in partitions])]
        said = _properties(table.version() + 1, self._kept(name, extra, rows_change=False))
        with _first(name):
            metrics = table.optimize.z_order(contract.z_order_by, within, commit_properties=said)
        return int(metrics["numFilesRemoved"])

    @recorded
    def vacuum(self, name: str, retention_hours: int, run: str = "") -> int:
        # In this order: see `holds.py`.
        table = self._open(name)
        held = self.holds.oldest(name, run) if self.holds else None
        kept = None
        if held is not None:
            oldest = min((int(c["version"]) for c in table.history() if "version" in c), default=table.version())
            kept = list(range(max(held, oldest), table.version() + 1))
        removed = table.vacuum(
            retention_hours=retention_hours,
            dry_run=False,
            enforce_retention_duration=False,
            full=False,
            keep_versions=kept,
        )
        return len(removed)

    def _restore(self, name: str, version: int, said: str) -> None:
        table = self._open(name)
        with _first(name):
            table.restore(version, commit_properties=_properties(table.version() + 1, said))


def _properties(number: int, said: str) -> CommitProperties:
    """What goes beside a commit."""
    return CommitProperties(
        custom_metadata={METADATA: said},
        app_transactions=[Transaction(APPLICATION, number)],
    )


@contextmanager
def _first(name: str) -> Iterator[None]:
    """Turns what the protocol says to the second of two publishers into a `StaleSliceError`."""
    try:
        yield
    except CommitFailedError as error:
        raise overtaken(name, error) from error


def _literal(value: Any) -> str:
    """A value in the SQL of delta-rs, where a quote in a text is doubled."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else literal(value)
