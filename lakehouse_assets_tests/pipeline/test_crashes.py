"""A run may die anywhere: the next one sees what is pending and ends where an undisturbed one ends."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from lakehouse_assets_tests.pipeline.conftest import NewWorld, Sample
from lakehouse_assets_tests.pipeline.world import State, World, differences

SECONDS = 300
"""Bounds a hanging test, nothing else."""


def run_until(world: World, table: str | None, **environment: str) -> None:
    """`lakehouse run` in a process of its own, killed when the table gets its first rows, or by itself where the environment says so."""
    with (world.root / "run.log").open("w") as log:
        process = subprocess.Popen(
            world.command_line("run"), env=world.process_environment(**environment), cwd=world.root, stdout=log, stderr=log
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


def test_runs_killed_one_after_the_other_are_finished_by_the_next(
    loaded: tuple[World, State], sample: Sample, make_world: NewWorld
) -> None:
    """A user whose machine goes down finds rows missing or doubled, or a command that has nothing to do with half of the tables behind."""
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
