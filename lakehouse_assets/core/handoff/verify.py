"""Reconciliation: is the Snowflake table what the ledger says and what the Delta snapshot holds, and where not, in
which rows?

Does not belong here: fixing it (`handoff.Handoff.repair`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import pyarrow as pa

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.delta.store import DeltaStore
from lakehouse_assets.core.handoff import export, slices, sql, sums
from lakehouse_assets.core.handoff.catalog import refuse_replaced
from lakehouse_assets.core.handoff.names import TargetNames
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.core.handoff.state import TableState, read_slices, read_state
from lakehouse_assets.core.handoff.sums import NOTHING, SliceSum
from lakehouse_assets.errors import LakehouseError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOOKS = 5
"""How often a table is looked at, where hand-offs publish meanwhile."""

MASK = "•••"
"""What is shown instead of personal data."""


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)


@dataclass(frozen=True)
class SliceDifference:
    """A slice that is not the same everywhere. `snapshot` is None where the snapshot cannot be read any more."""

    slice: str
    snowflake: SliceSum
    ledger: SliceSum
    snapshot: SliceSum | None


@dataclass(frozen=True)
class RowDifference:
    """A row that differs: `missing` in Snowflake, `foreign` to the snapshot, `changed` in `columns`, or there more or
    less `often`.

    values: of each such column the value in the snapshot and the one in Snowflake; personal data masked.
    """

    kind: Literal["missing", "foreign", "changed", "often"]
    key: Mapping[str, Any]
    columns: tuple[str, ...] = ()
    values: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    def __str__(self) -> str:
        """The row in a line: its key, and of each column the value in the snapshot and the one in Snowflake."""
        key = ", ".join(f"{name} {_shown(value)}" for name, value in self.key.items())
        values = "; ".join(
            f"{name} is {_shown(there)}, not {_shown(here)}" for name, (here, there) in self.values.items()
        )
        return f"{self.kind}: {key}{f': {values}' if values else ''}"


@dataclass(frozen=True)
class VerifyResult:
    """What a reconciliation found.

    version: the acknowledged Delta version, -1 where the table was never handed off. rows: rows in Snowflake, of the
    slices compared. slices: those that differ. row_differences: up to the limit asked for, empty where the snapshot is
    gone. snapshot_readable: whether the snapshot took part.
    """

    table: str
    version: int
    rows: int
    slices_compared: int
    snapshot_readable: bool
    slices: tuple[SliceDifference, ...] = ()
    row_differences: tuple[RowDifference, ...] = ()

    @property
    def equal(self) -> bool:
        return not self.slices


def verify(
    session: Session,
    names: TargetNames,
    store: DeltaStore,
    spark: SparkSession,
    contract: Contract,
    limit: int = 20,
    chosen: Collection[str] | None = None,
) -> VerifyResult:
    """Compare every slice of the Snowflake table, or the chosen ones, with the ledger and, while readable, with the
    acknowledged Delta snapshot.

    State, ledger and table are statements of their own, each of which sees what is committed by then; so the look is
    repeated where a hand-off published meanwhile. Raises `LakehouseError` where that happens `LOOKS` times, and
    `ReplacedTableError` where the table is none.
    """
    refuse_replaced(session, names, contract)
    known = read_state(session, names).tables.get(contract.table.upper())
    for _ in range(LOOKS):
        result = _look(session, names, store, spark, contract, known, limit, chosen)
        before, known = known, read_state(session, names).tables.get(contract.table.upper())
        if known == before:
            return result
    raise LakehouseError(
        f"{names.table(contract)} was published again during each of {LOOKS} looks at it; verify it when fewer"
        " hand-offs are under way."
    )


def _look(
    session: Session,
    names: TargetNames,
    store: DeltaStore,
    spark: SparkSession,
    contract: Contract,
    known: TableState | None,
    limit: int,
    chosen: Collection[str] | None,
) -> VerifyResult:
    table = contract.table.upper()
    ledger = {n: s for n, s in read_slices(session, names, table).items() if chosen is None or n in chosen}
    predicate = "1 = 1" if chosen is None else slices.snowflake_predicate(contract, chosen)
    found = sums.snowflake_sums(session, sums.snowflake_query(names, contract, predicate))
    snapshot: dict[str, SliceSum] | None = None
    if known is not None and known.version >= 0 and known.fingerprint == sums.schema_fingerprint(contract):
        snapshot = _snapshot_sums(store, spark, contract, known, chosen)
    compared: set[str] = {*found, *ledger, *(snapshot or {})}
    differing = tuple(
        SliceDifference(
            name,
            found.get(name, NOTHING),
            ledger.get(name, NOTHING),
            None if snapshot is None else snapshot.get(name, NOTHING),
        )
        for name in sorted(compared, key=slices.order(contract))
        if found.get(name, NOTHING) != ledger.get(name, NOTHING)
        or (snapshot is not None and snapshot.get(name, NOTHING) != found.get(name, NOTHING))
    )
    rows: tuple[RowDifference, ...] = ()
    if limit and known is not None and snapshot is not None:
        wrong = [d.slice for d in differing if d.snapshot != d.snowflake]
        if wrong:
            rows = row_differences(session, names, store, spark, contract, known.version, wrong, limit)
    return VerifyResult(
        contract.name,
        known.version if known else -1,
        sum(s.rows for s in found.values()),
        len(compared),
        snapshot is not None,
        differing,
        rows,
    )


def _snapshot_sums(
    store: DeltaStore, spark: SparkSession, contract: Contract, known: TableState, chosen: Collection[str] | None
) -> dict[str, SliceSum] | None:
    """The sums of the acknowledged snapshot; None where it is gone, also where another history now counts that
    version.
    """
    name = contract.name
    if (
        not store.exists(name)
        or store.table_id(name) != known.delta_table_id
        or store.digest(name, known.version) != known.delta_commit
    ):
        return None
    try:
        return sums.spark_sums(store.frame(spark, name, known.version), contract, chosen)
    except Exception as error:
        # Engines have each their own error for a file that VACUUM took; whether one did, the store knows. Any other
        # trouble is raised: it would take the snapshot out of the proof without a word.
        if not store.is_gone(name, known.version, error):
            raise
        return None


def row_differences(
    session: Session,
    names: TargetNames,
    store: DeltaStore,
    spark: SparkSession,
    contract: Contract,
    version: int,
    wrong: list[str],
    limit: int,
) -> tuple[RowDifference, ...]:
    """The rows of some slices in which the Snowflake table, as this session sees it, differs from a snapshot; at most
    `limit`.
    """
    columns = ", ".join(c.upper() for c in contract.names)
    predicate = slices.snowflake_predicate(contract, wrong)
    arrived = session.arrow(
        sql.statement("publish", "rows", columns=columns, table=names.table(contract), predicate=predicate)
    )
    held = export.read_rows(store, spark, contract, version, wrong)
    return compare_rows(contract, held, arrived.rename_columns(list(contract.names)).cast(_plain(contract)), limit)


def _plain(contract: Contract) -> pa.Schema:
    """The contract's types with every column nullable: in Snowflake a null may be where none was promised."""
    return pa.schema([pa.field(c.name, c.type.arrow) for c in contract.columns])


