"""The queue as either deployment sets it: Dagster's own daemon decides what goes next. No process is started; what it
would launch stays as launched.
"""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import yaml
from dagster import DagsterEvent, DagsterInstance, DagsterRunStatus
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from lakehouse_assets.orchestration.automation.work import Work
from lakehouse_assets.orchestration.instance.local import TEMPLATE
from lakehouse_assets.orchestration.instance.runs import job_origin
from lakehouse_assets_tests.orchestration.instance import toy
from lakehouse_assets_tests.orchestration.instance.conftest import ROOT, TOY

BACKFILL = {"dagster/backfill": "a-backfill"}
SENSOR = Work(date(2024, 1, 3), date(2024, 1, 3), (), "mark").tags("landing_sensor")


class Queue:
    """Runs by the names that a test gives them, and the daemon that takes them out of the queue."""

    def __init__(self, deployment: str, folder: Path):
        said = yaml.safe_load(
            (TEMPLATE if deployment == "local" else ROOT / "deploy" / f"dagster.{deployment}.yaml").read_text()
        )
        self.places = said["concurrency"]["runs"]["max_concurrent_runs"]
        launcher = {"module": "dagster._core.test_utils", "class": "MockedRunLauncher"}
        config = {"concurrency": said["concurrency"], "telemetry": said["telemetry"], "run_launcher": launcher}
        (folder / "dagster.yaml").write_text(yaml.safe_dump(config))
        self.instance = DagsterInstance.from_config(str(folder))
        self.workspace = WorkspaceProcessContext(self.instance, EmptyWorkspaceTarget())
        self.daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
        self.ids: dict[str, str] = {}

    def put(self, name: str, tags: dict[str, str]) -> None:
        run = self.instance.create_run_for_job(
            toy.defs.resolve_job_def("load_all"),
            tags=tags,
            remote_job_origin=job_origin(toy.defs, "load_all", "toy", TOY),
        )
        self.ids[name] = run.run_id
        # what launching and submitting come to
        self.instance.report_dagster_event(DagsterEvent.job_enqueue(run), run.run_id)

    def end(self, name: str) -> None:
        run = self.instance.get_run_by_id(self.ids[name])
        assert run is not None
        self.instance.report_run_canceled(run)

    def under_way(self) -> set[str]:
        """The runs at work after the daemon has looked."""
        for error in self.daemon.run_iteration(self.workspace):
            assert error is None
        status = {run.run_id: run.status for run in self.instance.get_runs()}
        return {name for name, run_id in self.ids.items() if status[run_id] == DagsterRunStatus.STARTING}


@pytest.fixture(params=["local", "team"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Queue]:
    made = Queue(request.param, tmp_path)
    with made.workspace, made.daemon:
        yield made
    made.instance.dispose()


def test_no_more_runs_are_at_work_than_there_are_places(queue: Queue):
    """Otherwise every run that is launched would bring a Spark engine of its own, until the machine has no memory
    left.
    """
    names = [f"run {n}" for n in range(queue.places + 2)]
    for name in names:
        queue.put(name, {})
    assert queue.under_way() == set(names[: queue.places])
    queue.end("run 0")
    assert queue.under_way() == set(names[1 : queue.places + 1])


def test_a_backfill_holds_one_place_at_most_and_what_lands_goes_first(queue: Queue):
    """Otherwise what lands would wait behind a backfill of years."""
    fillers = [f"filler {n}" for n in range(queue.places)]
    for name in fillers:
        queue.put(name, {})
    assert queue.under_way() == set(fillers)
    for name, tags in {"backfill 1": BACKFILL, "backfill 2": BACKFILL, "landed": SENSOR}.items():
        queue.put(name, tags)
    assert queue.under_way() == set(fillers)

    queue.end(fillers.pop())
    assert queue.under_way() == {*fillers, "landed"}  # the last in the queue, by its priority
    queue.end("landed")
    assert queue.under_way() == {*fillers, "backfill 1"}
    queue.end(fillers.pop())
    assert queue.under_way() == {*fillers, "backfill 1"}  # a place is free, and stays so
    queue.put("landed later", SENSOR)
    assert queue.under_way() == {*fillers, "backfill 1", "landed later"}
    queue.end("backfill 1")
    assert queue.under_way() == {*fillers, "backfill 2", "landed later"}
