"""Which process executes a run, and whether it still lives.

What belongs here: writing that down as a run tag and reading it back. What does not: what follows for the run, see
`sweep.py`; whether a process lives, see `lakehouse_assets/processes.py`.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from dagster import DagsterEvent, Executor, InitExecutorContext, executor
from dagster import in_process_executor as stock_in_process_executor

from lakehouse_assets.orchestration.internals.runs import (
    IN_PROC_CONFIG,
    ExecutionPlan,
    InProcessExecutor,
    PlanOrchestrationContext,
)
from lakehouse_assets.processes import ProcessIdentity

PROCESS_TAG = "lakehouse/process"


class RunProcess(NamedTuple):
    """The process that executes a run."""

    run_id: str
    process: ProcessIdentity

    @classmethod
    def current(cls, run_id: str) -> "RunProcess":
        """This process, as the one that executes `run_id`."""
        return cls(run_id, ProcessIdentity.current())

    @classmethod
    def of_run(cls, run_id: str, tags: Mapping[str, str]) -> "RunProcess | None":
        """The process that a run's tags name; None where there is no such tag, or where it is another run's: Dagster
        hands the tags of a run on to its re-executions, which other processes execute.
        """
        fields: dict[str, str] = dict(field.split("=", 1) for field in tags.get(PROCESS_TAG, "").split())
        return cls(run_id, ProcessIdentity.read(fields)) if fields.get("run") == run_id else None

    def tags(self) -> dict[str, str]:
        """The run tag that `of_run` reads."""
        return {PROCESS_TAG: f"{self.process.text} run={self.run_id}"}

    def is_gone(self) -> bool:
        """Whether the process is known to have ended. Of another machine or container that is not known, so False:
        `max_runtime_seconds` in `deploy/` ends such a run at last.
        """
        return self.process.is_gone() is True


class _TaggingExecutor(InProcessExecutor):
    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        plan_context.instance.add_run_tags(plan_context.run_id, RunProcess.current(plan_context.run_id).tags())
        yield from super().execute(plan_context, execution_plan)


@executor(name="in_process", config_schema=IN_PROC_CONFIG)
def in_process_executor(init_context: InitExecutorContext) -> Executor:
    """Executes all steps in the process of the run, and tags the run with that process, whoever launched it."""
    stock = stock_in_process_executor.executor_creation_fn(init_context)  # pyright: ignore[reportOptionalCall]
    return _TaggingExecutor(retries=stock.retries, step_dependency_config=stock.step_dependency_config)
