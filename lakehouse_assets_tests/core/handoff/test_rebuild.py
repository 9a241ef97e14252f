"""A served table that is made anew of its own rows: readers see all of the old or all of the new, whoever dies or
publishes meanwhile.
"""

import multiprocessing
import os
import signal
import threading
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, cast

import pandera.engines.polars_engine as pe
import pandera.polars as pa
import pytest

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.contracts.types import Day, Text, Whole
from lakehouse_assets.core.delta.rs import DeltaRsStore
from lakehouse_assets.core.handoff import Handoff, TargetNames, faults
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.core.handoff.state import State
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.resources import handoff_access as access
from lakehouse_assets.orchestration.resources.handoff_resource import HandoffResource
from lakehouse_assets_tests.core.handoff.conftest import FIRST_DAY, Everything, Lakehouse, contract
from lakehouse_assets_tests.core.handoff.test_handoff import assert_equal


class Before(pa.DataFrameModel):
    """A table whose price is to have more digits."""

    id: Whole = pa.Field(description="key")
    day: Day = pa.Field(description="the slice")
    price: Annotated[pe.Decimal, 10, 2] = pa.Field(nullable=True, description="GBP")

    class Config:
        metadata = {"key": ["id"], "handoff": {"kind": "column", "column": "day"}}  # noqa: RUF012


class After(Before):
    """The same with more digits behind the point, and a column more."""

    price: Annotated[pe.Decimal, 14, 4] = pa.Field(nullable=True, description="GBP")
    label: Text = pa.Field(nullable=True, description="what it is")


BEFORE, AFTER = Contract("gold.things", Before), Contract("gold.things", After)
DAYS = [FIRST_DAY + timedelta(days=d) for d in range(3)]
OPS_ROWS = "SELECT COUNT(*), MAX(ACKNOWLEDGED_VERSION) FROM {ops}.HANDOFF_STATE"


@pytest.fixture
def evolving(lakehouse_of: Any) -> Lakehouse:
    """A table as its old contract has it, handed off; its Delta table has followed the new one."""
    lakehouse: Lakehouse = lakehouse_of(Before)
    publish(lakehouse, [{"id": i, "day": DAYS[i % 3], "price": Decimal("1.25") * i} for i in range(30)])
    lakehouse.hand_off()
    lakehouse.store.evolve(AFTER)
    lakehouse.contract = AFTER
    return lakehouse


def publish(lakehouse: Lakehouse, rows: list[dict[str, Any]]) -> None:
    """Make the Delta table hold these rows."""
    import pyarrow as arrow
    from deltalake import write_deltalake

    data = arrow.Table.from_pylist(rows, schema=lakehouse.contract.arrow_schema)
    write_deltalake(lakehouse.store.uri(lakehouse.contract.name), data, mode="overwrite")


def renewed() -> list[dict[str, Any]]:
    """Rows that the old contract could not have held."""
    return [{"id": i, "day": DAYS[i % 3], "price": Decimal("0.0625") + i, "label": f"n{i}"} for i in range(30)]


def test_a_reader_never_sees_an_empty_or_a_mixed_table(evolving: Lakehouse) -> None:
    """A dashboard that is open while a contract is deployed shows nothing, or the sales of two promises at once."""
    lakehouse, table = evolving, evolving.names.table(AFTER)
    publish(lakehouse, renewed())
    query = f"SELECT COUNT(*), SUM(PRICE::NUMBER(20,4)) FROM {table}"
    old, stop, seen = tuple(lakehouse.sql(query)[0]), threading.Event(), Counter[tuple]()

    def read() -> None:
        session = Session(lakehouse.connect)
        while not stop.is_set():
            seen[tuple(session.run(query)[0])] += 1
        session.close()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert "rebuild" in {p.kind for p in lakehouse.handoff.deploy([AFTER])}
        while not seen:
            reader.join(0.01)
        result = lakehouse.hand_off()
    finally:
        stop.set()
        reader.join()
    new = tuple(lakehouse.sql(query)[0])
    assert result.compared == "whole"
    assert set(seen) | {new} == {old, new}
    assert old[0] == new[0] == 30
    assert seen[old] > 1
    assert_equal(lakehouse)


