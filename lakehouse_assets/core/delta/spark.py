"""The Delta store over Apache Spark: the session that is handed in computes and commits, in this process, on a cluster
or over Connect.

Belongs here: Delta's SQL. `delta.tables` is left alone, for a Spark Connect server knows it only with a jar that Maven
Central does not hold. Does not belong here: starting a session.

Every publication is one MERGE that carries an application transaction of ours, numbered by the version it makes. Of two
publishers who started from the same version the second one is refused by the protocol itself, or finds its transaction
done and merges nothing: both are a stale slice.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql.types import StructType

from lakehouse_assets.core.contracts import Column, Contract
from lakehouse_assets.core.delta.evolution import adding, created, features, literal, quoted, rewriting, sql_name
from lakehouse_assets.core.delta.holds import Holds
from lakehouse_assets.core.delta.proof import DataFile, Proof, Span
from lakehouse_assets.core.delta.rs import DeltaRsStore
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
    from pyspark.sql import DataFrame, Row, SparkSession

_ENGINE_ERRORS = (PySparkException, Py4JError)
_NO_TABLE = re.compile(
    r"DELTA_(MISSING_DELTA_TABLE|TABLE_ONLY_OPERATION|TABLE_NOT_FOUND|PATH_DOES_NOT_EXIST)|PATH_NOT_FOUND"
)
_NO_SNAPSHOT = re.compile(
    r"DELTA_(VERSION_NOT_FOUND|VERSIONS_NOT_CONTIGUOUS|FILE_NOT_FOUND\w*|LOG_FILE_NOT_FOUND\w*|TRUNCATED_TRANSACTION_LOG|UNSUPPORTED_TIME_TRAVEL\w*)"
    r"|FILE_NOT_EXIST|FileNotFoundException|VersionNotFoundException|Cannot time travel Delta table to version"
)
_NO_FILES = re.compile(r"UNABLE_TO_INFER_SCHEMA")
_OVERTAKEN = re.compile(
    r"DELTA_(CONCURRENT|METADATA_CHANGED|PROTOCOL_CHANGED)|Concurrent\w+Exception|(Metadata|Protocol)ChangedException"
)

_USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"

_one_at_a_time = threading.Lock()


class DeltaSparkStore(DeltaStore):
    """Delta tables below `root`; `scratch` is a folder for change sets; `start_spark` gives the session when it is
    first needed.

    Root and scratch are paths or URIs as the engine sees them.
    """

    def __init__(self, root: str, scratch: str, start_spark: Callable[[], SparkSession]):
        super().__init__()
        self.root = root.rstrip("/")
        self.scratch = scratch.rstrip("/")
        self._start_spark = start_spark

    # -- looking -----------------------------------------------------------------------------------------------------

    def uri(self, name: str) -> str:
        return f"{self.root}/{name.replace('.', '/')}"

    def exists(self, name: str) -> bool:
        return self._detail(name) is not None

    def version(self, name: str) -> int:
        newest = self._history(name, 1)
        return newest[0].version if newest else -1

    def identity(self, name: str) -> tuple[str, str | None]:
        detail = self._detail(name)
        if detail is None:
            raise self._missing(name)
        return str(detail["id"]), detail["name"] or None

    def head(self, name: str) -> Head | None:
        newest = self._history(name, 1)
        return self._head(name, newest) if newest else None

    def frame(
        self, spark: SparkSession, name: str, version: int | None = None, within: Span | None = None
    ) -> DataFrame:
        at = self.version(name) if version is None else version
        if at < 0:
            raise self._missing(name)
        self.prove(name, at, within)
        rows = spark.read.format("delta").option("versionAsOf", at).load(self.uri(name))
        return rows.where(within.sql) if within else rows

    def read(self, name: str, version: int | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        frame = self.frame(self._start_spark(), name, version)
        return (frame.select(*columns) if columns else frame).toArrow()

    def count(self, name: str) -> int:
        return self.frame(self._start_spark(), name).count()

    def counts(self, name: str, column: str, least: Any, greatest: Any) -> dict[Any, int]:
        frame = self.frame(self._start_spark(), name, within=Span(column, least, greatest))
        return {row[0]: row[1] for row in frame.groupBy(column).count().collect()}

    def history(self, name: str, limit: int | None = None) -> list[Commit]:
        commits = self._history(name, limit)
        if commits is None:
            raise self._missing(name)
        return commits

    def changes(self, spark: SparkSession, name: str, since: int, until: int) -> DataFrame:
        if since == until:  # nothing is read of the version, which the log may no longer hold
            return self.frame(spark, name).limit(0).selectExpr("*", f"'insert' AS {CHANGE}")
        table = self.frame(spark, name, until)
        columns = [f"`{c}`" for c in table.columns]
        feed = spark.read.format("delta").option("readChangeFeed", "true")
        folder = f"{self.scratch}/changes-{scratch_name()}"
        if (proof := self.proof(name)) and (rotten := proof.differing(since, until)):
            raise HistoryUnavailableError(
                f"{name} between versions {since} and {until}: {', '.join(rotten[:3])} is not as it was committed"
            )
        try:
            changed = (
                feed.option("startingVersion", since + 1)
                .option("endingVersion", until)
                .load(self.uri(name))
                .selectExpr(
                    *columns, "CASE WHEN _change_type IN ('insert', 'update_postimage') THEN 1 ELSE -1 END AS _net"
                )
            )
            if not self._is_one_merge(name, since, until):
                before = dict(self.frame(spark, name, since).dtypes)
                if any(before.get(column, kind) != kind for column, kind in table.dtypes):
                    raise HistoryUnavailableError(
                        f"{name} was written anew in other types between versions {since} and {until}"
                    )
                changed = (
                    changed.groupBy(*table.columns)
                    .agg({"_net": "sum"})
                    .withColumnRenamed("sum(_net)", "_net")
                    .where("_net <> 0")
                )
            # Written out at once: transforms look at it several times, and what can no longer be told shows here.
            changed.selectExpr(
                *columns, f"CASE WHEN _net > 0 THEN 'insert' ELSE 'delete' END AS {CHANGE}"
            ).write.parquet(folder)
        except _ENGINE_ERRORS as error:
            raise HistoryUnavailableError(f"{name} between versions {since} and {until}: {error}") from error
        return spark.read.schema(StructType([*table.schema.fields]).add(CHANGE, "string")).parquet(folder)

    def _is_one_merge(self, name: str, since: int, until: int) -> bool:
        """Whether a single MERGE lies between two versions, so that nothing is to be netted: a row comes or goes in it,
        never both.
        """
        if until > since + 1:
            return False
        newest = self.history(name, 1)[0]
        return (newest.version, newest.operation) == (until, "MERGE")

    # -- publishing --------------------------------------------------------------------------------------------------

    @recorded
    def create(self, contract: Contract, consumed: Consumed | None = None) -> int:
        try:
            with _first(contract.name), self._setting({_USER_METADATA: written(consumed)}):
                self._sql(created(contract, self.uri(contract.name)).sql)
        except StaleSliceError:
            # Another process made it first; if not, this says what is wrong.
            if not self.exists(contract.name):
                raise
        return self.version(contract.name)

    def columns(self, name: str) -> dict[str, str]:
        return {f.name: f.dataType.simpleString() for f in self.frame(self._start_spark(), name).schema.fields}

    @recorded
    def add_columns(self, contract: Contract, columns: Sequence[Column]) -> int:
        head = self.head(contract.name)
        said = written(head.consumed if head else None)
        with _first(contract.name), self._setting({_USER_METADATA: said}):
            for key, value in features(columns).items():
                self._sql(
                    f"ALTER TABLE {self._sql_name(contract.name)} SET TBLPROPERTIES ({literal(key)} = {literal(value)})"
                )
            self._sql(adding(list(columns), self.uri(contract.name)))
        return self.version(contract.name)

    @recorded
    def rewrite(self, contract: Contract) -> int:
        head = self.head(contract.name)
        if head is None:
            raise self._missing(contract.name)
        self.prove(contract.name, head.version)
        settings = {_USER_METADATA: written(head.consumed), **_transaction(head.version + 1)}
        with _first(contract.name), self._setting(settings):
            self._sql(rewriting(contract, self.columns(contract.name), self.uri(contract.name)))
        # the transaction with our number was there already, so that Delta skipped the statement
        if self.plan(contract):
            raise overtaken(contract.name, f"version {head.version + 1} is theirs")
        return self.version(contract.name)

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
        version = self.version(contract.name)
        if version != base_version:
            raise StaleSliceError(
                f"{contract.name} has moved from version {base_version} to {version} since the slice was staged."
            )
        if slice_uri is not None and not self._has_rows(contract, slice_uri, unique=not append):
            slice_uri = None
        if slice_uri is not None and not append:
            # A merge writes whole files anew, and what is wrong in them would get a proof.
            self.prove(contract.name, base_version, span_of(contract, partitions))
        settings = {
            _USER_METADATA: written(consumed, extra, self._data_version(contract.name) if slice_uri is None else None),
            **_transaction(base_version + 1),
            # Staged files do not change, so there is nothing to gain by copying them first.
            "spark.databricks.delta.merge.materializeSource": "none",
        }
        with _first(contract.name), self._setting(settings):
            merged = self._sql(self._merge(contract, slice_uri, partitions, append=append))
        if not merged:  # the transaction with our number was there already, so that Delta skipped the statement
            raise overtaken(contract.name, f"version {base_version + 1} is theirs")
        return self.version(contract.name)

    def _merge(
        self, contract: Contract, slice_uri: str | None, partitions: Sequence[Any] | None, *, append: bool
    ) -> str:
        table = self._sql_name(contract.name)
        source = (
            f"parquet.{quoted(slice_uri)}" if slice_uri else f"(SELECT *, 'I' AS {OPERATION} FROM {table} WHERE false)"
        )
        columns, values = (", ".join(f"{p}`{c}`" for c in contract.names) for p in ("", "s."))
        insert = f"INSERT ({columns}) VALUES ({values})"
        if append or slice_uri is None:
            return f"MERGE INTO {table} t USING {source} s ON false WHEN NOT MATCHED THEN {insert}"
        on = [f"t.`{k}` = s.`{k}`" for k in contract.key]
        if partitions is not None and contract.partition_by:
            on.append(f"t.`{contract.partition_by[0]}` IN ({', '.join(_literal(p) for p in partitions)})")
        return (
            f"MERGE INTO {table} t USING {source} s ON {' AND '.join(on)}"
            f" WHEN MATCHED AND s.{OPERATION} = 'D' THEN DELETE"
            f" WHEN MATCHED THEN UPDATE SET {', '.join(f't.`{c}` = s.`{c}`' for c in contract.names)}"
            f" WHEN NOT MATCHED AND s.{OPERATION} <> 'D' THEN {insert}"
        )

    def _has_rows(self, contract: Contract, slice_uri: str, *, unique: bool) -> bool:
        """Whether the slice has rows. Raises `LakehouseError` for columns that are not the contract's, or a key that
        stands twice.
        """
        try:
            found = self._start_spark().read.parquet(slice_uri)
            names = found.columns
        except _ENGINE_ERRORS as error:
            if _NO_FILES.search(str(error)):  # an engine may write no file for no rows
                return False
            raise
        refuse_columns(contract, names)
        refuse_types(contract, {f.name: f.dataType.simpleString() for f in found.schema.fields})
        promised = required(contract)
        counts = ["count(*) AS n", *(f"count_if(`{c}` IS NULL) AS n_{i}" for i, c in enumerate(promised))]
        rows, *nulls = found.selectExpr(*counts).collect()[0]
        refuse_nulls(contract, dict(zip(promised, nulls, strict=True)))
        # Delta refuses a key that updates a row twice, but inserts one that is new as often as it comes.
        if (
            rows
            and unique
            and contract.key
            and found.groupBy(*contract.key).count().where("`count` > 1").limit(1).count()
        ):
            raise doubled_key(contract)
        return bool(rows)

    def _data_version(self, name: str) -> int:
        head = self.head(name)
        return head.data_version if head else 0

    # -- upkeep ------------------------------------------------------------------------------------------------------

    def digest(self, name: str, version: int) -> str:
        commit = self._start_spark().read.format("binaryFile").load(f"{self.uri(name)}/_delta_log/{version:020}.json")
        try:
            return str(commit.selectExpr("sha2(content, 256)").collect()[0][0])
        except _ENGINE_ERRORS as error:
            if _NO_TABLE.search(str(error)):
                return ""
            raise

    def is_gone(self, name: str, version: int, error: Exception) -> bool:
        return _NO_SNAPSHOT.search(str(error)) is not None

    @recorded
    def optimize(self, name: str) -> int:
        self.prove_compacted(name)
        # Nothing is written beside it: unlike a publication it may land after one that it does not know of.
        with _first(name):
            return sum(r["metrics"]["numFilesRemoved"] for r in self._sql(f"OPTIMIZE {self._sql_name(name)}"))

    @recorded
    def _z_order(self, contract: Contract, partitions: Sequence[Any] | None, extra: Mapping[str, Any]) -> int:
        self.prove(contract.name, within=span_of(contract, partitions))
        column = contract.partition_by[0] if contract.partition_by else None
        within = f" WHERE `{column}` IN ({', '.join(map(_literal, partitions))})" if partitions is not None else ""
        statement = (
            f"OPTIMIZE {self._sql_name(contract.name)}{within} ZORDER BY"
            f" ({', '.join(f'`{c}`' for c in contract.z_order_by)})"
        )
        with _first(contract.name), self._setting({_USER_METADATA: written(None, extra)}):
            return sum(r["metrics"]["numFilesRemoved"] for r in self._sql(statement))

    @recorded
    def vacuum(self, name: str, retention_hours: int, run: str = "") -> int:
        if self.holds and self.holds.oldest(name, run) is not None:
            return 0  # Apache Spark cannot be told which versions to keep: the next maintenance does it
        before = self.version(name)
        settings = {
            "spark.databricks.delta.retentionDurationCheck.enabled": "false",
            "spark.databricks.delta.vacuum.logging.enabled": "true",  # only the log says how many files went
        }
        with self._setting(settings):
            self._sql(f"VACUUM {self._sql_name(name)} RETAIN {int(retention_hours)} HOURS")
        done = [c for c in self.history(name, 10) if c.version > before and c.operation == "VACUUM END"]
        return sum(int(c.metrics.get("numDeletedFiles", 0)) for c in done)

    @recorded
    def restore(self, name: str, version: int) -> int:
        self.prove(name, version)
        earlier = next((c for c in self.history(name) if c.version <= version and "consumed" in c.metadata), None)
        consumed = Consumed(**earlier.metadata["consumed"]) if earlier else None
        with _first(name), self._setting({_USER_METADATA: written(consumed)}):
            self._sql(f"RESTORE TABLE {self._sql_name(name)} TO VERSION AS OF {int(version)}")
        return self.version(name)

    # -- speaking to the engine --------------------------------------------------------------------------------------

    def _sql_name(self, name: str) -> str:
        return sql_name(self.uri(name))

    def _sql(self, statement: str) -> list[Row]:
        return self._start_spark().sql(statement).collect()

    @contextmanager
    def _setting(self, settings: Mapping[str, str]) -> Iterator[None]:
        """Settings of the session for one statement: SQL has no other place for what goes beside a commit."""
        conf = self._start_spark().conf
        with _one_at_a_time:
            try:
                for key, value in settings.items():
                    conf.set(key, value)
                yield
            finally:
                for key in settings:
                    conf.unset(key)

    def _detail(self, name: str) -> Row | None:
        return next(iter(self._about(f"DESCRIBE DETAIL {self._sql_name(name)}", ["id", "name"]) or []), None)

    def _history(self, name: str, limit: int | None) -> list[Commit] | None:
        columns = ["version", "unix_millis(timestamp) AS at", "operation", "userMetadata", "operationMetrics"]
        rows = self._about(f"DESCRIBE HISTORY {self._sql_name(name)}" + (f" LIMIT {limit}" if limit else ""), columns)
        if rows is None:
            return None
        return [
            Commit(
                r["version"], r["at"], r["operation"], read_back(r["userMetadata"]), dict(r["operationMetrics"] or {})
            )
            for r in rows
        ]

    def _about(self, statement: str, columns: Sequence[str]) -> list[Row] | None:
        """What a statement says of a table; None where there is no such table."""
        try:
            return self._start_spark().sql(statement).selectExpr(*columns).collect()
        except _ENGINE_ERRORS as error:
            if _NO_TABLE.search(str(error)):
                return None
            raise

    def _missing(self, name: str) -> LakehouseError:
        return LakehouseError(f"The table {name} does not exist below {self.root}; materialise it first.")


class SharedDeltaSparkStore(DeltaSparkStore):
    """The same where this process sees the files that the engine sees: delta-rs looks at the log, in milliseconds and
    without an engine, where Spark plans and runs a job for each look. Spark computes and commits.
    """

    def __init__(self, root: str, scratch: str, start_spark: Callable[[], SparkSession]):
        super().__init__(root, scratch, start_spark)
        self._log = DeltaRsStore(root, scratch)

    @property
    def holds(self) -> Holds | None:
        return self._log.holds

    def proof(self, name: str) -> Proof | None:
        return self._log.proof(name)

    def forget(self, name: str) -> None:
        super().forget(name)
        self._log.forget(name)

    def files(self, name: str, version: int | None = None, within: Span | None = None) -> list[DataFile]:
        return self._log.files(name, version, within)

    def prove(self, name: str, version: int | None = None, within: Span | None = None) -> None:
        self._log.prove(name, version, within)

    def prove_compacted(self, name: str) -> None:
        self._log.prove_compacted(name)

    def exists(self, name: str) -> bool:
        return self._log.exists(name)

    def version(self, name: str) -> int:
        return self._log.version(name)

    def identity(self, name: str) -> tuple[str, str | None]:
        return self._log.identity(name)

    def head(self, name: str) -> Head | None:
        return self._log.head(name)

    def columns(self, name: str) -> dict[str, str]:
        return self._log.columns(name)

    def read(self, name: str, version: int | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        return self._log.read(name, version, columns)

    def count(self, name: str) -> int:
        return self._log.count(name)

    def counts(self, name: str, column: str, least: Any, greatest: Any) -> dict[Any, int]:
        return self._log.counts(name, column, least, greatest)

    def history(self, name: str, limit: int | None = None) -> list[Commit]:
        return self._log.history(name, limit)

    def digest(self, name: str, version: int) -> str:
        return self._log.digest(name, version)

    def is_gone(self, name: str, version: int, error: Exception) -> bool:
        return self._log.is_gone(name, version, error)


@contextmanager
def _first(name: str) -> Iterator[None]:
    """Turns what the protocol says to the second of two publishers into a `StaleSliceError`."""
    try:
        yield
    except _ENGINE_ERRORS as error:
        if _OVERTAKEN.search(str(error)):
            raise overtaken(name, error) from error
        raise


def _transaction(number: int) -> dict[str, str]:
    """The settings by which a commit carries our application transaction of that number."""
    return {
        "spark.databricks.delta.write.txnAppId": APPLICATION,
        "spark.databricks.delta.write.txnVersion": str(number),
    }


def _literal(value: Any) -> str:
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    if isinstance(value, int):
        return str(value)
    return literal(str(value))
