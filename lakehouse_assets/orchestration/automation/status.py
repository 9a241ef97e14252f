"""What is loaded and what is pending, as one value: what `lakehouse status` shows.

Belongs here: putting together what the tables, the journal and the hand-off say. Does not belong here: what counts as
pending (`pending.py`), printing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.delta.findings import DamagedTableError
from lakehouse_assets.core.delta.staging import JOURNAL, Lakehouse
from lakehouse_assets.core.delta.store import DeltaStore
from lakehouse_assets.core.handoff import HandoffStatus, State
from lakehouse_assets.core.names import layer_of, short_name
from lakehouse_assets.core.quality.drops import DropVerdict
from lakehouse_assets.core.sources.intake import INTAKE
from lakehouse_assets.core.sources.verdicts import drifted_now
from lakehouse_assets.orchestration.area import Area
from lakehouse_assets.orchestration.automation.pending import Pending, TableNode, pending
from lakehouse_assets.orchestration.graph import served
from lakehouse_assets.orchestration.resources.handoff_access import HandoffAccess
from lakehouse_assets.orchestration.resources.lakehouse_access import LakehouseAccess

COUNTS = ("landed", "published", "quarantined", "duplicates")
"""What an account counts: the rows of a drop, and what became of them."""
_COUNTED = ("live", "refused", "unreadable")
"""The standings of the drops that count."""


@dataclass(frozen=True)
class Status:
    """batches: the accounts of each batch date and source, in order. tables: each Delta table with its version and what
    Snowflake has acknowledged of it, in topological order. drift: drops with other columns than their source, and what
    is other. stage: hand-offs under way, and what lies on the stage. areas: what is pending in areas that say so
    themselves → why. replaced: served tables whose name something has that is no table → what, and the remedy.
    """

    pending: Pending
    batches: list[dict[str, Any]]
    tables: list[dict[str, Any]]
    drift: list[tuple[DropVerdict, str]]
    stage: HandoffStatus
    areas: dict[str, dict[str, str]] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """All of it in plain values, as JSON holds them."""
        found, stage = self.pending, self.stage
        return {
            "batches": self.batches,
            "tables": self.tables,
            "drift": [
                {"path": v.path, "batch_date": v.batch_date.isoformat(), "columns": words} for v, words in self.drift
            ],
            "stage": {
                "files": stage.stage_files,
                "bytes": stage.stage_bytes,
                "loaded": stage.stage_loaded,
                "pending": stage.stage_pending,
                "orphaned": stage.stage_orphaned,
                "oldest_at": _iso(stage.stage_oldest),
            },
            "pending": {
                "drops": [d.path for d in found.drops],
                "tables": {name: str(why) for name, why in found.behind.items()},
                "snowflake": found.handoffs,
                "under_way": [
                    {
                        "table": i.table,
                        "handoff_id": i.handoff_id,
                        "owner": i.owner,
                        "age_seconds": round(i.age_seconds),
                    }
                    for i in stage.pending
                ],
                "refused": _rejected(found.refused),
                "unreadable": _rejected(found.unreadable),
                "refused_names": found.refused_names,
                "damaged": found.damaged,
                "unavailable": found.unavailable,
                "areas": self.areas,
            },
        }


def status_now(
    lakehouse: LakehouseAccess, handoff: HandoffAccess, graph: Mapping[str, TableNode], areas: Sequence[Area] = ()
) -> Status:
    """How things are now. graph: the Delta tables in topological order."""
    house = lakehouse.tables
    with handoff.open() as opened:
        state = handoff.state(opened)
        short = {table: f"{finding.sentence()}." for table, finding in handoff.short(state).items()}
        replaced = opened.replaced(served().values()) if state else {}
        behind = {**handoff.behind(opened, state), **replaced}
        found = pending(house, lakehouse.zone, graph, behind, lakehouse.databases, damaged=short)
        stage = opened.status() if state else HandoffStatus((), (), 0, 0, 0)
    drift = sorted(_drift(house, found), key=lambda d: (d[0].batch_date, d[0].path))
    tables = list(_tables(house.store, [name for name in graph if name not in found.damaged], state or State()))
    own = {area.name: dict(area.pending(house)) for area in areas if area.pending}
    return Status(
        found, by_batch(house.store), tables, drift, stage, {name: of for name, of in own.items() if of}, replaced
    )


def by_source(store: DeltaStore) -> dict[str, list[int]]:
    """Source → how many drops count, and the counts of their accounts."""
    sums: dict[str, list[int]] = {}
    for row in _accounts(store):
        mine = sums.setdefault(row["source"], [0] * (1 + len(COUNTS)))
        if row["standing"] in _COUNTED:
            sums[row["source"]] = [a + b for a, b in zip(mine, (1, *(row[n] for n in COUNTS)), strict=True)]
    return sums


def by_batch(store: DeltaStore) -> list[dict[str, Any]]:
    """The same for each batch date and source, in order."""
    batches: dict[tuple[date, str], dict[str, Any]] = {}
    for row in _accounts(store):
        if row["standing"] in _COUNTED:
            day, source = row["batch_date"], row["source"]
            empty = {"batch_date": day.isoformat(), "source": source, **dict.fromkeys(("drops", *COUNTS), 0)}
            batch = batches.setdefault((day, source), empty)
            batch["drops"] += 1
            for name in COUNTS:
                batch[name] += row[name]
    return [batches[key] for key in sorted(batches)]


def _accounts(store: DeltaStore) -> list[dict[str, Any]]:
    """The accounts of all drops; none where their table is not there, or damaged, which is said elsewhere."""
    try:
        return store.read(INTAKE).to_pylist() if store.exists(INTAKE) else []
    except DamagedTableError:
        return []


def _drift(lakehouse: Lakehouse, found: Pending) -> Iterator[tuple[DropVerdict, str]]:
    """The drops with other columns than their source, of the sources whose tables are sound."""
    for source in SOURCES.values():
        if not {source.table, source.verdicts.name, source.quarantine.name, JOURNAL} & set(found.damaged):
            yield from drifted_now(lakehouse, source)


def _tables(store: DeltaStore, names: list[str], state: State) -> Iterator[dict[str, Any]]:
    """The version of each table that exists, and when it was written."""
    for name in names:
        if head := store.head(name):
            known = state.tables.get(short_name(name).upper()) if layer_of(name) == "gold" else None
            yield {
                "name": name,
                "delta_version": head.version,
                "acknowledged_version": known.version if known else None,
                "rows": store.count(name),
                "published_at": _iso(known.published_at) if known else None,
                "complete_through": _iso(known.complete_through) if known else None,
            }


def _rejected(verdicts: list[DropVerdict]) -> list[dict[str, Any]]:
    return [{"path": v.path, "batch_date": v.batch_date.isoformat(), "reason": v.reason} for v in verdicts]


def _iso(value: date | datetime | None) -> str | None:
    return value.isoformat() if value else None
