"""A table whose contract or transform has changed is stale; recomputed, it is what a fresh load under the new contract
gives.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import pandera.polars as pa
import pytest

from lakehouse_assets.core.contracts.types import Whole
from lakehouse_assets.core.sources.progress import Reason
from lakehouse_assets.domains.sales.order_lines import OrderLines
from lakehouse_assets_tests.declared import other_contracts
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import State, World, against_oracle, differences, line, order_csv

NAME = "silver.order_lines"


class Stricter(OrderLines):
    """Order lines of at most 19 units."""

    quantity: Whole = pa.Field(le=19, description="units, negative on returns")

    class Config(OrderLines.Config):
        pass


@pytest.fixture
def stricter() -> Iterator[ExitStack]:
    """Until closed, order lines have the stricter contract; worlds must `load` to see it."""
    with ExitStack() as stack:
        stack.enter_context(other_contracts(Stricter))
        yield stack


@pytest.mark.heavy
def test_a_stricter_contract_takes_published_rows_out_again(stricter: ExitStack, make_world: NewWorld) -> None:
    """A user fixes a contract and old rows go on breaking it, in the lakehouse and in Snowflake."""
    stricter.close()
    world = make_world()
    for day in ("2012-03-01", "2012-03-02"):
        world.drop(
            f"orders/orders_{day}.csv",
            order_csv([line(500000 + int(day[-1]) * 100 + i, day, 1 + i) for i in range(20)]),
        )
    world.run()
    stricter.enter_context(other_contracts(Stricter))
    world.load()
    assert world.runner().found.behind[NAME].reason is Reason.STALE
    world.run()
    fresh = make_world()
    fresh.take(world.landing)
    fresh.run()
    assert sorted(world.quarantined().values()) == [["quantity.le"], ["quantity.le"]]
    assert not differences(fresh.state(), world.state())
    assert not world.run().runs


@pytest.mark.heavy
def test_rows_return_when_a_contract_is_mended(stricter: ExitStack, make_world: NewWorld) -> None:
    """A user fixes a contract that was too strict, and what it kept out stays out."""
    world = make_world()
    days = ("2012-03-01", "2012-03-02")
    for day, least in zip(days, (1, 15), strict=True):
        world.drop(
            f"orders/orders_{day}.csv",
            order_csv([line(500000 + int(day[-1]) * 100 + i, day, least + i) for i in range(20)]),
        )
    world.run()
    assert world.runner().found.refused
    stricter.close()
    world.load()
    world.run()
    assert not world.runner().found
    assert not world.quarantined()
    assert world.materialized("snowflake.sales_lines") == set(days)
    assert not against_oracle(world)


def test_rebuilding_an_unchanged_table_commits_nothing(loaded: tuple[World, State]) -> None:
    """A user who rebuilds a table to be sure makes everything downstream run again."""
    world, _ = loaded
    versions = world.versions()
    for name in (NAME, "gold.daily_sales"):
        assert world.run(select=[name], force=[name]).runs == 1
    assert world.versions() == versions
