"""What is known when a run begins to judge the drops of a source: the journal, the recorded verdicts, how far its
tables are. Read once, into one value.

Does not belong here: what follows from it (`decide.py`), frames (`cleanse.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property

from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.delta.change_feed import CHANGE, HistoryUnavailableError
from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.heads import Head
from lakehouse_assets.core.delta.staging import JOURNAL, Lakehouse
from lakehouse_assets.core.quality.drops import DropVerdict
from lakehouse_assets.core.sources.ingest import entries, entries_after, refuse_short_journal
from lakehouse_assets.core.sources.journal import REFUSED, Content, Entry, by_path
from lakehouse_assets.core.sources.verdicts import recorded_verdicts


@dataclass(frozen=True)
class Known:
    """silver, quarantine, verdicts: the tables as they are. reading: what the run records that it has read. paths: the
    journal of the source by path; affected: those of which it says something that some of the tables lack. recorded:
    every verdict so far. shown: the batch dates that the run shows, as texts. fresh: the entries of the journal that
    the silver table has not consumed; left empty where no drop was refused, for they are not needed then.
    """

    source: Source
    silver: Head
    quarantine: Head
    verdicts: Head
    reading: Consumed
    paths: Mapping[str, list[Entry]]
    affected: frozenset[str]
    recorded: Mapping[Content, DropVerdict]
    shown: frozenset[str]
    fresh: frozenset[Entry] = frozenset()

    @cached_property
    def contents(self) -> dict[Content, date]:
        """What the affected paths have ever said → its batch date."""
        return {e.content: e.batch_date for path in self.affected for e in self.paths[path]}

    @cached_property
    def everything(self) -> bool:
        """Whether all contents of the source are judged again."""
        return len(self.contents) == len({e.content for of_path in self.paths.values() for e in of_path})

    @property
    def owed(self) -> list[str]:
        """Batch dates that have become good and were not shown yet, but for those that this run shows."""
        return [d for d in (self.silver.consumed.unshown if self.silver.consumed else ()) if d not in self.shown]


def read_known(
    lakehouse: Lakehouse, source: Source, *, fingerprint: str, force: bool, days: Collection[date]
) -> Known | None:
    """What is known of a source; None where the journal says nothing new and `force` is not set.

    Raises `DamagedTableError` where the journal or the bronze table lacks what it had.
    """
    silver, quarantine, verdicts = map(lakehouse.head, (source.contract, source.quarantine, source.verdicts))
    heads = (silver, quarantine, verdicts)
    journal_head = lakehouse.upstream_heads([JOURNAL])[JOURNAL]
    shown = frozenset(day.isoformat() for day in days)
    owed = [day for day in (silver.consumed.unshown if silver.consumed else ()) if day not in shown]
    reading = replace(lakehouse.reading(source.contract, fingerprint, {JOURNAL: journal_head}), unshown=owed)
    if not force and not any(lakehouse.is_behind(head, reading) for head in heads):
        return None
    journal = entries(lakehouse, journal_head.version)
    refuse_short_journal(lakehouse, journal)
    lakehouse.refuse_short(source.bronze)
    paths = by_path(e for e in journal if e.source == source.name)
    affected = set(paths) if force else _affected(lakehouse, heads, reading, journal_head, set(paths))
    recorded = recorded_verdicts(lakehouse, source)
    fresh = _fresh(lakehouse, silver, journal) if any(v.verdict == REFUSED for v in recorded.values()) else []
    return Known(
        source,
        silver,
        quarantine,
        verdicts,
        reading,
        paths,
        frozenset(affected),
        recorded,
        shown,
        frozenset(fresh),
    )


def _fresh(lakehouse: Lakehouse, silver: Head, journal: list[Entry]) -> list[Entry]:
    """The entries that the silver table has not consumed; none where that is no longer known."""
    found = entries_after(lakehouse, silver.consumed.upstreams[JOURNAL], journal) if silver.consumed else []
    return found if len(found) < len(journal) else []


def _affected(
    lakehouse: Lakehouse, heads: Iterable[Head], reading: Consumed, journal_head: Head, paths: set[str]
) -> set[str]:
    """The paths of which the journal says something that the table or one of its side tables has not consumed."""
    since = journal_head.data_version
    for head in heads:
        was = head.consumed
        if (
            was is None
            or (was.contract, was.transform) != (reading.contract, reading.transform)
            or dict(was.ids) != dict(reading.ids)
        ):
            return paths
        since = min(since, was.upstreams[JOURNAL])
    try:
        changed = lakehouse.store.changes(lakehouse.spark, JOURNAL, since, journal_head.version)
    except HistoryUnavailableError:
        return paths
    assert changed is not None  # the journal has been changed since, or nothing would be behind
    return {r["path"] for r in changed.where(f"{CHANGE} = 'insert'").select("path").distinct().collect()} & paths
