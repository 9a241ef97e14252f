"""`complete through`: the batch date up to which a served table includes everything that landed, for readers in the
account and for `status`.
"""

import json
from datetime import date

import pytest

from lakehouse_assets.orchestration.graph import served
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import World, line, order_csv, rates_csv

DAYS = ["2011-03-01", "2011-03-02", "2011-03-03"]


@pytest.fixture(scope="module")
def world(make_world: NewWorld) -> World:
    """The tests of this module go on from one another."""
    world = make_world()
    world.drop(f"orders/orders_{DAYS[0]}.csv", order_csv([line(500_001 + n, DAYS[0]) for n in range(12)]))
    world.run()
    return world


def complete(world: World) -> dict[str, date | None]:
    """What readers see."""
    return dict(world.cursor_do("SELECT TABLE_NAME, COMPLETE_THROUGH FROM {db}.OPS.FRESHNESS"))


def everywhere(day: str) -> dict[str, date]:
    return {name.upper(): date.fromisoformat(day) for name in served()}


def test_a_day_that_changes_no_row_of_a_table_counts_for_it_too(world: World) -> None:
    """A table without sales on Sunday would otherwise look as if Sunday had not been loaded yet."""
    assert complete(world) == everywhere(DAYS[0])
    before = dict(world.cursor_do("SELECT TABLE_NAME, ACKNOWLEDGED_VERSION FROM {db}.OPS.HANDOFF_STATE"))
    world.drop(f"fx/fx_{DAYS[1]}.csv", rates_csv({DAYS[1]: "0.85"}))
    world.run()
    assert dict(world.cursor_do("SELECT TABLE_NAME, ACKNOWLEDGED_VERSION FROM {db}.OPS.HANDOFF_STATE")) == before
    assert complete(world) == everywhere(DAYS[1])


def test_what_is_in_the_lakehouse_only_holds_the_date_back(world: World) -> None:
    """The date is about the served table, not about what some run has read; a late drop for an old day opens that day
    again.
    """
    world.drop(f"orders/orders_{DAYS[2]}.csv", order_csv([line(500_101, DAYS[2])]))
    world.drop(f"orders/orders_{DAYS[1]}.csv", order_csv([line(500_102, DAYS[1])]))
    behind = ["bronze.orders", "bronze.landings", "silver.order_lines", "silver.products"]
    world.run(select=[*behind, "gold.dim_products", "snowflake.dim_products"])
    assert complete(world) == everywhere(DAYS[1]) | {"DIM_PRODUCTS": date.fromisoformat(DAYS[2])}
    world.run(select=["snowflake.sales_lines"], force=["snowflake.sales_lines"])
    assert complete(world)["SALES_LINES"] == date.fromisoformat(DAYS[0])
    world.run()
    assert complete(world) == everywhere(DAYS[2])


def test_status_says_how_far_each_table_is_and_what_lies_on_the_stage(world: World) -> None:
    """An operator asks one command: up to when, since when, what is loaded, what is left over."""
    said = json.loads(world.command("status", "--format", "json").stdout)
    gold = [t for t in said["tables"] if t["acknowledged_version"] is not None]
    assert {t["complete_through"] for t in gold} == {DAYS[2]}
    assert all(t["published_at"] for t in gold)
    stage = said["stage"]
    assert stage["files"] == stage["loaded"] > 0
    assert (stage["pending"], stage["orphaned"]) == (0, 0)
    assert stage["oldest_at"]
    assert said["pending"]["under_way"] == []
    shown = world.command("status").stdout
    assert f"{stage['loaded']} loaded, 0 pending, 0 orphaned" in shown
    assert DAYS[2] in shown
