"""Clearing up after runs whose process is gone.

What belongs here: finding such runs and closing their record. What does not: repairing data, for which nothing is
needed (a table knows what it has consumed), and runs whose process still lives, however slow it is.

Dagster notices a lost run only while the code server that launched it lives, and a command has none: after `kill -9` or
a power cut the run would be shown as running for ever, would count against the limit of concurrent runs, and would hold
the slots of its pools, on which the next run waits without end.
"""

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from lakehouse_assets.orchestration.instance.processes import RunProcess
from lakehouse_assets.orchestration.internals.runs import JobFailureData, RunFailureReason

# A queued run has no process yet.
_UNFINISHED = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def sweep_dead_runs(instance: DagsterInstance) -> list[str]:
    """Report as failed every unfinished run whose process is known to have ended, free its slots, and return the ids of
    these runs.

    Runs are known by the tag that `execute_range` and `in_process_executor` put on them; runs without it, and runs of
    other machines and containers, are left alone. Meant for the start of every command and of the servers; any number
    of processes may do it at once.
    """
    swept = []
    for found in instance.get_runs(RunsFilter(statuses=_UNFINISHED)):
        of_run = RunProcess.of_run(found.run_id, found.tags)
        if of_run is None or not of_run.is_gone():
            continue
        run = instance.get_run_by_id(found.run_id)
        if run is None or run.is_finished:  # it came to its end between the two looks
            continue
        # The slots first: killed after the report, this process would leave them taken by a run that nobody looks at
        # again.
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        message = (
            f"The process of this run, {of_run.process.pid} on {of_run.process.host}, ended without reporting its end."
        )
        if run.status == DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message)
        else:
            instance.report_run_failed(
                run, message, JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION)
            )
        swept.append(run.run_id)
    return swept
