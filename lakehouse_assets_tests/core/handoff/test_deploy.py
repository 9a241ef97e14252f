"""DDL: a plan says what will be done, a deployment does it once, and what readers would lose is refused."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import pandera.engines.polars_engine as pe
import pandera.polars as pa
import pytest
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.core.contracts import CONTRACTS, Contract
from lakehouse_assets.core.contracts.types import Day, ShopClock, Text, Whole
from lakehouse_assets.core.handoff import (
    PlannedStatement,
    TargetNames,
    definitions,
    evolve,
    faults,
    roles_script,
    scripts,
    sql,
)
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.core.handoff.conftest import FIRST_DAY, Everything, Hashed, Lakehouse, Undivided, contract
from lakehouse_assets_tests.core.handoff.test_handoff import assert_equal

SERVED = [c for c in CONTRACTS.values() if c.handoff]


def shaped(nullable: bool = False, description: str = "", **columns: Any) -> Contract:
    """A contract with a key and the given columns."""
    config = type("Config", (), {"metadata": {"key": ["id"], "handoff": {"kind": "whole"}}})
    fields: dict[str, Any] = {c: pa.Field(nullable=nullable, description=description) for c in columns}
    model = type(
        "Shaped",
        (pa.DataFrameModel,),
        {"__annotations__": {"id": Whole, **columns}, "Config": config, "__doc__": "A table.", **fields},
    )
    return contract(model)


Narrow, Wide, Scaled = Annotated[pe.Decimal, 10, 2], Annotated[pe.Decimal, 14, 2], Annotated[pe.Decimal, 14, 4]


def kinds(planned: list[PlannedStatement]) -> set[str]:
    return {p.kind for p in planned}


def test_a_deployment_is_complete_and_a_second_one_has_nothing_to_do(lakehouse_of: Any) -> None:
    """The served tables, the record and the views are there after one command, and every later run leaves them
    alone.
    """
    lakehouse: Lakehouse = lakehouse_of(deploy=False)
    assert not lakehouse.handoff.deployed(SERVED)
    planned = lakehouse.handoff.plan(SERVED)
    assert kinds(planned) == {"safe"}
    assert lakehouse.handoff.deploy(SERVED) == planned
    assert lakehouse.handoff.plan(SERVED) == []
    before = lakehouse.handoff.session.statements
    assert lakehouse.handoff.deployed(SERVED)
    assert lakehouse.handoff.session.statements == before + 1
    assert lakehouse.handoff.deployed(SERVED, lakehouse.handoff.read_state())
    for view in ("ANALYTICS.SALES", "OPS.FRESHNESS"):
        lakehouse.sql(f"SELECT * FROM {lakehouse.names.database}.{view}")
    described = lakehouse.sql(
        f"SELECT COMMENT FROM {lakehouse.names.database}.INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 'DIM_CUSTOMERS'"
        " AND COLUMN_NAME = 'NAME'"
    )
    assert described[0][0] == "name [personal data]"


def test_an_added_column_keeps_the_rows(lakehouse_of: Any) -> None:
    """A new column must not cost readers the table while it is loaded."""
    lakehouse: Lakehouse = lakehouse_of(deploy=False)
    lakehouse.handoff.deploy([shaped(a=Text)])
    lakehouse.sql(f"INSERT INTO {lakehouse.names.table(lakehouse.contract)} SELECT 1, 'x'")
    planned = lakehouse.handoff.deploy([shaped(a=Text, b=Day)])
    assert kinds(planned) == {"safe"}
    assert [tuple(r) for r in lakehouse.sql(f"SELECT * FROM {lakehouse.names.table(lakehouse.contract)}")] == [
        (1, "x", None)
    ]
    assert lakehouse.handoff.plan([shaped(a=Text, b=Day)]) == []


def test_a_wider_number_keeps_the_rows_and_another_scale_rebuilds(lakehouse_of: Any) -> None:
    """Snowflake widens a precision in place and no scale at all."""
    lakehouse: Lakehouse = lakehouse_of(deploy=False)
    lakehouse.handoff.deploy([shaped(a=Narrow)])
    lakehouse.sql(f"INSERT INTO {lakehouse.names.table(lakehouse.contract)} SELECT 1, 2.50")
    assert kinds(lakehouse.handoff.deploy([shaped(a=Wide)])) == {"safe"}
    assert lakehouse.handoff.plan([shaped(a=Wide)]) == []
    assert len(lakehouse.sql(f"SELECT * FROM {lakehouse.names.table(lakehouse.contract)}")) == 1


def test_a_rebuilt_table_is_made_of_its_own_rows_and_keeps_what_it_was(lakehouse_of: Any) -> None:
    """A change of scale must not cost readers the rows, the comments, or the promise that nothing is null."""
    lakehouse: Lakehouse = lakehouse_of(deploy=False)
    table = lakehouse.names.table(lakehouse.contract)
    before = shaped(description="said", a=Narrow, b=Day)
    lakehouse.handoff.deploy([before])
    lakehouse.sql(f"INSERT INTO {table} SELECT 1, 2.50, '2026-01-02'")
    lakehouse.sql(f"INSERT INTO {table} SELECT 2, -99999999.99, '1600-02-29'")
    after = shaped(description="said", a=Scaled, b=ShopClock, c=Text)
    planned = lakehouse.handoff.plan([after])
    assert [p.kind for p in planned].count("rebuild") == 1
    assert kinds(planned) == {"rebuild", "safe"}
    assert planned[0].reason == "changes A from NUMBER(10,2) to NUMBER(14,4), B from DATE to TIMESTAMP_NTZ, adds C"
    assert lakehouse.handoff.deploy([after]) == planned
    assert lakehouse.handoff.plan([after]) == []
    assert sorted(map(tuple, lakehouse.sql(f"SELECT * FROM {table}"))) == [
        (1, Decimal("2.5000"), datetime(2026, 1, 2), None),
        (2, Decimal("-99999999.9900"), datetime(1600, 2, 29), None),
    ]
    columns = (
        f"SELECT COLUMN_NAME, IS_NULLABLE, COMMENT FROM {lakehouse.names.database}.INFORMATION_SCHEMA.COLUMNS WHERE"
        " TABLE_NAME = 'THINGS'"
    )
    assert {tuple(r) for r in lakehouse.sql(columns)} == {
        ("ID", "NO", None),
        ("A", "NO", "said"),
        ("B", "NO", "said"),
        ("C", "YES", "said"),
    }


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        (lambda: shaped(a=Text, b=Day), lambda: shaped(a=Text), "drops B"),
        (lambda: shaped(a=Wide), lambda: shaped(a=Narrow), r"A from NUMBER\(14,2\) to NUMBER\(10,2\)"),
        (lambda: shaped(a=Text), lambda: shaped(a=Whole), "A from VARCHAR"),
        (lambda: shaped(a=Scaled), lambda: shaped(a=Wide), r"A from NUMBER\(14,4\)"),
    ],
)
def test_what_readers_would_lose_is_refused_with_the_plan(
    lakehouse_of: Any, before: Any, after: Any, named: str
) -> None:
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
    columns = (
        f"SELECT COMMENT FROM {lakehouse.names.database}.INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 'THINGS' AND"
        " COLUMN_NAME = 'A'"
    )
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


def test_a_view_over_a_changed_table_is_made_anew(lakehouse_of: Any) -> None:
    """A view keeps the types of the columns that were there when it was made."""
    lakehouse: Lakehouse = lakehouse_of(deploy=False)
    lakehouse.handoff.deploy(SERVED)
    table = f"{lakehouse.names.database}.ANALYTICS.SALES_LINES"
    lakehouse.sql(f"CREATE OR REPLACE TABLE {table} AS SELECT {_narrowed()} FROM {table}")
    assert [(p.kind, p.object) for p in lakehouse.handoff.deploy(SERVED) if p.kind != "safe" or "view" in p.object] == [
        ("rebuild", table),
        ("safe", f"{lakehouse.names.database}:view_sales"),
    ]
    types = (
        f"SELECT NUMERIC_PRECISION, NUMERIC_SCALE FROM {lakehouse.names.database}.INFORMATION_SCHEMA.COLUMNS WHERE"
        " COLUMN_NAME = 'AMOUNT_EUR'"
    )
    assert {tuple(map(int, r)) for r in lakehouse.sql(f"{types} AND TABLE_NAME IN ('SALES', 'SALES_LINES')")} == {
        (24, 6)
    }
    assert lakehouse.handoff.plan(SERVED) == []


def _narrowed() -> str:
    """The columns of SALES_LINES, one of them narrower than its contract says."""
    lines = next(c for c in SERVED if c.table == "sales_lines")
    return ", ".join("AMOUNT_EUR::NUMBER(20,4) AS AMOUNT_EUR" if n == "amount_eur" else n.upper() for n in lines.names)


def test_a_first_deployment_that_died_is_finished(lakehouse_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there already must not stop the second try, though nothing is recorded of it."""
    lakehouse: Lakehouse = lakehouse_of(deploy=False)

    def die(name: str) -> None:
        if name == "described":
            raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(faults, "crash_point", die)
        with pytest.raises(InterruptedError):
            lakehouse.handoff.deploy([lakehouse.contract])
    lakehouse.handoff.deploy([lakehouse.contract])
    assert lakehouse.handoff.plan([lakehouse.contract]) == []
    lakehouse.add(FIRST_DAY)
    lakehouse.hand_off()
    assert_equal(lakehouse)


