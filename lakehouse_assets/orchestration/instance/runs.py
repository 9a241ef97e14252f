"""Runs that this process creates and executes itself, and that the UI can take up again.

What belongs here: one run over a range of partitions, from its record in the instance to its result. What does not:
which ranges and assets are run, how progress is shown, and runs that the daemon or the UI launches.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from dagster import (
    AssetCheckEvaluation,
    AssetKey,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    Definitions,
    JobDefinition,
)

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.instance.processes import RunProcess, in_process_executor
from lakehouse_assets.orchestration.internals.runs import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    MAX_RETRIES_TAG,
    ExecutionPlan,
    InMemoryJob,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
    RunFailureReason,
    SerializableErrorInfo,
    copy,
    create_execution_plan,
    execute_run_iterator,
    location_origin_from_module_name,
    make_new_run_id,
    not_none,
    snapshot_from_execution_plan,
)

StepKind = Literal["start", "success", "failure", "skipped", "retry"]

_KINDS: Mapping[DagsterEventType, StepKind] = {
    DagsterEventType.STEP_START: "start",
    DagsterEventType.STEP_SUCCESS: "success",
    DagsterEventType.STEP_FAILURE: "failure",
    DagsterEventType.STEP_SKIPPED: "skipped",
    DagsterEventType.STEP_UP_FOR_RETRY: "retry",
}

_SILENT = {"console": {"config": {"log_level": "CRITICAL"}}}


@dataclass(frozen=True)
class StepProgress:
    """A step has started or come to its end. `seconds` is its duration, known at success only."""

    kind: StepKind
    step_key: str
    asset_keys: tuple[AssetKey, ...]
    seconds: float | None


@dataclass(frozen=True)
class StepFailure:
    """A step that failed: `message` is what the innermost error says, with its class; `detail` the whole text with
    traceback.
    """

    step_key: str
    message: str
    detail: str


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `error` is set where it failed outside any step, as when a resource could not be opened;
    `materialized` is what each asset said of itself, all partitions together; where they differ, the last one counts.
    """

    run_id: str
    success: bool
    status: DagsterRunStatus
    failed_steps: tuple[StepFailure, ...]
    checks: tuple[AssetCheckEvaluation, ...]
    error: str | None
    materialized: Mapping[AssetKey, Mapping[str, Any]]


def execute_range(
    instance: DagsterInstance,
    *,
    job_name: str,
    asset_keys: Sequence[AssetKey] | None,
    start_key: str,
    end_key: str,
    run_config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    defs: Definitions,
    location_name: str = "lakehouse_assets",
    module: str = "lakehouse_assets.definitions",
    observer: Callable[[StepProgress], None] | None = None,
    echo: bool = False,
) -> RunResult:
    """Create a run of `job_name` over the partitions from `start_key` to `end_key`, both included, and execute it in
    this process with the definitions `defs`.

    The run is recorded as one of the code location `location_name`, so that a UI that has loaded this location can
    re-execute it, whole or from failure. It is tagged with this process, by which `sweep.py` finds it should the
    process die. It is never retried by the daemon: whoever ran the command has its result.

    asset_keys: the assets of the job to materialise, with those of their checks that the job holds; None for all of
    them. observer: called when a step starts or ends. Meanwhile Dagster directs the file descriptors 1 and 2 to the
    run's compute log and copies them back with a delay, so an observer that draws on the terminal needs a descriptor of
    its own (`os.dup` before the run). echo: whether Dagster's log also goes to the standard error of this process; the
    instance holds it in any case.

    Raises `LakehouseError` where there is no such job, or it does not hold one of the assets, and `KeyboardInterrupt`
    where the user interrupted the run; it has been recorded as failed.
    """
    job = _job(defs, job_name, module)
    asked = {
        **(tags or {}),
        ASSET_PARTITION_RANGE_START_TAG: start_key,
        ASSET_PARTITION_RANGE_END_TAG: end_key,
    }
    origin = job_origin(defs, job_name, location_name, module)
    run, plan = _create_run(instance, job, _selection(job, asset_keys), run_config, asked, origin)
    # Only for this execution: the recorded run keeps the configuration it was given, and the UI re-executes it with
    # that one.
    executed = run if echo else copy(run, run_config={"loggers": _SILENT, **run.run_config})
    heard = _Heard()
    with closing(cast(Generator[DagsterEvent], execute_run_iterator(InMemoryJob(job), executed, instance))) as events:
        for event in events:
            heard.take(event)
            if observer and (kind := _KINDS.get(event.event_type)):
                observer(_progress(kind, event, plan))
    if heard.interrupted:
        raise KeyboardInterrupt
    return heard.result(not_none(instance.get_run_by_id(run.run_id)))


