"""Web events from a topic to the account: every table is what an oracle in SQL makes of the messages in bronze."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import pytest

pytest.importorskip("confluent_kafka", reason="the extra `streaming` is not installed")

from lakehouse_assets import areas
from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.sources import blocks
from lakehouse_assets.sample.events import TOPIC, Dirt, Sent, events
from lakehouse_assets.streams import process
from lakehouse_assets.streams.broker import Broker
from lakehouse_assets.streams.process import Limits, Stream
from lakehouse_assets_tests.mock_broker import MockBroker
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import World

ORACLE = (Path(__file__).parents[1] / "domains" / "web" / "oracle.sql").read_text(encoding="utf-8")
MORNING = datetime(2026, 9, 1, 23, 20, tzinfo=UTC)
"""So late that sessions and events lie on both sides of midnight."""
DIRTY = Dirt(duplicates=0.05, late=0.03, disorder=0.2, broken=0.03)
TABLES = ("silver.events", "gold.live_sales", "gold.funnel_daily", "gold.sessions")


@pytest.fixture
def web() -> Iterator[None]:
    """The area `web` alone; afterwards the areas are what they were."""
    before = list(areas.AREAS)
    areas.use(areas.load([areas.STREAMED]))
    yield
    areas.use(before)


@pytest.fixture
def broker() -> Iterator[MockBroker]:
    mock = MockBroker()
    yield mock
    mock.stop()


def take(world: World, broker: MockBroker) -> int:
    settings = world.settings.model_copy(update={"kafka": broker.address})
    client = Broker(settings, TOPIC, most_mb=16)
    return (
        Stream(world.lakehouse, SOURCES["web_events"], client, Limits(every=0.1, rows=500))
        .run(lambda: False, once=True)
        .rows
    )


def send(broker: MockBroker, sent: list[Sent]) -> None:
    broker.send(TOPIC, [(s.key, s.value) for s in sent])


def wanted(world: World) -> dict[str, Counter[tuple[Any, ...]]]:
    """What every table must hold, by the oracle."""
    with duckdb.connect() as oracle:
        oracle.register("bronze", world.delta("bronze.web_events"))
        oracle.execute(ORACLE)
        found = {}
        for name in TABLES:
            columns = _compared(name, oracle.table(name.partition(".")[2]).columns)
            rows = oracle.sql(f"SELECT {', '.join(columns)} FROM {name.partition('.')[2]}").fetchall()
            found[name] = Counter(map(_plain, rows))
        return found


def held(world: World) -> dict[str, Counter[tuple[Any, ...]]]:
    found = {}
    for name in TABLES:
        table = world.delta(name)
        rows = table.select(_compared(name, table.column_names)).to_pylist()
        found[name] = Counter(_plain(tuple(row.values())) for row in rows)
    return found


def _compared(name: str, columns: list[str]) -> list[str]:
    left_out = {"session_id", "content_hash", "occurred_minute"} if name == "silver.events" else set()
    return sorted(set(columns) - left_out)


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(v.replace(tzinfo=None) if isinstance(v, datetime) else v for v in row)


def test_every_table_is_what_the_oracle_makes_of_the_messages(
    make_world: NewWorld, web: None, broker: MockBroker
) -> None:
    """Otherwise an event that came twice, late or in disorder would be counted twice, elsewhere, or not at all."""
    world = make_world()
    sent = events(1500, 5, MORNING, 0.4, DIRTY)
    for part in (sent[:700], sent[700:1500]):
        send(broker, part)
        assert take(world, broker) == len(part)
        world.run()
        assert held(world) == wanted(world)
    assert not world.runner().found  # nothing is pending
    for name, rows in world.snowflake().items():
        assert rows.num_rows == world.delta(name).num_rows > 5
    broken = Counter(rule for s in sent for rule in s.wrong if "." in rule)
    rules = Counter(r["rules"][0] for r in world.delta("silver.events_quarantine").to_pylist())
    assert rules == broken
    assert len(broken) > 8
    good = [s for s in sent if not any("." in rule for rule in s.wrong)]
    accounts = world.delta("silver.intake").to_pylist()
    assert sum(a["landed"] for a in accounts) == 1500
    assert sum(a["quarantined"] for a in accounts) == broken.total()
    assert sum(a["duplicates"] for a in accounts) == len(good) - len({s.value for s in good})
    version = world.versions()
    assert take(world, broker) == 0
    world.run()
    assert world.versions() == version


def test_the_order_of_arrival_changes_no_figure(make_world: NewWorld, web: None) -> None:
    """Otherwise two readings of the same events would disagree, and neither could be checked."""
    sent = events(600, 9, MORNING, 0.2, replace(DIRTY, broken=0.0))
    states = []
    for seed in (1, 2):
        order = list(sent)
        random.Random(seed).shuffle(order)
        world, broker = make_world(), MockBroker()
        for part in (order[:250], order[250:]):
            send(broker, part)
            take(world, broker)
            world.run()
        broker.stop()
        found = held(world)
        assert found == wanted(world)
        states.append({name: found[name] for name in TABLES if name != "silver.events"})
    assert states[0] == states[1]
    assert sum(states[0]["gold.sessions"].values()) > 50


def test_blocks_grow_end_and_begin_on_another_day(
    make_world: NewWorld, web: None, broker: MockBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a block that has grown would stay as it was first judged, or a day would never be green."""
    monkeypatch.setattr(blocks, "OFFSETS", 40)
    days = [date(2026, 9, 1), date(2026, 9, 1), date(2026, 9, 1), date(2026, 9, 12), date(2026, 9, 11)]
    world, sent, number = make_world(), events(500, 3, MORNING, 1.0, DIRTY), 0
    for part, day in enumerate(days):

        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)  # noqa: B023

        monkeypatch.setattr(process, "datetime", Clock)
        send(broker, sent[number : number + 100])
        number += 100
        take(world, broker)
        if part < 2:
            world.run()
    world.run(end=date(2026, 9, 1))  # the journal takes all blocks in, so the other day gets a run, too
    assert held(world) == wanted(world)
    journal = world.delta("bronze.landings").to_pylist()
    assert len({r["path"] for r in journal}) < len(journal)  # some were landed again
    assert {r["batch_date"] for r in journal} == {date(2026, 9, 1), date(2026, 9, 12)}  # a clock goes back, days do not
    assert world.materialized("silver.events") >= {"2026-09-01", "2026-09-12"}
    assert not world.runner().found