def test_the_record_gains_columns_and_anything_else_is_left_to_a_person(lakehouse: Lakehouse) -> None:
    """A version that expects another table of the record must not pass over it as though it were there, nor touch its
    rows.
    """
    ops = lakehouse.names.sql["ops"]
    lakehouse.sql(f"ALTER TABLE {ops}.HANDOFF_LEDGER DROP COLUMN BYTES")
    lakehouse.sql(f"ALTER TABLE {ops}.HANDOFF_SLICES ALTER COLUMN ROW_COUNT SET DATA TYPE NUMBER(38,0)")
    found = [(p.kind, p.object, p.reason) for p in lakehouse.handoff.plan([lakehouse.contract])]
    by_hand = (
        "ROW_COUNT is NUMBER(38,0), not NUMBER(18,0) to this version; migrate it by hand, its rows are the record of"
        " hand-offs"
    )
    assert found == [("safe", f"{ops}.HANDOFF_LEDGER", "adds BYTES"), ("left", f"{ops}.HANDOFF_SLICES", by_hand)]
    assert [p.reason for p in lakehouse.handoff.deploy([lakehouse.contract])] == ["adds BYTES"]
    assert [p.kind for p in lakehouse.handoff.plan([lakehouse.contract])] == ["left"]


def test_a_table_that_no_contract_says_any_more_is_mentioned_and_never_dropped(lakehouse: Lakehouse) -> None:
    """Readers may still use it, and nobody else tells that it is no longer brought up to date."""
    other = Contract("gold.others", lakehouse.contract.model)
    lakehouse.handoff.deploy([lakehouse.contract, other])
    lakehouse.sql(f"CREATE TABLE {lakehouse.names.database}.ANALYTICS.SOMEBODY_ELSES (A NUMBER(38,0))")
    orphan = lakehouse.names.table(other)
    assert [(p.kind, p.object, p.sql) for p in lakehouse.handoff.plan([lakehouse.contract])] == [
        ("left", orphan, f"DROP TABLE {orphan}")
    ]
    assert lakehouse.handoff.deploy([lakehouse.contract]) == []
    assert lakehouse.sql(f"SELECT * FROM {orphan}") == []


