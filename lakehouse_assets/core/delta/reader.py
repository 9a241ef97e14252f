"""The reading half of the Delta store's interface, and what all stores do alike in it.

A table is known by its name `layer.table`; where it lies follows from the store's root. Does not belong here: whatever
writes (`store.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lakehouse_assets.core.delta.change_feed import CHANGE, unavailable
from lakehouse_assets.core.delta.commits import Commit
from lakehouse_assets.core.delta.files import Among, DataFile, Span
from lakehouse_assets.core.delta.heads import Head, head_of
from lakehouse_assets.core.delta.holds import Holds
from lakehouse_assets.core.delta.proof import Proof
from lakehouse_assets.core.spark_sql import delta_table
from lakehouse_assets.errors import LakehouseError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession


class DeltaReader(ABC):
    """One Delta lakehouse, to look at: tables below `root`; `scratch` is a folder for change sets."""

    def __init__(self, root: str, scratch: str) -> None:
        self.root = root.rstrip("/")
        self.scratch = scratch.rstrip("/")
        self._heads: dict[str, tuple[tuple[int, int], Head]] = {}

    # -- proof -------------------------------------------------------------------------------------------------------

    @property
    def holds(self) -> Holds | None:
        """What runs and commands hold against vacuum; None where the tables lie in an object store: there age alone
        protects readers.
        """
        return None

    def proof(self, name: str) -> Proof | None:
        """The proof of a table; None where it does not lie on a disk of this machine, and so has none."""
        return None

    def files(self, name: str, version: int | None = None, within: Span | None = None) -> list[DataFile]:
        """The data files of a table at a version (default: current); with `within` those that may hold such rows. Only
        of a table that has a proof.
        """
        raise NotImplementedError

    def prove(self, name: str, version: int | None = None, within: Span | None = None) -> None:
        """Compare the files of a table at a version (default: current) with what was committed, each once a process;
        with `within` those that may hold such rows. Raises `DamagedTableError`. Nothing is compared where there is no
        proof.
        """
        return

    def prove_compacted(self, name: str) -> None:
        """The same of the files that compacting writes anew, so that nothing wrong in them gets a proof."""
        return

    def _prove_changes(self, name: str, since: int, until: int) -> None:
        """Raise `HistoryUnavailableError` where a file of these commits is not as it was committed. What differs is
        then found by comparing everything, and that proves the files of the snapshot.
        """
        if (proof := self.proof(name)) and (damaged := proof.differing(since, until)):
            raise unavailable(name, since, until, f"{', '.join(damaged[:3])} is not as it was committed")

    def forget(self, name: str) -> None:
        """Forget what was seen of a table that has been moved away."""
        self._heads.pop(name, None)

    # -- tables ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether the table has been created."""

    def uri(self, name: str) -> str:
        """Where the table lies: a path or URI, or its full name in a catalogue."""
        return f"{self.root}/{name.replace('.', '/')}"

    def sql_name(self, name: str) -> str:
        """The table as Spark's SQL names it."""
        return delta_table(self.uri(name))

    @abstractmethod
    def version(self, name: str) -> int:
        """The current version. -1 where the table does not exist."""

    @abstractmethod
    def identity(self, name: str) -> tuple[str, str | None]:
        """The id that a table keeps for life and that a re-created one does not share, and the name under which it was
        created; None where none was written, or the engine does not say it.
        """

    def table_id(self, name: str) -> str:
        """The id of a table."""
        return self.identity(name)[0]

    @abstractmethod
    def columns(self, name: str) -> dict[str, str]:
        """The columns of the table as it is, each with its type in Spark SQL."""

    # -- reading -----------------------------------------------------------------------------------------------------

    def frame(
        self, spark: SparkSession, name: str, version: int | None = None, within: Span | None = None
    ) -> DataFrame:
        """The rows of the table at a version (default: current), of files that have been proven; with `within` only
        such rows, and only the files that may hold them. Raises `DamagedTableError`.
        """
        at = self.version(name) if version is None else version
        if at < 0:
            raise self._missing(name)
        self.prove(name, at, within)
        rows = self._rows(spark, name, at)
        return rows.where(within.sql) if within else rows

    def _rows(self, spark: SparkSession, name: str, version: int) -> DataFrame:
        return spark.read.format("delta").option("versionAsOf", version).load(self.uri(name))

    @abstractmethod
    def read(self, name: str, version: int | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The table at a version as Arrow, without starting an engine where that is possible; for small tables."""

    def rows(self, name: str, version: int, columns: Sequence[str], among: Among | None = None) -> pa.Table | None:
        """The rows of a version as Arrow, of files that have been proven; with `among` only such rows. None where this
        process does not see the files: an engine has to read them. Raises `DamagedTableError`.
        """
        return None

    @abstractmethod
    def count(self, name: str) -> int:
        """How many rows the table has now, from its log where that says so."""

    @abstractmethod
    def counts(self, name: str, column: str, least: Any, greatest: Any) -> dict[Any, int]:
        """How many rows the table has now for each value of a column between two values, both included; files that hold
        none are passed over.
        """

    def changes(self, spark: SparkSession, name: str, since: int, until: int) -> DataFrame:
        """The rows that differ between two versions, netted: all columns and `_change` (`insert` for rows that came,
        `delete` for rows that went; an update is one of each). Raises `HistoryUnavailableError` where the history no
        longer says it.
        """
        if since == until:  # nothing is read of the version, which the log may no longer hold
            return self.frame(spark, name).limit(0).selectExpr("*", f"'insert' AS {CHANGE}")
        return self._changes(spark, name, since, until)

    @abstractmethod
    def _changes(self, spark: SparkSession, name: str, since: int, until: int) -> DataFrame:
        """The same for two versions that are not one."""

    # -- history -----------------------------------------------------------------------------------------------------

    def head(self, name: str) -> Head | None:
        """Where the table is; None where it does not exist.

        A commit by anybody else counts as one that changed rows, unless its operation cannot. What a table has consumed
        is not known any more once it was restored to an earlier version and nothing says what that one had.
        """
        newest = self._commits(name, 1)
        if not newest:
            return None
        # A table whose newest commit is the one that is known is not looked at further: on Spark each look is a job.
        mark = (newest[0].version, newest[0].timestamp_ms)
        known = self._heads.get(name)
        if known is None or known[0] != mark:
            head = head_of(name, lambda limit: newest if limit == 1 else self.history(name, limit), self.identity(name))
            known = self._heads[name] = (mark, head)
        return known[1]

    def history(self, name: str, limit: int | None = None) -> list[Commit]:
        """Commits, newest first."""
        commits = self._commits(name, limit)
        if commits is None:
            raise self._missing(name)
        return commits

    @abstractmethod
    def _commits(self, name: str, limit: int | None) -> list[Commit] | None:
        """The same; None where there is no such table."""

    def _missing(self, name: str) -> LakehouseError:
        return LakehouseError(f"The table {name} does not exist below {self.root}; materialise it first.")

    @abstractmethod
    def digest(self, name: str, version: int) -> str:
        """A digest of the commit that made a version, as it is in the log; '' where the log does not have it (any
        more).

        It shows whether a version is the same in two histories of one table: a copy keeps it, another commit of
        that number does not.
        """

    @abstractmethod
    def is_gone(self, name: str, version: int, error: Exception) -> bool:
        """Whether `error`, raised in reading a version, is owed to a log entry or a file that is not there any more,
        and to nothing that may pass.
        """
