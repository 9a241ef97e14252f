"""The landing sensor: asks what is pending and requests a bounded range run for it, one at a time.

Belongs here: from what is pending and under way to the next run, and when failed work is tried again, in smaller
pieces, or given up. Does not belong here: what is pending (`pending.py`), what a run does.

What is loaded is read from the tables, never from the cursor: a cursor cannot follow how runs end. The cursor remembers
what Snowflake was last seen to have, so that ticks that find nothing to do do not keep a warehouse awake, and what a
person should know, for the watch (`alerts.py`). Lost, it costs one question.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import RunRecord
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    MAX_RETRIES_TAG,
    PRIORITY_TAG,
)

from lakehouse_assets.core.sources.landing import Drop, LandingZone
from lakehouse_assets.errors import AccountUnavailableError
from lakehouse_assets.orchestration.automation.inflight import TRIGGER_TAG, only_refused, span, takes_in, under_way
from lakehouse_assets.orchestration.automation.jobs import ASIDE, LAKEHOUSE_ONLY, LOAD_ALL
from lakehouse_assets.orchestration.automation.pending import Pending, TableNode, newest_open, pending
from lakehouse_assets.orchestration.resources.handoff_resource import HandoffResource, served
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource

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
MAX_DAYS = 366
"""The longest range of one run."""
ASK_SECONDS = 3600
"""How long Snowflake is believed to have what it was last seen to have, while no gold table changes."""
REMEMBERED_RUNS = 200
"""How many runs of the sensor are looked at to tell what has failed."""
WORK_TAG = "lakehouse/work"
ATTEMPT_TAG = "lakehouse/attempt"
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


class History:
    """How the runs of this sensor ended, newest first; read when it is first asked for."""

    def __init__(self, instance: dg.DagsterInstance):
        self.instance = instance

    @cached_property
    def runs(self) -> Sequence[RunRecord]:
        return self.instance.get_run_records(dg.RunsFilter(tags={TRIGGER_TAG: SENSOR}), limit=REMEMBERED_RUNS)

    def _failed(self, record: RunRecord) -> bool:
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


class Memory:
    """What the cursor holds: what Snowflake was last seen to have, since when it cannot be reached and why, and what
    was given up.
    """

    def __init__(self, cursor: str | None):
        held, self.lost = cursor_object(cursor)
        """Why the cursor could not be read; everything is then looked at anew. None where it could."""
        self.seen: dict[str, list] = {}
        self.asked: float = 0.0
        self.unreachable: str = ""
        self.in_vain: int = 0
        """How often it was asked since it last answered."""
        self.given_up: dict[str, str] = {}
        """Range of batch dates → one sentence."""
        wrong = [
            name
            for name, usual in vars(self).items()
            if name in held and not isinstance(held[name], _LIKE[type(usual)])
        ]
        if wrong:
            self.lost = f"The cursor holds no usable {', '.join(sorted(wrong))}; it is started over."
        else:
            vars(self).update({name: held[name] for name in vars(self).keys() & held.keys() - {"lost"}})

    def behind(self, lakehouse: LakehouseResource, handoff: HandoffResource, pause: float) -> dict[str, str]:
        """Snowflake table → why it is behind; asked of Snowflake only where a gold table has changed or the answer is
        old.

        Nothing where it cannot be reached: `unreachable` then says why. It is asked again with growing pauses, for
        whoever calls at every tick with a password that has expired locks the user.
        """
        if self.unreachable and time.time() - self.asked < pause * PAUSES[min(self.in_vain, len(PAUSES)) - 1]:
            return {}
        store = lakehouse.lakehouse.store
        heads = {c.name: store.head(c.name) for c in served().values()}
        now = {name: [head.data_version, head.table_id] for name, head in heads.items() if head}
        if not self.unreachable and now == self.seen and time.time() - self.asked < ASK_SECONDS:
            return {}
        try:
            with handoff.open() as open_handoff:
                behind = handoff.behind(open_handoff)
        except AccountUnavailableError as error:
            self.unreachable, self.in_vain, self.asked = str(error), self.in_vain + 1, time.time()
            return {}
        self.unreachable, self.in_vain = "", 0
        self.seen, self.asked = ({}, 0.0) if behind else (now, time.time())
        return behind

    def text(self) -> str:
        return json.dumps({name: value for name, value in vars(self).items() if name != "lost"})


_LIKE: Mapping[type, tuple[type, ...]] = {dict: (dict,), float: (int, float), int: (int,), str: (str,), type(None): ()}
"""What a value of the cursor may be, by what it is at first."""


def cursor_object(cursor: str | None) -> tuple[dict[str, Any], str | None]:
    """The JSON object in a cursor, and why there is none: a cursor can be set by hand, to anything."""
    try:
        held = json.loads(cursor or "{}")
    except (ValueError, RecursionError):
        held = None
    if not isinstance(held, dict):
        return {}, "The cursor is no JSON object; it is started over."
    return held, None


def landing_sensor(graph: Mapping[str, TableNode], pause: float, jobs: Mapping[str, Any]) -> dg.SensorDefinition:
    """Requests runs for what is pending. pause: how many seconds are waited after a run that failed; after several in a
    row, longer. jobs: by name.
    """

    @dg.sensor(
        name=SENSOR,
        jobs=[jobs[LOAD_ALL], jobs[LAKEHOUSE_ONLY]],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            "Loads what lands: new, corrected and late drops, and tables that a died run left behind. One run at a"
            f" time; failed work comes again with growing pauses, {ATTEMPTS} times in all, and in halves where it spans"
            " several days. Without Snowflake, as far as gold."
        ),
    )
    def sensor(
        context: dg.SensorEvaluationContext, lakehouse: LakehouseResource, handoff: HandoffResource
    ) -> dg.SensorResult:
        runs = under_way(context.instance, ASIDE)
        loading = next((run for run in runs if run.job_name in (LOAD_ALL, LAKEHOUSE_ONLY)), None)
        if loading:
            return dg.SensorResult(
                skip_reason=f"Run {loading.run_id[:8]} is loading; what it leaves pending is taken up at the next tick."
            )
        memory, history = Memory(context.cursor), History(context.instance)
        if memory.lost:
            context.log.warning(memory.lost)
        behind = {} if runs else memory.behind(lakehouse, handoff, pause)
        found = pending(lakehouse.lakehouse, lakehouse.zone, graph, behind, lakehouse.customers)
        rest, given_up = set_aside(found, history, lakehouse.zone)
        said, ready = [], None
        for work in (piece for whole in open_work(rest, runs) for piece in in_pieces(whole, history)):
            wait = history.not_before(work, pause) - time.time()
            if history.failures(work) >= ATTEMPTS:
                given_up.append(work)
            elif wait > 0:
                said.append(
                    f"Batch dates {work.first} to {work.last}: the last run failed; the next one starts in"
                    f" {wait:.0f} s."
                )
            else:
                ready = ready or work
        memory.given_up = {
            f"{work.first}/{work.last}": (
                f"Batch dates {work.first} to {work.last}: tried {ATTEMPTS} times; see why its runs failed, then "
                "materialise it by hand."
            )
            for work in given_up
        }
        said = [*memory.given_up.values(), *said]
        if memory.unreachable:
            said.append(f"{memory.unreachable} The lakehouse is loaded meanwhile, and handed off once it can be.")
        if rejected := len(found.refused) + len(found.unreadable):
            said.append(f"{rejected} drops that are refused or cannot be read wait for their correction.")
        if found.unavailable:
            said.append(found.unavailable)
        if found.refused_names:
            said.append(f"{len(found.refused_names)} files are not taken in; `lakehouse status` says why.")
        if ready is None:
            return dg.SensorResult(skip_reason=" ".join(said) or "Nothing to do.", cursor=memory.text())
        for sentence in said:
            context.log.warning(sentence)
        attempt = history.attempt(ready)
        # This sensor tries again by itself, and knows what is left to be done; a retry of the daemon would do it once
        # more.
        tags = {**ready.tags(SENSOR), ATTEMPT_TAG: str(attempt), MAX_RETRIES_TAG: "0"}
        job = LAKEHOUSE_ONLY if memory.unreachable else LOAD_ALL
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_key=f"{ready.mark}-{attempt}", job_name=job, tags=tags)],
            cursor=memory.text(),
        )

    return sensor
