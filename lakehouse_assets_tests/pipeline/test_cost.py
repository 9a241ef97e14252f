"""What a run costs grows with what changed, not with the history: it never looks into the files of days that are of no
concern to it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.sources.ingest import stage_bronze
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import BRONZE, World, against_oracle, line, order_csv, rates_csv

DAYS = ["2011-12-29", "2011-12-30", "2012-01-02"]


def orders(day: str) -> str:
    return order_csv([line(500000 + 10 * int(day[-2:]) + n, day, n + 1) for n in range(5)])


@contextmanager
def without_history(world: World) -> Iterator[list[Path]]:
    """The rows of all drops so far, and of all months so far, are out of reach: whoever reads them fails."""
    tables = world.root / "tables"
    folders = [tables / "bronze" / source for source in ("orders", "customers", "fx_rates")]
    folders += [tables / table for table in ("silver/order_lines", "gold/sales_lines", "gold/product_sales")]
    files = [file for folder in folders for file in folder.rglob("*.parquet")]
    for file in files:
        file.rename(file.with_suffix(".away"))
    yield files
    for file in files:
        file.with_suffix(".away").rename(file)


@pytest.mark.heavy
def test_a_new_day_reads_nothing_of_what_landed_or_was_sold_in_months_before(make_world: NewWorld) -> None:
    """The nightly run of a shop with ten years of drops reads all of them to take in one file."""
    world = make_world()
    world.drop("fx/rates_2011-12-29.csv", rates_csv({DAYS[0]: "0.85"}))
    for day in DAYS[:-1]:
        world.drop(f"orders/orders_{day}.csv", orders(day))
    world.run()
    with without_history(world) as files:
        assert len(files) >= 6
        world.drop(f"orders/orders_{DAYS[-1]}.csv", orders(DAYS[-1]))
        assert not world.run().found
    assert not against_oracle(world)


def test_a_drop_without_a_date_is_found_in_bronze_on_whatever_day_it_was_seen_first(make_world: NewWorld) -> None:
    """A run dies between bronze and journal, the next one starts after midnight, and every row of the drop stands in
    bronze twice.
    """
    world = make_world()
    world.drop("orders/export.csv", orders(DAYS[0]))
    world.run(select=BRONZE[:-1])
    (entry,) = {(r["path"], r["content_hash"]) for r in world.delta("bronze.orders").to_pylist()}
    zone = world.resources["lakehouse"].zone
    drops, _ = zone.scan()
    tomorrow = [type(d)(d.source, d.path, d.content_hash, d.batch_date.replace(day=1), d.modified_at) for d in drops]
    assert stage_bronze(world.lakehouse, SOURCES["orders"], zone, tomorrow) is None
    world.run(select=["bronze.landings"])
    assert [(r["path"], r["content_hash"]) for r in world.delta("bronze.landings").to_pylist()] == [entry]