def test_a_hand_off_that_publishes_while_the_table_is_made_is_not_lost(
    evolving: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new table is made of what was there when its statement began; rows published meanwhile would be gone and
    count as served.
    """
    lakehouse, table = evolving, evolving.names.table(AFTER)
    lakehouse.sql(f"CREATE TABLE {table}_AS_IT_WAS AS SELECT * FROM {table}")
    publish(lakehouse, [{**row, "price": Decimal(row["id"])} for row in renewed()])
    execute = Session._execute

    def overtaken(self: Session, statement: str, *rest: Any) -> Any:
        if not statement.startswith(f"CREATE OR REPLACE TABLE {table} "):
            return execute(self, statement, *rest)
        with lakehouse.publisher() as other:
            lakehouse.sql(f"ALTER TABLE {table} ADD COLUMN LABEL VARCHAR")
            assert other.hand_off(lakehouse.spark, AFTER, lakehouse.version).outcome == "published"
        return execute(self, statement.replace(f"FROM {table}", f"FROM {table}_AS_IT_WAS"), *rest)

    monkeypatch.setattr(Session, "_execute", overtaken)
    lakehouse.handoff.deploy([AFTER])
    assert lakehouse.hand_off().outcome == "published"
    assert_equal(lakehouse)


def as_a_run_does(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> State:
    """What a run does before it hands off: the state, with what is pending deployed."""
    monkeypatch.setattr(access, "served", lambda: {"things": lakehouse.contract})
    run = SimpleNamespace(state=partial(HandoffResource.state, cast(HandoffResource, None)))
    run.altered = partial(HandoffResource.altered, run)  # type: ignore[arg-type]
    return HandoffResource.ready(run, lakehouse.handoff)  # type: ignore[arg-type]


def test_a_run_finishes_a_deployment_that_died_although_the_schema_is_there(
    evolving: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hand-off published while the table was made, so that state and schema fit: only the missing fingerprint tells
    that its rows are gone.
    """
    lakehouse, table = evolving, evolving.names.table(AFTER)
    lakehouse.sql(f"CREATE TABLE {table}_AS_IT_WAS AS SELECT * FROM {table}")
    publish(lakehouse, [{**row, "price": Decimal(row["id"])} for row in renewed()])
    execute = Session._execute

    def overtaken(self: Session, statement: str, *rest: Any) -> Any:
        if not statement.startswith(f"CREATE OR REPLACE TABLE {table} "):
            return execute(self, statement, *rest)
        with lakehouse.publisher() as other:
            lakehouse.sql(f"ALTER TABLE {table} ADD COLUMN LABEL VARCHAR")
            assert other.hand_off(lakehouse.spark, AFTER, lakehouse.version).outcome == "published"
        execute(self, statement.replace(f"FROM {table}", f"FROM {table}_AS_IT_WAS"), *rest)
        raise InterruptedError("the deployment dies here")

    with monkeypatch.context() as patched:
        patched.setattr(Session, "_execute", overtaken)
        with pytest.raises(InterruptedError):
            lakehouse.handoff.deploy([AFTER])
    assert lakehouse.hand_off(state=as_a_run_does(lakehouse, monkeypatch)).outcome == "published"
    assert_equal(lakehouse)


def test_a_hand_off_amid_what_a_deployment_forgets_keeps_its_slices(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slices that are forgotten behind a hand-off count as empty: a day that is deleted later would be served for
    ever.
    """
    lakehouse.add(*DAYS)
    lakehouse.hand_off()
    lakehouse.sql(f"DELETE FROM {lakehouse.names.sql['ops']}.DEPLOYED_OBJECTS WHERE OBJECT_NAME LIKE '%THINGS'")
    execute, forget = Session._execute, f"DELETE FROM {lakehouse.names.sql['ops']}.HANDOFF_SLICES"
    met: list[str] = []

    def amid(self: Session, statement: str, *rest: Any) -> Any:
        if statement.startswith(forget) and self is lakehouse.handoff.session:
            met.append(statement)
            with lakehouse.publisher(attempts=1) as other, suppress(LakehouseError):
                other.session.run("ALTER SESSION SET LOCK_TIMEOUT = 0")
                other.hand_off(lakehouse.spark, lakehouse.contract, lakehouse.version)
        return execute(self, statement, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "_execute", amid)
        lakehouse.handoff.deploy([lakehouse.contract])
    assert len(met) == 2
    lakehouse.delete(f"day = '{DAYS[1]}'")
    lakehouse.hand_off()
    assert_equal(lakehouse)


def test_a_run_deploys_what_the_schema_does_not_tell(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column that may be null from now on has the same type; its first null would break the hand-off."""

    class Strict(Everything):
        """A label for every row."""

        label: Text = pa.Field(nullable=False)

    class Lenient(Strict):
        """Or none."""

        label: Text = pa.Field(nullable=True)

    lakehouse.handoff.deploy([contract(Strict)])
    lakehouse.sql(f"ALTER TABLE {lakehouse.names.table(lakehouse.contract)} ALTER COLUMN LABEL SET NOT NULL")
    lakehouse.contract = contract(Lenient)
    state = as_a_run_does(lakehouse, monkeypatch)
    lakehouse.add(*DAYS, number=20)
    assert lakehouse.hand_off(state=state).outcome == "published"
    assert any(row["label"] is None for row in lakehouse.arrow().to_pylist())
    before = lakehouse.handoff.session.statements
    as_a_run_does(lakehouse, monkeypatch)
    assert lakehouse.handoff.session.statements == before + 1  # the state, and one look at what is served
    assert_equal(lakehouse)


def test_a_record_of_an_earlier_version_gets_its_new_columns_by_a_run(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run after an upgrade would otherwise end with the account's error about a missing column."""
    lakehouse.add(*DAYS)
    lakehouse.hand_off()
    ops = lakehouse.names.sql["ops"]
    lakehouse.sql(f"ALTER TABLE {ops}.HANDOFF_STATE DROP COLUMN DELTA_COMMIT")
    lakehouse.sql(f"DELETE FROM {ops}.DEPLOYED_OBJECTS WHERE OBJECT_NAME LIKE '%handoff_state'")
    state = as_a_run_does(lakehouse, monkeypatch)
    result = lakehouse.hand_off(state=state)
    assert (result.outcome, result.compared) == ("acknowledged", "sums")
    assert lakehouse.hand_off().outcome == "unchanged"
    assert_equal(lakehouse)


def deploy_until(point: str, arguments: dict[str, Any], tables: str, database: str, staging: str) -> None:
    """The body of a process that deploys the new contract and dies at a point on its way."""
    import snowflake.connector

    os.environ["LAKEHOUSE_KILL_AT"] = point
    store = DeltaRsStore(tables, f"{tables}-scratch")
    Handoff(lambda: snowflake.connector.connect(**arguments), store, TargetNames(database=database), staging).deploy(
        [AFTER]
    )


@pytest.mark.parametrize("point", faults.DEPLOY_CRASH_POINTS)
@pytest.mark.parametrize("between", ["", "hand-off"])
def test_death_at_any_point_of_a_deployment_is_finished_by_the_next(
    evolving: Lakehouse, point: str, between: str
) -> None:
    """A killed deployment leaves a table without rows, without its comments, or with old rows that count as served."""
    lakehouse = evolving
    rows = sorted(map(str, lakehouse.sql(f"SELECT ID, DAY, PRICE + 0.0000 FROM {lakehouse.names.table(AFTER)}")))
    publish(lakehouse, renewed())
    tables = str(Path(lakehouse.store.uri(AFTER.name)).parent.parent)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    victim = context.Process(
        target=deploy_until, args=(point, lakehouse.arguments, tables, lakehouse.names.database, str(lakehouse.staging))
    )
    victim.start()
    victim.join(180)
    assert victim.exitcode == -signal.SIGKILL, f"nothing died at {point}: exit code {victim.exitcode}"
    assert (
        sorted(map(str, lakehouse.sql(f"SELECT ID, DAY, PRICE + 0.0000 FROM {lakehouse.names.table(AFTER)}"))) == rows
    )
    assert not lakehouse.handoff.deployed([AFTER])
    if between and point != "forgotten":
        assert lakehouse.hand_off().outcome == "published"
    lakehouse.handoff.deploy([AFTER])
    assert lakehouse.handoff.plan([AFTER]) == []
    assert lakehouse.handoff.deployed([AFTER])
    assert int(lakehouse.sql(OPS_ROWS.format(**lakehouse.names.sql))[0][0]) == 1
    assert lakehouse.hand_off().outcome == "published"
    assert_equal(lakehouse)
    comments = f"SELECT COMMENT FROM {lakehouse.names.database}.INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 'THINGS'"
    assert sorted(r[0] for r in lakehouse.sql(comments)) == ["GBP", "key", "the slice", "what it is"]
