"""What is worth a warning and stops nothing: amounts without a rate, invoices that span days."""

from typing import Any

import pytest

from lakehouse_assets.core.contracts import CONTRACTS
from lakehouse_assets.core.quality.table_rules import broken_table_rules
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import BRONZE, World, line, order_csv, rates_csv

UPSTREAM = (*BRONZE, "silver.order_lines", "silver.fx_rates")


@pytest.fixture(scope="module")
def world(make_world: NewWorld) -> World:
    """Three lines of two days, one of them before the first rate; two of them of one invoice."""
    world = make_world()
    lines = [line(500001, "2012-03-01"), line(500002, "2012-03-02", 1), line(500001, "2012-03-02", 2)]
    world.drop("orders/orders_2012-03-02.csv", order_csv(lines))
    world.drop("fx/eurofxref_2012-03-02.csv", rates_csv({"2012-03-02": "0.85"}))
    world.run(select=[*UPSTREAM, "gold.sales_lines"])
    return world


def test_lines_without_a_rate_are_published_with_a_warning_that_says_how_many(world: World) -> None:
    """Sums in euro are missing from a report, and nothing in the UI says why."""
    gates = {c.check_name: c for c in world.evaluations() if c.asset_key.path == ["gold", "sales_lines"]}
    assert not gates["valid"].passed
    assert gates["valid"].severity.value == "WARN"
    assert gates["valid"].description == "row.present: 1 rows."
    assert world.delta("gold.sales_lines").num_rows == 3


def test_an_invoice_that_spans_days_is_found_in_the_whole_table(world: World) -> None:
    """It counts as an order on each of its days, and nobody knows that the sum over days is too high."""
    contract = CONTRACTS["gold.sales_lines"]

    def read(table: str) -> Any:
        world.lakehouse.head(CONTRACTS[table])  # no customer has landed
        return world.lakehouse.store.frame(world.lakehouse.spark, table)

    found = broken_table_rules(contract, CONTRACTS, read)
    broken = found["invoice_date.single"]
    assert (broken.count, broken.severity) == (1, "warn")
    assert broken.samples[0]["invoice"] == "500001"
