"""The interface of the Delta store, and the words it speaks in. The implementations stand beside it.

A table is known by its name `layer.table`; where it lies follows from the store's root. How a table follows its
contract is decided in `evolution.py`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from lakehouse_assets.core.contracts import Column, Contract
from lakehouse_assets.core.delta.evolution import PlannedChange, added, created, differing
from lakehouse_assets.core.delta.holds import Holds
from lakehouse_assets.core.delta.proof import DataFile, Proof, Span
from lakehouse_assets.errors import LakehouseError, StaleSliceError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

OPERATION = "_op"
"""The column of a staged slice that says what becomes of the row: `I` insert, `U` update, `D` delete."""

ORIGIN = "_from"
"""The column that a staged slice may have beside it: the partition in which the row stands before; null for a row that
is new.
"""

CHANGE = "_change"
"""The column of `changes` that says whether the row came (`insert`) or went (`delete`)."""

APPLICATION = "lakehouse_assets"
"""The application whose transaction number every commit carries, so that the protocol refuses the second of two
publishers.
"""

EVOLUTIONS = 5
"""How often a table's evolution is begun again because the table was published meanwhile."""

Z_ORDER = "z_order_by"
"""The columns by which a commit z-ordered files, in the metadata that goes beside it."""

Z_ORDERED_THROUGH = "z_ordered_through"
"""Beside it: the version whose rows were then in order."""

TIDYING = frozenset({"OPTIMIZE", "VACUUM START", "VACUUM END"})
"""Operations that change no row, whoever ran them."""

RESTORE = "RESTORE"
"""The operation that makes an earlier version the current one."""


class HistoryUnavailableError(Exception):
    """The rows that differ between two versions can no longer be told from the table's history."""


@dataclass(frozen=True)
class TableRef:
    """A snapshot: a table at a version. What travels between assets."""

    name: str
    version: int


@dataclass(frozen=True)
class Consumed:
    """What a commit was computed from; travels in the commit's metadata.

    `upstreams`: version of each upstream table; `ids`: table id of each; `contract`, `transform`: fingerprints;
    `through`: the version of the journal that the state includes; `watermark`: how far a source that is asked, not
    sent, has been read (`core/sources/pull.py`); `unshown`: batch dates that a refused drop kept red until a run over
    other dates accepted it, so that a run over them is still to come (ISO, sorted).
    """

    upstreams: Mapping[str, int] = field(default_factory=dict)
    ids: Mapping[str, str] = field(default_factory=dict)
    contract: str = ""
    transform: str = ""
    through: int = -1
    watermark: Mapping[str, Any] = field(default_factory=dict)
    unshown: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True)
class Commit:
    """One entry of a table's history. `metadata` is what the publisher wrote, `{}` for a foreign commit."""

    version: int
    timestamp_ms: int
    operation: str
    metadata: Mapping[str, Any]
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class Head:
    """Where a table stands. `data_version` is the newest version whose rows differ from the one before; later commits
    only tidied up or recorded what was consumed. `consumed` is None for a table without a commit of ours, and for one
    that somebody has `put_back`.
    """

    name: str
    version: int
    data_version: int
    table_id: str
    consumed: Consumed | None
    title: str | None = None
    """The name under which the table was created; None where none was written."""
    put_back: bool = False
    """Somebody has made an earlier version the current one by Delta's RESTORE, and no commit of ours has followed."""


def written(consumed: Consumed | None, extra: Mapping[str, Any] | None = None, data_version: int | None = None) -> str:
    """What a publisher writes beside a commit: the text under `userMetadata`, the same from every store.

    data_version: given where no row changes.
    """
    metadata = dict(extra or {})
    if consumed is not None:
        metadata["consumed"] = asdict(consumed)
        if data_version is not None:
            metadata["data_version"] = data_version
    return json.dumps(metadata, sort_keys=True)


def read_back(text: str | None) -> Mapping[str, Any]:
    """What `written` gave; `{}` for the text of a foreign commit, which may be anything."""
    try:
        metadata = json.loads(text or "{}")
    except json.JSONDecodeError:
        return {}
    return metadata if isinstance(metadata, dict) else {}


