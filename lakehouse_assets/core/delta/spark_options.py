"""The Delta store over Apache Spark where a session may have no settings of its own, as on serverless compute: what
goes beside a commit, and the number of its transaction, are options of each write.

A statement of SQL takes no options. So whatever changes rows is a write of a data frame that replaces the partitions
it touches, and what only a statement can do is followed by a commit without rows that says what it was. Belongs here:
what differs from `spark.py` for that reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from lakehouse_assets.core.contracts import Column, Contract
from lakehouse_assets.core.delta.commits import APPLICATION, METADATA, RESTORE, Consumed, overtaken, written
from lakehouse_assets.core.delta.evolution import adding, created, features, properties, recast
from lakehouse_assets.core.delta.files import span_of
from lakehouse_assets.core.delta.slice_rules import OPERATION
from lakehouse_assets.core.delta.spark import DeltaSparkStore, files_removed
from lakehouse_assets.core.delta.spark_answers import ENGINE_ERRORS, first_alone
from lakehouse_assets.core.delta.store import EVOLUTIONS, recorded
from lakehouse_assets.core.spark_sql import in_list, literal, quoted, quoted_list
from lakehouse_assets.errors import LakehouseError, StaleSliceError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameWriterV2

_NONCE = "nonce"
_TOO_SHORT = re.compile(r"DELTA_VACUUM_RETENTION|retentionDurationCheck|retention period")


class DeltaOptionsStore(DeltaSparkStore):
    """Delta tables on sessions without settings."""

    # -- tables ------------------------------------------------------------------------------------------------------

    @recorded
    def create(self, contract: Contract, consumed: Consumed | None = None) -> int:
        with first_alone(contract.name):
            self._sql(created(contract, self.sql_name(contract.name)).sql)
        if consumed is not None:
            self._record(contract, self.version(contract.name), written(consumed))
        return self.version(contract.name)

    @recorded
    def add_columns(self, contract: Contract, columns: Sequence[Column]) -> int:
        name = contract.name
        with first_alone(name):
            for key, value in features(columns).items():
                self._sql(f"ALTER TABLE {self.sql_name(name)} SET TBLPROPERTIES ({literal(key)} = {literal(value)})")
            self._sql(adding(list(columns), self.sql_name(name)))
        self._note_kept(name, rows_change=True)
        return self.version(name)

    @recorded
    def rewrite(self, contract: Contract) -> int:
        name = contract.name
        head = self.head(name)
        if head is None:
            raise self._missing(name)
        self.prove(name, head.version)
        rows = self._rows(self._start_spark(), name, head.version).selectExpr(*recast(contract, self.columns(name)))

        def replace(writer: DataFrameWriterV2) -> None:
            writer = writer.using("delta").tableProperty("comment", contract.summary)
            for key, value in {**properties(contract), **features(contract.columns)}.items():
                writer = writer.tableProperty(key, value)
            if contract.partition_by:
                from pyspark.sql.functions import col

                writer = writer.partitionedBy(*map(col, contract.partition_by))
            writer.createOrReplace()

        self._say(name, rows, replace, head.version, written(head.consumed))
        return self.version(name)

    # -- publishing --------------------------------------------------------------------------------------------------

    def _append(self, contract: Contract, slice_uri: str, base_version: int, said: str) -> None:
        rows = self._start_spark().read.parquet(slice_uri).select(*contract.names)
        self._say(contract.name, rows, _appended, base_version, said)

    def _record(self, contract: Contract, base_version: int, said: str) -> None:
        self._note(contract.name, base_version, said)

    def _note(self, name: str, base_version: int, said: str) -> None:
        """A commit without rows."""
        rows = self._rows(self._start_spark(), name, base_version).limit(0)
        self._say(name, rows, _appended, base_version, said)

    def _note_kept(self, name: str, extra: Mapping[str, Any] | None = None, *, rows_change: bool) -> None:
        """The same after a statement, with what the table has consumed: also by whoever published meanwhile."""
        for attempt in reversed(range(EVOLUTIONS)):
            head = self.head(name)
            if head is None:
                raise self._missing(name)
            said = written(head.consumed, extra, None if rows_change else head.data_version)
            try:
                return self._note(name, head.version, said)
            except StaleSliceError:
                if not attempt:
                    raise

    def _merge(
        self, contract: Contract, slice_uri: str, base_version: int, said: str, partitions: Sequence[Any] | None
    ) -> bool:
        spark = self._start_spark()
        changed, present = spark.read.parquet(slice_uri), self._rows(spark, contract.name, base_version)
        where = "true"
        if partitions is not None and contract.partition_by:
            where = in_list(quoted(contract.partition_by[0]), partitions)
        kept = present.where(where).join(changed.select(*contract.key), list(contract.key), "left_anti")
        new = changed.where(f"{OPERATION} <> 'D'").select(*contract.names)
        rows = kept.select(*contract.names).unionByName(new)

        def replace(writer: DataFrameWriterV2) -> None:
            from pyspark.sql.functions import expr

            writer.overwrite(expr(where))

        self._say(contract.name, rows, replace, base_version, said)
        return True

    def _say(
        self, name: str, rows: DataFrame, write: Callable[[DataFrameWriterV2], None], base_version: int, said: str
    ) -> None:
        """Write rows on a version, with `said` beside the commit. Raises `StaleSliceError` where somebody else has made
        the next one: Delta then skips the write without a word, and only the history shows it, which is also what says
        whether a write whose answer was lost has been done.
        """
        nonce = uuid4().hex
        options = {
            METADATA: json.dumps({**json.loads(said), _NONCE: nonce}, sort_keys=True),
            "txnAppId": APPLICATION,
            "txnVersion": str(base_version + 1),
        }
        writer = rows.writeTo(self.sql_name(name))
        for key, value in options.items():
            writer = writer.option(key, value)
        with first_alone(name):
            write(writer)
        if not any(commit.metadata.get(_NONCE) == nonce for commit in self.history(name, 10)):
            raise overtaken(name, f"version {base_version + 1} is theirs")

    # -- maintenance -------------------------------------------------------------------------------------------------

    @recorded
    def _z_order(self, contract: Contract, partitions: Sequence[Any] | None, extra: Mapping[str, Any]) -> int:
        name = contract.name
        self.prove(name, within=span_of(contract, partitions))
        within = f" WHERE {in_list(quoted(contract.partition_by[0]), partitions)}" if partitions is not None else ""
        with first_alone(name):
            done = self._sql(f"OPTIMIZE {self.sql_name(name)}{within} ZORDER BY ({quoted_list(contract.z_order_by)})")
        self._note_kept(name, extra, rows_change=False)
        return files_removed(done)

    @recorded
    def vacuum(self, name: str, retention_hours: int, run: str = "") -> int:
        before = self.version(name)
        try:
            self._sql(f"VACUUM {self.sql_name(name)} RETAIN {int(retention_hours)} HOURS")
        except ENGINE_ERRORS as error:
            if _TOO_SHORT.search(str(error)):
                raise LakehouseError(
                    f"The Spark endpoint deletes no files of {name} that are younger than 168 hours; set vacuum_hours"
                    " to 168 or more."
                ) from error
            raise
        done = [c for c in self.history(name, 10) if c.version > before and c.operation == "VACUUM END"]
        return sum(int(c.metrics.get("numDeletedFiles", 0)) for c in done)

    def _restore(self, name: str, version: int, said: str) -> None:
        with first_alone(name):
            self._sql(f"RESTORE TABLE {self.sql_name(name)} TO VERSION AS OF {int(version)}")
        restored = next(c.version for c in self.history(name, 10) if c.operation == RESTORE)
        self._note(name, restored, said)


def _appended(writer: DataFrameWriterV2) -> None:
    writer.append()