def test_a_name_that_needs_quotes_is_refused() -> None:
    """Names go into statements as they are."""
    with pytest.raises(LakehouseError, match="LAKEHOUSE_DATABASE is 'my db; DROP', which needs quotes"):
        TargetNames(database="my db; DROP")


def test_the_roles_script_is_snowflake_sql_and_may_be_run_again(lakehouse: Lakehouse) -> None:
    """An administrator runs it after each upgrade; what is deployed already becomes the deploying role's."""
    script = roles_script(lakehouse.names, "AGAIN_DEPLOYER", "AGAIN_LOADER", "AGAIN_READER")
    assert_parses(script)
    for statement in 2 * [s for s in script.split(";\n") if s.strip()]:
        lakehouse.sql(statement)
    lakehouse.sql("USE ROLE AGAIN_DEPLOYER")
    assert lakehouse.sql(f"SELECT COUNT(*) FROM {lakehouse.names.table(lakehouse.contract)}") == [(0,)]
    lakehouse.sql("USE ROLE ACCOUNTADMIN")


def test_a_view_copies_grants_only_where_it_is_there(lakehouse_of: Any) -> None:
    """Under COPY GRANTS a new view gets none of the grants on FUTURE VIEWS, and the loading role would not see it."""
    lakehouse: Lakehouse = lakehouse_of(deploy=False)
    first = [p.sql for p in lakehouse.handoff.deploy(SERVED) if "VIEW" in p.sql]
    assert len(first) == 2
    assert not [s for s in first if "COPY GRANTS" in s]
    lakehouse.sql(f"DELETE FROM {lakehouse.names.sql['ops']}.DEPLOYED_OBJECTS WHERE OBJECT_NAME LIKE '%view_%'")
    again = [p.sql for p in lakehouse.handoff.deploy(SERVED)]
    assert [s for s in again if "COPY GRANTS" in s] == again
    assert len(again) == 2


