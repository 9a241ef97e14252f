"""What is pending: within a range, and where the past can no longer be read."""

import shutil
from datetime import date

import pytest
from deltalake import DeltaTable

from lakehouse_assets_tests.orchestration.automation.conftest import DAYS, orders
from lakehouse_assets_tests.pipeline.world import BRONZE, World, against_oracle, differences, line, order_csv


@pytest.mark.heavy
def test_a_table_behind_a_vacuumed_journal_is_brought_up_to_date(world: World):
    """Otherwise a load that failed over a long weekend could never be taken up again once maintenance has run."""
    world.drop(f"orders/orders_{DAYS[0]}.csv", orders(DAYS[0]))
    world.run()
    world.drop(f"orders/orders_{DAYS[1]}.csv", orders(DAYS[1]))
    world.run(select=BRONZE)
    maintenance = world.definitions.resolve_job_def("maintenance")
    assert maintenance.execute_in_process(
        instance=world.instance, run_config={"ops": {"tidy_tables": {"config": {"vacuum_hours": 0}}}}
    ).success
    assert "silver.order_lines" in world.runner().found.behind
    world.run()
    assert not world.runner().found
    assert against_oracle(world) == ""


@pytest.mark.heavy
def test_bronze_made_anew_from_the_drops_is_taken_up(world: World):
    """Otherwise who has lost the folder of bronze, and still has the drops, would have to delete everything else
    too.
    """
    for n in range(3):
        # A refused drop stops the first run after silver, so that tables stay behind a journal of which their version
        # is not there any more.
        world.drop(f"orders/orders_{DAYS[n]}.csv", orders(DAYS[n], quantity="many" if n == 1 else 6))
        world.run()
    before = world.state()
    shutil.rmtree(world.root / "tables" / "bronze")
    world.run()
    assert not world.runner().found
    assert differences(before, world.state()) == ""


def test_a_range_restricts_what_is_taken_in_and_not_what_catches_up(world: World):
    """Otherwise drops come in that were not asked for, or what had landed before the range is included and its dates
    are never green.
    """
    for day in DAYS[:3]:
        world.drop(f"orders/orders_{day}.csv", orders(day))
    first, _, third = (date.fromisoformat(day) for day in DAYS[:3])
    world.run(end=first, select=BRONZE)
    found = world.runner(start=third).found
    assert [d.batch_date for d in found.drops] == [third]
    assert found.dates == [first, third]


def test_side_tables_that_somebody_restored_make_their_silver_table_pending(world: World):
    """Otherwise the rejected rows of a source and the verdicts on its drops stay gone, and nothing says so."""
    lines = [line(500_000 + n, DAYS[0], quantity) for n, quantity in enumerate([6, 6, "many"])]
    world.drop(f"orders/orders_{DAYS[0]}.csv", order_csv(lines))
    world.run()
    before = world.state()
    assert world.quarantined()
    for side in ("silver.order_lines_quarantine", "silver.order_lines_verdicts"):
        DeltaTable(world.lakehouse.store.uri(side)).restore(0)
        world.load()
        behind = world.runner().found.behind["silver.order_lines"]
        assert str(behind) == f"to be judged again, for {side} was restored to an earlier version"
        world.run()
        assert not world.runner().found
        assert differences(before, world.state()) == ""
