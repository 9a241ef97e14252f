"""Clearing up after runs whose process is gone, with processes really killed."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus

from lakehouse_assets.cli.context import sweep
from lakehouse_assets.orchestration.instance.local import may_hold_unfinished_runs
from lakehouse_assets.orchestration.instance.processes import PROCESS_TAG, RunProcess
from lakehouse_assets.orchestration.instance.runs import execute_range, job_origin
from lakehouse_assets.orchestration.instance.sweep import sweep_dead_runs
from lakehouse_assets.processes import ProcessIdentity
from lakehouse_assets.settings import Settings
from lakehouse_assets_tests.orchestration.instance import toy
from lakehouse_assets_tests.orchestration.instance.conftest import TOY, wait_for

Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def hanging(in_other_process: Start, instance: DagsterInstance, tmp_path: Path) -> subprocess.Popen[str]:
    """A process in the middle of a run, in a step that holds the one slot of its pool."""
    instance.event_log_storage.set_concurrency_slots("totals", 1)
    (tmp_path / "signal").write_text("hang")
    process = in_other_process("run_range('2024-01-03', '2024-01-05')")
    wait_for((tmp_path / "signal.hanging").exists, "the step to hang")
    (tmp_path / "signal").unlink()
    return process


def slots_taken(instance: DagsterInstance) -> int:
    return instance.event_log_storage.get_concurrency_info("totals").active_slot_count


def test_a_killed_run_is_closed_and_the_next_one_gets_its_slot(
    instance: DagsterInstance, hanging: subprocess.Popen[str]
):
    """Otherwise the next run would wait for ever for a slot that nobody gives back, and the UI would show a run that
    never ends.
    """
    assert slots_taken(instance) == 1
    hanging.kill()
    hanging.wait()
    (run,) = instance.get_runs()
    assert run.status == DagsterRunStatus.STARTED

    assert sweep_dead_runs(instance) == [run.run_id]
    run = instance.get_run_by_id(run.run_id)
    assert run is not None
    assert run.status == DagsterRunStatus.FAILURE
    # the user who killed a command does not want the daemon to take it up
    assert run.tags["dagster/will_retry"] == "false"
    assert slots_taken(instance) == 0
    assert sweep_dead_runs(instance) == []
    result = execute_range(
        instance,
        job_name="load_all",
        asset_keys=None,
        start_key="2024-01-03",
        end_key="2024-01-05",
        defs=toy.defs,
        module=TOY,
    )
    assert result.success


def test_a_command_with_nothing_to_do_closes_a_killed_run_too(
    instance: DagsterInstance, home: Path, hanging: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
):
    """A run that was killed after its last table would be shown as running until something lands again."""
    monkeypatch.delenv("DAGSTER_HOME")
    settings = Settings(_env_file=None, home=home.parent)  # type: ignore[call-arg]
    assert may_hold_unfinished_runs(home)
    hanging.kill()
    hanging.wait()
    sweep(settings)
    (run,) = instance.get_runs()
    assert run.status == DagsterRunStatus.FAILURE
    assert not may_hold_unfinished_runs(home)


@pytest.mark.parametrize("content", [None, b"no database" * 100])
def test_where_it_cannot_be_told_whether_runs_have_ended_dagster_is_asked(tmp_path: Path, content: bytes | None):
    """An instance with another storage, or a broken one, would never be looked at."""
    if content:
        (tmp_path / "history").mkdir()
        (tmp_path / "history" / "runs.db").write_bytes(content)
    assert may_hold_unfinished_runs(tmp_path)


def test_a_killed_process_that_nobody_has_waited_for_counts_as_gone(
    instance: DagsterInstance, hanging: subprocess.Popen[str]
):
    """Otherwise a run started from a shell or server that does not collect its children would never be closed."""
    os.kill(hanging.pid, signal.SIGKILL)
    wait_for(lambda: sweep_dead_runs(instance), "the zombie to be noticed", seconds=30)


def test_a_living_run_is_left_alone(instance: DagsterInstance, hanging: subprocess.Popen[str]):
    """Otherwise a second command would fail the run of the first."""
    assert sweep_dead_runs(instance) == []
    (run,) = instance.get_runs()
    assert run.status == DagsterRunStatus.STARTED
    assert slots_taken(instance) == 1


def test_a_run_that_is_being_cancelled_ends_as_cancelled(instance: DagsterInstance, hanging: subprocess.Popen[str]):
    """Otherwise what the user cancelled would be reported as a failure, and perhaps retried."""
    (run,) = instance.get_runs()
    instance.report_run_canceling(run)
    hanging.kill()
    hanging.wait()
    assert sweep_dead_runs(instance) == [run.run_id]
    assert [its.status for its in instance.get_runs()] == [DagsterRunStatus.CANCELED]


@pytest.mark.parametrize("status", [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.QUEUED])
@pytest.mark.parametrize(
    "whose",
    [
        "its own",
        "of this machine under another name",
        "of this machine before a restart",
        "its parent's",
        "another machine's",
        "another container's",
        "of a later process",
        "none",
    ],
)
def test_only_a_run_whose_own_process_is_known_to_be_gone_is_closed(
    whose: str, status: DagsterRunStatus, instance: DagsterInstance
):
    """Otherwise runs that wait in the queue, re-executions that carry the tags of their parent, or runs of other
    machines and containers would be killed on paper; or a run that died before a restart, or before the machine was
    renamed, would be shown as running for ever.
    """
    gone = subprocess.Popen(["true"])
    gone.wait()
    run = instance.create_run_for_job(
        toy.defs.resolve_job_def("load_all"),
        status=status,
        remote_job_origin=job_origin(toy.defs, "load_all", "toy", TOY),
    )
    me = ProcessIdentity.current()

    def of(process: ProcessIdentity, run_id: str = run.run_id) -> dict[str, str]:
        return RunProcess(run_id, process).tags()

    tags = {
        "its own": of(me._replace(pid=gone.pid)),
        "its parent's": of(me._replace(pid=gone.pid), "parent"),
        "of this machine under another name": of(me._replace(pid=gone.pid, host="renamed")),
        "of this machine before a restart": of(me._replace(realm="earlier/pid:[1]")),
        "another machine's": of(me._replace(pid=gone.pid, host="elsewhere", realm="other/pid:[1]")),
        "another container's": of(me._replace(pid=gone.pid, realm=me.realm + "0")),
        "of a later process": of(me._replace(started=me.started + "0")),
        "none": {},
    }[whose]
    instance.add_run_tags(run.run_id, tags)
    known = ("its own", "of this machine under another name", "of this machine before a restart", "of a later process")
    expected = [run.run_id] if whose in known and status != DagsterRunStatus.QUEUED else []
    assert sweep_dead_runs(instance) == expected


def test_the_tag_names_the_process_of_this_run_only():
    """Otherwise a re-execution, which inherits the tags of its parent, would be taken for the parent's dead process."""
    mine = RunProcess.current("mine")
    assert RunProcess.of_run("mine", mine.tags()) == mine
    assert RunProcess.of_run("other", mine.tags()) is None
    assert RunProcess.of_run("mine", {}) is None
    assert list(mine.tags()) == [PROCESS_TAG]
    assert not mine.is_gone()
