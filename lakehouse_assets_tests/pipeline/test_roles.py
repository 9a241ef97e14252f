"""The application under the three roles of `lakehouse deploy --roles`, each refused what it was not granted."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.core.handoff import TargetNames, roles_script
from lakehouse_assets.definitions import build_definitions
from lakehouse_assets.embedded_snowflake import connection_arguments, ensure_running
from lakehouse_assets.orchestration.automation.verification import Compared, verify_tables
from lakehouse_assets.orchestration.graph import served
from lakehouse_assets.orchestration.io_managers.snowflake_stage import SnowflakeStageIOManager
from lakehouse_assets.orchestration.resources.handoff_resource import HandoffResource
from lakehouse_assets.orchestration.resources.snowflake import snowflake_resource
from lakehouse_assets_tests.pipeline.conftest import NewWorld, Sample
from lakehouse_assets_tests.pipeline.test_statements import recording
from lakehouse_assets_tests.pipeline.world import World, drops_of

DEPLOYER, LOADER, READER = "SHOP_DEPLOYER", "SHOP_LOADER", "SHOP_READER"
LAST_DAY = "2026-09-05"


def under(world: World, role: str) -> HandoffResource:
    """Let the application act under a role from now on."""
    account = snowflake_resource(home=world.settings.home, query_tag="lakehouse_assets", role=role)
    handoff = HandoffResource.of(world.settings, world.resources["lakehouse"], account)
    stage_io = SnowflakeStageIOManager(handoff=handoff)
    world.resources |= {"snowflake": account, "handoff": handoff, "snowflake_stage_io": stage_io}
    world.definitions = build_definitions(world.settings, **world.resources)
    return handoff


@pytest.fixture
def world(make_world: NewWorld, sample: Sample) -> World:
    """All days but the last have landed, and nothing is deployed."""
    world = make_world()
    world.take(sample.clean, [path for path in drops_of(sample.clean) if LAST_DAY not in path])
    return world


@pytest.fixture
def ask(world: World, shared: Path) -> Iterator[Callable[..., list[tuple]]]:
    """A statement of a role, {db} being the world's database."""
    connection = snowflake.connector.connect(**connection_arguments(ensure_running(shared)))

    def asked(statement: str, role: str = "ACCOUNTADMIN") -> list[Any]:
        cursor = connection.cursor()
        cursor.execute(f"USE ROLE {role}")
        return cursor.execute(statement.format(db=world.settings.database)).fetchall()  # type: ignore[union-attr]

    yield asked
    connection.close()


def refused(ask: Callable[..., list[tuple]], statement: str, role: str, number: int) -> None:
    """Assert that a role is refused a statement with that number."""
    with pytest.raises(ProgrammingError) as error:
        ask(statement, role)
    assert error.value.errno == number, statement


def test_the_application_under_three_roles(
    world: World, sample: Sample, ask: Callable[..., list[tuple]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The roles that an administrator pastes would lack a grant, which the first night shows, or have one too many."""
    names = TargetNames(world.settings.database)
    for statement in roles_script(names, DEPLOYER, LOADER, READER).split(";\n"):
        if statement.strip():
            ask(statement)

    # the deployer, in a database and schemas that an administrator has made
    handoff = under(world, DEPLOYER)
    with recording(monkeypatch) as sent, handoff.open() as opened:
        handoff.deploy(opened)
    assert not [s for s in sent if re.match(r"CREATE (DATABASE|SCHEMA)", s)]
    with handoff.open() as opened:
        assert not handoff.plan(opened).snowflake

    for statement in ("CREATE SCHEMA {db}.MINE", "CREATE DATABASE MINE"):
        refused(ask, statement, DEPLOYER, 3001)

    # the loader: a load, a proof, nothing to do, a day more
    handoff = under(world, LOADER)
    with recording(monkeypatch) as sent:
        assert not world.run().found
    created = {s.split(" AS ")[0] for s in sent if s.startswith(("CREATE", "ALTER TABLE", "GRANT"))}
    assert created
    assert all(re.match(r"CREATE OR REPLACE VIEW \w+\.STAGING\.HANDOFF_", s) for s in created), created
    assert world.run().runs == 0
    world.take(sample.clean)
    assert not world.run().found
    steps = list(verify_tables(handoff, dict.fromkeys(served()), repair=False))
    assert {type(step) for step in steps} == {Compared}
    assert all(step.result.equal for step in steps if isinstance(step, Compared))
    assert ask("SELECT COUNT(*) FROM {db}.ANALYTICS.SALES_LINES", LOADER)[0][0] > 0
    for statement, number in (
        ("DROP TABLE {db}.ANALYTICS.SALES_LINES", 3001),
        ("CREATE TABLE {db}.ANALYTICS.MINE (A INT)", 3001),
        ("CREATE TABLE {db}.STAGING.MINE (A INT)", 3001),
        ("ALTER TABLE {db}.ANALYTICS.SALES_LINES ADD COLUMN A INT", 3001),
        ("TRUNCATE TABLE {db}.ANALYTICS.SALES_LINES", 3001),
        ("CREATE SCHEMA {db}.MINE", 3001),
    ):
        refused(ask, statement, LOADER, number)

    # the reader
    for table in served():
        assert ask(f"SELECT COUNT(*) FROM {{db}}.ANALYTICS.{table}", READER)[0][0] > 0
    assert ask("SELECT COUNT(*) FROM {db}.ANALYTICS.SALES", READER)[0][0] > 0
    assert len(ask("SELECT * FROM {db}.OPS.FRESHNESS", READER)) == len(served())
    assert ask("SHOW TABLES IN SCHEMA {db}.OPS", READER) == []
    for statement, number in (
        ("DELETE FROM {db}.ANALYTICS.SALES_LINES", 3001),
        ("INSERT INTO {db}.ANALYTICS.COHORT_RETENTION SELECT * FROM {db}.ANALYTICS.COHORT_RETENTION", 3001),
        ("SELECT * FROM {db}.OPS.HANDOFF_STATE", 2003),
        ("LIST @{db}.STAGING.LAKEHOUSE_STAGE", 2003),
        ("CREATE VIEW {db}.ANALYTICS.MINE AS SELECT 1 AS A", 3001),
    ):
        refused(ask, statement, READER, number)