def refuse_columns(contract: Contract, found: Iterable[str]) -> None:
    """Raise `LakehouseError` where a slice has other columns than its contract, `_op` and perhaps `_from`."""
    wanted, have = {*contract.names, OPERATION}, set(found) - {ORIGIN}
    if wanted != have:
        said = [f"lacks {', '.join(sorted(wanted - have))}"] if wanted - have else []
        said += [f"also has {', '.join(sorted(have - wanted))}"] if have - wanted else []
        raise LakehouseError(
            f"The slice for {contract.name} {' and '.join(said)}; stage exactly the columns of its contract."
        )


def refuse_types(contract: Contract, found: Mapping[str, str]) -> None:
    """Raise `LakehouseError` where a slice has other types than its contract.

    found: the type of each column in Spark SQL. A table would cast them, and lose what its type cannot hold.
    """
    wrong = [
        f"{c.name} is {found[c.name]}, not {c.type.spark}" for c in contract.columns if found[c.name] != c.type.spark
    ]
    if wrong:
        raise LakehouseError(
            f"In the slice for {contract.name} {' and '.join(wrong)}; cast to the types of its contract in its"
            " transform."
        )


def overtaken(name: str, by: object) -> StaleSliceError:
    """The error for the second of two publishers. by: what the protocol said to it."""
    return StaleSliceError(f"{name} was published by somebody else at the same time: {by}")


def doubled_key(contract: Contract) -> LakehouseError:
    """The error for a slice in which a key stands more than once."""
    return LakehouseError(
        f"The slice for {contract.name} holds a key ({', '.join(contract.key)}) more than once; nothing was published,"
        " mend its transform."
    )


def refuse_nulls(contract: Contract, nulls: Mapping[str, int]) -> None:
    """Raise `LakehouseError` where a slice has nulls in columns that may have none.

    nulls: how many there are in each column that its contract says is never null. The table itself does not refuse
    them: Sail 0.7.2 cannot read a column that is NOT NULL once delta-rs has merged into it.
    """
    broken = [f"{n} in {c}" for c, n in nulls.items() if n]
    if broken:
        raise LakehouseError(
            f"The slice for {contract.name} holds nulls that its contract does not allow ({', '.join(broken)}); nothing"
            " was published, mend its transform."
        )


def refuse_breaking(planned: Sequence[PlannedChange], uri: str) -> None:
    """Raise `LakehouseError` where rows that are there cannot follow the contract."""
    breaking = [p for p in planned if p.kind == "breaking"]
    if breaking:
        name = breaking[0].object
        raise LakehouseError(
            f"The contract of {name} now {' and '.join(p.reason for p in breaking)}, which its rows cannot follow; put"
            f" that back, or move {uri} away and run `lakehouse rebuild {name}` to make the table anew from its"
            " upstreams."
        )


def span_of(contract: Contract, partitions: Sequence[Any] | None) -> Span | None:
    """Where the rows of these partitions lie; None: anywhere."""
    if not partitions or not contract.partition_by:
        return None
    return Span(contract.partition_by[0], min(partitions), max(partitions))


def required(contract: Contract) -> list[str]:
    """The columns that are never null."""
    return [c.name for c in contract.columns if not c.nullable]


_Write = TypeVar("_Write", bound="Callable[..., Any]")


def recorded(write: _Write) -> _Write:
    """For a method that writes to a table, given by name or contract: the sums of what it has committed are recorded
    when it is done.
    """

    @wraps(write)
    def writing(self: DeltaStore, table: str | Contract, *args: Any, **more: Any) -> Any:
        proof = self.proof(table if isinstance(table, str) else table.name)
        since = proof.newest() if proof else -1
        done = write(self, table, *args, **more)
        if proof:
            proof.record(since)
        return done

    return cast(_Write, writing)


