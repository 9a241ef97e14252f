"""A drop that breaks a blocking rule waits for its correction; all others go on, through to Snowflake."""

from datetime import date, timedelta

import pytest

from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import World, against_oracle, differences, line, order_csv

DAYS = [(date(2011, 3, 1) + timedelta(days=i)).isoformat() for i in range(10)]
BAD_DAY, GOOD_DAY = DAYS[4], DAYS[6]
THROUGH = (
    "silver.order_lines",
    "silver.intake",
    "gold.sales_lines",
    "gold.cohort_retention",
    "snowflake.sales_lines",
    "snowflake.daily_sales",
)


def path_of(day: str) -> str:
    return f"orders/orders_{day}.csv"


def lines_of(day: str, bad: int = 0, first: int = 1) -> str:
    number = 500000 + 100 * DAYS.index(day)
    return order_csv([line(number + i, day, "six" if i < bad else first + i) for i in range(20)])


@pytest.fixture(scope="module")
def world(make_world: NewWorld) -> World:
    """Ten days, one of them with 6 of 20 rows bad; the tests of this module go on from one another."""
    world = make_world()
    for day in DAYS:
        world.drop(path_of(day), lines_of(day, bad=6 if day == BAD_DAY else 0))
    return world


def test_the_other_nine_days_are_green_through_to_snowflake(world: World) -> None:
    """One bad file of a supplier stops everybody's figures."""
    runner = world.run()
    assert [v.path for v in runner.found.refused] == [path_of(BAD_DAY)]
    assert not runner.found
    nine = set(DAYS) - {BAD_DAY}
    assert {name: world.materialized(name) for name in THROUGH} == {name: nine for name in THROUGH}
    assert not against_oracle(world, live={path_of(BAD_DAY): None})
    assert world.accounts()[date.fromisoformat(BAD_DAY), "orders"] == {
        "landed": 20,
        "published": 0,
        "quarantined": 20,
        "duplicates": 0,
    }

    checks = [c for c in world.evaluations() if c.asset_key.path == ["silver", "order_lines"] and c.partition]
    red = {c.check_name: c for c in checks if not c.passed}
    assert {c.partition for c in red.values()} == {BAD_DAY}
    said = " ".join(f"{m.value}" for c in red.values() for m in c.metadata.values())
    assert "quantity.type" in said
    assert "6" in said
    assert path_of(BAD_DAY) in said
    assert {c.partition for c in checks if c.passed} >= nine


def test_a_second_run_makes_no_run_and_the_command_still_exits_1_and_names_the_drop(world: World) -> None:
    """A scheduled command turns green by itself while the drop still waits, and nobody asks the supplier for a
    correction.
    """
    runs = world.instance.get_runs_count()
    assert not world.run().runs
    assert world.instance.get_runs_count() == runs
    done = world.command("run")
    assert done.returncode == 1
    assert path_of(BAD_DAY) in done.stderr
    assert "Nothing to do" in done.stderr + done.stdout
    assert "1 batch date waits for a correction" in world.command("status").stdout


def test_a_drop_of_another_source_on_the_red_day_travels_on(world: World) -> None:
    """A refused order file takes the rates of its day down with it."""
    world.drop(f"fx/eurofxref_{BAD_DAY}.csv", f"Date,GBP\n{BAD_DAY},0.8612\n")
    runner = world.run()
    assert not runner.found
    assert not against_oracle(world, live={path_of(BAD_DAY): None})


def test_a_correction_turns_the_day_green_everywhere(world: World) -> None:
    """A corrected drop stays out, or its day stays red in the UI for ever."""
    world.drop(path_of(BAD_DAY), lines_of(BAD_DAY))
    runner = world.run()
    assert not runner.found.refused
    assert {name: world.materialized(name) for name in THROUGH} == {name: set(DAYS) for name in THROUGH}
    assert not against_oracle(world)


def test_a_bad_correction_of_a_good_drop_leaves_what_it_said_before(world: World) -> None:
    """A supplier's broken correction wipes good lines."""
    before = world.state(("gold", "snowflake"))
    good = world.landing / path_of(GOOD_DAY)
    kept = good.rename(world.root / "kept.csv")
    world.drop(path_of(GOOD_DAY), lines_of(GOOD_DAY, bad=7, first=3))
    runner = world.run()
    assert [v.path for v in runner.found.refused] == [path_of(GOOD_DAY)]
    assert not runner.found
    assert not differences(before, world.state(("gold", "snowflake")))
    assert not against_oracle(world, live={path_of(GOOD_DAY): kept})
    assert world.accounts()[date.fromisoformat(GOOD_DAY), "orders"] == {
        "landed": 40,
        "published": 20,
        "quarantined": 20,
        "duplicates": 0,
    }


def test_verdicts_do_not_depend_on_how_drops_are_grouped_into_runs(world: World, make_world: NewWorld) -> None:
    """The same file is refused by a nightly range and accepted by the sensor."""
    one_by_one = make_world()
    for day in (DAYS[3], BAD_DAY):
        one_by_one.drop(path_of(day), lines_of(day, bad=5 if day == BAD_DAY else 2))
        one_by_one.run()
    together = make_world(one_by_one.landing)
    together.run()
    assert not differences(one_by_one.state(), together.state())
    assert {v["verdict"] for v in together.delta("silver.order_lines_verdicts").to_pylist()} == {"accepted"}


def test_a_first_load_whose_only_day_is_refused_leaves_nothing_pending(make_world: NewWorld) -> None:
    """Each call of the command starts another run that cannot get anywhere."""
    world = make_world()
    world.drop(path_of(BAD_DAY), lines_of(BAD_DAY, bad=6))
    runner = world.run()
    assert runner.found.refused
    assert not runner.found
    assert not world.run().runs
    assert BAD_DAY not in world.materialized("gold.sales_lines")


def test_where_every_day_waits_for_a_correction_nothing_else_is_asked_for(make_world: NewWorld) -> None:
    """Else the only message that counts stands beside one that says to run the command again, which changes nothing."""
    world = make_world()
    start = world.resources["lakehouse"].zone.today()
    world.settings = world.settings.model_copy(update={"partitions_start": start})  # as of a home that begins today
    world.load()
    today = start.isoformat()
    world.drop(path_of(today), order_csv([line(500000 + i, today, "six") for i in range(20)]))
    runner = world.run()
    assert [v.path for v in runner.found.refused] == [path_of(today)]
    assert runner.unfinished is None
