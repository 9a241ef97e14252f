"""The daily load, for those who do without the landing sensor."""

from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import pytest

from lakehouse_assets.orchestration.resources.handoff_resource import HandoffResource
from lakehouse_assets.orchestration.resources.snowflake import snowflake_resource
from lakehouse_assets_tests.orchestration.automation.conftest import DAYS, orders
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import World, rates_csv


@pytest.fixture(scope="module")
def world(make_world: NewWorld) -> World:
    """Two days that have been loaded, of which the second waits for a correction."""
    made = make_world()
    made.drop("fx/rates_2026-09-01.csv", rates_csv({"2026-09-01": "0.85"}))
    for day, quantity in ((DAYS[0], 6), (DAYS[1], "many")):
        made.drop(f"orders/orders_{day}.csv", orders(day, quantity=quantity))
    made.run()
    return made


def asked_on(world: World, day: str, **resources: Any) -> list[tuple[str, str, str]]:
    """First and last batch date and number of drops of each run that the schedule requests in the morning of a day."""
    schedule = world.definitions.get_repository_def().get_schedule_def("daily_load")
    at = datetime.combine(date.fromisoformat(day), datetime.min.time().replace(hour=5), UTC)
    given = {name: {**world.resources, **resources}[name] for name in ("lakehouse", "handoff")}
    with dg.build_schedule_context(world.instance, scheduled_execution_time=at, resources=given) as context:
        requests = schedule.evaluate_tick(context).run_requests or []
    assert {request.tags["lakehouse/trigger"] for request in requests} <= {"daily_load"}
    names = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end", "lakehouse/drops")
    return [tuple(request.tags[name] for name in names) for request in requests]  # type: ignore[misc]


def test_a_quiet_day_is_marked_as_loaded(world: World):
    """Otherwise a day on which nothing landed would look like one that was forgotten."""
    assert asked_on(world, DAYS[5]) == [(DAYS[4], DAYS[4], "0")]


def test_a_red_yesterday_is_left_alone(world: World):
    """Otherwise every morning would begin with a run that fails."""
    assert asked_on(world, DAYS[2]) == []


def test_what_is_pending_is_loaded_with_yesterday_and_without_snowflake_too(world: World):
    """Otherwise a morning would load yesterday and leave the late drops of last week, or nothing at all in an outage of
    Snowflake.
    """
    world.drop(f"orders/late_{DAYS[3]}.csv", orders(DAYS[3]))
    assert asked_on(world, DAYS[6]) == [(DAYS[3], DAYS[5], "1")]
    (world.root / "no folder").write_text("")
    unreachable = snowflake_resource(mode="embedded", home=world.root / "no folder")
    handoff = HandoffResource.of(world.settings, world.resources["lakehouse"], unreachable)
    assert asked_on(world, DAYS[6], handoff=handoff) == [(DAYS[3], DAYS[5], "1")]
