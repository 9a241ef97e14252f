"""Customers from a database beside the drops, through the whole graph."""

import json
from pathlib import Path

import pytest

from lakehouse_assets.orchestration.assets.bronze import DATABASE_ANSWERS
from lakehouse_assets.orchestration.automation.sinks import WebhookSink
from lakehouse_assets_tests.core.sources.crm import Crm, sqlite_crm
from lakehouse_assets_tests.orchestration.automation.conftest import DAYS, Receiver, Ticker, orders, receiver
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import World

__all__ = ["receiver"]

NOON = "2026-09-01 12:00:00+00:00"
UNREACHABLE = "postgresql://crm:h3sh-h3sh@127.0.0.1:1/crm"


@pytest.fixture
def crm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Crm:
    made = sqlite_crm(tmp_path)
    monkeypatch.setenv("LAKEHOUSE_CUSTOMERS_DB", made.url)
    return made


def served(world: World) -> dict[int, str]:
    """DIM_CUSTOMERS in Snowflake, by number."""
    return dict(world.cursor_do("SELECT customer_id, name FROM {db}.ANALYTICS.DIM_CUSTOMERS"))


def answers(world: World) -> list[bool]:
    """What the check of the database has said, the oldest first."""
    return [e.passed for e in world.evaluations() if e.check_name == DATABASE_ANSWERS]


def test_customers_reach_snowflake_and_the_sensor_sees_every_change(make_world: NewWorld, crm: Crm):
    """Otherwise a change in the CRM would wait for somebody to type a command, or a tick would start a run for
    nothing.
    """
    world = make_world()
    crm.put(1, NOON)
    crm.put(2, NOON, "Bea")
    landing = Ticker(world, "landing_sensor")
    request = landing.request()
    assert request.tags["lakehouse/sources"] == "customers"
    assert landing.execute(request).success
    assert served(world) == {1: "Ada", 2: "Bea"}
    assert landing.says() == "Nothing to do."
    assert not world.runner().found

    crm.delete(1)
    crm.put(3, "2020-01-01 00:00:00+00:00", "Cleo")
    again = landing.request()
    assert again.run_key != request.run_key
    assert landing.execute(again).success
    assert served(world) == {2: "Bea", 3: "Cleo"}
    before = world.versions()
    assert world.run().runs == 0
    assert world.versions() == before
    accounts = {source: counts for (_, source), counts in world.accounts().items()}
    assert accounts == {"customers": {"landed": 4, "published": 3, "quarantined": 0, "duplicates": 1}}


@pytest.mark.heavy
def test_a_run_that_died_before_the_journal_is_pending_on_its_day(make_world: NewWorld, crm: Crm):
    """Otherwise the rows would be in bronze, behind the watermark, and nobody would ever ask for them."""
    world = make_world()
    crm.put(1, NOON)
    world.run(select=["bronze.customers"])
    crm.delete(1)  # so that the pull which is half done is not the only one
    found = world.runner().found
    assert [d.path.rpartition("_")[0] for d in found.drops] == [
        "customers/_database/00000001",
        "customers/_database/00000002",
    ]
    world.run()
    assert not world.runner().found
    assert served(world) == {}
    crm.put(1, NOON)
    world.run(select=["bronze.customers"])
    assert [d.path.rpartition("_")[0] for d in world.runner().found.drops] == ["customers/_database/00000003"]
    world.run()
    assert served(world) == {1: "Ada"}


@pytest.mark.heavy
def test_a_database_that_cannot_be_reached_holds_no_file_up_and_is_told(
    make_world: NewWorld, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    """Otherwise sales would wait for the CRM, or nobody would know that customers stand still, or all would know the
    password.
    """
    world = make_world()
    world.drop(f"orders/orders_{DAYS[0]}.csv", orders(DAYS[0]))
    done = world.command("run", LAKEHOUSE_CUSTOMERS_DB=UNREACHABLE)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "The source customers cannot be read from the table customers of postgresql://127.0.0.1:1/crm (connection to"
    )
    assert world.delta("gold.sales_lines").num_rows == 6
    shown = world.command("status", "--format", "json", LAKEHOUSE_CUSTOMERS_DB=UNREACHABLE)
    assert json.loads(shown.stdout)["pending"]["unavailable"] == {"customers": last}

    monkeypatch.setenv("LAKEHOUSE_CUSTOMERS_DB", UNREACHABLE)
    world.drop(f"orders/orders_{DAYS[1]}.csv", orders(DAYS[1]))
    landing, watch = (
        Ticker(world, "landing_sensor"),
        Ticker(world, "watch", {"alert_sink": WebhookSink(url=receiver.url)}),
    )
    assert landing.execute(landing.request()).success
    assert world.delta("gold.sales_lines").num_rows == 12
    assert landing.says() == last
    watch.tick()
    assert ("firing", "source_unavailable:customers") in receiver.alerts()
    monkeypatch.delenv("LAKEHOUSE_CUSTOMERS_DB")
    watch.tick()
    assert ("resolved", "source_unavailable:customers") in receiver.alerts()
    assert landing.says() == "Nothing to do."

    said = done.stdout + done.stderr + shown.stdout + shown.stderr
    files = [f.read_bytes() for f in world.root.rglob("*") if f.is_file()]
    assert "h3sh" not in said
    assert files
    assert not [f for f in files if b"h3sh" in f]


@pytest.mark.heavy
def test_a_database_that_fails_in_the_middle_of_a_run_does_not_fail_it(make_world: NewWorld, crm: Crm, tmp_path: Path):
    """Otherwise a restart of the CRM would cost the files of customers their run."""
    world = make_world()
    crm.put(1, NOON)
    world.drop(
        "customers/crm_2026-09-01.jsonl", '{"customer_id": 9, "name": "Ida", "updated_at": "2026-09-01T00:00:00Z"}\n'
    )
    runner = world.runner()
    assert len(runner.found.drops) == 2
    (tmp_path / "crm.sqlite").rename(tmp_path / "moved.sqlite")
    runner.run()
    assert served(world) == {9: "Ida"}
    assert runner.found.unavailable
    assert set(answers(world)) == {False}
    (tmp_path / "moved.sqlite").rename(tmp_path / "crm.sqlite")
    world.run()
    assert served(world) == {1: "Ada", 9: "Ida"}
    assert answers(world)[-1]


def test_a_quiet_tick_asks_one_small_question(make_world: NewWorld, crm: Crm):
    """Otherwise thousands of customers would travel at every tick, or an engine would start."""
    world = make_world()
    crm.do(*(f"INSERT INTO customers (customer_id, name, updated_at) VALUES ({n}, 'N', '{NOON}')" for n in range(2000)))
    world.run()
    world.lakehouse.__dict__["start_spark"] = lambda: pytest.fail("an engine was started")
    assert not world.runner().found
