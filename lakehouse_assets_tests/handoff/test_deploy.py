"""DDL: a plan says what will be done, a deployment does it once, and what readers would lose is refused."""

from datetime import timedelta
from typing import Annotated, Any

import pandera.engines.polars_engine as pe
import pandera.polars as pa
import pytest
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.contracts import CONTRACTS, Contract
from lakehouse_assets.contracts.types import Day, Text, Whole
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.handoff import TargetNames, deploy, roles_script, sql
from lakehouse_assets.handoff.session import Session
from lakehouse_assets_tests.handoff.conftest import FIRST_DAY, Lakehouse, contract
from lakehouse_assets_tests.handoff.test_handoff import assert_equal

SERVED = [c for c in CONTRACTS.values() if c.handoff]


def shaped(nullable: bool = False, description: str = "", **columns: Any) -> Contract:
    """A contract with a key and the given columns."""
    config = type("Config", (), {"metadata": {"key": ["id"], "handoff": {"kind": "whole"}}})
    fields: dict[str, Any] = {c: pa.Field(nullable=nullable, description=description) for c in columns}
    model = type(
        "Shaped", (pa.DataFrameModel,), {"__annotations__": {"id": Whole, **columns}, "Config": config, "__doc__": "A table.", **fields}
    )
    return contract(model)


Narrow, Wide, Scaled = Annotated[pe.Decimal, 10, 2], Annotated[pe.Decimal, 14, 2], Annotated[pe.Decimal, 14, 4]


def kinds(planned: list[deploy.PlannedStatement]) -> set[str]:
    return {p.kind for p in planned}


def test_a_deployment_is_complete_and_a_second_one_has_nothing_to_do(lakehouse_of: Any) -> None:
    """The served tables, the record and the views are there after one command, and every later run leaves them alone."""
    lakehouse: Lakehouse = lakehouse_of(deploy=False)
    assert not lakehouse.handoff.deployed(SERVED)
    planned = lakehouse.handoff.plan(SERVED)
    assert kinds(planned) == {"safe"}
    assert lakehouse.handoff.deploy(SERVED) == planned
    assert lakehouse.handoff.plan(SERVED) == []
    before = lakehouse.handoff.session.statements
    assert lakehouse.handoff.deployed(SERVED)
    assert lakehouse.handoff.session.statements == before + 1
    for view in ("ANALYTICS.SALES", "OPS.FRESHNESS"):
        lakehouse.sql(f"SELECT * FROM {lakehouse.names.database}.{view}")
    described = lakehouse.sql(
        f"SELECT COMMENT FROM {lakehouse.names.database}.INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 'DIM_CUSTOMERS' AND COLUMN_NAME = 'NAME'"
    )
    assert described[0][0] == "name [personal data]"


def test_an_added_column_keeps_the_rows(lakehouse_of: Any) -> None:
    """A new column must not cost readers the table while it is loaded."""
    lakehouse: Lakehouse = lakehouse_of(deploy=False)
    lakehouse.handoff.deploy([shaped(a=Text)])
    lakehouse.sql(f"INSERT INTO {lakehouse.names.table(lakehouse.contract)} SELECT 1, 'x'")
    planned = lakehouse.handoff.deploy([shaped(a=Text, b=Day)])
    assert kinds(planned) == {"safe"}
    assert [tuple(r) for r in lakehouse.sql(f"SELECT * FROM {lakehouse.names.table(lakehouse.contract)}")] == [(1, "x", None)]
    assert lakehouse.handoff.plan([shaped(a=Text, b=Day)]) == []


def test_a_wider_number_keeps_the_rows_and_another_scale_rebuilds(lakehouse_of: Any) -> None:
    """Snowflake widens a precision in place and no scale at all."""
    lakehouse: Lakehouse = lakehouse_of(deploy=False)
    lakehouse.handoff.deploy([shaped(a=Narrow)])
    lakehouse.sql(f"INSERT INTO {lakehouse.names.table(lakehouse.contract)} SELECT 1, 2.50")
    assert kinds(lakehouse.handoff.deploy([shaped(a=Wide)])) == {"safe"}
    assert lakehouse.handoff.plan([shaped(a=Wide)]) == []
    assert len(lakehouse.sql(f"SELECT * FROM {lakehouse.names.table(lakehouse.contract)}")) == 1
    lakehouse.handoff.deploy([shaped(a=Narrow)], allow_breaking=True)
    assert kinds(lakehouse.handoff.plan([shaped(a=Scaled)])) == {"rebuild"}
    lakehouse.handoff.deploy([shaped(a=Scaled)])
    assert lakehouse.handoff.plan([shaped(a=Scaled)]) == []


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        (lambda: shaped(a=Text, b=Day), lambda: shaped(a=Text), "drops B"),
        (lambda: shaped(a=Wide), lambda: shaped(a=Narrow), r"A from NUMBER\(14,2\) to NUMBER\(10,2\)"),
        (lambda: shaped(a=Text), lambda: shaped(a=Whole), "A from TEXT"),
        (lambda: shaped(a=Scaled), lambda: shaped(a=Wide), r"A from NUMBER\(14,4\)"),
    ],
)
def test_what_readers_would_lose_is_refused_with_the_plan(lakehouse_of: Any, before: Any, after: Any, named: str) -> None:
    """A dashboard must not break because a contract was edited."""
    lakehouse: Lakehouse = lakehouse_of(deploy=False)
    lakehouse.handoff.deploy([before()])
    assert "breaking" in kinds(lakehouse.handoff.plan([after()]))
    with pytest.raises(LakehouseError, match=named):
        lakehouse.handoff.deploy([after()])
    assert lakehouse.handoff.plan([before()]) == []
    lakehouse.handoff.deploy([after()], allow_breaking=True)
    assert lakehouse.handoff.plan([after()]) == []


