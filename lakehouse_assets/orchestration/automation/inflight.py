"""What the instance knows of runs that bring tables up to date: which are under way, what they will take in, how they
ended.

Belongs here: questions to Dagster's records that sensors, schedules and alerts ask alike. Does not belong here: what is
pending, which is read from tables (`pending.py`), and closing runs whose process is gone
(`orchestration/instance/sweep.py`, called here because such a run is not under way).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

import dagster as dg

from lakehouse_assets.core.names import layer_of
from lakehouse_assets.orchestration.instance.runs import what_failed
from lakehouse_assets.orchestration.instance.sweep import sweep_dead_runs
from lakehouse_assets.orchestration.internals.runs import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)
from lakehouse_assets.orchestration.keys import table_of_step

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
TRIGGER_TAG = "lakehouse/trigger"


def under_way(instance: dg.DagsterInstance, aside: Collection[str] = ()) -> list[dg.DagsterRun]:
    """Runs that have not come to their end, without those of the jobs `aside`. Runs whose process is gone are closed
    first.
    """
    found = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    if found and sweep_dead_runs(instance):
        found = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    return [run for run in found if run.job_name not in aside]


def span(run: dg.DagsterRun) -> tuple[date, date] | None:
    """The first and the last batch date of a run; None for a run over no partition."""
    first = run.tags.get(ASSET_PARTITION_RANGE_START_TAG) or run.tags.get(PARTITION_NAME_TAG)
    last = run.tags.get(ASSET_PARTITION_RANGE_END_TAG) or run.tags.get(PARTITION_NAME_TAG)
    return (date.fromisoformat(first), date.fromisoformat(last)) if first and last else None


def takes_in(run: dg.DagsterRun, day: date) -> bool:
    """Whether the run brings the drops of a batch date into bronze."""
    covered = span(run)
    reads_drops = run.asset_selection is None or any(key.path[0] == "bronze" for key in run.asset_selection)
    return reads_drops and covered is not None and covered[0] <= day <= covered[1]


def step_failures(instance: dg.DagsterInstance, run_id: str) -> dict[str, str]:
    """Failed step → what its error says, in one line."""
    found = {}
    for record in instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records:
        event = record.event_log_entry.get_dagster_event()
        found[event.step_key or ""] = " ".join(what_failed(event.step_failure_data.error).split())
    return found


def only_refused(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a failed run failed because drops were refused and for nothing else: what could be loaded has been, and
    the rest is for a person.
    """
    failures = step_failures(instance, run_id)
    return bool(failures) and all(is_refusal(step, said) for step, said in failures.items())


def is_refusal(step: str, message: str) -> bool:
    """Whether a step failed because of refused drops alone: the gate of a silver table blocked."""
    return layer_of(table_of_step(step)) == "silver" and "AssetCheckFailedError" in message
