"""How far a table is, and why it is behind: the one answer, for runs, sensors, commands and IO managers alike.

Belongs here: reading that from the journal and from what tables have consumed. Does not belong here: what is to be done
about it (`orchestration/automation/pending.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum, auto
from functools import cached_property
from typing import NamedTuple

from lakehouse_assets.core.contracts import contract
from lakehouse_assets.core.declarations.registry import SOURCES, TABLES, pulled_sources
from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.findings import SIDES
from lakehouse_assets.core.delta.heads import Head
from lakehouse_assets.core.delta.staging import JOURNAL, Lakehouse
from lakehouse_assets.core.names import is_bronze
from lakehouse_assets.core.sources.ingest import entries, entries_after, new_drops
from lakehouse_assets.core.sources.journal import Entry
from lakehouse_assets.core.sources.landing import Drop, LandingZone
from lakehouse_assets.core.sources.pull import half_done
from lakehouse_assets.core.sources.verdicts import refused_now


class Reason(Enum):
    """Why a table is behind."""

    NOT_LOADED = auto()
    STALE = auto()
    """Its contract or transform has changed."""
    UPSTREAM = auto()
    """A table that it is computed from has moved on, or is another."""
    SIDE_TABLE = auto()
    """Its quarantine or its verdicts are not what was made with it."""
    NOT_SHOWN = auto()
    """Batch dates of it have become good, and no run over them has shown that."""


@dataclass(frozen=True)
class Behind:
    """Why a table is behind, with what belongs to the reason: the upstream or side table, the version of the former now
    or what is wrong with the latter, or the batch dates.
    """

    reason: Reason
    upstream: str = ""
    version: int | None = None
    days: tuple[date, ...] = ()
    wrong: str = ""

    def __str__(self) -> str:
        """In a few words, after "the table is"."""
        if self.reason is Reason.NOT_LOADED:
            return "not yet loaded"
        if self.reason is Reason.STALE:
            return "stale: its contract or transform has changed"
        if self.reason is Reason.NOT_SHOWN:
            return f"fixed, but not yet shown, for batch {', '.join(map(str, self.days))}"
        if self.reason is Reason.SIDE_TABLE:
            return f"to be judged again, for {self.upstream} {self.wrong}"
        return f"behind {self.upstream}" + (f", which is at version {self.version}" if self.version is not None else "")


def why_behind(
    lakehouse: Lakehouse, name: str, upstreams: Sequence[str], fingerprint: str, heads: Mapping[str, Head | None]
) -> Behind | None:
    """None where a table was computed from its upstreams as they are, by its own contract and transform.

    heads: where tables and side tables are, as far as that is known already.
    """
    if not upstreams:
        return None
    head = heads[name]
    if head is None or head.consumed is None:
        return Behind(Reason.NOT_LOADED)
    was = head.consumed
    if (was.contract, was.transform) != (contract(name).fingerprint, fingerprint):
        return Behind(Reason.STALE)
    for upstream in upstreams:
        now = heads.get(upstream) or lakehouse.store.head(upstream)
        if now is None or was.upstreams.get(upstream) != now.data_version or was.ids.get(upstream) != now.table_id:
            return Behind(Reason.UPSTREAM, upstream, now.data_version if now else None)
    for side in (f"{name}{ending}" for ending in SIDES):
        if side in heads and (wrong := _wrong_with_side(heads[side], was)):
            return Behind(Reason.SIDE_TABLE, side, wrong=wrong)
    return None


def _wrong_with_side(head: Head | None, table: Consumed) -> str | None:
    """None where a side table was made with its silver table as that is. table: what the silver table has consumed."""
    if head is None:
        return "is not there"
    if head.was_restored:
        return "was restored to an earlier version"
    own = head.consumed
    if own is None or (dict(own.upstreams), dict(own.ids)) != (dict(table.upstreams), dict(table.ids)):
        return "is not what was made with it"
    return None


def sources_of(table: str) -> set[str]:
    """The sources that reach a table of silver or gold, also a side table."""
    found = {s.name for s in SOURCES.values() if table in (s.table, s.verdicts.name, s.quarantine.name)}
    for upstream in TABLES[table].upstreams if table in TABLES else ():
        found |= sources_of(upstream) if upstream != JOURNAL else set()
    return found


def included(lakehouse: Lakehouse, name: str) -> int:
    """The journal version that a table includes: the one it was computed from, or a later one of which its upstreams
    say that it changes nothing; -1 where it includes nothing of the journal as it is now.

    A table that is not behind commits nothing, so its own record may be old.
    """
    head, journal = lakehouse.store.head(name), lakehouse.store.head(JOURNAL)
    if head is None or head.consumed is None or journal is None:
        return -1
    was = head.consumed
    if was.through == journal.data_version and was.ids.get(JOURNAL, journal.table_id) == journal.table_id:
        return was.through
    reached, moved = [], False
    for upstream, version in was.upstreams.items():
        now = journal if upstream == JOURNAL else lakehouse.store.head(upstream)
        moved |= now is None or now.data_version != version
        if upstream == JOURNAL:
            # A journal that was made anew counts from 0 again.
            reached.append(journal.data_version if was.ids.get(JOURNAL) == journal.table_id else -1)
        elif not is_bronze(upstream):  # rows of bronze count by their entry in the journal
            reached.append(included(lakehouse, upstream))
    through = min(reached, default=was.through)
    return min(through, was.through) if moved and through >= 0 else through


def complete_through(lakehouse: Lakehouse, version: int) -> date | None:
    """The newest batch date of the journal up to which a table that includes `version` of it includes every entry; None
    where there is none.

    A refused drop has been judged, so it counts as included.
    """
    journal = entries(lakehouse)
    missing = entries_after(lakehouse, version, journal)
    first = min((e.batch_date for e in missing), default=date.max)
    return max((e.batch_date for e in journal if e.batch_date < first), default=None)


_SHOWN = 3
"""So many batches are named; the others are counted."""


class Lack(NamedTuple):
    """Why something of a batch is missing, in words, and whether all of it is refused."""

    why: str
    refused: bool = False


class Batches:
    """One look at landing zone and journal, for one run: both are read once, and only if somebody asks."""

    def __init__(self, lakehouse: Lakehouse, zone: LandingZone):
        self.lakehouse, self.zone = lakehouse, zone

    @cached_property
    def journal(self) -> list[Entry]:
        return entries(self.lakehouse)

    @cached_property
    def waiting(self) -> list[Drop]:
        """The drops that are not in the journal yet."""
        drops, _ = self.zone.scan()
        pulls = (half_done(self.lakehouse, source, self.journal) for source in pulled_sources())
        return [*new_drops(drops, self.journal), *filter(None, pulls)]

    def lacking(self, table: str, days: Collection[date], reader: str, *, landing: bool) -> dict[date, Lack]:
        """Batch date → what the table lacks of it; nothing for the dates that it includes.

        table: an upstream of the table `reader`, as `layer.table`. landing: whether drops that have not been taken in
        count; they do not where the run takes them in itself.
        """
        if is_bronze(reader):
            return {}  # it takes in what lies there, by itself
        head = self.lakehouse.store.head(table)
        if head is None or (not is_bronze(table) and head.consumed is None):
            return dict.fromkeys(days, Lack("the table does not exist"))
        through = included(self.lakehouse, table) if not is_bronze(table) else head.data_version
        # What reads the journal is concerned with its own source alone.
        sources = {s.name for s in SOURCES.values() if s.table == reader} if table == JOURNAL else sources_of(table)
        found: dict[date, list[Lack]] = {}
        for drop in self.waiting if landing else ():
            if drop.source in sources:
                found.setdefault(drop.batch_date, []).append(Lack(f"{drop.path} waits to be taken in"))
        if not is_bronze(table):
            for entry in entries_after(self.lakehouse, through, self.journal):
                if entry.source in sources:
                    found.setdefault(entry.batch_date, []).append(Lack(f"{entry.path} has not come so far"))
            for source in sorted(sources):
                for verdict in refused_now(self.lakehouse, SOURCES[source]):
                    found.setdefault(verdict.batch_date, []).append(Lack(f"{verdict.path} is refused", True))
        return {day: _together(lacks) for day, lacks in found.items() if day in days}


def _together(lacks: Sequence[Lack]) -> Lack:
    more = f", and {len(lacks) - 1} more" if len(lacks) > 1 else ""
    return Lack(f"{lacks[0].why}{more}", all(lack.refused for lack in lacks))


def sentence(table: str, lacking: Mapping[date, Lack]) -> str:
    """What a step says that asks a table for batches which it does not include."""
    days = sorted(lacking)
    more = f" and {len(days) - _SHOWN} more" if len(days) > _SHOWN else ""
    subject = f"Batch {days[0]} is" if len(days) == 1 else f"Batches {', '.join(map(str, days[:_SHOWN]))}{more} are"
    if all(lack.refused for lack in lacking.values()):
        cure = "let the correction land under the same path, or withdraw the drop"
    else:
        cure = (
            f"materialise {table} and what lies upstream of it for {'it' if len(days) == 1 else 'them'} first, or run"
            " `lakehouse run`"
        )
    return f"{subject} not in {table} yet ({lacking[days[0]].why}); {cure}."
