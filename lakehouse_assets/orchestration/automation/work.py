"""What one run is to do, as values: bounded ranges of what is pending, which no run under way will do.

Does not belong here: what is pending (`pending.py`), how often it was tried (`attempts.py`).
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import dagster as dg

from lakehouse_assets.core.sources.landing import Drop
from lakehouse_assets.orchestration.automation.inflight import TRIGGER_TAG, takes_in
from lakehouse_assets.orchestration.automation.pending import Pending
from lakehouse_assets.orchestration.internals.runs import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PRIORITY_TAG,
)

MAX_DAYS = 366
"""The longest range of one run."""

WORK_TAG = "lakehouse/work"

PRIORITY = "5"
"""Above backfills, which have 0."""


@dataclass(frozen=True)
class Work:
    """What one run is to do: the drops of a range of batch dates, and whatever tables are behind."""

    first: date
    last: date
    drops: tuple[Drop, ...]
    mark: str
    """The same work has the same mark, other work another."""

    @classmethod
    def of(cls, first: date, last: date, drops: Sequence[Drop], tables: Sequence[str] = ()) -> "Work":
        """tables: which are behind and why. They make no difference to drops that are still to be taken in, for those
        fail before any table is.
        """
        content = sorted(f"{d.path}@{d.content_hash}" for d in drops) or tables
        return cls(
            first,
            last,
            tuple(drops),
            hashlib.sha256("\n".join([str(first), str(last), *content]).encode()).hexdigest()[:16],
        )

    def halves(self) -> "tuple[Work, Work] | None":
        """The same drops in two parts by their days; None where they are of one day."""
        days = sorted({d.batch_date for d in self.drops})
        if len(days) < 2:
            return None
        middle = days[len(days) // 2]
        early, late = (
            [d for d in self.drops if d.batch_date < middle],
            [d for d in self.drops if d.batch_date >= middle],
        )
        return Work.of(days[0], max(d.batch_date for d in early), early), Work.of(middle, days[-1], late)

    def tags(self, trigger: str) -> dict[str, str]:
        """The tags of a run that does this; `trigger` says what requested it."""
        return {
            ASSET_PARTITION_RANGE_START_TAG: self.first.isoformat(),
            ASSET_PARTITION_RANGE_END_TAG: self.last.isoformat(),
            TRIGGER_TAG: trigger,
            "lakehouse/sources": ",".join(sorted({d.source for d in self.drops})) or "none",
            "lakehouse/drops": str(len(self.drops)),
            "lakehouse/span": f"{self.first}/{self.last}",
            WORK_TAG: self.mark,
            PRIORITY_TAG: PRIORITY,
        }


def open_work(found: Pending, runs: Sequence[dg.DagsterRun]) -> list[Work]:
    """What is pending, cut into bounded ranges, without what the runs under way will do: they take in the drops of
    their batch dates, and a table that is behind while a run is at work may be brought up to date in a moment.
    """
    if runs:
        drops = [d for d in found.drops if not any(takes_in(run, d.batch_date) for run in runs)]
        found = replace(found, drops=drops, behind={}, handoffs={}, dates=sorted({d.batch_date for d in drops}))
    tables = [f"{name}:{why}" for name, why in sorted({**found.behind, **found.handoffs}.items())]
    return [
        Work.of(first, last, [d for d in found.drops if first <= d.batch_date <= last], tables)
        for first, last in _bounded(found.stretches())
    ]


def _bounded(stretches: Sequence[tuple[date, date]]) -> Iterator[tuple[date, date]]:
    for first, last in stretches:
        while first <= last:
            end = min(last, first + timedelta(days=MAX_DAYS - 1))
            yield first, end
            first = end + timedelta(days=1)
