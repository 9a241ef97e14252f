"""The Delta store over Apache Spark: the session that is handed in computes and commits, in this process, on a cluster
or over Connect.

Belongs here: Delta's SQL. `delta.tables` is left alone, for a Spark Connect server knows it only with a jar that Maven
Central does not hold. Does not belong here: starting a session.

Every publication is one MERGE that carries an application transaction of ours, numbered by the version it makes. Of two
publishers who started from the same version the second one is refused by the protocol itself, or finds its transaction
done and merges nothing: both are a stale slice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql.types import StructType

from lakehouse_assets.core.contracts import Column, Contract
from lakehouse_assets.core.delta.change_feed import CHANGE, netted, unavailable
from lakehouse_assets.core.delta.commits import APPLICATION, METADATA, Commit, Consumed, overtaken, read_back, written
from lakehouse_assets.core.delta.evolution import adding, created, features, rewriting
from lakehouse_assets.core.delta.files import Span, span_of
from lakehouse_assets.core.delta.log_files import entry_path
from lakehouse_assets.core.delta.rs_reader import DeltaRsReader
from lakehouse_assets.core.delta.slice_rules import (
    OPERATION,
    UNWRITABLE,
    doubled_key,
    meeting,
    partition_text,
    refuse_columns,
    refuse_nulls,
    refuse_types,
    refuse_unwritable,
    required,
)
from lakehouse_assets.core.delta.spark_answers import (
    ENGINE_ERRORS,
    NO_FILES,
    NO_SNAPSHOT,
    NO_TABLE,
    UNSETTABLE,
    first_alone,
)
from lakehouse_assets.core.delta.store import DeltaStore, recorded
from lakehouse_assets.core.spark_sql import in_list, literal, quoted, quoted_list
from lakehouse_assets.errors import LakehouseError, StaleSliceError
from lakehouse_assets.processes import scratch_name

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameReader, Row, SparkSession

USER_METADATA = f"spark.databricks.delta.commitInfo.{METADATA}"

_OPTIONS_INSTEAD = (
    "The Spark endpoint refuses the session settings by which commits say what they are; set"
    " LAKEHOUSE_SPARK_COMMITS=options, which says it by options of each write."
)

_one_at_a_time = threading.Lock()


class DeltaSparkStore(DeltaStore):
    """Delta tables below `root`; `start_spark` gives the session when it is first needed.

    Root and scratch are paths or URIs as the engine sees them.
    """

    def __init__(self, root: str, scratch: str, start_spark: Callable[[], SparkSession]):
        super().__init__(root, scratch)
        self._start_spark = start_spark

    # -- reading -----------------------------------------------------------------------------------------------------

    def exists(self, name: str) -> bool:
        return self._detail(name) is not None

    def version(self, name: str) -> int:
        newest = self._commits(name, 1)
        return newest[0].version if newest else -1

    def identity(self, name: str) -> tuple[str, str | None]:
        detail = self._detail(name)
        if detail is None:
            raise self._missing(name)
        return str(detail["id"]), detail["name"] or None

    def columns(self, name: str) -> dict[str, str]:
        return {f.name: f.dataType.simpleString() for f in self.frame(self._start_spark(), name).schema.fields}

    def read(self, name: str, version: int | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        frame = self.frame(self._start_spark(), name, version)
        return (frame.select(*columns) if columns else frame).toArrow()

    def count(self, name: str) -> int:
        return self.frame(self._start_spark(), name).count()

    def counts(self, name: str, column: str, least: Any, greatest: Any) -> dict[Any, int]:
        frame = self.frame(self._start_spark(), name, within=Span(column, least, greatest))
        return {row[0]: row[1] for row in frame.groupBy(column).count().collect()}

    def _changes(self, spark: SparkSession, name: str, since: int, until: int) -> DataFrame:
        table = self.frame(spark, name, until)
        self._prove_changes(name, since, until)
        folder = f"{self.scratch}/changes-{scratch_name()}"
        try:
            feed = spark.read.format("delta").option("readChangeFeed", "true")
            feed = self._load(feed.option("startingVersion", since + 1).option("endingVersion", until), name)
            mixed = not self._is_one_merge(name, since, until)
            if mixed:
                before = dict(self.frame(spark, name, since).dtypes)
                if any(before.get(column, kind) != kind for column, kind in table.dtypes):
                    raise unavailable(name, since, until, "it was written anew in other types")
            # Written out at once: transforms look at it several times, and what is gone from the history shows here.
            netted(feed, table.columns, mixed=mixed).write.parquet(folder)
        except ENGINE_ERRORS as error:
            raise unavailable(name, since, until, error) from error
        return spark.read.schema(StructType([*table.schema.fields]).add(CHANGE, "string")).parquet(folder)

    def _is_one_merge(self, name: str, since: int, until: int) -> bool:
        """Whether a single MERGE lies between two versions, so that nothing is to be netted: a row comes or goes in it,
        never both.
        """
        if until > since + 1:
            return False
        newest = self.history(name, 1)[0]
        return (newest.version, newest.operation) == (until, "MERGE")

    def _load(self, reader: DataFrameReader, name: str) -> DataFrame:
        return reader.load(self.uri(name))

    def digest(self, name: str, version: int) -> str:
        commit = self._start_spark().read.format("binaryFile").load(f"{self.uri(name)}/{entry_path(version)}")
        try:
            return str(commit.selectExpr("sha2(content, 256)").collect()[0][0])
        except ENGINE_ERRORS as error:
            if NO_TABLE.search(str(error)):
                return ""
            raise

    def is_gone(self, name: str, version: int, error: Exception) -> bool:
        return NO_SNAPSHOT.search(str(error)) is not None

    # -- tables ------------------------------------------------------------------------------------------------------

    @recorded
    def create(self, contract: Contract, consumed: Consumed | None = None) -> int:
        try:
            self._write(contract.name, written(consumed), created(contract, self.sql_name(contract.name)).sql)
        except StaleSliceError:
            # Another process made it first; if not, this says what is wrong.
            if not self.exists(contract.name):
                raise
        return self.version(contract.name)

    @recorded
    def add_columns(self, contract: Contract, columns: Sequence[Column]) -> int:
        table = self.sql_name(contract.name)
        settings = (f"{literal(key)} = {literal(value)}" for key, value in features(columns).items())
        statements = [f"ALTER TABLE {table} SET TBLPROPERTIES ({setting})" for setting in settings]
        statements.append(adding(list(columns), table))
        self._write(contract.name, self._kept(contract.name, rows_change=True), *statements)
        return self.version(contract.name)

    @recorded
    def rewrite(self, contract: Contract) -> int:
        name = contract.name
        head = self.head(name)
        if head is None:
            raise self._missing(name)
        self.prove(name, head.version)
        statement = rewriting(contract, self.columns(name), self.sql_name(name))
        self._write(name, written(head.consumed), statement, number=head.version + 1)
        # the transaction with our number was there already, so that Delta skipped the statement
        if self.plan(contract):
            raise overtaken(name, f"version {head.version + 1} is theirs")
        return self.version(name)

    # -- publishing --------------------------------------------------------------------------------------------------

    def _has_rows(self, contract: Contract, slice_uri: str, *, unique: bool) -> bool:
        try:
            found = self._start_spark().read.parquet(slice_uri)
            names = found.columns
        except ENGINE_ERRORS as error:
            if NO_FILES.search(str(error)):  # an engine may write no file for no rows
                return False
            raise
        refuse_columns(contract, names)
        refuse_types(contract, {f.name: f.dataType.simpleString() for f in found.schema.fields})
        promised = required(contract)
        counts = ["count(*) AS n", *(f"count_if({quoted(c)} IS NULL) AS n_{i}" for i, c in enumerate(promised))]
        text = partition_text(contract)
        counts.append(f"count_if({in_list(quoted(text), UNWRITABLE)})" if text else "0")
        rows, *nulls, unwritable = found.selectExpr(*counts).collect()[0]
        refuse_nulls(contract, dict(zip(promised, nulls, strict=True)))
        refuse_unwritable(contract, unwritable)
        if rows and unique and found.groupBy(*contract.key).count().where("`count` > 1").limit(1).count():
            raise doubled_key(contract)
        return bool(rows)

    def _append(self, contract: Contract, slice_uri: str, base_version: int, said: str) -> None:
        self._insert(contract, f"parquet.{quoted(slice_uri)}", base_version, said)

    def _record(self, contract: Contract, base_version: int, said: str) -> None:
        no_rows = f"(SELECT *, 'I' AS {OPERATION} FROM {self.sql_name(contract.name)} WHERE false)"
        self._insert(contract, no_rows, base_version, said)

    def _insert(self, contract: Contract, source: str, base_version: int, said: str) -> None:
        when = f"ON false WHEN NOT MATCHED THEN {_inserting(contract)}"
        statement = f"MERGE INTO {self.sql_name(contract.name)} t USING {source} s {when}"
        self._publish(contract.name, statement, base_version, said)

    def _merge(
        self, contract: Contract, slice_uri: str, base_version: int, said: str, partitions: Sequence[Any] | None
    ) -> bool:
        statement = (
            f"MERGE INTO {self.sql_name(contract.name)} t USING parquet.{quoted(slice_uri)} s"
            f" ON {meeting(contract, partitions, literal)}"
            f" WHEN MATCHED AND s.{OPERATION} = 'D' THEN DELETE"
            f" WHEN MATCHED THEN UPDATE SET {', '.join(f't.{quoted(c)} = s.{quoted(c)}' for c in contract.names)}"
            f" WHEN NOT MATCHED AND s.{OPERATION} <> 'D' THEN {_inserting(contract)}"
        )
        self._publish(contract.name, statement, base_version, said)
        return True

    def _publish(self, name: str, merge: str, base_version: int, said: str) -> None:
        if not self._write(name, said, merge, number=base_version + 1):
            # the transaction with our number was there already, so that Delta skipped the statement
            raise overtaken(name, f"version {base_version + 1} is theirs")

    # -- maintenance -------------------------------------------------------------------------------------------------

    @recorded
    def optimize(self, name: str) -> int:
        self.prove_compacted(name)
        # Nothing is written beside it: unlike a publication it may land after one that it does not know of.
        with first_alone(name):
            return files_removed(self._sql(f"OPTIMIZE {self.sql_name(name)}"))

    @recorded
    def _z_order(self, contract: Contract, partitions: Sequence[Any] | None, extra: Mapping[str, Any]) -> int:
        self.prove(contract.name, within=span_of(contract, partitions))
        within = f" WHERE {in_list(quoted(contract.partition_by[0]), partitions)}" if partitions is not None else ""
        statement = f"OPTIMIZE {self.sql_name(contract.name)}{within} ZORDER BY ({quoted_list(contract.z_order_by)})"
        return files_removed(self._write(contract.name, written(None, extra), statement))

    @recorded
    def vacuum(self, name: str, retention_hours: int, run: str = "") -> int:
        if self.holds and self.holds.oldest(name, run) is not None:
            return 0  # Apache Spark has no option for versions to keep: the next maintenance does it
        before = self.version(name)
        settings = {
            "spark.databricks.delta.retentionDurationCheck.enabled": "false",
            "spark.databricks.delta.vacuum.logging.enabled": "true",  # only the log says how many files went
        }
        with self._setting(settings):
            self._sql(f"VACUUM {self.sql_name(name)} RETAIN {int(retention_hours)} HOURS")
        done = [c for c in self.history(name, 10) if c.version > before and c.operation == "VACUUM END"]
        return sum(int(c.metrics.get("numDeletedFiles", 0)) for c in done)

    def _restore(self, name: str, version: int, said: str) -> None:
        self._write(name, said, f"RESTORE TABLE {self.sql_name(name)} TO VERSION AS OF {int(version)}")

    # -- statements --------------------------------------------------------------------------------------------------

    def _write(self, name: str, said: str, *statements: str, number: int | None = None) -> list[Row]:
        """Run statements that commit, and return what the last one gives. said: what goes beside the commit; number: of
        the application transaction that it carries.
        """
        settings = {USER_METADATA: said}
        if number is not None:
            settings |= {
                "spark.databricks.delta.write.txnAppId": APPLICATION,
                "spark.databricks.delta.write.txnVersion": str(number),
                # Staged files do not change, so there is nothing to gain by copying them first.
                "spark.databricks.delta.merge.materializeSource": "none",
            }
        with first_alone(name), self._setting(settings):
            return [self._sql(statement) for statement in statements][-1]

    def _sql(self, statement: str) -> list[Row]:
        return self._start_spark().sql(statement).collect()

    @contextmanager
    def _setting(self, settings: Mapping[str, str]) -> Iterator[None]:
        """Settings of the session for one statement: SQL has no other place for what goes beside a commit."""
        conf, done = self._start_spark().conf, list[str]()
        with _one_at_a_time:
            try:
                for key, value in settings.items():
                    conf.set(key, value)
                    done.append(key)
                yield
            except ENGINE_ERRORS as error:
                if len(done) < len(settings) and UNSETTABLE.search(str(error)):
                    raise LakehouseError(_OPTIONS_INSTEAD) from error
                raise
            finally:
                for key in done:
                    conf.unset(key)

    def _detail(self, name: str) -> Row | None:
        return next(iter(self._about(f"DESCRIBE DETAIL {self.sql_name(name)}", ["id", "name"]) or []), None)

    def _commits(self, name: str, limit: int | None) -> list[Commit] | None:
        columns = ["version", "unix_millis(timestamp) AS at", "operation", METADATA, "operationMetrics"]
        rows = self._about(f"DESCRIBE HISTORY {self.sql_name(name)}" + (f" LIMIT {limit}" if limit else ""), columns)
        if rows is None:
            return None
        return [
            Commit(r["version"], r["at"], r["operation"], read_back(r[METADATA]), dict(r["operationMetrics"] or {}))
            for r in rows
        ]

    def _about(self, statement: str, columns: Sequence[str]) -> list[Row] | None:
        """What a statement says of a table; None where there is no such table."""
        try:
            return self._start_spark().sql(statement).selectExpr(*columns).collect()
        except ENGINE_ERRORS as error:
            if NO_TABLE.search(str(error)):
                return None
            raise


class SharedDeltaSparkStore(DeltaRsReader, DeltaSparkStore):
    """The same where this process sees the files that the engine sees: delta-rs looks at the log, in milliseconds and
    without an engine, where Spark plans and runs a job for each look. Spark computes and commits.
    """


def _inserting(contract: Contract) -> str:
    return f"INSERT ({quoted_list(contract.names)}) VALUES ({', '.join(f's.{quoted(c)}' for c in contract.names)})"


def files_removed(optimized: list[Row]) -> int:
    """What OPTIMIZE says of the files that it has replaced."""
    return sum(r["metrics"]["numFilesRemoved"] for r in optimized)
