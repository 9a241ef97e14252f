"""Which batches a table includes: whether everything that landed for a batch date has come as far as the table.

Belongs here: finding what is missing, and saying so in one sentence. Does not belong here: what is pending for the
whole graph (`orchestration/automation/pending.py`), stopping a step (`orchestration/io_managers/delta.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import NamedTuple

from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.delta.staging import JOURNAL, Lakehouse
from lakehouse_assets.core.sources.ingest import entries, entries_after, new_drops
from lakehouse_assets.core.sources.journal import Entry
from lakehouse_assets.core.sources.landing import Drop, LandingZone
from lakehouse_assets.core.sources.pull import half_done
from lakehouse_assets.core.sources.verdicts import refused_now

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
        return [*new_drops(drops, self.journal), *filter(None, [half_done(self.lakehouse, self.journal)])]

    def lacking(self, table: str, days: Collection[date], reader: str, *, landing: bool) -> dict[date, Lack]:
        """Batch date → what the table lacks of it; nothing for the dates that it includes.

        table: an upstream of the table `reader`, as `layer.table`. landing: whether drops that have not been taken in
        count; they do not where the run takes them in itself.
        """
        if reader.startswith("bronze."):
            return {}  # it takes in what lies there, by itself
        head = self.lakehouse.store.head(table)
        if head is None or (not table.startswith("bronze.") and head.consumed is None):
            return dict.fromkeys(days, Lack("the table does not exist"))
        through, sources = (
            _includes(self.lakehouse, table)
            if not table.startswith("bronze.")
            else (head.data_version, frozenset[str]())
        )
        if table == JOURNAL:
            sources = frozenset({s.name for s in SOURCES.values() if s.table == reader} or SOURCES)
        found: dict[date, list[Lack]] = {}
        for drop in self.waiting if landing else ():
            if drop.source in sources:
                found.setdefault(drop.batch_date, []).append(Lack(f"{drop.path} waits to be taken in"))
        if not table.startswith("bronze."):
            for entry in entries_after(self.lakehouse, through, self.journal):
                if entry.source in sources:
                    found.setdefault(entry.batch_date, []).append(Lack(f"{entry.path} has not come so far"))
            for source in sorted(sources):
                for verdict in refused_now(self.lakehouse, SOURCES[source]):
                    found.setdefault(verdict.batch_date, []).append(Lack(f"{verdict.path} is refused", True))
        return {day: _together(lacks) for day, lacks in found.items() if day in days}


def _includes(lakehouse: Lakehouse, table: str) -> tuple[int, frozenset[str]]:
    """The version of the journal that a table includes, and the sources that reach it.

    A table whose upstreams have recorded more of the journal without a row having changed records nothing itself, so
    the upstreams it stands on are asked as well.
    """
    head = lakehouse.store.head(table)
    was = head.consumed if head else None
    if was is None:
        return -1, frozenset(SOURCES)
    sources = {s.name for s in SOURCES.values() if table in (s.table, s.verdicts.name)}
    reached, moved = [], False
    for name, version in was.upstreams.items():
        now = lakehouse.store.head(name)
        moved |= now is None or now.data_version != version
        if name == JOURNAL:
            # A journal that was made anew counts from 0 again.
            reached.append(now.data_version if now and was.ids.get(name) == now.table_id else -1)
        else:
            through, of = _includes(lakehouse, name)
            sources |= of
            reached.append(through)
    through = min(reached, default=-1)
    return (through if not moved or through < 0 else min(through, was.through)), frozenset(sources)


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
