"""What is pending: one function, used by the command, the sensor and `status`. Read from tables and ledger, never from
Dagster's records.

Pending is a landed drop that is not yet in bronze, a pull from the customers' database that is due or not yet in the
journal, a table behind an upstream or behind its own fingerprints, and a Snowflake table behind its Delta table. A drop
that is refused or cannot be read waits for its correction: it is reported, but no run can do anything about it. A batch
date that was red and has become good by a run over other dates waits for one over itself, which turns it green.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from types import MappingProxyType

from lakehouse_assets.core.contracts import contract
from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.findings import SIDES, DamagedTableError, made_with
from lakehouse_assets.core.delta.heads import Head
from lakehouse_assets.core.delta.staging import JOURNAL, Lakehouse
from lakehouse_assets.core.quality.audit import DropVerdict
from lakehouse_assets.core.sources.database import CustomersDatabase
from lakehouse_assets.core.sources.ingest import entries, entries_after, new_drops, refuse_short_journal
from lakehouse_assets.core.sources.journal import REFUSED, Entry
from lakehouse_assets.core.sources.landing import Drop, LandingZone
from lakehouse_assets.core.sources.pull import due, half_done
from lakehouse_assets.core.sources.verdicts import rejected_now
from lakehouse_assets.errors import SourceUnavailableError

BRIDGED_DAYS = 7
"""Gaps of up to so many batch dates between stretches are run along: a partition costs less than a run."""


@dataclass(frozen=True)
class TableNode:
    """A table of the graph, as far as pending needs to know it."""

    upstreams: tuple[str, ...]
    fingerprint: str


@dataclass
class Pending:
    """What is to be done. Empty means: nothing to do. A pull stands among the drops: it is one, without a file."""

    drops: list[Drop] = field(default_factory=list)
    unavailable: str | None = None
    """Why the customers' database cannot be asked. That holds nothing else up."""
    behind: dict[str, str] = field(default_factory=dict)
    """Delta table → why, in a few words."""
    handoffs: dict[str, str] = field(default_factory=dict)
    """Snowflake table → why."""
    dates: list[date] = field(default_factory=list)
    """The batch dates that a run must cover, sorted."""
    refused_names: dict[str, str] = field(default_factory=dict)
    refused: list[DropVerdict] = field(default_factory=list)
    unreadable: list[DropVerdict] = field(default_factory=list)
    """Drops that cannot be read. Like refused ones they wait for a correction, but hold nothing up: none of their rows
    could enter any table.
    """
    damaged: dict[str, str] = field(default_factory=dict)
    """Table → what is wrong with it, and what to do. No run reads or writes it, or makes what lies downstream of it."""
    red: frozenset[date] = frozenset()
    """Batch dates that wait for the correction of a refused drop. A run over one of them stops after silver, so runs go
    around them.
    """

    def __bool__(self) -> bool:
        return bool(self.drops or self.behind or self.handoffs)

    def stretches(self) -> list[tuple[date, date]]:
        """Contiguous stretches of batch dates, short gaps bridged, but not over a red date."""
        found: list[tuple[date, date]] = []
        for day in self.dates:
            if (
                found
                and day - found[-1][1] <= timedelta(days=BRIDGED_DAYS)
                and not any(found[-1][1] < r < day for r in self.red)
            ):
                found[-1] = (found[-1][0], day)
            else:
                found.append((day, day))
        return found


