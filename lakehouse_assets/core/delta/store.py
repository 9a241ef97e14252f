"""The interface of the Delta store, and what all stores do alike. The implementations are beside it.

Belongs here: whatever writes. Does not belong here: reading (`reader.py`), the metadata of commits (`commits.py`), what
a slice must be (`slice_rules.py`), how a table follows its contract (`evolution.py`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from lakehouse_assets.core.contracts import Column, Contract
from lakehouse_assets.core.delta.commits import PARTITIONS, Consumed, written
from lakehouse_assets.core.delta.evolution import PlannedChange, added, created, differing, refuse_breaking
from lakehouse_assets.core.delta.files import span_of
from lakehouse_assets.core.delta.reader import DeltaReader
from lakehouse_assets.core.delta.slice_rules import refuse_moved
from lakehouse_assets.core.delta.z_order import Z_ORDER, Z_ORDERED_THROUGH, not_in_order
from lakehouse_assets.errors import StaleSliceError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

EVOLUTIONS = 5
"""How often a table's evolution is begun again because the table was published meanwhile."""

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


class DeltaStore(DeltaReader):
    """One Delta lakehouse, whose tables are written one commit at a time."""

    # -- tables ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def create(self, contract: Contract, consumed: Consumed | None = None) -> int:
        """Create the table from its contract where it does not exist; returns the current version."""

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
            return [created(contract, self.sql_name(contract.name))]
        return differing(contract, self.columns(contract.name), self.sql_name(contract.name))

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

    # -- publishing --------------------------------------------------------------------------------------------------

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
        """Publish a staged slice in one commit and return the new version.

        slice_uri: a folder of Parquet files with the contract's columns and `_op`; None where no row changes, then only
        what was consumed is recorded and the data version stays; a slice without rows is the same. base_version: the
        version the slice was computed against; when the table has moved on, `StaleSliceError` is raised and nothing is
        written, by the protocol itself where that happens meanwhile. partitions: the values of the partition column
        that the slice's rows have, and those that the rows they replace have, to prune the merge: a row that is
        elsewhere is not found, and doubled. append: every row is new, and whoever says so has seen that no key is there
        twice; in any other slice that is a `LakehouseError`, and so are columns and types that are not the contract's.
        """
        refuse_moved(contract.name, base_version, self.version(contract.name))
        committed = False
        if slice_uri is not None and self._has_rows(contract, slice_uri, unique=bool(contract.key) and not append):
            said = written(consumed, extra)
            if append:
                self._append(contract, slice_uri, base_version, said)
                committed = True
            else:
                # A merge writes whole files anew, and what is wrong in them would get a proof.
                self.prove(contract.name, base_version, span_of(contract, partitions))
                committed = self._merge(contract, slice_uri, base_version, said, partitions)
        if not committed:
            head = self.head(contract.name)
            self._record(contract, base_version, written(consumed, extra, head.data_version if head else 0))
        return self.version(contract.name)

    @abstractmethod
    def _has_rows(self, contract: Contract, slice_uri: str, *, unique: bool) -> bool:
        """Whether a slice has rows. Raises `LakehouseError` for columns that are not the contract's, nulls that it does
        not allow, and with `unique` a key that is there twice.
        """

    @abstractmethod
    def _append(self, contract: Contract, slice_uri: str, base_version: int, said: str) -> None:
        """Commit a slice of which every row is new, with `said` beside it."""

    @abstractmethod
    def _merge(
        self, contract: Contract, slice_uri: str, base_version: int, said: str, partitions: Sequence[Any] | None
    ) -> bool:
        """Commit any other slice; returns whether there is a commit, for delta-rs makes none where nothing changes."""

    @abstractmethod
    def _record(self, contract: Contract, base_version: int, said: str) -> None:
        """Make a commit without rows."""

    def _kept(self, name: str, extra: Mapping[str, Any] | None = None, *, rows_change: bool) -> str:
        """What goes beside a commit that consumes nothing: what the table has consumed before. Of a table that a topic
        fills nothing is said, for messages may come meanwhile, and their commits say how far it is.
        """
        head = self.head(name)
        if head and head.consumed and PARTITIONS in head.consumed.watermark:
            return written(None, extra)
        return written(head.consumed, extra, None if rows_change else head.data_version) if head else written(None)

    # -- maintenance -------------------------------------------------------------------------------------------------

    def adopt(self, name: str) -> int:
        """Give the files of a table that have no proof one, as they are, and write its sums together; returns how many
        files got one.

        Raises `DamagedTableError` for a file that cannot be read.
        """
        proof = self.proof(name)
        return proof.adopt(self.files(name)) if proof else 0

    @abstractmethod
    def optimize(self, name: str) -> int:
        """Compact small files; returns the number of files removed. Rows do not change."""

    def z_order(self, spark: SparkSession, contract: Contract) -> int:
        """Write files anew, so that rows with like values of the contract's `z_order_by` lie together: of the
        partitions in which rows came or went since that was done last, or of the whole table where it has no partitions
        or the history no longer says it. Returns the number of files removed; rows do not change.
        """
        head = self.head(contract.name)
        partitions = not_in_order(self, spark, contract, head) if head else []
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

    @abstractmethod
    def vacuum(self, name: str, retention_hours: int, run: str = "") -> int:
        """Delete files that no version younger than `retention_hours` needs, and none that others than the run `run`
        hold; returns how many.
        """

    @recorded
    def restore(self, name: str, version: int) -> int:
        """Make an earlier version the current one; returns the new version."""
        self.prove(name, version)
        consumed = next((c.consumed for c in self.history(name) if c.version <= version and c.consumed), None)
        self._restore(name, version, written(consumed))
        return self.version(name)

    @abstractmethod
    def _restore(self, name: str, version: int, said: str) -> None:
        """The same, with `said` beside the commit."""
