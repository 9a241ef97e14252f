"""The landing sensor: asks what is pending and requests a bounded range run for it, one at a time.

Belongs here: from what is pending and under way to the next run, and when failed work is tried again. Does not belong here: what is pending
(`pending.py`), what a run does.

What is loaded is read from the tables, never from the cursor: a cursor cannot follow how runs end. The cursor only remembers what Snowflake was last
seen to have, so that ticks that find nothing to do do not keep a warehouse awake; lost, it costs one question.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG, MAX_RETRIES_TAG, PRIORITY_TAG

from lakehouse_assets.automation.inflight import TRIGGER_TAG, only_refused, span, takes_in, under_way
from lakehouse_assets.automation.jobs import ASIDE, LOAD_ALL
from lakehouse_assets.automation.pending import Pending, TableNode, pending
from lakehouse_assets.resources.handoff import HandoffResource, served
from lakehouse_assets.resources.lakehouse import LakehouseResource
from lakehouse_assets.sources.landing import Drop

SENSOR = "landing_sensor"
ATTEMPTS = 4
"""How often the same work is tried in all."""
PAUSES = (1, 5, 30)
"""How many of the shortest pauses are waited after the first, the second, and every further run that failed in a row over the same batch dates."""
MAX_DAYS = 366
"""The longest range of one run."""
ASK_SECONDS = 3600
"""How long Snowflake is believed to have what it was last seen to have, while no gold table changes."""
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
    """What is pending, cut into bounded ranges, without what the runs under way will do: they take in the drops of their batch dates, and a table
    that is behind while a run is at work may be brought up to date in a moment."""
    if runs:
        drops = [d for d in found.drops if not any(takes_in(run, d.batch_date) for run in runs)]
        found = replace(found, drops=drops, behind={}, handoffs={}, dates=sorted({d.batch_date for d in drops}))
    tables = [f"{name}:{why}" for name, why in sorted({**found.behind, **found.handoffs}.items())]
    work = []
    for first, last in _bounded(found.stretches()):
        inside = tuple(d for d in found.drops if first <= d.batch_date <= last)
        said = [str(first), str(last), *sorted(f"{d.path}@{d.content_hash}" for d in inside), *tables]
        work.append(Work(first, last, inside, hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]))
    return work


def _bounded(stretches: Sequence[tuple[date, date]]) -> Iterator[tuple[date, date]]:
    for first, last in stretches:
        while first <= last:
            end = min(last, first + timedelta(days=MAX_DAYS - 1))
            yield first, end
            first = end + timedelta(days=1)


def tried(instance: dg.DagsterInstance, work: Work) -> int:
    """How often this very work has been requested before."""
    runs = instance.get_runs(dg.RunsFilter(job_name=LOAD_ALL, tags={WORK_TAG: work.mark}))
    return max((int(run.tags.get(ATTEMPT_TAG, "1")) for run in runs), default=0)


def not_before(instance: dg.DagsterInstance, work: Work, pause: float) -> float:
    """When a run over these batch dates may start, in seconds since 1970: 0 unless the last ones failed. pause: the shortest, in seconds.

    Told by the range, not by the work: while an account cannot be reached, every new drop would be new work, and a run would fail at every tick.
    A run that failed because a drop was refused has done what it could, and is no reason to wait.
    """
    records = instance.get_run_records(dg.RunsFilter(job_name=LOAD_ALL, tags={TRIGGER_TAG: SENSOR}), limit=len(PAUSES) * 4)
    failures = 0
    ended = 0.0
    for record in records:
        covered = span(record.dagster_run)
        if covered is None or covered[1] < work.first or work.last < covered[0]:
            continue
        failed = record.dagster_run.status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
        if not failed or only_refused(instance, record.dagster_run.run_id):
            break
        ended = ended or record.end_time or record.update_timestamp.timestamp()
        failures += 1
    return ended + pause * PAUSES[min(failures, len(PAUSES)) - 1] if failures else 0.0


class SnowflakeMemory:
    """What Snowflake was last seen to have, as a text for a cursor."""

    def __init__(self, cursor: str | None):
        try:
            said = json.loads(cursor or "{}")
        except ValueError:
            said = {}
        self.seen: dict[str, list] = said.get("seen", {})
        self.asked: float = said.get("asked", 0.0)

    def behind(self, lakehouse: LakehouseResource, handoff: HandoffResource) -> dict[str, str]:
        """Snowflake table → why it is behind; asked of Snowflake only where a gold table has changed or the answer is old."""
        store = lakehouse.lakehouse.store
        heads = {c.name: store.head(c.name) for c in served().values()}
        now = {name: [head.data_version, head.table_id] for name, head in heads.items() if head}
        if now == self.seen and time.time() - self.asked < ASK_SECONDS:
            return {}
        with handoff.open() as open_handoff:
            behind = handoff.behind(open_handoff)
        self.seen, self.asked = ({}, 0.0) if behind else (now, time.time())
        return behind

    def text(self) -> str:
        return json.dumps({"seen": self.seen, "asked": self.asked})


def landing_sensor(graph: Mapping[str, TableNode], pause: float) -> dg.SensorDefinition:
    """Requests runs for what is pending. pause: how many seconds are waited after a run that failed; after several in a row, longer."""

    @dg.sensor(
        name=SENSOR,
        job_name=LOAD_ALL,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Loads what lands: new, corrected and late drops, and tables that a died run left behind. One run at a time; failed work comes "
        f"again with growing pauses, {ATTEMPTS} times in all.",
    )
    def sensor(context: dg.SensorEvaluationContext, lakehouse: LakehouseResource, handoff: HandoffResource) -> dg.SensorResult:
        runs = under_way(context.instance, ASIDE)
        loading = next((run for run in runs if run.job_name == LOAD_ALL), None)
        if loading:
            return dg.SensorResult(skip_reason=f"Run {loading.run_id[:8]} is loading; what it leaves pending is taken up at the next tick.")
        memory = SnowflakeMemory(context.cursor)
        behind = {} if runs else memory.behind(lakehouse, handoff)
        found = pending(lakehouse.lakehouse, lakehouse.zone, graph, behind, lakehouse.customers)
        said = []
        for work in open_work(found, runs):
            attempt = tried(context.instance, work) + 1
            if attempt > ATTEMPTS:
                said.append(
                    f"Batch dates {work.first} to {work.last}: tried {ATTEMPTS} times; see why its runs failed, then materialise it by hand."
                )
                continue
            wait = not_before(context.instance, work, pause) - time.time()
            if wait > 0:
                said.append(f"Batch dates {work.first} to {work.last}: the last run failed; the next one starts in {wait:.0f} s.")
                continue
            # This sensor tries again by itself, and knows what is left to be done; a retry of the daemon would do it once more.
            tags = {**work.tags(SENSOR), ATTEMPT_TAG: str(attempt), MAX_RETRIES_TAG: "0"}
            return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"{work.mark}-{attempt}", tags=tags)], cursor=memory.text())
        if found.refused:
            said.append(f"{len(found.refused)} refused drops wait for their correction.")
        if found.unavailable:
            said.append(found.unavailable)
        if found.refused_names:
            said.append(f"{len(found.refused_names)} files are not taken in because of the date in their name.")
        return dg.SensorResult(skip_reason=" ".join(said) or "Nothing to do.", cursor=memory.text())

    return sensor