def pending(
    lakehouse: Lakehouse,
    zone: LandingZone,
    graph: Mapping[str, TableNode],
    handoffs: Mapping[str, str],
    database: CustomersDatabase | None,
    *,
    start: date | None = None,
    end: date | None = None,
    damaged: Mapping[str, str] = MappingProxyType({}),
) -> Pending:
    """What is pending, new drops restricted to batch dates from `start` to `end` (both included).

    A table that is behind takes all changes, whatever batch they came from, so the dates of what landed before are
    covered wherever they lie: otherwise they would be included and never be green.

    graph: the Delta tables in topological order; handoffs: Snowflake table → why it is behind, as the hand-off state
    says; database: where customers are pulled from; damaged: tables that are behind what Snowflake has of them → why,
    as the hand-off state says.
    """
    found = Pending(handoffs=dict(handoffs), damaged=dict(damaged))
    drops, found.refused_names = zone.scan()
    sides = [f"{source.table}{ending}" for source in SOURCES.values() for ending in SIDES]
    heads = {name: _head(lakehouse, name, found.damaged) for name in (*graph, *sides)}
    journal: list[Entry] = []
    with _noting(found.damaged):
        lakehouse.refuse_short(JOURNAL)
        journal = entries(lakehouse)
        if journal:  # one that is not there is made anew from the drops, and judged then
            refuse_short_journal(lakehouse, journal)
    if JOURNAL in found.damaged:
        # What has landed is not known, and everything is made from that.
        found.handoffs = {}
        return found
    pulls = []
    with _noting(found.damaged):
        pulls.append(half_done(lakehouse, journal))
        try:
            pulls.append(due(lakehouse, database, journal, zone.today()))
        except SourceUnavailableError as error:
            found.unavailable = str(error)
    stopped = _stopped(found.damaged, graph)
    new = [d for d in (*new_drops(drops, journal), *filter(None, pulls)) if SOURCES[d.source].bronze not in stopped]
    found.handoffs = {table: why for table, why in found.handoffs.items() if f"gold.{table}" not in stopped}
    found.drops = [d for d in new if (start is None or d.batch_date >= start) and (end is None or d.batch_date <= end)]
    dates = {d.batch_date for d in found.drops}

    through: list[int] = []
    if journal:
        for name, node in graph.items():
            reason = None if name in stopped else _why_behind(lakehouse, name, node, heads)
            if reason:
                found.behind[name] = reason
                head = heads[name]
                through.append(head.consumed.through if head and head.consumed else -1)
        if through:
            missing = entries_after(lakehouse, min(through), journal)
            dates |= {e.batch_date for e in missing}
        waiting: set[date] = set()
        for source in SOURCES.values():
            table = source.table
            rejected = rejected_now(lakehouse, source) if _is_sound(table, found.damaged) else []
            refused = [v for v in rejected if v.verdict == REFUSED]
            found.refused += refused
            found.unreadable += [v for v in rejected if v.verdict != REFUSED]
            if table not in found.behind:
                waiting |= {v.batch_date for v in refused}
            elif found.behind[table].startswith("stale"):
                dates |= {v.batch_date for v in refused}  # they are judged again
        found.red = frozenset(waiting - {d.batch_date for d in found.drops})
        for table in (source.table for source in SOURCES.values()):
            consumed = head.consumed if (head := heads.get(table)) else None
            if table not in stopped and (
                unshown := {date.fromisoformat(day) for day in (consumed.unshown if consumed else ())} - found.red
            ):
                found.behind.setdefault(
                    table, f"mended, but not yet shown, for batch {', '.join(map(str, sorted(unshown)))}"
                )
                dates |= unshown
        dates -= found.red
        if (found.behind or found.handoffs) and not dates:
            # Nothing landed: the newest batch stands for the run that catches up.
            dates = {newest_open(max(e.batch_date for e in journal), found.red, zone)}
    found.dates = sorted(dates)
    return found


def _head(lakehouse: Lakehouse, name: str, damaged: dict[str, str]) -> Head | None:
    """Where a table stands; one that is damaged is noted."""
    with _noting(damaged):
        lakehouse.refuse_short(name)
        return lakehouse.store.head(name)
    return None


@contextmanager
def _noting(damaged: dict[str, str]) -> Iterator[None]:
    """Note a damaged table, and go on."""
    try:
        yield
    except DamagedTableError as error:
        damaged.setdefault(error.findings[0].table, str(error))


def _is_sound(table: str, damaged: Collection[str]) -> bool:
    """Whether neither a table of a source nor its side tables are damaged."""
    return not {table, *(f"{table}{side}" for side in SIDES)} & set(damaged)


def _stopped(damaged: Collection[str], graph: Mapping[str, TableNode]) -> set[str]:
    """The tables that are damaged and those downstream of them, by which no run can do anything. graph: in topological
    order.
    """
    stopped = {made_with(name) for name in damaged}
    stopped |= {source.table for source in SOURCES.values() if source.bronze in stopped}
    for name, node in graph.items():
        if {made_with(upstream) for upstream in node.upstreams} & stopped:
            stopped.add(name)
    return stopped


def newest_open(newest: date, red: Collection[date], zone: LandingZone) -> date:
    """The last partition up to the newest batch date that is not among `red`, else the first one after it; one without
    drops materialises as empty.
    """
    before = range(newest.toordinal(), zone.partitions_start.toordinal() - 1, -1)
    after = range(newest.toordinal() + 1, zone.today().toordinal() + 1)
    return next((day for n in (*before, *after) if (day := date.fromordinal(n)) not in red), newest)


def _why_behind(lakehouse: Lakehouse, name: str, node: TableNode, heads: Mapping[str, Head | None]) -> str | None:
    """None where the table stands on its upstreams as they are, and on its own contract and transform."""
    if not node.upstreams:
        return None
    head = heads[name]
    if head is None or head.consumed is None:
        return "not yet loaded"
    was = head.consumed
    if (was.contract, was.transform) != (contract(name).fingerprint, node.fingerprint):
        return "stale: its contract or transform has changed"
    for upstream in node.upstreams:
        now = heads.get(upstream) or lakehouse.store.head(upstream)
        if now is None or was.upstreams.get(upstream) != now.data_version or was.ids.get(upstream) != now.table_id:
            return f"behind {upstream}" + (f", which is at version {now.data_version}" if now else "")
    return next((reason for side in SIDES if (reason := _why_side_behind(f"{name}{side}", was, heads))), None)


def _why_side_behind(side: str, table: Consumed, heads: Mapping[str, Head | None]) -> str | None:
    """None where there is no such side table, or it was made with its silver table as that is. table: what the silver
    table has consumed.
    """
    if side not in heads:
        return None
    head = heads[side]
    if head is None:
        return f"{side} is not there"
    if head.was_restored:
        return f"{side} was restored to an earlier version"
    own = head.consumed
    if own is None or (dict(own.upstreams), dict(own.ids)) != (dict(table.upstreams), dict(table.ids)):
        return f"{side} is not what was made with it"
    return None
