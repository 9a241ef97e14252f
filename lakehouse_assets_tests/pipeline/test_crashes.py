"""A run may die anywhere: the next one sees what is pending and ends where an undisturbed one ends."""

import signal
import subprocess
import time
from pathlib import Path

import dagster as dg
import pytest

from lakehouse_assets_tests.pipeline.conftest import NewWorld, Sample
from lakehouse_assets_tests.pipeline.world import State, World, differences

SECONDS = 300
"""Bounds a hanging test, nothing else."""


def run_until(world: World, table: str | None, **environment: str) -> None:
    """`lakehouse run` in a process of its own, killed when the table gets its first rows, or by itself where the
    environment says so.
    """
    with (world.root / "run.log").open("w") as log:
        process = subprocess.Popen(
            world.command_line("run"),
            env=world.process_environment(**environment),
            cwd=world.root,
            stdout=log,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + SECONDS
            commit = Path(world.root, "tables", *table.split("."), "_delta_log", f"{1:020}.json") if table else None
            while process.poll() is None:
                assert time.monotonic() < deadline, "waited in vain for the run"
                if commit and commit.exists():
                    break
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == -signal.SIGKILL, (world.root / "run.log").read_text()


@pytest.mark.heavy
def test_runs_killed_one_after_the_other_are_finished_by_the_next(
    loaded: tuple[World, State], sample: Sample, make_world: NewWorld
) -> None:
    """A user whose machine goes down finds rows missing or doubled, or a command that has nothing to do with half of
    the tables behind.
    """
    world = make_world()
    world.take(sample.landing)
    for table in ("bronze.orders", "silver.order_lines", "gold.daily_sales"):
        run_until(world, table)
        assert world.runner().found, f"killed after the commit of {table}"
    run_until(world, None, LAKEHOUSE_KILL_AT="recorded")
    assert world.runner().found.handoffs
    run_until(world, None, LAKEHOUSE_KILL_AT="committed")
    assert world.runner().found.handoffs
    world.run()
    assert not world.runner().found
    everything = ("bronze", "silver", "gold", "snowflake")
    assert not differences(loaded[1], world.state(everything))


@pytest.mark.heavy
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "table",
    [
        "bronze.customers",
        "bronze.landings",
        "silver.order_lines_verdicts",
        "silver.order_lines_quarantine",
        "silver.fx_rates",
        "silver.products",
        "silver.intake",
        "gold.sales_lines",
        "gold.customer_months",
        "gold.cohort_retention",
        "gold.dim_customers",
    ],
)
def test_a_run_killed_after_any_commit_is_finished_by_the_next(
    table: str, loaded: tuple[World, State], sample: Sample, make_world: NewWorld
) -> None:
    """The same, wherever the first run dies."""
    world = make_world()
    world.take(sample.landing)
    run_until(world, table)
    world.run()
    assert not differences(loaded[1], world.state(("bronze", "silver", "gold", "snowflake")))


def interrupt_at(world: World, sign: str, number: signal.Signals) -> str:
    """`lakehouse run` in a process of its own, sent a signal as soon as a path below the world matches; returns what it
    said.
    """
    process = subprocess.Popen(
        world.command_line("run"), env=world.process_environment(), cwd=world.root, text=True, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + SECONDS
        while not any(world.root.glob(sign)):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, f"waited in vain for {sign}"
            time.sleep(0.005)
        process.send_signal(number)
        _, said = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, said
    return said


def finished_by_the_next(world: World, expected: State) -> None:
    # where the command keeps its runs
    with dg.DagsterInstance.from_config(str(world.settings.home / "dagster")) as instance:
        assert instance.get_runs(limit=1)[0].status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
    world.run()
    assert not world.runner().found
    assert not differences(expected, world.state(("bronze", "silver", "gold", "snowflake")))


SILVER_STAGING = "staging/silver.order_lines-candidates/*"


def test_an_interrupted_run_says_so_and_is_finished_by_the_next(
    loaded: tuple[World, State], sample: Sample, make_world: NewWorld
) -> None:
    """A user who presses Ctrl-C is told nothing, or finds a state that no later run can finish."""
    world = make_world()
    world.take(sample.landing)
    said = interrupt_at(world, SILVER_STAGING, signal.SIGINT)
    assert "Interrupted; run the command again to finish what is pending." in said
    assert "Traceback" not in said
    finished_by_the_next(world, loaded[1])


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("sign", [SILVER_STAGING, "staging/gold.daily_sales/*", "staging/handoff/*/*/*.parquet"])
def test_a_run_cancelled_anywhere_is_finished_by_the_next(
    sign: str, number: signal.Signals, loaded: tuple[World, State], sample: Sample, make_world: NewWorld
) -> None:
    """The same in gold and in the hand-off, and with the signal by which Dagster terminates a run."""
    world = make_world()
    world.take(sample.landing)
    interrupt_at(world, sign, number)
    finished_by_the_next(world, loaded[1])