def test_the_rendered_script_is_a_whole_deployment(lakehouse_of: Any) -> None:
    """A pipeline that deploys by scripts must leave an account in which nothing is left to deploy, for the loader's
    role may not.
    """
    lakehouse: Lakehouse = lakehouse_of(deploy=False)
    contracts = [*SERVED, lakehouse.contract]
    script = scripts.script(lakehouse.names, contracts)
    assert_parses(script)
    for statement in script.split(";\n"):
        if statement.strip():
            lakehouse.sql(statement)
    assert lakehouse.handoff.plan(contracts) == []
    assert lakehouse.handoff.deployed(contracts)
    lakehouse.add(FIRST_DAY)
    lakehouse.hand_off()
    assert_equal(lakehouse)


def test_definitions_are_snowflake_sql() -> None:
    """The embedded account takes more dialects than Snowflake does."""
    names = TargetNames()
    statements = [o.statement for o in definitions.wanted(names, SERVED)]
    statements += [definitions.create_table(names, c, "replace") for c in SERVED]
    statements += [evolve.rebuild(names.table(c), c, c.names[0].upper(), c.names) for c in SERVED]
    fields = {"table": "A.B.C", "column": "D", "type": "NUMBER(12,3)", "comment": "'it''s'"}
    statements += [
        sql.statement("tables", n, **fields)
        for n in sql.names("tables")
        if n.startswith(("add_", "widen_", "set_", "drop_", "comment_"))
    ]
    assert_parses(";\n".join(statements) + ";\n")
    lane = scripts.external_lane_script(names, SERVED, "s3://bucket/handoff/", "LAKEHOUSE_STORAGE")
    assert_parses(lane)
    # Manifests lie in the same place, and a table made anew would be readable by nobody.
    for words in ("PATTERN = '.*[.]parquet'", "COPY GRANTS", "GRANT SELECT ON EXTERNAL TABLE"):
        assert lane.count(words) == len(SERVED), words


