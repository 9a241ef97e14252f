"""A drop that says nothing good replaces nothing, and what is open stays visible until somebody acts."""

import json
from collections.abc import Callable
from datetime import date

import pytest

from lakehouse_assets.core.delta.staging import Lakehouse
from lakehouse_assets.core.sources import ingest
from lakehouse_assets.orchestration.instance.runs import execute_range
from lakehouse_assets.orchestration.presentation import plain
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import BRONZE, World, line, order_csv

DAY, LATER = "2012-05-01", "2012-05-04"
ORDERS, CUSTOMERS = f"orders/orders_{DAY}.csv", f"customers/customers_{DAY}.jsonl"


def records(number: int) -> str:
    return "".join(
        json.dumps({"customer_id": n + 1, "name": "Ada", "updated_at": f"{DAY}T10:00:00Z"}) + "\n"
        for n in range(number)
    )


def invoices(world: World) -> set[str]:
    return {r["invoice"] for r in world.delta("silver.order_lines").to_pylist()}


def aggregate(world: World, table: str) -> list[str]:
    """What the last results of a silver table's checks say that stand for the table and failed."""
    newest = {e.check_name: e for e in world.evaluations() if e.asset_key.path == ["silver", table] and not e.partition}
    return [e.description or "" for e in newest.values() if not e.passed]


def test_what_replaces_good_rows_must_be_good(make_world: NewWorld) -> None:
    """An error page under the name of the customers' file would end every customer, and a header alone every line of a
    day.
    """
    world = make_world()
    world.drop(ORDERS, order_csv([line(500000 + n, DAY) for n in range(3)]))
    world.drop(CUSTOMERS, records(12))
    assert not world.run().found.unreadable

    good = invoices(world)
    for content in ("<html>\n<body>\nUnavailable\n</body></html>\n", f"[{records(1).strip()}]"):
        world.drop(CUSTOMERS, content)
        found = world.run().found
        assert [(v.path, v.verdict) for v in found.unreadable] == [(CUSTOMERS, "unreadable")]
        assert len(world.delta("silver.customers")) == len(world.snowflake()["gold.dim_customers"]) == 12
    for content in (
        order_csv([line(500000 + n, "5/1/2012") for n in range(3)]),
        order_csv([]),
        order_csv([line(500000, DAY), line(500001, DAY), line(500002, DAY, "many")]),
    ):
        world.drop(ORDERS, content)
        assert [v.path for v in world.run().found.refused] == [ORDERS]
        assert invoices(world) == good
    world.drop(ORDERS, order_csv([line(600000 + n, DAY) for n in range(3)]))
    assert not world.run().found.refused
    assert invoices(world) == {"600000", "600001", "600002"}


def test_what_is_open_is_said_everywhere_until_it_is_acknowledged(make_world: NewWorld) -> None:
    """A run over other days would paint over a day of which nothing was loaded."""
    world = make_world()
    world.drop(ORDERS, order_csv([line(500000 + n, DAY, "many") for n in range(40)]))
    world.drop(CUSTOMERS, b"\x80\x81\x82 no text\n")
    world.run()
    world.drop(f"orders/orders_{LATER}.csv", order_csv([line(510000, LATER)]))
    world.drop(f"customers/customers_{LATER}.jsonl", records(1))
    found = world.run().found
    assert not found
    assert ([v.path for v in found.refused], [v.path for v in found.unreadable]) == ([ORDERS], [CUSTOMERS])
    (said,) = aggregate(world, "order_lines")
    assert said.startswith(f"Open on other batch dates: Drop {ORDERS} is refused: 40 of 40 rows break a rule")
    assert plain(f"`lakehouse acknowledge {ORDERS}`") in said
    done = world.command("run")
    assert done.returncode == 1
    assert f"Drop {ORDERS} is refused: 40 of 40 rows" in done.stderr

    ingest.acknowledge(world.lakehouse, ORDERS)
    found = world.run().found
    assert not found.refused
    assert date.fromisoformat(DAY) not in found.red
    assert DAY in world.materialized("silver.order_lines")
    assert world.accounts()[date.fromisoformat(DAY), "orders"] == {
        "landed": 40,
        "published": 0,
        "quarantined": 40,
        "duplicates": 0,
    }
    assert world.command("run").returncode == 1
    ingest.acknowledge(world.lakehouse, CUSTOMERS)
    done = world.command("run")
    assert (done.returncode, "refused" in done.stderr) == (0, False)
    assert not world.run().runs


@pytest.mark.parametrize("act", [ingest.acknowledge, ingest.withdraw])
def test_a_day_that_another_days_run_has_made_good_is_cleared(
    make_world: NewWorld, act: Callable[[Lakehouse, str], object]
) -> None:
    """The partition of a drop that was acknowledged or withdrawn would stay red for ever, where a run over another day
    was the first to see that.
    """
    world = make_world()
    world.drop(ORDERS, order_csv([line(500000 + n, DAY, "many") for n in range(40)]))
    world.run()
    assert DAY not in world.materialized("silver.order_lines")
    act(world.lakehouse, ORDERS)
    other = execute_range(
        world.instance, job_name="load_all", asset_keys=None, start_key=LATER, end_key=LATER, defs=world.definitions
    )
    assert other.success
    assert DAY not in world.materialized("silver.order_lines")
    world.run()
    assert DAY in world.materialized("silver.order_lines")
    assert not world.run().runs


@pytest.mark.heavy
def test_a_verdict_follows_from_the_journal_and_not_from_the_runs(make_world: NewWorld) -> None:
    """The same contents in one run or in three would end in two states."""
    contents = [
        order_csv([line(500000, DAY), line(500001, DAY, "many")]),  # one bad row of two: allowed for a first drop
        order_csv([line(500002, DAY), line(500003, DAY, "many")]),  # and refused as a correction
        order_csv([line(500004, DAY), line(500005, DAY)]),
        order_csv([line(500000, DAY), line(500001, DAY, "many")]),  # the first content again is what it was at first
    ]
    worlds = [make_world(), make_world()]
    for content in contents:
        for world in worlds:
            world.drop(ORDERS, content)
            world.run(select=BRONZE)
        worlds[1].run()
    worlds[0].run()
    assert [invoices(world) for world in worlds] == [{"500000"}] * 2
    verdicts = [
        {r["content_hash"]: r["verdict"] for r in w.delta("silver.order_lines_verdicts").to_pylist()} for w in worlds
    ]
    assert verdicts[0] == verdicts[1]
    assert sorted(verdicts[0].values()) == ["accepted", "accepted", "refused"]
