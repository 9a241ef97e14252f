"""What the application would cost on a real account, by the log of the embedded one."""

import json
import time
from datetime import UTC, datetime

from lakehouse_assets.embedded_snowflake import account_directory
from lakehouse_assets.embedded_snowflake.history import read_rows
from lakehouse_assets.operations.cost import Assumptions, Cost, cost_of
from lakehouse_assets_tests.pipeline.conftest import NewWorld, Sample
from lakehouse_assets_tests.pipeline.world import World, drops_of

LAST_DAY = "2026-09-05"


def since(world: World, began: float) -> Cost:
    """What the statements of a world have cost since then. The warehouse is never suspended between two statements of
    a run, however slow this machine is.
    """
    return cost_of(list(read_rows(account_directory(world.settings.home), since=began)), Assumptions(auto_suspend=3600))


def test_a_quiet_night_costs_nothing_and_a_day_wakes_the_warehouse_once(make_world: NewWorld, sample: Sample) -> None:
    """A schedule that looks every five minutes would keep a warehouse awake all day."""
    world = make_world()
    paths = drops_of(sample.clean)
    world.take(sample.clean, [path for path in paths if LAST_DAY not in path])
    began = time.time()
    world.run()
    first = since(world, began)
    assert (first.resumes, first.credits > 0, first.bytes_uploaded > 0) == (1, True, True)

    for _ in range(2):
        began = time.time()
        assert world.run().runs == 0
        quiet = since(world, began)
        assert (quiet.credits, quiet.statements, quiet.cached) == (0, 1, 1)

    world.take(sample.clean, [path for path in paths if LAST_DAY in path])
    began = time.time()
    runner = world.run()
    day = since(world, began)
    assert (day.resumes, day.credits > 0) == (1, True)
    assert {"SALES_LINES", "DAILY_SALES", "PRODUCT_SALES"} <= set(day.by_table)
    assert {result.run_id for result in runner.results} == set(day.by_run) - {""}

    said = world.command("cost", "--day", f"{datetime.fromtimestamp(began, UTC):%Y-%m-%d}", "--format", "json")
    report = json.loads(said.stdout)
    assert report["credits"] > 0
    assert report["assumptions"] == {"auto_suspend": 60.0, "least": 60.0, "credits_per_hour": 1.0}
    shown = world.command("cost")
    assert "A model, not a bill" in shown.stdout
    assert "SALES_LINES" in shown.stdout


def test_without_a_log_it_says_where_to_ask(make_world: NewWorld) -> None:
    """Nothing would look like nothing spent."""
    world = make_world()
    said = world.command("cost", LAKEHOUSE_HOME=str(world.root))
    assert said.returncode == 1
    assert "no log of statements" in said.stderr
    assert "WAREHOUSE_METERING_HISTORY" in said.stderr
    assert world.command("cost", "--day", "2026-01-01", "--since", "2026-01-01").returncode == 1