FIELDS = {
    "stage": "A.B.C", "file_format": "A.B.D", "database": "A", "analytics": "A.B", "ops": "A.E", "staging": "A.F",
    "deployer": "D", "loader": "L", "reader": "R", "warehouse": "W", "table": "A.B.T", "view": "A.F.V",
    "object": "A.F.G",
    "column": "C", "columns": "C", "type": "NUMBER(12,3)", "comment": "'it''s'", "label": "'t'", "look": "SELECT 1",
    "looks": "", "predicate": "C = '2010-12-01'::DATE", "sums": "SELECT 1", "slice_name": "C", "slice_value": "C",
    "row_hash": "MD5_NUMBER_LOWER64(C)", "directory": "@A.B.C/d/", "rows": "('a', 'b')", "objects": "'a'",
    "lakehouse_id": "'a'", "external": "X", "url": "'s3://b/'", "integration": "I", "options": "TRIM_SPACE = FALSE",
}  # fmt: skip


def test_every_statement_of_the_sql_files_is_snowflake_sql() -> None:
    """Those that no test sends here, or that the embedded account refuses, have to run there all the same."""
    files = ("external", "objects", "publish", "roles", "state", "tables", "views")
    assert sorted(files) == sorted(f.stem for f in Path(sql.__file__).parent.glob("*.sql"))
    pieces = {"look", "describe"}  # a part of a statement, and one with a kind of object, which follow
    fields = {f: FIELDS for f in files} | {"external": {**FIELDS, "table": "t", "columns": "C DATE AS (VALUE:c::DATE)"}}
    for table in ("objects", "tables"):
        fields[table] = {**FIELDS, "columns": "C DATE"}
    statements = [sql.statement(f, n, **fields[f]) for f in files for n in sql.names(f) if n not in pieces]
    looks = f"\n{sql.statement('state', 'look', **FIELDS)}"
    statements.append(sql.statement("state", "read_state", **{**FIELDS, "looks": looks}))
    statements += [sql.statement("tables", "describe", kind=kind, **FIELDS) for kind in ("FILE FORMAT", "STAGE")]
    for statement in statements:
        assert_parses(statement.replace("%s", "'x'") + ";\n")


@pytest.mark.parametrize("model", [Everything, Hashed, Undivided])
def test_what_a_hand_off_sends_is_snowflake_sql(lakehouse_of: Any, monkeypatch: pytest.MonkeyPatch, model: Any) -> None:
    """Every statement that ran here has to run there, for each way of slicing a table."""
    lakehouse: Lakehouse = lakehouse_of(model)
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
    lakehouse.sql(f"DELETE FROM {lakehouse.names.table(lakehouse.contract)}")
    state = lakehouse.handoff.read_state([lakehouse.contract])
    assert lakehouse.handoff.altered([lakehouse.contract], state)
    lakehouse.handoff.altered([lakehouse.contract], replace(state, counted=None))
    lakehouse.handoff.replaced([lakehouse.contract])
    lakehouse.handoff.published(lakehouse.contract)
    lakehouse.handoff.repair(lakehouse.spark, lakehouse.contract)
    lakehouse.handoff.plan([lakehouse.contract])
    lakehouse.handoff.deploy([lakehouse.contract], take_over=True, again=[lakehouse.contract.table])
    lakehouse.handoff.status()
    lakehouse.handoff.sweep()
    assert len(sent) > 60
    assert_parses(";\n".join(dict.fromkeys(sent)) + ";\n")


def assert_parses(script: str, dialect: str = "snowflake") -> None:
    from sqlfluff.core import FluffConfig, Linter

    parsed = Linter(config=FluffConfig(overrides={"dialect": dialect})).parse_string(script)
    assert not parsed.violations, parsed.violations[:3]
