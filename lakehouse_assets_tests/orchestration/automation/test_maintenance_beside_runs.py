"""Maintenance without any retention beside loads: no run fails, and nothing is lost."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta

import pytest

from lakehouse_assets.core.delta.staging import Lakehouse
from lakehouse_assets_tests.orchestration.automation.conftest import orders
from lakehouse_assets_tests.pipeline.world import World, against_oracle

FIRST = date(2026, 9, 1)

ENDLESS = """
import dagster as dg
from lakehouse_assets.definitions import build_definitions

job = build_definitions().resolve_job_def("maintenance")
instance = dg.DagsterInstance.ephemeral()
print("begun", flush=True)
while True:
    done = job.execute_in_process(instance=instance, run_config={"ops": {"tidy_tables": {"config": {"vacuum_hours": 0}}}}, raise_on_error=False)
    print("done", [str(e.step_failure_data.error)[:300] for e in done.all_events if e.is_step_failure], flush=True)
"""  # noqa: E501


@contextmanager
def endless_maintenance(world: World) -> Iterator[None]:
    """Maintenance in a process of its own, again and again; at least once before and once after what is done meanwhile
    has begun.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS],
        env=world.process_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    try:
        assert process.stdout.readline() == "begun\n"
        yield
        assert process.stdout.readline() == "done []\n"
    finally:
        process.kill()
        process.communicate()


def load(world: World, number: int) -> None:
    """A day lands, every third time with a correction of an earlier day; every fourth time a table is computed anew."""
    day = FIRST + timedelta(days=number)
    world.drop(f"orders/orders_{day}.csv", orders(str(day)))
    if number % 3 == 2:
        earlier = day - timedelta(days=2)
        world.drop(f"orders/orders_{earlier}.csv", orders(str(earlier), quantity=20 + number))
    world.run(force=["silver.order_lines"] if number % 4 == 3 else [])


@pytest.mark.parametrize("rounds", [1, pytest.param(50, marks=[pytest.mark.heavy, pytest.mark.timeout(7200)])])
def test_no_run_fails_beside_maintenance(world: World, rounds: int):
    """Otherwise a load at night fails with a file that is not there."""
    load(world, 0)
    with endless_maintenance(world):
        for number in range(1, rounds + 1):
            load(world, number)
    assert against_oracle(world) == ""
    assert not world.runner().found


@pytest.mark.heavy
def test_what_a_run_has_looked_up_is_not_tidied_away_under_it(world: World, monkeypatch: pytest.MonkeyPatch):
    """Otherwise the test above fails, but only sometimes."""
    for number in range(3):
        load(world, number)
    look_up, tidied = Lakehouse.upstream_heads, []

    def tidying(self: Lakehouse, names):  # type: ignore[no-untyped-def]
        heads = look_up(self, names)
        for name in names:
            tidied.append(self.store.optimize(name))
            self.store.vacuum(name, 0, "maintenance")
        return heads

    with monkeypatch.context() as patched:
        patched.setattr(Lakehouse, "upstream_heads", tidying)
        load(world, 3)
    assert sum(tidied) > 0
    assert against_oracle(world) == ""
