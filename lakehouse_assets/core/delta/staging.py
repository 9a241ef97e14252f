"""Stage: compute what becomes of a table, once, and write it as Parquet where no reader looks.

Belongs here: what a table is behind on, the difference between what it must hold and what it holds, the staged slice
and its commit. Does not belong here: what the rows mean (`domains/`), whether they are good (`core/quality/`),
Dagster.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.delta.change_feed import HistoryUnavailableError
from lakehouse_assets.core.delta.check import refuse_short
from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.files import Span
from lakehouse_assets.core.delta.heads import Head
from lakehouse_assets.core.delta.slice_rules import OPERATION, ORIGIN, refuse_types
from lakehouse_assets.core.delta.store import DeltaStore
from lakehouse_assets.core.delta.sums import sums_of
from lakehouse_assets.core.frames import Inputs, Recomputed, Snapshots, Transform
from lakehouse_assets.core.spark_sql import quoted
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.processes import scratch_name

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

JOURNAL = "bronze.landings"


@dataclass
class StagedSlice:
    """What one run would write to one table. `uri` is None where no row changes. `side` slices are committed before it.

    dates: the business dates of its rows, where the contract names one, sorted. preview: some of the rows that it
    writes, as people may see them.
    """

    contract: Contract
    base_version: int
    consumed: Consumed
    uri: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    partitions: Sequence[Any] | None = None
    dates: Sequence[date] = ()
    preview: Sequence[Mapping[str, Any]] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    side: tuple[StagedSlice, ...] = ()
    sums: Mapping[str, str] = field(default_factory=dict)
    """The content sum of each of its files as it was staged, where they lie on this machine."""

    @property
    def rows(self) -> int:
        """Rows that the slice inserts, updates or deletes."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Lakehouse:
    """The store and the engine that computes for it. `spark` starts the engine when it is first needed.

    readers: table → those that are computed from it; what they have recorded of it shows whether its log ends early.
    """

    store: DeltaStore
    start_spark: Callable[[], SparkSession]
    staging_root: str
    readers: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def spark(self) -> SparkSession:
        return self.start_spark()

    def scratch(self, name: str) -> str:
        """A new folder below the staging root."""
        return f"{self.staging_root}/{name}/{scratch_name()}"

    def head(self, contract: Contract) -> Head:
        """Where the table is; it is created where it does not exist, and gets the columns that its contract has
        gained.

        Raises `DamagedTableError` where its log is not complete.
        """
        self.refuse_short(contract.name)
        head = self.store.head(contract.name)
        if head is None:
            self.store.create(contract)
            head = self.store.head(contract.name)
            assert head is not None
        elif head.consumed is None or head.consumed.contract != contract.fingerprint:
            self.store.evolve(contract)
            head = self.store.head(contract.name) or head
        return head

    # -- what a table is behind on -----------------------------------------------------------------------------------

    def upstream_heads(self, names: Sequence[str]) -> dict[str, Head]:
        """Raises `LakehouseError` for an upstream that does not exist, `DamagedTableError` for one whose log is not
        complete.
        """
        heads = {}
        for name in names:
            self.refuse_short(name)
            head = self.store.head(name)
            if head is None:
                raise LakehouseError(f"The table {name} does not exist yet; materialise it first.")
            heads[name] = head
        return heads

    def refuse_short(self, name: str) -> None:
        """Raise `DamagedTableError` where a table is behind what its readers have consumed of it."""
        refuse_short(self.store, name, self.readers.get(name, ()))

    @staticmethod
    def reading(contract: Contract, transform: str, upstreams: Mapping[str, Head]) -> Consumed:
        """What a slice computed now would record."""
        said = [h.consumed for n, h in upstreams.items() if n != JOURNAL]
        through = [c.through for c in said if c is not None]
        through += [h.data_version for n, h in upstreams.items() if n == JOURNAL]
        return Consumed(
            upstreams={n: h.data_version for n, h in upstreams.items()},
            ids={n: h.table_id for n, h in upstreams.items()},
            contract=contract.fingerprint,
            transform=transform,
            through=min(through, default=-1),
        )

    @staticmethod
    def is_behind(head: Head | None, reading: Consumed) -> bool:
        """Whether the table was computed from something else than what is there now."""
        if head is None or head.consumed is None:
            return True
        was = head.consumed
        return (
            dict(was.upstreams),
            dict(was.ids),
            was.contract,
            was.transform,
            dict(was.watermark),
            list(was.unshown),
        ) != (
            dict(reading.upstreams),
            dict(reading.ids),
            reading.contract,
            reading.transform,
            dict(reading.watermark),
            list(reading.unshown),
        )

    def inputs(
        self, contract: Contract, head: Head, upstreams: Mapping[str, Head], reading: Consumed, *, afresh: bool
    ) -> Inputs:
        """The frames for a transform. afresh: everything counts as changed."""
        was = head.consumed
        afresh = afresh or was is None or (was.contract, was.transform) != (reading.contract, reading.transform)
        changes: dict[str, DataFrame | None] = {}
        for name, upstream in upstreams.items():
            since = None if afresh or was is None or was.ids.get(name) != upstream.table_id else was.upstreams.get(name)
            changes[name] = self._changes(name, since, upstream)
        versions = {**{n: h.version for n, h in upstreams.items()}, contract.name: head.version}

        def read(name: str, part: tuple[str, Any, Any] | None) -> DataFrame:
            return self.store.frame(self.spark, name, versions[name], Span(*part) if part else None)

        journal = upstreams[JOURNAL].data_version if JOURNAL in upstreams else -1
        behind = frozenset(
            n for n, h in upstreams.items() if h.consumed and h.consumed.upstreams.get(JOURNAL, journal) < journal
        )
        return Inputs(Snapshots(versions, read), changes, contract.name, contract.names, behind)

    def _changes(self, name: str, since: int | None, upstream: Head) -> DataFrame | None:
        if since is None:
            return None
        try:
            return self.store.changes(
                self.spark, name, since, upstream.version if since != upstream.data_version else since
            )
        except HistoryUnavailableError:
            return None  # the difference is then found by comparing everything, which is right at any time

    # -- stage -------------------------------------------------------------------------------------------------------

    def stage(
        self,
        contract: Contract,
        transform: Transform,
        upstreams: Sequence[str],
        *,
        fingerprint: str,
        force: bool = False,
    ) -> StagedSlice | None:
        """Bring a table up to its upstreams. None where it is not behind and `force` is not set."""
        head = self.head(contract)
        heads = self.upstream_heads(upstreams)
        reading = self.reading(contract, fingerprint, heads)
        if not force and not self.is_behind(head, reading):
            return None
        inputs = self.inputs(contract, head, heads, reading, afresh=force)
        return self.stage_difference(contract, head, reading, transform(inputs))

    def stage_difference(
        self, contract: Contract, head: Head, reading: Consumed, recomputed: Recomputed
    ) -> StagedSlice:
        """Write the difference between what the table must hold and what it holds as Parquet with `_op`."""
        uri = self.scratch(contract.name)
        initial = head.data_version == 0
        rows = recomputed.rows.select(*contract.names)
        # Before the audit reads the slice by the contract's types, and fails in the engine's words.
        refuse_types(contract, dict(rows.dtypes))
        frame = (
            rows.selectExpr("*", f"'I' AS {OPERATION}") if initial else difference(contract, rows, recomputed.replaced)
        )
        frame.write.mode("overwrite").parquet(uri)
        return self.staged(contract, head, reading, uri)

    def staged(self, contract: Contract, head: Head, reading: Consumed, uri: str) -> StagedSlice:
        """A slice from files that lie there. Raises `LakehouseError` where it has a key twice."""
        partition = contract.partition_by[0] if contract.partition_by else None
        frame = self.staged_frame(contract, uri, partition)
        grouping = dict.fromkeys(
            filter(None, [OPERATION, *([partition, ORIGIN] if partition else []), contract.business_date])
        )
        groups = frame.groupBy(*grouping).count().collect()
        counts: dict[str, int] = {}
        for group in groups:
            counts[group[0]] = counts.get(group[0], 0) + group[-1]
        slice_ = StagedSlice(contract, head.version, reading, counts=counts)
        if not slice_.rows:
            self.discard(uri)
            return slice_
        slice_.uri = uri
        if "://" not in uri:
            slice_.sums = sums_of(Path(uri))
        if contract.partition_by:
            # A row may come from another partition: a merge that looks for it only where it goes would not find it, and
            # double it.
            slice_.partitions = sorted({part for group in groups for part in group[1:3] if part is not None})
        if contract.business_date:
            slice_.dates = sorted({group[contract.business_date] for group in groups} - {None})
        return slice_

    def staged_frame(self, contract: Contract, uri: str, origin: str | None = None) -> DataFrame:
        """The rows of a staged slice; the schema is given, since an engine may write no file for no rows.

        origin: the partition column; given where the frame is to say, as `_from`, where rows stood before.
        """
        columns = {c.name: c.type.spark for c in contract.columns} | {OPERATION: "string"}
        if origin:
            columns[ORIGIN] = columns[origin]
        return self.spark.read.schema(", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())).parquet(
            uri
        )

    def discard(self, uri: str | None) -> None:
        """Remove a staged folder of this machine; folders elsewhere fall to `maintenance`."""
        if uri and "://" not in uri:
            shutil.rmtree(Path(uri), ignore_errors=True)

    # -- publish -----------------------------------------------------------------------------------------------------

    def publish(self, staged: StagedSlice) -> int:
        """Commit a slice (side slices first) and return the table's version. Commits nothing where there is nothing to
        record.
        """
        for side in staged.side:
            self.publish(side)
        head = self.head(staged.contract)
        if staged.uri is None and not self.is_behind(head, staged.consumed):
            return head.version
        if staged.uri and staged.sums and staged.sums != sums_of(Path(staged.uri)):
            raise LakehouseError(
                f"The files of the slice for {staged.contract.name} in {staged.uri} are not as they were staged, so"
                " nothing was published; run again, it is computed anew."
            )
        version = self.store.commit(
            staged.contract,
            staged.uri,
            base_version=staged.base_version,
            consumed=staged.consumed,
            partitions=staged.partitions,
            append=set(staged.counts) == {"I"},
            extra=staged.metadata,
        )
        self.discard(staged.uri)
        return version


