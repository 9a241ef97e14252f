"""What is pending: one function, used by the command, the sensor and `status`. Read from tables and ledger, never from
Dagster's records.

Pending is a landed drop that is not yet in bronze, a pull from the database of a source that is due or not yet in the
journal, a block of a topic that has grown since the journal last knew it, a table behind an upstream or behind its own
fingerprints, and a Snowflake table behind its Delta table. A drop that is refused or cannot be read waits for its
correction: it is reported, but no run can do anything about it. A batch date that was red and has become good by a run
over other dates waits for one over itself, which turns it green.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from lakehouse_assets.core.declarations.registry import SOURCES, pulled_sources, streamed_sources
from lakehouse_assets.core.delta.findings import SIDES, DamagedTableError, made_with
from lakehouse_assets.core.delta.heads import Head
from lakehouse_assets.core.delta.staging import JOURNAL, Lakehouse
from lakehouse_assets.core.quality.drops import DropVerdict, remedy
from lakehouse_assets.core.sources.blocks import grown, is_block
from lakehouse_assets.core.sources.ingest import entries, entries_after, new_drops, refuse_short_journal
from lakehouse_assets.core.sources.journal import REFUSED, Entry
from lakehouse_assets.core.sources.landing import Drop, LandingZone, Unread
from lakehouse_assets.core.sources.progress import Behind, Reason, why_behind
from lakehouse_assets.core.sources.pull import due, half_done
from lakehouse_assets.core.sources.verdicts import rejected_now
from lakehouse_assets.errors import SourceUnavailableError
from lakehouse_assets.orchestration.graph import TableNode

if TYPE_CHECKING:
    from lakehouse_assets.core.sources.database import SourceDatabase

BRIDGED_DAYS = 7
"""Gaps of up to so many batch dates between stretches are run along: a partition costs less than a run."""


@dataclass
class Pending:
    """What is to be done. Empty means: nothing to do. A pull and a block of a topic are among the drops: they are such
    without a file.
    """

    drops: list[Drop] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)
    """Source → why its database cannot be asked. That holds nothing else up."""
    behind: dict[str, Behind] = field(default_factory=dict)
    """Delta table → why."""
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

    @property
    def only_messages(self) -> bool:
        """Whether nothing waits but messages: a topic gives new ones all the time, and no run waits for its end."""
        return not self.behind and not self.handoffs and all(is_block(drop.path) for drop in self.drops)

    def rejections(self) -> list[str]:
        """Why drops wait for somebody, or cannot be read, and what to do about each, a sentence or two a drop."""
        judged = [f"{v.reason} {remedy(v)}" for v in (*self.refused, *self.unreadable)]
        return judged + [reason for reason in self.refused_names.values() if isinstance(reason, Unread)]

    def left_out(self) -> list[str]:
        """Why files are not taken in, by their names or a setting."""
        return [reason for reason in self.refused_names.values() if not isinstance(reason, Unread)]

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
    databases: Mapping[str, SourceDatabase],
    *,
    start: date | None = None,
    end: date | None = None,
    damaged: Mapping[str, str] = MappingProxyType({}),
) -> Pending:
    """What is pending, new drops restricted to batch dates from `start` to `end` (both included).

    A table that is behind takes all changes, whatever batch they came from, so the dates of what landed before are
    covered wherever they lie: otherwise they would be included and never be green.

    graph: the Delta tables in topological order; handoffs: Snowflake table → why it is behind, as the hand-off state
    says; databases: source → where it is pulled from; damaged: tables that are behind what Snowflake has of them → why,
    as the hand-off state says.
    """
    survey = _Survey(lakehouse, zone, graph, Pending(handoffs=dict(handoffs), damaged=dict(damaged)))
    found = survey.found
    drops, found.refused_names = zone.scan()
    if JOURNAL in found.damaged:
        # What has landed is not known, and everything is made from that.
        found.handoffs = {}
        return found
    pulls = survey.pulls(databases)
    stopped = survey.stopped = _stopped(found.damaged, graph)
    new = [d for d in (*new_drops(drops, survey.journal), *pulls) if SOURCES[d.source].bronze not in stopped]
    found.handoffs = {table: why for table, why in found.handoffs.items() if f"gold.{table}" not in stopped}
    found.drops = [d for d in new if (start is None or d.batch_date >= start) and (end is None or d.batch_date <= end)]
    found.dates = sorted({d.batch_date for d in found.drops} | (survey.tables() if survey.journal else set()))
    return found


class _Survey:
    """What one look at the tables and the journal finds, step by step."""

    def __init__(self, lakehouse: Lakehouse, zone: LandingZone, graph: Mapping[str, TableNode], found: Pending):
        self.lakehouse, self.zone, self.graph, self.found = lakehouse, zone, graph, found
        sides = (f"{source.table}{ending}" for source in SOURCES.values() for ending in SIDES)
        self.heads = {name: _head(lakehouse, name, found.damaged) for name in (*graph, *sides)}
        self.journal: list[Entry] = []
        self.stopped: set[str] = set()
        with _noting(found.damaged):
            lakehouse.refuse_short(JOURNAL)
            self.journal = entries(lakehouse)
            if self.journal:  # one that is not there is made anew from the drops, and judged then
                refuse_short_journal(lakehouse, self.journal)

    def pulls(self, databases: Mapping[str, SourceDatabase]) -> list[Drop]:
        """The pulls that are due, the last one of each source where the journal does not know it yet, and the blocks of
        topics that have grown.
        """
        found: list[Drop | None] = []
        for source in pulled_sources():
            with _noting(self.found.damaged):
                found.append(half_done(self.lakehouse, source, self.journal))
                if database := databases.get(source.name):
                    try:
                        found.append(due(self.lakehouse, database, self.journal, self.zone.today()))
                    except SourceUnavailableError as error:
                        self.found.unavailable[source.name] = str(error)
        for source in streamed_sources():
            with _noting(self.found.damaged):
                found += grown(self.lakehouse, source, self.journal)
        return [pull for pull in found if pull]

    def tables(self) -> set[date]:
        """Note the tables that are behind and the drops that are rejected; the batch dates that runs must cover for
        them.
        """
        found = self.found
        dates = self._behind() | self._rejected()
        new = {d.batch_date for d in found.drops}
        found.red -= new
        dates = (dates | self._unshown()) - found.red
        if (found.behind or found.handoffs) and not dates | new:
            # Nothing landed: the newest batch is the one that the catching-up run is over.
            dates = {newest_open(max(e.batch_date for e in self.journal), found.red, self.zone)}
        return dates

    def _behind(self) -> set[date]:
        through = []
        for name, node in self.graph.items():
            head = self.heads[name]
            if name not in self.stopped and (
                why := why_behind(self.lakehouse, name, node.upstreams, node.fingerprint, self.heads)
            ):
                self.found.behind[name] = why
                through.append(head.consumed.through if head and head.consumed else -1)
        missing = entries_after(self.lakehouse, min(through), self.journal) if through else []
        return {e.batch_date for e in missing}

    def _rejected(self) -> set[date]:
        """The batch dates of refused drops that are judged again; those that wait are red."""
        found, again = self.found, set()
        for source in SOURCES.values():
            sound = not {source.table, source.quarantine.name, source.verdicts.name} & set(found.damaged)
            rejected = rejected_now(self.lakehouse, source) if sound else []
            refused = [v for v in rejected if v.verdict == REFUSED]
            found.refused += refused
            found.unreadable += [v for v in rejected if v.verdict != REFUSED]
            days = {v.batch_date for v in refused}
            behind = found.behind.get(source.table)
            if behind is None:
                found.red |= days
            elif behind.reason is Reason.STALE:
                again |= days
        return again

    def _unshown(self) -> set[date]:
        """The batch dates that have become good, and that no run has shown."""
        owed: set[date] = set()
        for table in (source.table for source in SOURCES.values()):
            head = self.heads.get(table)
            days = {date.fromisoformat(day) for day in (head.consumed.unshown if head and head.consumed else ())}
            if table not in self.stopped and (days := days - self.found.red):
                self.found.behind.setdefault(table, Behind(Reason.NOT_SHOWN, days=tuple(sorted(days))))
                owed |= days
        return owed


def _head(lakehouse: Lakehouse, name: str, damaged: dict[str, str]) -> Head | None:
    """Up to where a table is; one that is damaged is noted."""
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
