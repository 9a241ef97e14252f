"""Keeping house: nothing that anybody needs goes, and no row changes."""

import os
import time
from pathlib import Path

import pytest

from lakehouse_assets.automation import maintenance
from lakehouse_assets.automation.maintenance import compact, remove_leftovers
from lakehouse_assets.errors import LakehouseError, StaleSliceError
from lakehouse_assets_tests.automation.conftest import DAYS, orders
from lakehouse_assets_tests.pipeline.world import World


def aged(path: Path, hours: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    for p in (path, path.parent, path.parent.parent):
        os.utime(p, (time.time() - hours * 3600,) * 2)
    return path


def test_only_old_slices_of_dead_runs_are_removed(tmp_path: Path):
    """Otherwise the disk would fill up, or a run that computes for long would lose its slice."""
    aged(tmp_path / "gold.daily_sales" / "dead" / "part-0.parquet", 30)
    aged(tmp_path / "gold.daily_sales" / "young" / "part-0.parquet", 20)
    aged(tmp_path / "gold.sales_lines" / "slow" / "part-0.parquet", 30)
    (tmp_path / "gold.sales_lines" / "slow" / "part-1.parquet").write_text("just written")
    aged(tmp_path / "handoff" / "daily_sales" / "on_its_way" / "part-0.parquet", 30)
    assert remove_leftovers(tmp_path, 24) == ["gold.daily_sales/dead"]
    assert sorted(p.name for p in tmp_path.glob("*/*")) == ["daily_sales", "slow", "young"]
    assert remove_leftovers(tmp_path / "nowhere", 24) == []


def test_maintenance_changes_no_row_and_nothing_becomes_pending(world: World):
    """Otherwise keeping house would cost a whole load and hand-off every night."""
    for day in DAYS[:2]:
        world.drop(f"orders/orders_{day}.csv", orders(day))
        world.run()
    before = world.state(("bronze", "silver", "gold", "snowflake"))
    left = aged(world.root / "staging" / "gold.daily_sales" / "dead" / "part-0.parquet", 30)
    job = world.definitions.resolve_job_def("maintenance")
    result = job.execute_in_process(instance=world.instance, run_config={"ops": {"tidy_tables": {"config": {"vacuum_hours": 0}}}})
    assert result.success
    assert not left.exists()
    after = world.state(("bronze", "silver", "gold", "snowflake"))
    assert all(before[name].equals(after[name]) for name in before)
    assert not world.runner().found
    versions = world.versions()
    assert job.execute_in_process(instance=world.instance).success
    assert world.versions() == versions  # there was nothing left to compact
    world.drop(f"orders/orders_{DAYS[2]}.csv", orders(DAYS[2]))
    world.run()
    assert not world.runner().found


def test_a_publish_in_between_is_no_failure_unless_it_never_ends(monkeypatch: pytest.MonkeyPatch):
    """Otherwise maintenance would be red whenever something lands at night, or hang where a table is published without end."""
    monkeypatch.setattr(maintenance.time, "sleep", lambda _: None)

    class Busy:
        left = 2

        def optimize(self, table: str) -> int:
            self.left -= 1
            if self.left >= 0:
                raise StaleSliceError("somebody was first")
            return 7

    busy = Busy()
    assert compact(busy, "gold.daily_sales") == 7  # type: ignore[arg-type]
    busy.left = 100
    with pytest.raises(LakehouseError, match=r"gold\.daily_sales was published by others"):
        compact(busy, "gold.daily_sales")  # type: ignore[arg-type]


def test_replaying_the_quarantine_judges_every_drop_whatever_the_partition(world: World):
    """Otherwise rows that have become good under a mended contract would stay out of Snowflake."""
    world.drop(f"orders/orders_{DAYS[0]}.csv", orders(DAYS[0]))
    world.run()
    job = world.definitions.resolve_job_def("replay_quarantine")
    result = job.execute_in_process(instance=world.instance, partition_key=DAYS[9])
    assert result.success
    events = [e for e in result.get_asset_materialization_events() if e.asset_key]
    made = {e.asset_key.to_user_string(): e.materialization.metadata for e in events if e.asset_key}
    forced = {name for name, metadata in made.items() if "reason" in metadata}
    assert forced == {"silver/order_lines", "silver/customers", "silver/fx_rates"}
    assert "snowflake/daily_sales" in made
