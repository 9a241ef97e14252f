"""The Delta store over delta-rs: Sail or anything else computes, delta-rs commits.

Every commit carries one application transaction of ours, so that of two publishers who started from the same version
the second one is refused by the protocol itself, appends included.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from deltalake.schema import ArrayType, Field, PrimitiveType

from lakehouse_assets.core.contracts import Column, ColumnType, Contract
from lakehouse_assets.core.delta.evolution import properties
from lakehouse_assets.core.delta.holds import Holds
from lakehouse_assets.core.delta.proof import GONE, DamagedTableError, DataFile, Finding, Proof, Span
from lakehouse_assets.core.delta.store import (
    APPLICATION,
    CHANGE,
    OPERATION,
    Commit,
    Consumed,
    DeltaStore,
    Head,
    HistoryUnavailableError,
    doubled_key,
    overtaken,
    read_back,
    recorded,
    refuse_columns,
    refuse_nulls,
    refuse_types,
    required,
    span_of,
    written,
)
from lakehouse_assets.errors import LakehouseError, StaleSliceError
from lakehouse_assets.processes import scratch_name

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

METADATA = "userMetadata"
"""The key under which Apache Spark, too, keeps what a publisher writes beside a commit."""


_SPARK_TYPES = {"long": "bigint", "array": "array<string>"}
_DELTA_TYPES: dict[str, PrimitiveType | ArrayType] = {
    "bigint": PrimitiveType("long"),
    "list": ArrayType(PrimitiveType("string"), contains_null=True),
}
"""Where Delta and Spark SQL differ in what they call a type."""
_ARROW_TYPES = {ColumnType(kind).arrow: kind for kind in ("bigint", "boolean", "date", "timestamp", "timestamp_ntz")}
"""What Spark SQL calls the Arrow types that contracts speak of."""


class DeltaRsStore(DeltaStore):
    """Delta tables below `root`; `scratch` is a local folder for change sets on their way to the engine."""

    def __init__(self, root: str, scratch: str):
        super().__init__()
        self.root = root.rstrip("/")
        self.scratch = Path(scratch)
        self._proofs: dict[str, Proof] = {}
        self._newest: dict[str, tuple[tuple[int, ...], Head | None]] = {}

    def uri(self, name: str) -> str:
        return f"{self.root}/{name.replace('.', '/')}"

    def _open(self, name: str, version: int | None = None) -> DeltaTable:
        """The table, where its log is complete. Raises `DamagedTableError` where it is not, `LakehouseError` where
        there is no table.
        """
        proof = self.proof(name)
        if proof and (found := proof.log_findings()):
            raise DamagedTableError(found)
        try:
            return DeltaTable(self.uri(name), version=version)
        except TableNotFoundError:
            raise LakehouseError(f"The table {name} does not exist below {self.root}; materialise it first.") from None
        except DeltaError as error:
            if proof is None or version is not None:
                raise
            # Something in the log of which nothing was recorded, as a checkpoint that somebody else wrote.
            said = " ".join(str(error).split())[:200]
            raise DamagedTableError([Finding(name, "_delta_log", f"cannot be read: {said}", "all rows")]) from error

    @property
    def holds(self) -> Holds | None:
        return None if "://" in self.root else Holds(Path(self.root))

    def proof(self, name: str) -> Proof | None:
        if "://" in self.root:
            return None
        return self._proofs.setdefault(name, Proof(name, Path(self.uri(name))))

    def forget(self, name: str) -> None:
        super().forget(name)
        self._proofs.pop(name, None)
        self._newest.pop(name, None)

    def head(self, name: str) -> Head | None:
        # The head of a table whose newest entry is the one that is known needs no look by delta-rs, which opens the
        # whole log: it is asked for very often.
        proof = self.proof(name)
        mark = proof.mark() if proof else None
        if proof is None or mark is None:
            return super().head(name)
        if found := proof.log_findings():
            raise DamagedTableError(found)
        known = self._newest.get(name)
        if known is None or known[0] != mark:
            known = self._newest[name] = (mark, super().head(name))
        return known[1]

    def files(self, name: str, version: int | None = None, within: Span | None = None) -> list[DataFile]:
        return self._files(self._open(name, version), within)

    @staticmethod
    def _files(table: DeltaTable, within: Span | None) -> list[DataFile]:
        found = pa.table(table.get_add_actions(flatten=True))
        if within is not None:
            for least, greatest in (
                (f"partition.{within.column}",) * 2,
                (f"min.{within.column}", f"max.{within.column}"),
            ):
                if least in found.column_names:
                    may = (ds.field(greatest) >= within.least) & (ds.field(least) <= within.greatest)
                    # of a file without statistics nothing is known
                    found = found.filter(may | ds.field(least).is_null())
        rows = found["num_records"] if "num_records" in found.column_names else pa.nulls(found.num_rows, pa.int64())
        return [
            DataFile(*f)
            for f in zip(found["path"].to_pylist(), found["size_bytes"].to_pylist(), rows.to_pylist(), strict=True)
        ]

    def prove(self, name: str, version: int | None = None, within: Span | None = None) -> None:
        proof = self.proof(name)
        if proof:
            table = self._open(name, version)
            self._refuse_damaged(proof, table, self._files(table, within))

    @staticmethod
    def _refuse_damaged(proof: Proof, table: DeltaTable, files: Sequence[DataFile]) -> None:
        found = proof.file_findings(files)
        if table.version() < proof.newest():
            # Files of an earlier version may be gone, for a vacuum takes them: that is not damage, and the reader says
            # so.
            found = [f for f in found if f.what != GONE]
        if found:
            raise DamagedTableError(found)

    def exists(self, name: str) -> bool:
        if DeltaTable.is_deltatable(self.uri(name)):
            return True
        # A table whose log is gone is not one that has never been: it would be created anew, without a word.
        proof = self.proof(name)
        return bool(proof and proof.log_findings())

    def version(self, name: str) -> int:
        return self._open(name).version() if self.exists(name) else -1

    def identity(self, name: str) -> tuple[str, str | None]:
        metadata = self._open(name).metadata()
        return str(metadata.id), metadata.name

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
                    commit_properties=_properties(0, consumed, None, None),
                )
            except DeltaError:
                # Another process made it first; if not, opening it below says what is wrong.
                if not self.exists(contract.name):
                    raise
        return self.version(contract.name)

    def columns(self, name: str) -> dict[str, str]:
        fields = self._open(name).schema().fields
        return {f.name: _SPARK_TYPES.get(f.type.type, f.type.type) for f in fields}

    @recorded
    def add_columns(self, contract: Contract, columns: Sequence[Column]) -> int:
        table = self._open(contract.name)
        head = self.head(contract.name)
        fields = [
            Field(c.name, _DELTA_TYPES.get(c.type.kind) or PrimitiveType(c.type.spark), nullable=True) for c in columns
        ]
        said = _properties(table.version() + 1, head.consumed if head else None, None, None)
        with _first(contract.name):
            table.alter.add_columns(fields, commit_properties=said)
        return self.version(contract.name)

    @recorded
    def rewrite(self, contract: Contract) -> int:
        with _first(contract.name):
            self._keep_statistics(contract)
            table, head = self._open(contract.name), self.head(contract.name)
            if head and head.version != table.version():
                raise StaleSliceError(f"{contract.name} has moved from version {table.version()} to {head.version}.")
            said = _properties(table.version() + 1, head.consumed if head else None, None, None)
            self.prove(contract.name, table.version())
            write_deltalake(
                table, _retyped(table, contract), mode="overwrite", schema_mode="overwrite", commit_properties=said
            )
        return self.version(contract.name)

    def _keep_statistics(self, contract: Contract) -> None:
        """Keep statistics of no column whose new type has none (`properties`): an overwrite leaves the table's settings
        as they are.
        """
        key = "delta.dataSkippingStatsColumns"
        table = self._open(contract.name)
        was = table.metadata().configuration.get(key, "")
        kept = ",".join(n for n in was.split(",") if n in properties(contract)[key].split(","))
        if kept != was:
            head = self.head(contract.name)
            said = _properties(
                table.version() + 1, head.consumed if head else None, None, head.data_version if head else 0
            )
            table.alter.set_table_properties({key: kept}, commit_properties=said)

    def frame(
        self, spark: SparkSession, name: str, version: int | None = None, within: Span | None = None
    ) -> DataFrame:
        at = self.version(name) if version is None else version
        self.prove(name, at, within)
        if at < self._checkpoint(name):
            # There Sail 0.7.2 looks for commits where they are not: "Missing commit file: expected version 0".
            rows = self._written_out(spark, name, at)
        else:
            rows = spark.read.format("delta").option("versionAsOf", at).load(self.uri(name))
        return rows.where(within.sql) if within else rows

    def _checkpoint(self, name: str) -> int:
        """The version of the last checkpoint, as the log says it; -1 where it says none."""
        try:
            with DeltaStorageHandler(self.uri(name)).open_input_file("_delta_log/_last_checkpoint") as said:
                return int(json.loads(said.read())["version"])
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return -1  # a note that says none is as if it were not there, for every reader

    def _written_out(self, spark: SparkSession, name: str, version: int) -> DataFrame:
        """The rows of a version, copied into files of their own, batch by batch."""
        dataset = DeltaTable(self.uri(name), version=version).to_pyarrow_dataset()
        folder = self.scratch / f"version-{scratch_name()}"
        folder.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(folder / "part-0.parquet", dataset.schema, compression="zstd") as out:
            for batch in dataset.to_batches():
                out.write_batch(batch)
        return spark.read.parquet(str(folder))

    def read(self, name: str, version: int | None = None, columns: Sequence[str] | None = None) -> pa.Table:

        table = self._open(name, version)
        if proof := self.proof(name):
            self._refuse_damaged(proof, table, self._files(table, None))
        return pa.table(table.to_pyarrow_table(columns=list(columns) if columns else None))

    def count(self, name: str) -> int:
        return self._open(name).count()

    def counts(self, name: str, column: str, least: Any, greatest: Any) -> dict[Any, int]:
        table = self._open(name)
        if column in table.metadata().partition_columns:
            files = pa.table(table.get_add_actions(flatten=True))
            found = pa.table({column: files[f"partition.{column}"], "rows": files["num_records"]})
            counted = found.group_by(column).aggregate([("rows", "sum")])
            return {
                value: rows
                for value, rows in zip(*counted.to_pydict().values(), strict=True)
                if least <= value <= greatest
            }
        self.prove(name, table.version(), Span(column, least, greatest))
        within = (ds.field(column) >= least) & (ds.field(column) <= greatest)
        counted = (
            table.to_pyarrow_dataset()
            .to_table(columns=[column], filter=within)
            .group_by(column)
            .aggregate([([], "count_all")])
        )
        return dict(zip(*counted.to_pydict().values(), strict=True))

    def changes(self, spark: SparkSession, name: str, since: int, until: int) -> DataFrame:
        if since == until:  # nothing is read of the version, which the log may no longer hold
            return self.frame(spark, name).limit(0).selectExpr("*", f"'insert' AS {CHANGE}")
        table = self._open(name)
        if (proof := self.proof(name)) and (rotten := proof.differing(since, until)):
            # What differs is then found by comparing everything, and that proves the files of the snapshot.
            raise HistoryUnavailableError(
                f"{name} between versions {since} and {until}: {', '.join(rotten[:3])} is not as it was committed"
            )
        try:
            if self._types_differ(name, since, until):
                raise HistoryUnavailableError(
                    f"{name} was written anew in other types between versions {since} and {until}"
                )
            feed = pa.table(table.load_cdf(since + 1, until, allow_out_of_range=False))
        except (DeltaError, OSError, pa.ArrowException) as error:  # Arrow tells of files that a vacuum took
            raise HistoryUnavailableError(f"{name} between versions {since} and {until}: {error}") from error
        columns = [f.name for f in pa.schema(table.schema().to_arrow())]
        feed = feed.select([*columns, "_change_type"])
        folder = self.scratch / f"changes-{scratch_name()}"
        folder.mkdir(parents=True, exist_ok=True)
        kinds = set(feed["_change_type"].unique().to_pylist())
        pq.write_table(feed, folder / "part-0.parquet", compression="zstd")
        frame = spark.read.parquet(str(folder))
        came = "CASE WHEN _change_type IN ('insert', 'update_postimage') THEN 1 ELSE -1 END"
        quoted = ", ".join(f"`{c}`" for c in columns)
        if len(kinds) <= 1:
            # All came, or all went: nothing is to be netted. A single commit may do both to a row that stays: a
            # restore, an overwrite.
            return frame.selectExpr(
                *(f"`{c}`" for c in columns), f"CASE WHEN {came} > 0 THEN 'insert' ELSE 'delete' END AS {CHANGE}"
            )
        view = f"changes_{uuid4().hex}"
        frame.createOrReplaceTempView(view)
        return spark.sql(
            f"SELECT {quoted}, CASE WHEN net > 0 THEN 'insert' ELSE 'delete' END AS {CHANGE} FROM "
            f"(SELECT {quoted}, sum({came}) AS net FROM {view} GROUP BY {quoted}) WHERE net <> 0"
        )

    def _types_differ(self, name: str, since: int, until: int) -> bool:
        """Whether a column has another type in one version than in the other."""
        before, after = (
            {f.name: f.type for f in DeltaTable(self.uri(name), version=v).schema().fields} for v in (since, until)
        )
        return any(after.get(n, t) != t for n, t in before.items())

    @recorded
    def commit(
        self,
        contract: Contract,
        slice_uri: str | None,
        *,
        base_version: int,
        consumed: Consumed,
        partitions: Sequence[Any] | None = None,
        append: bool = False,
        extra: Mapping[str, Any] | None = None,
    ) -> int:
        table = self._open(contract.name)
        if table.version() != base_version:
            raise StaleSliceError(
                f"{contract.name} has moved from version {base_version} to {table.version()} since the slice was"
                " staged."
            )
        if slice_uri is not None:
            dataset = _dataset(slice_uri)
            if dataset.files:  # an engine may write no file for no rows
                refuse_columns(contract, dataset.schema.names)
                refuse_types(contract, {f.name: _in_spark(f.type) for f in dataset.schema})
                refuse_nulls(
                    contract, {c: dataset.count_rows(filter=ds.field(c).is_null()) for c in required(contract)}
                )
            if not dataset.count_rows():
                slice_uri = None
            elif not append and contract.key and _has_doubled_key(dataset, contract):
                raise doubled_key(contract)
        properties = _properties(base_version + 1, consumed, extra, None)
        with _first(contract.name):
            if slice_uri is None:
                self._record(table, contract, base_version, consumed, extra)
            elif append:
                data = _reader(slice_uri, contract, with_operation=False)
                write_deltalake(table, data, mode="append", commit_properties=properties)
            else:
                # A merge writes whole files anew, and what is wrong in them would get a proof.
                self.prove(contract.name, base_version, span_of(contract, partitions))
                self._merge(table, contract, slice_uri, partitions, properties)
                if table.version() == base_version:  # delta-rs makes no commit where the merge finds nothing to do
                    self._record(table, contract, base_version, consumed, extra)
        return self.version(contract.name)

    @staticmethod
    def _merge(
        table: DeltaTable,
        contract: Contract,
        slice_uri: str,
        partitions: Sequence[Any] | None,
        properties: CommitProperties,
    ) -> None:
        on = [f"t.`{k}` = s.`{k}`" for k in contract.key]
        if partitions is not None and contract.partition_by:
            column = contract.partition_by[0]
            on.append(f"t.`{column}` IN ({', '.join(_literal(p) for p in partitions)})")
        values = {c: f"s.`{c}`" for c in contract.names}
        (
            table.merge(
                source=_reader(slice_uri, contract, with_operation=True),
                predicate=" AND ".join(on),
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

    def _record(
        self,
        table: DeltaTable,
        contract: Contract,
        base_version: int,
        consumed: Consumed,
        extra: Mapping[str, Any] | None,
    ) -> None:
        """A commit without rows: only what was consumed."""
        properties = _properties(base_version + 1, consumed, extra, self._data_version(contract.name))
        table.create_write_transaction([], "append", table.schema(), commit_properties=properties)

    def _data_version(self, name: str) -> int:
        head = self.head(name)
        return head.data_version if head else 0

    def history(self, name: str, limit: int | None = None) -> list[Commit]:
        commits = []
        for entry in self._open(name).history(limit):
            commits.append(
                Commit(
                    version=entry["version"],
                    timestamp_ms=entry["timestamp"],
                    operation=entry["operation"],
                    metadata=read_back(entry.get(METADATA)),
                    metrics=entry.get("operationMetrics", {}),
                )
            )
        return commits

    def digest(self, name: str, version: int) -> str:
        try:
            with DeltaStorageHandler(self.uri(name)).open_input_file(f"_delta_log/{version:020}.json") as commit:
                return hashlib.sha256(commit.read()).hexdigest()
        except FileNotFoundError:
            return ""

    def is_gone(self, name: str, version: int, error: Exception) -> bool:
        try:
            table = DeltaTable(self.uri(name), version=version)
        except DeltaError as broken:
            # The log cannot give the version, unless it is the storage that gives no log.
            return "object store" not in str(broken).lower()
        return bool(table.repair(dry_run=True)["files_removed"])

    @recorded
    def optimize(self, name: str) -> int:
        table = self._open(name)
        self.prove_compacted(name)
        with _first(name):
            metrics = table.optimize.compact(commit_properties=self._unchanged(table, name, None))
        return int(metrics["numFilesRemoved"])

    @recorded
    def _z_order(self, contract: Contract, partitions: Sequence[Any] | None, extra: Mapping[str, Any]) -> int:
        table = self._open(contract.name)
        self.prove(contract.name, table.version(), span_of(contract, partitions))
        within = None if partitions is None else [(contract.partition_by[0], "in", [str(p) for p in partitions])]
        with _first(contract.name):
            metrics = table.optimize.z_order(
                contract.z_order_by, within, commit_properties=self._unchanged(table, contract.name, extra)
            )
        return int(metrics["numFilesRemoved"])

    def prove_compacted(self, name: str) -> None:
        # Those that lie together in a partition are written into one.
        if proof := self.proof(name):
            table = self._open(name)
            files = self._files(table, None)
            together = Counter(f.path.rpartition("/")[0] for f in files)
            self._refuse_damaged(proof, table, [f for f in files if together[f.path.rpartition("/")[0]] > 1])

    def _unchanged(self, table: DeltaTable, name: str, extra: Mapping[str, Any] | None) -> CommitProperties:
        """What goes beside a commit that changes no row."""
        head = self.head(name)
        return _properties(table.version() + 1, head.consumed if head else None, extra, self._data_version(name))

    @recorded
    def vacuum(self, name: str, retention_hours: int, run: str = "") -> int:
        # In this order: see `holds.py`.
        table = self._open(name)
        held = self.holds.oldest(name, run) if self.holds else None
        kept = None if held is None else list(range(max(held, self._oldest(table)), table.version() + 1))
        removed = table.vacuum(
            retention_hours=retention_hours,
            dry_run=False,
            enforce_retention_duration=False,
            full=False,
            keep_versions=kept,
        )
        return len(removed)

    @staticmethod
    def _oldest(table: DeltaTable) -> int:
        """The oldest version that the log still has."""
        return min((int(c["version"]) for c in table.history() if "version" in c), default=table.version())

    @recorded
    def restore(self, name: str, version: int) -> int:
        table = self._open(name)
        self.prove(name, version)
        earlier = next((c for c in self.history(name) if c.version <= version and "consumed" in c.metadata), None)
        consumed = Consumed(**earlier.metadata["consumed"]) if earlier else None
        with _first(name):
            table.restore(version, commit_properties=_properties(table.version() + 1, consumed, None, None))
        return self.version(name)


def _properties(
    number: int, consumed: Consumed | None, extra: Mapping[str, Any] | None, data_version: int | None
) -> CommitProperties:
    """What goes beside a commit. data_version: given where no row changes."""
    return CommitProperties(
        custom_metadata={METADATA: written(consumed, extra, data_version)},
        app_transactions=[Transaction(APPLICATION, number)],
    )


@contextmanager
def _first(name: str) -> Iterator[None]:
    """Turns what the protocol says to the second of two publishers into a `StaleSliceError`."""
    try:
        yield
    except CommitFailedError as error:
        raise overtaken(name, error) from error


def _dataset(slice_uri: str) -> ds.FileSystemDataset:
    return ds.dataset(slice_uri, format="parquet", exclude_invalid_files=False)


def _in_spark(kind: pa.DataType) -> str:
    """What Spark SQL calls an Arrow type. Engines and writers differ in the layout of texts and lists; a type of its
    own is named by Arrow.
    """
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "string"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"array<{_in_spark(kind.value_type)}>"
    if pa.types.is_decimal128(kind):
        return f"decimal({kind.precision},{kind.scale})"
    return _ARROW_TYPES.get(kind, str(kind))


def _has_doubled_key(dataset: ds.Dataset, contract: Contract) -> bool:
    """delta-rs refuses a key that updates a row twice, but inserts one that is new as often as it comes."""
    keys = dataset.to_table(columns=list(contract.key))
    return keys.group_by(list(contract.key)).aggregate([]).num_rows < keys.num_rows


def _reader(slice_uri: str, contract: Contract, *, with_operation: bool) -> pa.RecordBatchReader:
    """The staged slice as a stream in the contract's own types; the engine may have written other nullability and
    order.
    """
    fields = [pa.field(f.name, f.type) for f in contract.arrow_schema]
    if with_operation:
        fields.append(pa.field(OPERATION, pa.string()))
    schema = pa.schema(fields)
    scanner = _dataset(slice_uri).scanner(columns=schema.names)
    batches = (
        pa.RecordBatch.from_arrays([b.column(f.name).cast(f.type) for f in schema], schema=schema)
        for b in scanner.to_batches()
    )
    return pa.RecordBatchReader.from_batches(schema, batches)


def _retyped(table: DeltaTable, contract: Contract) -> pa.RecordBatchReader:
    """The rows of a table as a stream in the types of a contract; columns that the table lacks are null."""
    schema = pa.schema([pa.field(f.name, f.type) for f in contract.arrow_schema])
    present = {f.name for f in table.schema().fields}
    scanner = table.to_pyarrow_dataset().scanner(columns=[n for n in schema.names if n in present])
    batches = (
        pa.RecordBatch.from_arrays(
            [b.column(f.name).cast(f.type) if f.name in present else pa.nulls(len(b), f.type) for f in schema],
            schema=schema,
        )
        for b in scanner.to_batches()
    )
    return pa.RecordBatchReader.from_batches(schema, batches)


def _literal(value: Any) -> str:
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    if isinstance(value, int):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"
