"""Keeping house: nothing that anybody needs goes, and no row changes."""

import os
import subprocess
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

import pytest
from deltalake import DeltaTable

from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.delta.staging import Lakehouse
from lakehouse_assets.core.quality.drops import AGED
from lakehouse_assets.core.sources.quarantine import preview
from lakehouse_assets.core.sources.verdicts import refused_now, standing_verdicts
from lakehouse_assets.domains.sales.sales import SalesLines
from lakehouse_assets.errors import LakehouseError, StaleSliceError
from lakehouse_assets.orchestration.automation import maintenance
from lakehouse_assets.orchestration.automation.maintenance import compact, remove_leftovers
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource
from lakehouse_assets.processes import scratch_name
from lakehouse_assets_tests.declared import other_contracts
from lakehouse_assets_tests.orchestration.automation.conftest import DAYS, orders
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.test_contract_change import NAME, Stricter
from lakehouse_assets_tests.pipeline.world import World, against_oracle, rates_csv


def aged(path: Path, hours: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    then = time.time() - hours * 3600
    for p in (path, path.parent, path.parent.parent):
        os.utime(p, (then, then))
    return path


def test_only_old_slices_of_dead_runs_are_removed(tmp_path: Path):
    """Otherwise the disk would fill up, or a run that computes for long would lose its slice."""
    aged(tmp_path / "gold.daily_sales" / "dead" / "part-0.parquet", 30)
    aged(tmp_path / "gold.daily_sales" / "young" / "part-0.parquet", 20)
    aged(tmp_path / "gold.sales_lines" / "slow" / "part-0.parquet", 30)
    (tmp_path / "gold.sales_lines" / "slow" / "part-1.parquet").write_text("just written")
    aged(tmp_path / "handoff" / "daily_sales" / "on_its_way" / "part-0.parquet", 30)
    aged(tmp_path / "changes" / "version-1" / "part-0.parquet", 30)
    assert remove_leftovers(tmp_path, 24) == ["changes/version-1", "gold.daily_sales/dead"]
    assert sorted(p.name for p in tmp_path.glob("*/*")) == ["daily_sales", "slow", "young"]
    assert remove_leftovers(tmp_path / "nowhere", 24) == []


def test_what_a_living_process_staged_stays_however_old_the_clock_makes_it(tmp_path: Path):
    """Otherwise a clock that is set forward by a day takes the slices of the runs that are under way."""
    mine, dead = scratch_name(), scratch_name()
    dead = dead.replace(f"-{os.getpid()}-", f"-{ended()}-")
    for name in (mine, dead, f"version-{mine}", f"changes-{dead}", "0" * 32, f"{'0' * 32}-elsewhere-{os.getpid()}-1"):
        aged(tmp_path / "gold.daily_sales" / name / "part-0.parquet", 30 * 24)
    aged(tmp_path / "gold.daily_sales-candidates" / mine / "part-0.parquet", 30 * 24)
    remove_leftovers(tmp_path, 24)
    assert {p.name for p in tmp_path.glob("*/*")} == {mine, f"version-{mine}"}
    assert (tmp_path / "gold.daily_sales-candidates" / mine).exists()


def ended() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_maintenance_changes_no_row_and_nothing_becomes_pending(world: World):
    """Otherwise keeping house would cost a whole load and hand-off every night."""
    for day in DAYS[:2]:
        world.drop(f"orders/orders_{day}.csv", orders(day))
        world.run()
    before = world.state(("bronze", "silver", "gold", "snowflake"))
    left = aged(world.root / "staging" / "gold.daily_sales" / "dead" / "part-0.parquet", 30)
    job = world.definitions.resolve_job_def("maintenance")
    result = job.execute_in_process(
        instance=world.instance, run_config={"ops": {"tidy_tables": {"config": {"vacuum_hours": 0}}}}
    )
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


@pytest.mark.heavy
def test_rejected_rows_age_and_what_was_counted_of_them_stays(world: World):
    """Otherwise quarantine grows for ever, or ageing changes accounts and verdicts, or makes tables pending and hands
    them off again.
    """
    for day, quantity in ((DAYS[0], "six"), (DAYS[1], 6)):
        world.drop(
            f"orders/orders_{day}.csv",
            orders(day) + orders(day, 1, quantity).splitlines()[1].replace("500", "509") + "\n",
        )
    world.drop(f"orders/orders_{DAYS[2]}.csv", orders(DAYS[2], 8, "many"))  # refused
    world.run()
    rejected = world.state(("silver",))["silver.order_lines_quarantine"]
    assert rejected.height == 1 + 8
    before = world.state(("bronze", "silver", "gold", "snowflake"))
    job = world.definitions.resolve_job_def("maintenance")

    def maintain(days: int | None, setting: int = 0) -> int:
        config = {} if days is None else {"ops": {"age_quarantine": {"config": {"quarantine_days": days}}}}
        told = {"lakehouse": LakehouseResource.of(world.settings.model_copy(update={"quarantine_days": setting}))}
        result = job.execute_in_process(
            instance=world.instance, run_config=config, resources={**world.resources, **told}
        )
        (said,) = [
            e.step_output_data for e in result.all_events if e.is_successful_output and e.step_key == "age_quarantine"
        ]
        removed: Any = said.metadata["rows_removed"]
        return removed.value

    def differing() -> set[str]:
        after = world.state(("bronze", "silver", "gold", "snowflake"))
        return {name for name in before if not before[name].equals(after[name])}

    assert (
        maintain(None) == maintain(0, setting=1) == maintain(100_000, setting=1) == maintain(None, setting=100_000) == 0
    )
    assert not differing()
    young = (world.resources["lakehouse"].zone.today() - date.fromisoformat(DAYS[0])).days
    assert maintain(young) == 0  # a batch of that very day is not older
    assert maintain(young - 1) == 1
    assert maintain(None, setting=1) == 8
    assert differing() == {"silver.order_lines_quarantine"}
    assert world.delta("silver.order_lines_quarantine").num_rows == 0
    versions = world.versions()
    assert maintain(1) == 0
    assert world.versions() == versions
    assert not world.runner().found
    runs = len(world.instance.get_runs())
    world.run()
    assert len(world.instance.get_runs()) == runs

    # What is told later has the counts; which rules they were nobody knows any more.
    verdicts = {str(v.batch_date): v for v in standing_verdicts(world.lakehouse, SOURCES["orders"])}
    assert [(verdicts[d].bad_rows, dict(verdicts[d].rules)) for d in DAYS[:3]] == [
        (1, {AGED: 1}),
        (0, {}),
        (8, {AGED: 8}),
    ]
    assert [v.path for v in refused_now(world.lakehouse, SOURCES["orders"])] == [f"orders/orders_{DAYS[2]}.csv"]

    assert preview(world.lakehouse, SOURCES["orders"]) == (9, 0)
    # Judged again, rows come back as they were, and age again.
    world.run(force=["silver.order_lines"])
    assert not differing()
    assert maintain(1) == 9
    assert differing() == {"silver.order_lines_quarantine"}
    assert not world.runner().found
    world.drop(f"orders/orders_{DAYS[2]}.csv", orders(DAYS[2]))
    world.run()
    assert not world.runner().found
    assert not against_oracle(world, exclude={(f"orders/orders_{DAYS[0]}.csv", 7)})


def test_a_publish_in_between_is_no_failure_unless_it_never_ends(monkeypatch: pytest.MonkeyPatch):
    """Otherwise maintenance would be red whenever something lands at night, or hang where a table is published without
    end.
    """
    monkeypatch.setattr(maintenance.time, "sleep", lambda _: None)

    class Busy:
        left = 2

        def optimize(self, table: str) -> int:
            self.left -= 1
            if self.left >= 0:
                raise StaleSliceError("somebody was first")
            return 7

    busy = Busy()
    lakehouse = Lakehouse(busy, lambda: None, "")  # type: ignore[arg-type, return-value]
    assert compact(lakehouse, "gold.daily_sales") == 7
    busy.left = 100
    with pytest.raises(LakehouseError, match=r"gold\.daily_sales was published by others"):
        compact(lakehouse, "gold.daily_sales")


@pytest.mark.heavy
def test_a_table_is_z_ordered_where_its_contract_asks_for_it_and_only_where_it_has_changed(
    make_world: NewWorld, ordered: None
):
    """Otherwise the word does nothing, or every night writes a year of files anew."""
    world = make_world()
    world.drop("fx/rates_2026-09-01.csv", rates_csv({"2026-09-01": "0.85"}))
    months = ("2026-09-15", "2026-10-15")
    for day in months:
        world.drop(f"orders/orders_{day}.csv", orders(day))
    world.run()
    before = world.state(("gold", "snowflake"))
    assert compact(world.lakehouse, "gold.sales_lines") == 2
    assert compact(world.lakehouse, "gold.sales_lines") == 0
    after = world.state(("gold", "snowflake"))
    assert all(before[name].equals(after[name]) for name in before)
    assert not world.runner().found
    world.drop("orders/orders_2026-10-16.csv", orders("2026-10-16"))
    world.run()
    september, october = (month_files(world, month) for month in ("2026-09-01", "2026-10-01"))
    assert compact(world.lakehouse, "gold.sales_lines") == len(october) > 0
    assert month_files(world, "2026-09-01") == september
    assert not set(month_files(world, "2026-10-01")) & set(october)
    assert not world.runner().found


class Ordered(SalesLines):
    """Sales lines in which somebody looks up customers."""

    class Config(SalesLines.Config):
        metadata: ClassVar = {**SalesLines.Config.metadata, "z_order_by": ["customer_id"]}


@pytest.fixture
def ordered() -> Iterator[None]:
    with other_contracts(Ordered):
        yield


def month_files(world: World, month: str) -> list[str]:
    return [
        uri
        for uri in DeltaTable(world.lakehouse.store.uri("gold.sales_lines")).file_uris()
        if f"invoice_month={month}" in uri
    ]


@pytest.mark.heavy
def test_replaying_the_quarantine_over_any_day_judges_every_drop_and_a_red_day_that_it_makes_good_turns_green(
    world: World,
):
    """Otherwise rows that a fixed contract allows stay out of Snowflake, or are there and their day is red for
    ever.
    """
    with other_contracts(Stricter):
        world.load()
        for day, quantity in zip(DAYS[:2], (6, 20), strict=True):
            world.drop(f"orders/orders_{day}.csv", orders(day, quantity=quantity))
        assert world.run().found.refused
    world.load()
    through = (NAME, "gold.sales_lines", "snowflake.sales_lines")
    job = world.definitions.resolve_job_def("replay_quarantine")
    result = job.execute_in_process(instance=world.instance, partition_key=DAYS[0])
    assert result.success
    forced = {
        e.asset_key.to_user_string()
        for e in result.get_asset_materialization_events()
        if e.asset_key and "reason" in e.materialization.metadata
    }
    assert forced == {source.table.replace(".", "/") for source in SOURCES.values()}
    assert against_oracle(world) == ""
    found = world.runner().found
    assert [str(day) for day in found.dates] == [DAYS[1]]
    assert {name: str(why) for name, why in found.behind.items()} == {
        NAME: f"fixed, but not yet shown, for batch {DAYS[1]}"
    }
    assert not world.run().found
    assert all(DAYS[1] in world.materialized(name) for name in through)
    last = {
        c.check_name: c.passed
        for c in world.evaluations()
        if c.asset_key.path == NAME.split(".") and c.partition == DAYS[1]
    }
    assert last == dict.fromkeys(("complete", "readable", "valid", "unique"), True)
    assert not world.run().runs