class DeltaStore(ABC):
    """One Delta lakehouse: tables below a root, written one commit at a time."""

    def __init__(self) -> None:
        self._heads: dict[str, tuple[tuple[int, int], Head]] = {}

    @property
    def holds(self) -> Holds | None:
        """What runs and commands hold against vacuum; None where the tables lie in an object store: there age alone
        protects readers.
        """
        return None

    # -- proof -------------------------------------------------------------------------------------------------------

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

    def forget(self, name: str) -> None:
        """Forget what was seen of a table that has been moved away."""
        self._heads.pop(name, None)

    def adopt(self, name: str) -> int:
        """Give the files of a table that have no proof one, as they are, and write its sums together; returns how many
        files got one.

        Raises `DamagedTableError` for a file that cannot be read.
        """
        proof = self.proof(name)
        if proof is None:
            return 0
        adopted = proof.adopt(self.files(name))
        proof.fold()
        return adopted

    # -- tables ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether the table has been created."""

    @abstractmethod
    def uri(self, name: str) -> str:
        """Where the table lies."""

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
    def create(self, contract: Contract, consumed: Consumed | None = None) -> int:
        """Create the table from its contract where it does not exist; returns the current version."""

    @abstractmethod
    def columns(self, name: str) -> dict[str, str]:
        """The columns of the table as it is, each with its type in Spark SQL."""

    @abstractmethod
    def add_columns(self, contract: Contract, columns: Sequence[Column]) -> int:
        """Add nullable columns at the end, in one commit; returns the new version, which counts as one that changed
        rows: they have a column more.
        """

    @abstractmethod
    def rewrite(self, contract: Contract) -> int:
        """Give every row the columns and types of the contract, in one commit that replaces all files; returns the new
        version, which counts as one that changed rows. Name, partitions and properties of the table stay.

        Only for a contract whose types hold every value of today's. Raises `StaleSliceError` where the table was
        published meanwhile.
        """

    def plan(self, contract: Contract) -> list[PlannedChange]:
        """What brings the table to its contract; nothing where it is there already. Executes nothing."""
        if not self.exists(contract.name):
            return [created(contract, self.uri(contract.name))]
        return differing(contract, self.columns(contract.name), self.uri(contract.name))

    def evolve(self, contract: Contract) -> None:
        """Do what `plan` says: create the table, or give it the columns that its contract has gained and the wider
        types that it says.

        Raises `LakehouseError` where the contract has lost a column or says a type that cannot hold every value: rows
        that are there cannot follow.
        """
        if not self.exists(contract.name):
            self.create(contract)
            return
        for attempt in reversed(range(EVOLUTIONS)):
            planned = self.plan(contract)
            refuse_breaking(planned, self.uri(contract.name))
            try:
                if any(p.kind == "rebuild" for p in planned):
                    self.rewrite(contract)
                elif planned:
                    self.add_columns(contract, added(contract, self.columns(contract.name)))
                return
            except StaleSliceError:
                # Somebody published or evolved the table meanwhile; what is left to do is planned again.
                if not attempt:
                    raise

    @abstractmethod
    def frame(
        self, spark: SparkSession, name: str, version: int | None = None, within: Span | None = None
    ) -> DataFrame:
        """The rows of the table at a version (default: current), of files that have been proven; with `within` only
        such rows, and only the files that may hold them. Raises `DamagedTableError`.
        """

    @abstractmethod
    def read(self, name: str, version: int | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The table at a version as Arrow, without starting an engine where that is possible; for small tables."""

    @abstractmethod
    def count(self, name: str) -> int:
        """How many rows the table has now, from its log where that says so."""

    @abstractmethod
    def counts(self, name: str, column: str, least: Any, greatest: Any) -> dict[Any, int]:
        """How many rows the table has now for each value of a column between two values, both included; files that hold
        none are passed over.
        """

    @abstractmethod
    def changes(self, spark: SparkSession, name: str, since: int, until: int) -> DataFrame:
        """The rows that differ between two versions, netted: all columns and `_change` (`insert` for rows that came,
        `delete` for rows that went; an update is one of each). Raises `HistoryUnavailableError` where that cannot be
        told any more.
        """

    @abstractmethod
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
        """Publish a staged slice in one commit and return the new version.

        slice_uri: a folder of Parquet files with the contract's columns and `_op`; None where no row changes, then only
        what was consumed is recorded and the data version stays; a slice without rows is the same. base_version: the
        version the slice was computed against; when the table has moved on, `StaleSliceError` is raised and nothing is
        written, by the protocol itself where that happens meanwhile. partitions: the values of the partition column
        that the slice's rows have, and those that the rows they replace have, to prune the merge: a row that stands
        elsewhere is not found, and doubled. append: every row is new, and whoever says so has seen that no key stands
        twice; in any other slice that is a `LakehouseError`, and so are columns and types that are not the contract's.
        """

    def head(self, name: str) -> Head | None:
        """Where the table stands; None where it does not exist.

        A commit by anybody else counts as one that changed rows, unless its operation cannot. What a table has consumed
        is not known any more once it was put back to an earlier version and nothing says what that one had.
        """
        return self._head(name, self.history(name, 1)) if self.exists(name) else None

    def _head(self, name: str, newest: list[Commit]) -> Head:
        # A table whose newest commit is the one that is known is not looked at further: on Spark each look is a job.
        mark = (newest[0].version, newest[0].timestamp_ms)
        known = self._heads.get(name)
        if known is None or known[0] != mark:
            known = self._heads[name] = (mark, self._looked_up(name, newest))
        return known[1]

    def _looked_up(self, name: str, newest: list[Commit]) -> Head:
        history, said = newest, None
        for limit in (1, 20, None):
            history = newest if limit == 1 else self.history(name, limit)
            said = next((c for c in history if "consumed" in c.metadata or c.operation == RESTORE), None)
            if said is not None:
                break
        identity, title = self.identity(name)
        if said is None or "consumed" not in said.metadata:
            version = newest[0].version
            return Head(name, version, version, identity, None, title, put_back=said is not None)
        foreign = max(
            (c.version for c in history if c.version > said.version and c.operation not in TIDYING), default=-1
        )
        data_version = max(foreign, said.metadata.get("data_version", said.version))
        consumed = Consumed(**said.metadata["consumed"])
        return Head(name, history[0].version, data_version, identity, consumed, title)

    @abstractmethod
    def history(self, name: str, limit: int | None = None) -> list[Commit]:
        """Commits, newest first."""

    @abstractmethod
    def digest(self, name: str, version: int) -> str:
        """A digest of the commit that made a version, as it stands in the log; '' where the log does not have it (any
        more).

        Two histories of one table tell by it whether a version is the same in both: a copy keeps it, another commit of
        that number does not.
        """

    @abstractmethod
    def is_gone(self, name: str, version: int, error: Exception) -> bool:
        """Whether `error`, raised in reading a version, is owed to a log entry or a file that is not there any more,
        and to nothing that may pass.
        """

    @abstractmethod
    def optimize(self, name: str) -> int:
        """Compact small files; returns the number of files removed. Rows do not change."""

    def z_order(self, spark: SparkSession, contract: Contract) -> int:
        """Write files anew, so that rows with like values of the contract's `z_order_by` lie together: of the
        partitions in which rows came or went since that was done last, or of the whole table where it has no partitions
        or that can no longer be told. Returns the number of files removed; rows do not change.
        """
        head = self.head(contract.name)
        partitions = self._not_in_order(spark, contract, head) if head else []
        if head is None or partitions == []:
            return 0
        # Somebody may have published meanwhile: what is in order is said of the version that was looked at, not of the
        # one that is made.
        return self._z_order(
            contract, partitions, {Z_ORDER: list(contract.z_order_by), Z_ORDERED_THROUGH: head.version}
        )

    @abstractmethod
    def _z_order(self, contract: Contract, partitions: Sequence[Any] | None, extra: Mapping[str, Any]) -> int:
        """The same for these partitions, None for all, in a commit with `extra` beside it."""

    def _not_in_order(self, spark: SparkSession, contract: Contract, head: Head) -> list[Any] | None:
        """The partitions in which rows came or went since files were z-ordered; None: the whole table, also where that
        can no longer be told.
        """
        by = list(contract.z_order_by)
        through = -1
        for commit in self.history(contract.name):
            if commit.operation == RESTORE:  # files come back with it that were not in order, though no row may differ
                return None
            if commit.metadata.get(Z_ORDER) == by:
                through = commit.metadata[Z_ORDERED_THROUGH]
                break
        if 0 <= head.data_version <= through:
            return []
        if through < 0 or not contract.partition_by:
            return None
        try:
            changed = (
                self.changes(spark, contract.name, through, head.version)
                .select(contract.partition_by[0])
                .distinct()
                .collect()
            )
        except HistoryUnavailableError:
            return None
        found = [row[0] for row in changed]
        return None if None in found else sorted(found)

    @abstractmethod
    def vacuum(self, name: str, retention_hours: int, run: str = "") -> int:
        """Delete files that no version younger than `retention_hours` needs, and none that others than the run `run`
        hold; returns how many.
        """

    @abstractmethod
    def restore(self, name: str, version: int) -> int:
        """Make an earlier version the current one; returns the new version."""
