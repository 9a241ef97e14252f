"""A green partition says that the table includes the batch: a step that cannot keep that promise fails, and names the
batch.
"""

from datetime import date

import dagster as dg
import pytest

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.instance.runs import RunResult, execute_range
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import BRONZE, World, against_oracle, line, order_csv, rates_csv

DAYS = [f"2026-09-{day:02}" for day in range(1, 12)]


def orders(day: str, quantity: object = 6) -> str:
    return order_csv([line(500_000 + 100 * int(day[-2:]) + n, day, quantity, code=f"{85000 + n}A") for n in range(6)])


def materialise(world: World, *assets: str, first: str, last: str | None = None, job: str = "load_all") -> RunResult:
    """What the UI does with a selection and a range."""
    return execute_range(
        world.instance,
        job_name=job,
        asset_keys=[dg.AssetKey(asset.split(".")) for asset in assets] or None,
        start_key=first,
        end_key=last or first,
        defs=world.definitions,
    )


def said(result: RunResult) -> list[str]:
    """What the failed steps say, each once."""
    return sorted({step.message for step in result.failed_steps})


@pytest.fixture(scope="module")
def world(make_world: NewWorld) -> World:
    """The first day has been loaded."""
    made = make_world()
    made.drop("fx/rates_2026-09-01.csv", rates_csv({DAYS[0]: "0.85"}))
    made.drop(f"orders/orders_{DAYS[0]}.csv", orders(DAYS[0]))
    made.run()
    return made


def test_on_an_empty_home_the_batch_is_named(make_world: NewWorld):
    """A user who begins with the table that she wants is told of some other table."""
    empty = make_world()
    empty.drop(f"orders/orders_{DAYS[3]}.csv", orders(DAYS[3]))
    result = materialise(empty, "gold.daily_sales", first=DAYS[3])
    assert said(result) == [
        f"Batch {DAYS[3]} is not in gold.sales_lines yet (the table does not exist); materialise gold.sales_lines and"
        " what lies upstream of it for it first, or run `lakehouse run`."
    ]
    assert empty.materialized("gold.daily_sales") == set()


@pytest.mark.heavy
def test_a_batch_is_followed_from_the_landing_zone_to_the_table(world: World):
    """A user sees a green day of which the sales are not in the table."""
    day = DAYS[1]
    path = f"orders/orders_{day}.csv"
    world.drop(path, orders(day))
    first = "materialise {0} and what lies upstream of it for it first, or run `lakehouse run`."
    for table, upstream in (
        ("gold.daily_sales", "gold.sales_lines"),
        ("silver.order_lines", "bronze.landings"),
        ("snowflake.daily_sales", "gold.daily_sales"),
    ):
        assert said(materialise(world, table, first=day)) == [
            f"Batch {day} is not in {upstream} yet ({path} waits to be taken in); {first.format(upstream)}"
        ]
        assert day not in world.materialized(table)
    assert not materialise(world, first=day, job="handoff_only").success

    # It has nothing to do with the customers, whose tables include the batch.
    assert materialise(world, "gold.dim_customers", first=day).success

    bronze = BRONZE
    assert materialise(world, *bronze, first=day).success
    further = (
        f"Batch {day} is not in gold.sales_lines yet ({path} has not come so far); {first.format('gold.sales_lines')}"
    )
    assert said(materialise(world, "gold.daily_sales", first=day)) == [further]
    assert said(materialise(world, *bronze, "gold.daily_sales", first=day)) == [further]
    assert materialise(world, "silver.order_lines", first=day).success  # bronze has the batch
    assert said(materialise(world, "gold.daily_sales", first=day)) == [further]
    assert materialise(world, "gold.sales_lines", "gold.daily_sales", "snowflake.daily_sales", first=day).success
    assert day in world.materialized("snowflake.daily_sales")
    world.run()
    assert against_oracle(world) == ""


def test_a_redelivery_that_changes_no_row_is_included(world: World):
    """A user is sent in a circle, for a table of which no row changes records nothing."""
    world.drop(f"orders/again_{DAYS[2]}.csv", orders(DAYS[0]))
    world.run()
    assert materialise(
        world, "gold.daily_sales", "gold.cohort_retention", "snowflake.sales_lines", first=DAYS[2]
    ).success


def test_days_without_drops_are_green_and_of_many_only_some_are_named(world: World):
    """A user is told of a hundred days in one sentence, or a quiet week is red."""
    assert materialise(world, "gold.daily_sales", first=DAYS[3], last=DAYS[4]).success
    for day in DAYS[5:10]:
        world.drop(f"orders/orders_{day}.csv", orders(day))
    (told,) = said(materialise(world, "gold.daily_sales", first=DAYS[3], last=DAYS[9]))
    assert told.startswith(
        f"Batches {DAYS[5]}, {DAYS[6]}, {DAYS[7]} and 2 more are not in gold.sales_lines yet"
        f" (orders/orders_{DAYS[5]}.csv waits"
    )
    # what waits elsewhere is no matter
    assert materialise(world, "gold.daily_sales", first=DAYS[3], last=DAYS[4]).success


@pytest.mark.heavy
def test_a_rebuild_is_not_held_up_by_drops_that_wait(world: World):
    """A user who fixes one table must first load everything that has landed meanwhile."""
    for day in DAYS[5:10]:
        world.drop(f"orders/orders_{day}.csv", orders(day))
    assert world.runner().found.drops
    assert world.run(select=["gold.daily_sales"], force=["gold.daily_sales"]).runs
    assert world.run(select=["gold.sales_lines", "snowflake.sales_lines"], force=["gold.sales_lines"]).runs
    with pytest.raises(LakehouseError, match=rf"Batches {DAYS[5]}.* are not in gold.sales_lines yet"):
        world.run(start=date.fromisoformat(DAYS[5]), end=date.fromisoformat(DAYS[9]), select=["gold.daily_sales"])
    assert not materialise(world, first=DAYS[5], job="replay_quarantine").success
    assert materialise(world, first=DAYS[0], job="replay_quarantine").success
    world.run()
    assert not world.runner().found
    assert against_oracle(world) == ""


def test_a_refused_batch_is_in_no_table_until_it_is_corrected(world: World):
    """A user sees a green day in gold of which a drop was refused."""
    path = f"orders/orders_{DAYS[10]}.csv"
    world.drop(path, orders(DAYS[10], "many"))
    world.drop(f"orders/late_{DAYS[9]}.csv", orders(DAYS[9], 7))
    backfill = materialise(world, first=DAYS[8], last=DAYS[10])
    assert [step.step_key for step in backfill.failed_steps] == ["silver__order_lines"]
    assert path in next(check.description or "" for check in backfill.checks if not check.passed)
    assert {*DAYS[8:10]} <= world.materialized("silver.order_lines") - {DAYS[10]}
    assert DAYS[10] not in world.materialized("silver.order_lines")
    world.run()  # what lies downstream of the good days
    (told,) = said(materialise(world, "gold.sales_lines", first=DAYS[10]))
    assert told.startswith(
        f"Batch {DAYS[10]} is not in silver.order_lines yet ({path} is refused); let the correction land"
    )
    assert not materialise(world, "snowflake.sales_lines", first=DAYS[10]).success
    assert materialise(world, "snowflake.dim_customers", first=DAYS[10]).success
    assert world.run(select=["gold.daily_sales"], force=["gold.daily_sales"]).runs
    world.drop(path, orders(DAYS[10]))
    world.run()
    assert DAYS[10] in world.materialized("snowflake.sales_lines")
