"""Runs that a command creates and executes itself."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, DagsterRunStatus

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.instance.runs import StepProgress, execute_range
from lakehouse_assets_tests.orchestration.instance import toy
from lakehouse_assets_tests.orchestration.instance.conftest import TOY, wait_for

ORDERS, LINES, TOTALS = (AssetKey(key) for key in (["bronze", "orders"], ["silver", "lines"], ["gold", "totals"]))
RANGE: dict[str, Any] = dict(
    start_key="2024-01-03", end_key="2024-01-07", defs=toy.defs, module=TOY, location_name="toy"
)


def test_a_run_covers_its_range_and_tells_of_its_steps(instance: DagsterInstance, capfd: pytest.CaptureFixture[str]):
    """Otherwise days would be missing, or the command would have nothing to show."""
    seen: list[StepProgress] = []
    result = execute_range(
        instance, job_name="load_all", asset_keys=None, tags={"span": "5"}, observer=seen.append, **RANGE
    )
    assert result.success
    assert result.status == DagsterRunStatus.SUCCESS
    assert (result.failed_steps, result.error) == ((), None)
    for key in (ORDERS, LINES, TOTALS):
        assert instance.get_materialized_partitions(key) == {f"2024-01-0{day}" for day in range(3, 8)}
    assert [(its.kind, its.asset_keys) for its in seen if its.asset_keys] == [
        (kind, (key,)) for key in (ORDERS, LINES, TOTALS) for kind in ("start", "success")
    ]
    assert {check.check_name: check.passed for check in result.checks} == {
        "unique": True,
        "complete": False,
        "agrees": True,
    }
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["span"] == "5"
    assert run.tags["trigger"] == "job"
    assert run.tags["dagster/code_location"] == "toy"
    assert run.run_config == {}
    output = capfd.readouterr()
    assert "load_all" not in output.out + output.err


def test_a_selection_runs_nothing_else(instance: DagsterInstance):
    """Otherwise `--select` would load tables that the user left out."""
    assert execute_range(instance, job_name="load_all", asset_keys=[ORDERS], **RANGE).success
    assert instance.get_materialized_partitions(ORDERS)
    assert not instance.get_materialized_partitions(LINES)


@pytest.mark.parametrize(
    ("job_name", "asset_keys", "sentence"),
    [
        ("load_nothing", None, r"no job 'load_nothing' in .*: choose one of .*load_all"),
        ("load_all", [ORDERS, AssetKey("nowhere")], r"'load_all' does not hold nowhere: select among its assets"),
    ],
)
def test_what_does_not_exist_is_said_in_one_sentence_and_leaves_no_run(
    job_name: str, asset_keys: list[AssetKey] | None, sentence: str, instance: DagsterInstance
):
    """Otherwise a slip of the pen would end in a traceback and a broken run in the UI."""
    with pytest.raises(LakehouseError, match=sentence):
        execute_range(instance, job_name=job_name, asset_keys=asset_keys, **RANGE)
    assert instance.get_runs() == []


def test_a_failed_step_is_returned_with_what_it_said(instance: DagsterInstance, tmp_path: Path):
    """Otherwise the command could only say that something went wrong."""
    (tmp_path / "signal").write_text("fail")
    result = execute_range(instance, job_name="load_all", asset_keys=None, **RANGE)
    assert not result.success
    assert result.status == DagsterRunStatus.FAILURE
    assert [(step.step_key, step.message) for step in result.failed_steps] == [
        ("gold__totals", "ValueError: the toy was told to fail")
    ]
    assert "misbehave()" in result.failed_steps[0].detail
    assert instance.get_materialized_partitions(LINES)


def test_a_failure_outside_any_step_is_returned_too(instance: DagsterInstance):
    """Otherwise a resource that cannot be opened would look like a run without errors."""
    import dagster as dg

    @dg.resource
    def broken(_):
        raise ValueError("no such engine")

    @dg.asset(required_resource_keys={"engine"}, **toy.common)
    def table(): ...

    defs = dg.Definitions(
        assets=[table], jobs=[dg.define_asset_job("load_all", selection="*")], resources={"engine": broken}
    )
    result = execute_range(instance, job_name="load_all", asset_keys=None, **{**RANGE, "defs": defs})
    assert not result.success
    assert result.failed_steps == ()
    assert result.error is not None
    assert "no such engine" in result.error


def test_an_observer_that_raises_ends_the_run_as_failed(instance: DagsterInstance):
    """Otherwise an error in drawing the progress would leave a run that is shown as running for ever."""

    def observer(_: StepProgress) -> None:
        raise OSError("the terminal is gone")

    with pytest.raises(OSError, match="the terminal is gone"):
        execute_range(instance, job_name="load_all", asset_keys=None, observer=observer, **RANGE)
    assert [run.status for run in instance.get_runs()] == [DagsterRunStatus.FAILURE]


def test_an_interrupted_run_is_recorded_as_failed(
    instance: DagsterInstance, in_other_process: Callable[[str], subprocess.Popen[str]], tmp_path: Path
):
    """Otherwise Ctrl-C would leave a run that is shown as running for ever, or the command would go on with the next
    one.
    """
    (tmp_path / "signal").write_text("hang")
    command = in_other_process("try: run_range('2024-01-03', '2024-01-05')\nexcept KeyboardInterrupt: sys.exit(130)")
    wait_for((tmp_path / "signal.hanging").exists, "the step to hang")
    os.kill(command.pid, signal.SIGINT)
    assert command.wait() == 130
    assert [run.status for run in instance.get_runs()] == [DagsterRunStatus.FAILURE]