def test_a_rule_that_is_relaxed_lets_nulls_in(lakehouse_of: Any) -> None:
    """Rows that the contract allows must be able to arrive."""
    lakehouse: Lakehouse = lakehouse_of(deploy=False)
    lakehouse.handoff.deploy([shaped(a=Text)])
    with pytest.raises(ProgrammingError):
        lakehouse.sql(f"INSERT INTO {lakehouse.names.table(lakehouse.contract)} SELECT 1, NULL")
    assert kinds(lakehouse.handoff.deploy([shaped(nullable=True, a=Text)])) == {"safe"}
    lakehouse.sql(f"INSERT INTO {lakehouse.names.table(lakehouse.contract)} SELECT 1, NULL")
    assert lakehouse.handoff.plan([shaped(nullable=True, a=Text)]) == []


def test_a_new_description_reaches_the_account(lakehouse_of: Any) -> None:
    """The catalogue is where analysts read what a column means."""
    lakehouse: Lakehouse = lakehouse_of(deploy=False)
    lakehouse.handoff.deploy([shaped(a=Text, description="old")])
    assert kinds(lakehouse.handoff.deploy([shaped(a=Text, description="it's new")])) == {"safe"}
    columns = f"SELECT COMMENT FROM {lakehouse.names.database}.INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 'THINGS' AND COLUMN_NAME = 'A'"
    assert lakehouse.sql(columns)[0][0] == "it's new"


def test_a_table_that_was_dropped_is_made_again_and_filled(lakehouse: Lakehouse) -> None:
    """State that says `handed off` about a table that is not there would keep it empty for ever."""
    lakehouse.add(FIRST_DAY, FIRST_DAY + timedelta(days=1))
    lakehouse.hand_off()
    lakehouse.sql(f"DROP TABLE {lakehouse.names.table(lakehouse.contract)}")
    assert [p.reason for p in lakehouse.handoff.plan([lakehouse.contract])] == ["the table is not there"]
    lakehouse.handoff.deploy([lakehouse.contract])
    assert lakehouse.hand_off().compared == "whole"
    assert_equal(lakehouse)


def test_a_name_that_needs_quotes_is_refused() -> None:
    """Names go into statements as they are."""
    with pytest.raises(LakehouseError, match="database"):
        TargetNames(database="my db; DROP")


def test_the_roles_script_is_snowflake_sql_and_is_refused_by_the_embedded_account(lakehouse: Lakehouse) -> None:
    """What cannot be tried here is at least parsed, and never claimed to have been executed."""
    script = roles_script(lakehouse.names)
    with pytest.raises(ProgrammingError, match="rendered only"):
        lakehouse.sql(script.split(";")[0])
    assert_parses(script)


def test_definitions_are_snowflake_sql() -> None:
    """The embedded account takes more dialects than Snowflake does."""
    names = TargetNames()
    statements = [o.statement for o in deploy._wanted(names, SERVED)]
    statements += [deploy._create(names, c, "rebuild") for c in SERVED]
    fields = {"table": "A.B.C", "column": "D", "type": "NUMBER(12,3)", "comment": "'it''s'"}
    statements += [
        sql.statement("tables", n, **fields)
        for n in ("add_column", "widen_column", "drop_not_null", "drop_column", "comment_table", "comment_column")
    ]
    assert_parses(";\n".join(statements) + ";\n")
    assert_parses(deploy.external_lane_script(names, SERVED[0], "s3://bucket/handoff/", "LAKEHOUSE_STORAGE"))


def test_what_a_hand_off_sends_is_snowflake_sql(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every statement that ran here has to run there."""
    sent: list[str] = []
    run = Session._execute

    def keep(self: Session, statement: str, *rest: Any) -> Any:
        sent.append(statement.replace("%s", "'x'"))
        return run(self, statement, *rest)

    monkeypatch.setattr(Session, "_execute", keep)
    lakehouse.add(FIRST_DAY, None)
    lakehouse.hand_off()
    lakehouse.add(FIRST_DAY)
    lakehouse.hand_off()
    lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract)
    lakehouse.handoff.status()
    assert len(sent) > 35
    assert_parses(";\n".join(dict.fromkeys(sent)) + ";\n")


def assert_parses(script: str) -> None:
    from sqlfluff.core import FluffConfig, Linter

    parsed = Linter(config=FluffConfig(overrides={"dialect": "snowflake"})).parse_string(script)
    assert not parsed.violations, parsed.violations[:3]