@dataclass
class _Heard:
    """What the events of a run have said so far."""

    failed_steps: list[StepFailure] = field(default_factory=list)
    checks: list[AssetCheckEvaluation] = field(default_factory=list)
    materialized: dict[AssetKey, Mapping[str, Any]] = field(default_factory=dict)
    error: str | None = None
    interrupted: bool = False

    def take(self, event: DagsterEvent) -> None:
        if event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            self.checks.append(event.asset_check_evaluation_data)
        elif event.is_step_materialization and event.asset_key:
            said = event.step_materialization_data.materialization.metadata
            self.materialized[event.asset_key] = {
                **self.materialized.get(event.asset_key, {}),
                **{k: v.value for k, v in said.items()},
            }
        elif event.is_step_failure:
            self.failed_steps.append(_step_failure(event))
        elif event.is_run_failure:
            data = event.job_failure_data
            self.interrupted = data.failure_reason == RunFailureReason.UNEXPECTED_TERMINATION
            self.error = what_failed(data.error) or None

    def result(self, run: DagsterRun) -> RunResult:
        """The result of that run, as it is recorded at its end."""
        return RunResult(
            run.run_id,
            run.status == DagsterRunStatus.SUCCESS,
            run.status,
            tuple(self.failed_steps),
            tuple(self.checks),
            self.error,
            self.materialized,
        )


def _job(defs: Definitions, name: str, module: str) -> JobDefinition:
    repository = defs.get_repository_def()
    if not repository.has_job(name):
        raise LakehouseError(
            f"There is no job {name!r} in {module}: choose one of {', '.join(sorted(repository.job_names))}."
        )
    return repository.get_job(name).with_executor_def(in_process_executor)


def _create_run(
    instance: DagsterInstance,
    job: JobDefinition,
    selection: frozenset[AssetKey] | None,
    run_config: Mapping[str, Any] | None,
    tags: Mapping[str, str],
    origin: RemoteJobOrigin,
) -> tuple[DagsterRun, ExecutionPlan]:
    """Record a run of a job, tagged with this process. selection: of its assets; None for all of them."""
    # Without naming the checks, a selection would bring those that the job leaves out.
    checked = (
        frozenset(key for key in job.asset_layer.asset_graph.asset_check_keys if key.asset_key in selection)
        if selection
        else None
    )
    selected = job.get_subset(asset_selection=selection, asset_check_selection=checked) if selection else job
    run_id = make_new_run_id()
    all_tags = {**job.run_tags, MAX_RETRIES_TAG: "0", **tags, **RunProcess.current(run_id).tags()}
    plan = create_execution_plan(selected, run_config=run_config, instance_ref=instance.get_ref(), tags=all_tags)
    # What `create_run_for_job` does, which takes no selection of checks.
    run = instance.create_run(
        job_name=job.name,
        run_id=run_id,
        run_config=run_config,
        status=None,
        tags=all_tags,
        root_run_id=None,
        parent_run_id=None,
        step_keys_to_execute=plan.step_keys_to_execute,
        execution_plan_snapshot=snapshot_from_execution_plan(plan, selected.get_job_snapshot_id()),
        job_snapshot=selected.get_job_snapshot(),
        parent_job_snapshot=selected.get_parent_job_snapshot(),
        asset_selection=selection,
        asset_check_selection=checked,
        resolved_op_selection=None,
        op_selection=None,
        remote_job_origin=origin,
        job_code_origin=None,
        asset_graph=selected.asset_layer.asset_graph,
    )
    return run, plan


def job_origin(defs: Definitions, job_name: str, location_name: str, module: str) -> RemoteJobOrigin:
    """Where Dagster's servers find a job: the origin that a workspace makes of an entry with this `python_module` and
    `location_name`, of which they compare the names of location, repository and job. No code server is asked.
    """
    location = location_origin_from_module_name(
        module, attribute=None, working_directory=None, location_name=location_name
    )
    return RemoteRepositoryOrigin(location, defs.get_repository_def().name).get_job_origin(job_name)


def _selection(job: JobDefinition, asset_keys: Sequence[AssetKey] | None) -> frozenset[AssetKey] | None:
    if asset_keys is None:
        return None
    missing = sorted(key.to_user_string() for key in set(asset_keys) - job.asset_layer.selected_asset_keys)
    if missing:
        raise LakehouseError(
            f"The job {job.name!r} does not hold {', '.join(missing)}: select among its assets, or choose another job."
        )
    return frozenset(asset_keys)


def _progress(kind: StepKind, event: DagsterEvent, plan: ExecutionPlan) -> StepProgress:
    step_key = not_none(event.step_key)
    properties = (output.properties for output in plan.get_step_by_key(step_key).step_outputs)
    asset_keys = tuple(its.asset_key for its in properties if its.asset_key)
    seconds = event.step_success_data.duration_ms / 1000 if kind == "success" else None
    return StepProgress(kind, step_key, asset_keys, seconds)


def _step_failure(event: DagsterEvent) -> StepFailure:
    data = event.step_failure_data
    return StepFailure(not_none(event.step_key), what_failed(data.error), data.error_display_string)


def what_failed(error: SerializableErrorInfo | None) -> str:
    """What the innermost error of a step says: with its class, unless it was raised to tell a person something."""
    while error and error.cause and (error.cls_name or "").startswith("Dagster"):
        error = error.cause  # Dagster wraps what the step raised; what that one was raised from is for the traceback
    said = error.message.strip() if error else ""
    return said.partition(": ")[2] if error and error.cls_name == "Failure" else said