def test_a_run_does_not_wait_for_the_end_of_a_topic(
    make_world: NewWorld, web: None, broker: MockBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise `lakehouse run` would go on for as long as messages come, and say at last that it is not done."""
    world, sent = make_world(), iter(events(100, 6, MORNING, 1.0, DIRTY))
    send(broker, list(islice(sent, 20)))
    take(world, broker)
    runner = world.runner()
    plain = runner._execute

    def execute(*given: Any) -> None:
        plain(*given)
        send(broker, list(islice(sent, 5)))
        take(world, broker)

    monkeypatch.setattr(runner, "_execute", execute)
    runner.run()
    assert (runner.runs, runner.unfinished) == (1, None)
    assert runner.found.drops
    world.run()
    assert held(world) == wanted(world)


def test_a_block_can_be_taken_back(make_world: NewWorld, web: None, broker: MockBroker) -> None:
    """Otherwise events that somebody sent by mistake would stay, or come back with the next message."""
    world, sent = make_world(), events(300, 4, MORNING, 1.0, replace(DIRTY, broken=0.0, duplicates=0.0))
    broker.send(TOPIC, [(s.key, s.value) for s in sent[:200]], partition=1)
    broker.send(TOPIC, [(s.key, s.value) for s in sent[200:280]], partition=2)
    take(world, broker)
    world.run()
    assert world.delta("silver.events").num_rows == 280
    path = next(r["path"] for r in world.delta("bronze.landings").to_pylist() if "/00001.0/" in r["path"])
    world.withdraw(path)
    broker.send(TOPIC, [(s.key, s.value) for s in sent[280:]], partition=1)
    take(world, broker)
    world.run()
    assert world.delta("silver.events").num_rows == 80
    assert not world.runner().found
    world.land(path)
    world.run()
    assert world.delta("silver.events").num_rows == 300
