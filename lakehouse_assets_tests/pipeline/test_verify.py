"""Reconciliation finds whatever was altered by hand in Snowflake, names it, and fixes it."""

import re

import pytest

from lakehouse_assets.orchestration.graph import served
from lakehouse_assets_tests.pipeline.world import State, World, differences

TABLE = "{db}.ANALYTICS.SALES_LINES"


def of_line(world: World, change: str) -> tuple[str, str]:
    """The statement for a line of the table, and the line's key."""
    line_id = world.cursor_do(f"SELECT MIN(LINE_ID) FROM {TABLE}")[0][0]
    return change.replace("{id}", line_id), line_id


@pytest.mark.parametrize(
    ("change", "kind", "columns"),
    [
        ("UPDATE {t} SET AMOUNT = AMOUNT + 0.001 WHERE LINE_ID = '{id}'", "changed", ("amount",)),
        ("UPDATE {t} SET CUSTOMER_ID = NULL, COUNTRY = COUNTRY || ' ' WHERE LINE_ID = '{id}'", "changed", ("country",)),
        ("UPDATE {t} SET AMOUNT_EUR = NULL WHERE LINE_ID = '{id}'", "changed", ("amount_eur",)),
        ("DELETE FROM {t} WHERE LINE_ID = '{id}'", "missing", ()),
        ("INSERT INTO {t} SELECT * FROM {t} WHERE LINE_ID = '{id}'", "often", ()),
        (
            "UPDATE {t} SET INVOICE_DATE = DATEADD(day, 400, INVOICE_DATE) WHERE LINE_ID = '{id}'",
            "changed",
            ("invoice_date",),
        ),
        ("UPDATE {t} SET LINE_ID = 'by hand' WHERE LINE_ID = '{id}'", "foreign", ()),
    ],
)
def test_a_row_altered_by_hand_is_named_and_mended(
    change: str, kind: str, columns: tuple[str, ...], loaded: tuple[World, State]
) -> None:
    """Finance and the lakehouse say different things, and the proof says that they are equal."""
    world, state = loaded
    statement, line_id = of_line(world, change.replace("{t}", TABLE))
    world.cursor_do(statement)
    contract = served()["sales_lines"]
    with world.resources["handoff"].open() as handoff:
        found = handoff.verify(world.lakehouse.spark, contract)
        assert not found.equal
        named = {(d.kind, d.key["line_id"]): d.columns for d in found.row_differences}
        assert (kind, "by hand" if kind == "foreign" else line_id) in named
        assert set(columns) <= {column for columns in named.values() for column in columns}
        handoff.repair(world.lakehouse.spark, contract)
        assert handoff.verify(world.lakehouse.spark, contract).equal
    assert not differences({k: v for k, v in state.items() if k.startswith("snowflake")}, world.state(("snowflake",)))


def test_the_command_tells_emptied_tables_exits_1_and_repairs_them(loaded: tuple[World, State]) -> None:
    """The proof itself breaks on the worst damage, or a scheduled proof is green although it found something."""
    world, state = loaded
    world.cursor_do("DELETE FROM {db}.ANALYTICS.DIM_PRODUCTS")
    world.cursor_do("DELETE FROM {db}.ANALYTICS.COHORT_RETENTION")
    told = world.command("verify")
    assert told.returncode == 1, told.stderr
    assert "missing" in told.stdout
    assert "DIM_PRODUCTS" in told.stdout
    assert re.search(r"slice \S+: 0 rows of hash 0 in Snowflake, \d+ rows of hash \d+ in the ledger", told.stdout)
    fixed = world.command("verify", "--repair")
    assert fixed.returncode == 0, fixed.stderr
    assert not differences({k: v for k, v in state.items() if k.startswith("snowflake")}, world.state(("snowflake",)))
