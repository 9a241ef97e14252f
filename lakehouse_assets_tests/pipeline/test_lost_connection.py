"""A hand-off whose connection breaks is tried again within its step; what would fail again is not."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from snowflake.connector.errors import InterfaceError, OperationalError

from lakehouse_assets.core.handoff import faults
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.definitions import build_definitions
from lakehouse_assets.embedded_snowflake import stop
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.graph import served
from lakehouse_assets.orchestration.io_managers.snowflake_stage import SnowflakeStageIOManager
from lakehouse_assets.orchestration.resources.retries import RETRIES
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import World, against_oracle, line, order_csv, rates_csv

DAY = "2026-09-01"


@pytest.fixture
def world(make_world: NewWorld) -> World:
    made = make_world()
    made.drop(f"fx/rates_{DAY}.csv", rates_csv({DAY: "0.85"}))
    made.drop(f"orders/orders_{DAY}.csv", order_csv([line(500_000 + n, DAY, code=f"{85000 + n}A") for n in range(6)]))
    door = SnowflakeStageIOManager(handoff=made.resources["handoff"], retry_seconds=0.01)
    made.definitions = build_definitions(made.settings, **{**made.resources, "snowflake_stage_io": door})
    return made


def retries(world: World) -> list[str]:
    """The steps that were tried again, one entry a time."""
    kind = dg.DagsterEventType.STEP_UP_FOR_RETRY
    events = [
        entry.dagster_event
        for run in world.instance.get_runs()
        for entry in world.instance.all_logs(run.run_id, of_type=kind)
    ]
    return [event.step_key or "" for event in events if event]


def once_at(monkeypatch: pytest.MonkeyPatch, point: str, fault: Callable[[], object]) -> None:
    once = iter([fault])
    monkeypatch.setattr(faults, "crash_point", lambda name: next(once, lambda: None)() if name == point else None)


def test_an_account_that_dies_once_fails_no_run(world: World, shared: Path, monkeypatch: pytest.MonkeyPatch):
    """Otherwise every short failure of the network is a red run and an alert at night."""
    once_at(monkeypatch, "inserted", lambda: stop(shared))
    (result,) = world.run().results
    assert result.success
    assert len(retries(world)) == 1
    assert retries(world)[0].startswith("snowflake__")
    assert not against_oracle(world)


def test_an_account_that_stays_away_fails_the_step_by_what_it_said(world: World, monkeypatch: pytest.MonkeyPatch):
    """Otherwise a run would wait for ever, or end by saying only that it has tried often enough."""

    def refused(self: Session, statement: str, values: object, read: object) -> None:
        if "HANDOFF_STATE" in statement:
            raise OperationalError("the account has gone")

    runner = world.runner()
    monkeypatch.setattr(Session, "_execute", refused)
    with pytest.raises(LakehouseError, match="the account has gone"):
        runner.run()
    assert len(retries(world)) == RETRIES * len(served())


def test_what_would_fail_again_is_not_tried_again(world: World, monkeypatch: pytest.MonkeyPatch):
    """Otherwise rows that break a contract, or did not arrive as they were sent, would be computed and sent four times,
    and the alert would come late.
    """
    world.drop(
        "orders/orders_2026-09-02.csv",
        order_csv([line(600_000 + n, "2026-09-02", "many", code=f"{85000 + n}A") for n in range(6)]),
    )

    def mismatch() -> None:
        raise LakehouseError("what arrived is not what was sent")

    once_at(monkeypatch, "counted", mismatch)
    with pytest.raises(LakehouseError, match="what arrived is not what was sent"):
        world.run()
    (run,) = world.instance.get_runs(limit=1)
    failed = {
        e.dagster_event.step_key
        for e in world.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
        if e.dagster_event
    }
    assert len([step for step in failed if step and step.startswith("snowflake__")]) == 1
    assert retries(world) == []


@pytest.mark.parametrize("check", ["equals_snapshot", "published_equals_sent"])
def test_a_check_whose_connection_breaks_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch, check: str):
    """Otherwise a short failure of the network is a red check on a table that is right, and an alert."""
    world.run()
    execute, once = Session._execute, iter([True])

    def breaking(self: Session, statement: str, values: object, read: object) -> object:
        if "HANDOFF_SLICES" in statement and next(once, False):
            raise InterfaceError(msg="the connection broke")
        return execute(self, statement, values, read)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "_execute", breaking)
    key = dg.AssetCheckKey(dg.AssetKey(["snowflake", "daily_sales"]), check)
    job = dg.define_asset_job("looks", selection=dg.AssetSelection.checks(key))
    loaded = dg.Definitions.merge(world.definitions, dg.Definitions(jobs=[job]))
    result = loaded.resolve_job_def("looks").execute_in_process(instance=world.instance)
    assert [e.passed for e in result.get_asset_check_evaluations()] == [True]
    assert next(once, None) is None, "nothing broke"
    assert len(retries(world)) == 1
