"""Runs beside each other and beside a withdrawal: the tables end as if one had come after the other, and nobody is
shown a traceback.
"""

import subprocess
import sys
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from lakehouse_assets.core.declarations.registry import pulled_sources
from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.delta.staging import StagedSlice
from lakehouse_assets.core.sources import ingest
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import World, against_oracle, differences, line, order_csv, rates_csv

MEETING = """
import atexit, os, time
from pathlib import Path
from lakehouse_assets.core.delta.staging import Lakehouse

place, folder, number = os.environ["MEET_AT"], Path(os.environ["MEET_IN"]), int(os.environ["MEET"])

def arrive():
    (folder / str(os.getpid())).touch()

def publish(self, staged, publish=Lakehouse.publish):
    if staged.contract.name == place:
        arrive()
        end = time.monotonic() + 300
        while len(list(folder.iterdir())) < number and time.monotonic() < end:
            time.sleep(0.01)
    return publish(self, staged)

Lakehouse.publish = publish
atexit.register(arrive)  # whoever never comes to that place is not waited for

from lakehouse_assets.cli import main
main()
"""
"""The `lakehouse` command, which waits for the others before it commits to the table that the environment names: all of
them have staged by then.
"""

FIRST = date(2026, 9, 1)
TAKEN_BACK = "orders/orders_2026-09-02.csv"


def land(world: World, days: range) -> None:
    """Drops of some days, each with lines that another one has too."""
    for n in days:
        day = (FIRST + timedelta(days=n)).isoformat()
        world.drop(f"fx/rates_{day}.csv", rates_csv({day: f"0.8{n}"}))
        shared = [line(500_000, FIRST.isoformat(), code="85000A")]
        world.drop(
            f"orders/orders_{day}.csv",
            order_csv([*shared, *(line(600_000 + 10 * n + i, day, code=f"{85000 + i}A") for i in range(6))]),
        )


def together(world: World, meeting: Path, *commands: tuple[str, ...]) -> list[str]:
    """Run commands beside each other; what each said on stderr. The first word of each is the table before whose commit
    it waits for the others.
    """
    meeting.mkdir()
    started = []
    for place, *arguments in commands:
        environment = world.process_environment(MEET_AT=place, MEET_IN=str(meeting), MEET=str(len(commands)))
        command = [sys.executable, "-c", MEETING, *arguments]
        started.append(
            subprocess.Popen(
                command, env=environment, cwd=world.root, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        )
    said = ["".join(process.communicate()) for process in started]
    assert [p.returncode for p in started] == [0] * len(commands), said
    assert not any("Traceback" in text for text in said), said
    return said


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "table",
    [
        "bronze.landings",
        pytest.param("bronze.orders", marks=pytest.mark.heavy),
        pytest.param("silver.order_lines", marks=pytest.mark.heavy),
        pytest.param("gold.sales_lines", marks=pytest.mark.heavy),
    ],
)
def test_two_runs_that_take_in_the_same_drops_take_each_in_once(
    table: str, make_world: NewWorld, tmp_path: Path
) -> None:
    """A schedule and a person start at the same time: a drop that is journaled twice counts twice, or the later one
    fails.
    """
    world = make_world()
    land(world, range(3))
    together(world, tmp_path / "meeting", (table, "run"), (table, "run"))
    world.run()
    entries = world.delta("bronze.landings").to_pylist()
    assert sorted((e["path"], e["sequence"]) for e in entries) == sorted(
        (p.relative_to(world.landing).as_posix(), 1) for p in world.landing.rglob("*.csv")
    )
    rows = world.delta("bronze.orders").select(["path", "content_hash", "row_number"]).to_pylist()
    assert len({tuple(r.values()) for r in rows}) == len(rows) == 3 * 7
    assert not against_oracle(world)


@pytest.mark.heavy
@pytest.mark.timeout(900)
@pytest.mark.parametrize("table", ["bronze.orders", "bronze.landings", "silver.order_lines", "gold.sales_lines"])
def test_a_withdrawal_beside_two_runs_takes_its_drop_back(table: str, make_world: NewWorld, tmp_path: Path) -> None:
    """Somebody takes a drop back while runs are going: what they had read before must not bring it back, nor take its
    neighbours along.
    """
    alone, world = make_world(), make_world()
    for each in (alone, world):
        land(each, range(3))
        each.run()
    land(alone, range(3, 5))
    alone.run()
    alone.withdraw(TAKEN_BACK)
    alone.run()
    land(world, range(3, 5))
    together(world, tmp_path / "meeting", (table, "run"), (table, "run"), ("bronze.landings", "withdraw", TAKEN_BACK))
    world.run()
    assert not world.runner().found
    everything = ("bronze", "silver", "gold", "snowflake")
    assert not differences(alone.state(everything), world.state(everything))


def test_a_run_that_journals_while_another_looks_up_the_journal(
    make_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both journal the same drops: the test above fails, but only sometimes."""
    world, others = make_world(), list[str]()
    land(world, range(2))

    def meddling() -> list[Source]:
        if not others:
            others.append(world.command("run").stderr)
        return pulled_sources()

    monkeypatch.setattr(ingest, "pulled_sources", meddling)
    world.run()
    assert len(others) == 1
    assert_each_entry_once(world)
    assert not against_oracle(world)


def test_a_withdrawal_while_another_one_is_made(make_world: NewWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both journal it."""
    world, others = make_world(), list[int]()
    land(world, range(2))
    world.run()
    journal_slice = ingest.journal_slice

    def meddling(*arguments: Any) -> StagedSlice:
        if not others:
            others.append(world.command("withdraw", TAKEN_BACK).returncode)
        return journal_slice(*arguments)

    monkeypatch.setattr(ingest, "journal_slice", meddling)
    with pytest.raises(LakehouseError, match="already withdrawn"):
        ingest.withdraw(world.lakehouse, TAKEN_BACK)
    assert others == [0]
    assert_each_entry_once(world)


def assert_each_entry_once(world: World) -> None:
    found = Counter((e["path"], e["sequence"]) for e in world.delta("bronze.landings").to_pylist())
    assert found
    assert set(found.values()) == {1}
