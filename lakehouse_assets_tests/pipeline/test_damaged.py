"""What somebody does by hand to a served table or view is noticed by the next look, and undone by the next run."""

from typing import Any

import pytest

from lakehouse_assets.orchestration.graph import served
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import State, World, differences, line, order_csv


@pytest.mark.parametrize(
    ("done", "noticed"),
    [
        pytest.param(["DROP TABLE {a}.DIM_PRODUCTS"], {"dim_products", "sales"}, marks=pytest.mark.heavy),
        pytest.param(["DROP VIEW {a}.SALES"], {"sales"}, marks=pytest.mark.heavy),
        (["DROP TABLE {a}.DIM_CUSTOMERS", "DROP TABLE {a}.SALES_LINES"], {"dim_customers", "sales_lines", "sales"}),
        pytest.param(["ALTER TABLE {a}.DAILY_SALES DROP COLUMN UNITS"], {"daily_sales"}, marks=pytest.mark.heavy),
        pytest.param(
            ["ALTER TABLE {a}.DAILY_SALES RENAME TO {a}.DAILY_SALES_OLD"], {"daily_sales"}, marks=pytest.mark.heavy
        ),
        pytest.param(["DELETE FROM {a}.PRODUCT_SALES"], {"product_sales"}, marks=pytest.mark.heavy),
        (["INSERT INTO {a}.PRODUCT_SALES SELECT * FROM {a}.PRODUCT_SALES"], {"product_sales"}),
    ],
    ids=lambda v: " ".join(v[0].split()[:2]) if isinstance(v, list) else None,
)
def test_what_was_done_by_hand_is_noticed_and_undone(
    done: list[str], noticed: set[str], loaded: tuple[World, State]
) -> None:
    """A no-op run said that nothing is to be done, and every later run failed on the table that was gone."""
    world, state = loaded
    served_state = {k: v for k, v in state.items() if k.startswith("snowflake")}
    for statement in done:
        world.cursor_do(statement.replace("{a}", "{db}.ANALYTICS"))
    found = world.runner().found.handoffs
    assert set(found) == noticed
    assert all("by somebody else" in why for why in found.values())
    told = world.command("verify")
    assert told.returncode == 1
    rest = {name.upper() for name in served()} - {name.upper() for name in noticed}
    assert {line.split()[0] for line in told.stdout.splitlines() if " equal " in line} >= rest
    runner = world.run()
    assert (runner.runs, runner.unfinished, runner.found.handoffs) == (1, None, {})
    assert not differences(served_state, world.state(("snowflake",)))
    assert world.cursor_do("SELECT COUNT(*) FROM {db}.ANALYTICS.SALES") == world.cursor_do(
        "SELECT COUNT(*) FROM {db}.ANALYTICS.SALES_LINES"
    )
    assert not world.run().runs


def test_verify_repairs_what_was_dropped(loaded: tuple[World, State]) -> None:
    """The command that proves is the one that people call when something is wrong."""
    world, state = loaded
    world.cursor_do("DROP TABLE {db}.ANALYTICS.DIM_PRODUCTS")
    told = world.command("verify", "--repair")
    assert told.returncode == 0, told.stdout + told.stderr
    assert not differences({k: v for k, v in state.items() if k.startswith("snowflake")}, world.state(("snowflake",)))


def test_a_view_in_the_place_of_a_table_is_told_and_a_run_restores_the_table(loaded: tuple[World, State]) -> None:
    """It reads like the table, so nobody sees it until nothing can be published any more."""
    world, state = loaded
    table = "{db}.ANALYTICS.DIM_PRODUCTS"
    world.cursor_do(f"ALTER TABLE {table} RENAME TO {table}_OLD")
    world.cursor_do(f"CREATE VIEW {table} AS SELECT * FROM {table}_OLD")
    verified = world.command("verify")
    assert verified.returncode == 1
    for shown in (verified, world.command("status")):
        assert "DIM_PRODUCTS is a view where the served table belongs" in " ".join(shown.stdout.split())
    world.cursor_do(f"DROP VIEW {table}")
    world.cursor_do(f"DROP TABLE {table}_OLD")
    assert world.run().unfinished is None
    assert not differences({k: v for k, v in state.items() if k.startswith("snowflake")}, world.state(("snowflake",)))


def test_a_first_run_that_fails_leaves_no_empty_table(make_world: NewWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dashboard shows zero where it should say that nothing is there yet."""
    from lakehouse_assets.core.handoff import export

    world = make_world()
    world.drop("orders/orders_2012-05-01.csv", order_csv([line(500000, "2012-05-01")]))
    original = export.write_files

    def fail(*arguments: Any, **more: Any) -> object:
        if any("daily_sales" in str(getattr(a, "name", "")) for a in arguments):
            raise RuntimeError("it cannot be written")
        return original(*arguments, **more)

    monkeypatch.setattr(export, "write_files", fail)
    with pytest.raises(Exception, match="it cannot be written"):
        world.run()
    monkeypatch.undo()
    tables = {row[1] for row in world.cursor_do("SHOW TABLES IN SCHEMA {db}.ANALYTICS")}
    counts = {t: world.cursor_do(f"SELECT COUNT(*) FROM {{db}}.ANALYTICS.{t}")[0][0] for t in tables}
    assert "SALES_LINES" in counts
    # the one that failed; no customer and no stock level has landed
    assert {t for t, rows in counts.items() if not rows} <= {"DAILY_SALES", "DIM_CUSTOMERS", "STOCK_DAYS"}
    world.run()
    assert not world.run().runs