def difference(contract: Contract, rows: DataFrame, replaced: DataFrame) -> DataFrame:
    """Rows to insert, update and delete (`_op`) so that `replaced` becomes `rows`, each with the partition in which it
    is now (`_from`); keys are never null.
    """
    new = rows.selectExpr(*(f"{quoted(c)} AS {_new(c)}" for c in contract.names), "true AS _new")
    old = replaced.selectExpr(*(f"{quoted(c)} AS {_old(c)}" for c in contract.names), "true AS _old")
    from pyspark.sql import functions as F

    on = F.expr(" AND ".join(f"{_new(k)} = {_old(k)}" for k in contract.key))
    others = [c for c in contract.names if c not in contract.key]
    same = " AND ".join(f"({_new(c)} <=> {_old(c)})" for c in others) or "true"
    joined = new.join(old, on, "full_outer")
    operation = f"CASE WHEN _old IS NULL THEN 'I' WHEN _new IS NULL THEN 'D' WHEN NOT ({same}) THEN 'U' END"
    picked = joined.selectExpr(
        *(f"CASE WHEN _new THEN {_new(c)} ELSE {_old(c)} END AS {quoted(c)}" for c in contract.names),
        f"{operation} AS {OPERATION}",
        *(f"{_old(c)} AS {ORIGIN}" for c in contract.partition_by[:1]),
    )
    return picked.where(f"{OPERATION} IS NOT NULL")


def _new(column: str) -> str:
    return quoted(f"n_{column}")


def _old(column: str) -> str:
    return quoted(f"o_{column}")