def compare_rows(contract: Contract, held: pa.Table, arrived: pa.Table, limit: int) -> tuple[RowDifference, ...]:
    """The rows in which two tables with the contract's columns differ, by key; at most `limit`, in the order of
    keys.
    """
    key = list(contract.key or contract.names)
    values = [c for c in contract.names if c not in key]
    left, right = pl.DataFrame(held), pl.DataFrame(arrived)

    def counted(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.group_by(list(contract.names)).agg(pl.len().alias("_n"))

    def often(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.group_by(key).agg(pl.len().alias("_n"), *(pl.col(c).first() for c in values))

    # Rows that are the same on both sides, as often, are out of the question.
    same = counted(left).join(counted(right), on=[*contract.names, "_n"], how="semi", nulls_equal=True).drop("_n")
    left = left.join(same, on=list(contract.names), how="anti", nulls_equal=True)
    right = right.join(same, on=list(contract.names), how="anti", nulls_equal=True)
    both = often(left).join(often(right), on=key, how="full", suffix="_arrived", nulls_equal=True, coalesce=True)
    differences: list[RowDifference] = []
    for row in both.sort(key, nulls_last=False).head(limit).iter_rows(named=True):
        changed = tuple(c for c in values if row[c] != row[f"{c}_arrived"])
        kind: Literal["missing", "foreign", "changed", "often"]
        if row["_n_arrived"] is None:
            kind, changed = "missing", ()
        elif row["_n"] is None:
            kind, changed = "foreign", ()
        else:
            kind = "changed" if row["_n"] == row["_n_arrived"] else "often"
        shown = {c: (MASK, MASK) if contract.column(c).personal else (row[c], row[f"{c}_arrived"]) for c in changed}
        differences.append(RowDifference(kind, {k: row[k] for k in key}, changed, shown))
    return tuple(differences)
