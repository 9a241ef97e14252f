"""How the landing sensor's runs ended, and when failed work is tried again, in smaller pieces, or given up.

Does not belong here: cutting what is pending into work (`work.py`), requesting runs (`sensor.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cached_property

import dagster as dg

from lakehouse_assets.core.sources.landing import Drop, LandingZone
from lakehouse_assets.orchestration.automation.inflight import TRIGGER_TAG, only_refused, span
from lakehouse_assets.orchestration.automation.pending import Pending, newest_open
from lakehouse_assets.orchestration.automation.work import WORK_TAG, Work

SENSOR = "landing_sensor"

ATTEMPTS = 4
"""How often the same work is tried in all."""

HALVED_AFTER = 2
"""After so many failures the drops of several days are tried in two halves, so that one of them does not hold up the
days of the others.
"""

HOPELESS = 6
"""Where so many runs in a row have failed, whatever they were over, the trouble is no drop, and nothing is halved any
more.
"""

PAUSES = (1, 5, 30)
"""How many of the shortest pauses are waited after the first, the second, and every further failure in a row."""

REMEMBERED_RUNS = 200
"""How many runs of the sensor are looked at to tell what has failed."""

ATTEMPT_TAG = "lakehouse/attempt"


class History:
    """How the runs of this sensor ended, newest first; read when it is first asked for."""

    def __init__(self, instance: dg.DagsterInstance):
        self.instance = instance

    @cached_property
    def runs(self) -> Sequence[dg.RunRecord]:
        return self.instance.get_run_records(dg.RunsFilter(tags={TRIGGER_TAG: SENSOR}), limit=REMEMBERED_RUNS)

    def _failed(self, record: dg.RunRecord) -> bool:
        return record.dagster_run.status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)

    @cached_property
    def _failures(self) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        succeeded: set[str] = set()
        for record in self.runs:
            mark = record.dagster_run.tags.get(WORK_TAG, "")
            if record.dagster_run.status == dg.DagsterRunStatus.SUCCESS:
                succeeded.add(mark)
            elif self._failed(record) and mark not in succeeded:
                counts[mark] = counts.get(mark, 0) + 1
        return counts

    def failures(self, work: Work) -> int:
        """How often this very work has failed since it last succeeded."""
        return self._failures.get(work.mark, 0)

    @cached_property
    def in_a_row(self) -> int:
        """How many runs have failed since one came through, whatever they were over."""
        failed = 0
        for record in self.runs:
            if not self._failed(record) or only_refused(self.instance, record.dagster_run.run_id):
                break
            failed += 1
            if failed == HOPELESS:
                break
        return failed

    def attempt(self, work: Work) -> int:
        """The number of the next run for this work; no two have the same, however long ago the last one was."""
        runs = self.instance.get_runs(dg.RunsFilter(tags={WORK_TAG: work.mark, TRIGGER_TAG: SENSOR}))
        return max((int(run.tags.get(ATTEMPT_TAG, "1")) for run in runs), default=0) + 1

    def not_before(self, work: Work, pause: float) -> float:
        """When a run over these batch dates may start, in seconds since 1970: 0 unless the last ones failed. pause: the
        shortest, in seconds.

        Told by the range, not by the work: while an engine cannot be reached, every new drop would be new work, and a
        run would fail at every tick. A run that failed because a drop was refused has done what it could, and is no
        reason to wait. Failures over a wider range count as one, for this piece of it has not been tried by itself.
        """
        failures, wider = 0, False
        ended = 0.0
        for record in self.runs:
            covered = span(record.dagster_run)
            if covered is None or covered[1] < work.first or work.last < covered[0]:
                continue
            if not self._failed(record) or only_refused(self.instance, record.dagster_run.run_id):
                break
            ended = ended or record.end_time or record.update_timestamp.timestamp()
            if covered[0] < work.first or work.last < covered[1]:
                wider = True
            else:
                failures += 1
            if failures >= len(PAUSES):
                break
        failures += wider
        return ended + pause * PAUSES[min(failures, len(PAUSES)) - 1] if failures else 0.0


def set_aside(found: Pending, history: History, zone: LandingZone) -> tuple[Pending, list[Work]]:
    """What is pending without the days that were given up, and these. Else their drops would fail every run over a
    range that reaches across them.
    """
    days: dict[date, list[Drop]] = {}
    for drop in found.drops:
        days.setdefault(drop.batch_date, []).append(drop)
    given_up = [
        work for day, drops in sorted(days.items()) if history.failures(work := Work.of(day, day, drops)) >= ATTEMPTS
    ]
    if not given_up:
        return found, []
    closed = found.red | {work.first for work in given_up}
    dates = [day for day in found.dates if day not in closed]
    if not dates and (found.behind or found.handoffs):
        dates = [newest_open(found.dates[-1], closed, zone)]
    return (
        replace(found, drops=[d for d in found.drops if d.batch_date not in closed], dates=dates, red=closed),
        given_up,
    )


def in_pieces(work: Work, history: History) -> Iterator[Work]:
    """The work, in halves and halves of halves where it has failed as a whole while other runs come through."""
    halves = work.halves() if history.failures(work) >= HALVED_AFTER and history.in_a_row < HOPELESS else None
    if halves is None:
        yield work
        return
    for half in halves:
        yield from in_pieces(half, history)
