"""The state of every table is a function of the journal and the contracts alone, never of the order, grouping or number
of runs.
"""

import random
from datetime import date, timedelta
from pathlib import Path

import pytest

from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets_tests.pipeline.conftest import FIRST_DAY, NewWorld, Sample
from lakehouse_assets_tests.pipeline.world import (
    BRONZE,
    State,
    World,
    against_oracle,
    day_of,
    differences,
    drops_of,
    in_groups,
)

EVERYTHING = ("bronze", "silver", "gold", "snowflake")


def test_one_run_gives_what_the_oracle_gives(loaded: tuple[World, State], sample: Sample) -> None:
    """A user loses every figure: dirt gets into the tables, or takes good rows out with it."""
    assert not against_oracle(loaded[0], sample.clean, provenance=False)


def test_days_in_any_order_with_runs_repeated_between_give_the_same_state(
    loaded: tuple[World, State], sample: Sample, make_world: NewWorld
) -> None:
    """A user loses the right to load days as they come: late days would leave other tables behind than punctual
    ones.
    """
    world = make_world()
    for group in in_groups(sample.landing, random.Random(5), 3):
        world.take(sample.landing, group)
        assert world.run().runs
        assert not world.run().runs
    assert not differences(loaded[1], world.state(EVERYTHING))


@pytest.mark.heavy
def test_the_later_half_first_in_parts_of_the_graph_gives_the_same_state(
    loaded: tuple[World, State], sample: Sample, make_world: NewWorld
) -> None:
    """A user loses the freedom to materialise parts of the graph: what a partial run consumed would be passed over by
    the next one.
    """
    world = make_world()
    world.take(sample.landing)
    middle = FIRST_DAY + timedelta(days=3)
    world.run(start=middle, select=BRONZE)
    world.run(start=middle, select=["silver.order_lines", "silver.products"])
    world.run(start=middle)
    world.run(end=middle - timedelta(days=1), select=["bronze.orders", "bronze.landings"])
    world.run(select=["silver.fx_rates", "gold.sales_lines", "gold.product_sales", "snowflake.product_sales"])
    world.run(end=middle - timedelta(days=1))
    assert not world.run().runs
    assert not differences(loaded[1], world.state(EVERYTHING))


def test_a_second_run_makes_no_run_no_commit_and_asks_snowflake_for_its_state_only(
    loaded: tuple[World, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user pays for every idle call of a scheduled command, and their history fills with runs that did nothing."""
    world, _ = loaded
    asked: list[str] = []
    execute = Session._execute

    def listen(self: Session, statement: str, *rest: object) -> object:
        asked.append(statement)
        return execute(self, statement, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "_execute", listen)
    versions, runs = world.versions(), world.instance.get_runs_count()
    assert not world.run().runs
    assert world.versions() == versions
    assert world.instance.get_runs_count() == runs
    assert len(asked) <= 2
    assert all(s.lstrip().upper().startswith("SELECT") and f"{world.settings.database}.OPS." in s for s in asked)


def test_a_forced_run_recomputes_everything_and_commits_nothing(loaded: tuple[World, State]) -> None:
    """A user who forces a recomputation to be sure gets new versions of unchanged tables, and everything downstream
    runs again.
    """
    world, state = loaded
    versions = world.versions()
    ledger = world.cursor_do("SELECT COUNT(*) FROM {db}.OPS.HANDOFF_LEDGER")
    assert world.run(force=world.graph).runs == 1
    assert world.versions() == versions
    assert world.cursor_do("SELECT COUNT(*) FROM {db}.OPS.HANDOFF_LEDGER") == ledger
    assert not differences(state, world.state(EVERYTHING))


# -- the year of real orders -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def year(real_landing: Path, make_world: NewWorld) -> tuple[World, State]:
    world = make_world(real_landing)
    world.run()
    return world, world.state()


PARTS = (
    tuple(BRONZE),
    ("silver.order_lines", "silver.products", "gold.dim_products", "snowflake.dim_products"),
    ("silver.fx_rates", "gold.sales_lines", "gold.daily_sales"),
)
"""What somebody materialises of the graph before the rest follows."""


@pytest.mark.heavy
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", ["random chunks", "a month day by day", "later half first", "parts of the graph"])
def test_a_real_year_in_pieces_equals_the_year_in_one_run(
    way: str, year: tuple[World, State], make_world: NewWorld
) -> None:
    """A user loses at scale what the small samples promise."""
    landing = year[0].landing
    paths = drops_of(landing)
    if way == "random chunks":
        groups = in_groups(landing, random.Random(1), 10)
    elif way == "a month day by day":
        month = [p for p in paths if day_of(p).strftime("%Y-%m") == "2011-03"]
        days = sorted({day_of(p) for p in month})
        groups = [[p for p in paths if p not in month], *([p for p in month if day_of(p) == day] for day in days)]
    elif way == "parts of the graph":
        groups = in_groups(landing, random.Random(2), 2)
    else:
        groups = [
            [p for p in paths if day_of(p) >= date(2011, 6, 15)],
            [p for p in paths if day_of(p) < date(2011, 6, 15)],
        ]
    world = make_world()
    for group in groups:
        world.take(landing, group)
        for part in PARTS if way == "parts of the graph" else ():
            world.run(select=part)
        world.run()
        assert not world.run().runs
    assert not differences(year[1], world.state())
