"""Which process executes a run, and whether it still lives.

What belongs here: writing that down as a run tag, reading it back, asking the operating system. What does not: what follows for the run, see `sweep.py`.
"""

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil
from dagster import Executor, InitExecutorContext, executor
from dagster import in_process_executor as stock_in_process_executor
from dagster._core.definitions.executor_definition import IN_PROC_CONFIG
from dagster._core.events import DagsterEvent
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.executor.in_process import InProcessExecutor

PROCESS_TAG = "lakehouse/process"

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")


class RunProcess(NamedTuple):
    """The process that executes a run: its host, what its id means something in, its id there, and when it started, by which it differs from a later process
    of the same id."""

    run_id: str
    host: str
    realm: str
    pid: int
    started: str

    @classmethod
    def current(cls, run_id: str) -> "RunProcess":
        """This process, as the one that executes `run_id`."""
        process = psutil.Process()
        return cls(run_id, socket.gethostname(), _realm(), process.pid, _started(process))

    @classmethod
    def of_run(cls, run_id: str, tags: Mapping[str, str]) -> "RunProcess | None":
        """The process that a run's tags name; None where there is no such tag, or where it is another run's: Dagster hands the tags of a run on to its
        re-executions, which other processes execute."""
        fields: dict[str, str] = dict(field.split("=", 1) for field in tags.get(PROCESS_TAG, "").split())
        if fields.get("run") != run_id:
            return None
        return cls(run_id, fields["host"], fields.get("realm", ""), int(fields["pid"]), fields["started"])

    def tags(self) -> dict[str, str]:
        """The run tag that `of_run` reads."""
        return {PROCESS_TAG: f"host={self.host} realm={self.realm} pid={self.pid} started={self.started} run={self.run_id}"}

    def is_gone(self) -> bool:
        """Whether the process is known to have ended. Of another machine or container that is not known, so False: `max_runtime_seconds` in `deploy/` ends such a
        run at last. A host that has meanwhile got another name is still the same one, and none of its processes has survived a restart."""
        here = _realm()
        if self.realm != here:
            restarted = self.realm.partition("/")[0] != here.partition("/")[0]
            return self.host == socket.gethostname() and restarted
        try:
            process = psutil.Process(self.pid)
            return process.status() == psutil.STATUS_ZOMBIE or _started(process) != self.started
        except psutil.NoSuchProcess:
            return True


def _realm() -> str:
    """Where process ids are unique: this boot of this machine and, as containers share both, this namespace of process ids. Elsewhere than on Linux, this host."""
    if _BOOT_ID.exists():
        return f"{_BOOT_ID.read_text().strip()}/{_PID_NAMESPACE.readlink().as_posix()}"
    return socket.gethostname()


def _started(process: psutil.Process) -> str:
    """When a process started, in a form that stays the same for as long as it lives."""
    if _BOOT_ID.exists():
        # Wall-clock start times move whenever Linux sets its clock, and a running process would be taken for a dead one; ticks since boot do not.
        try:
            return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
        except (FileNotFoundError, ProcessLookupError) as error:
            raise psutil.NoSuchProcess(process.pid) from error
    return f"{process.create_time():.2f}"


class _TaggingExecutor(InProcessExecutor):
    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        plan_context.instance.add_run_tags(plan_context.run_id, RunProcess.current(plan_context.run_id).tags())
        yield from super().execute(plan_context, execution_plan)


@executor(name="in_process", config_schema=IN_PROC_CONFIG)
def in_process_executor(init_context: InitExecutorContext) -> Executor:
    """Executes all steps in the process of the run, and tags the run with that process, whoever launched it."""
    stock = stock_in_process_executor.executor_creation_fn(init_context)  # pyright: ignore[reportOptionalCall]
    return _TaggingExecutor(retries=stock.retries, step_dependency_config=stock.step_dependency_config)
