"""Connections: the embedded account on first use and not before, a real one through values that stay in the
environment.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from lakehouse_assets.embedded_snowflake import running, stop
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.resources import snowflake
from lakehouse_assets.orchestration.resources.snowflake_access import SnowflakeAccess, connect
from lakehouse_assets.settings import Settings


def test_the_embedded_account_starts_with_the_first_connection_of_a_run(tmp_path: Path) -> None:
    """Without it loading the definitions starts a server, or a run finds none."""
    resource = snowflake.snowflake_resource(
        home=tmp_path, database="LAKEHOUSE", schema="OPS", query_tag="a run", lock_timeout_seconds=7
    )

    @dg.asset
    def version(account: dg.ResourceParam[snowflake.SnowflakeAccount]) -> dg.MaterializeResult:
        with account.get_connection() as connection:
            row = connection.cursor().execute("SELECT CURRENT_DATABASE(), CURRENT_SCHEMA()").fetchone()  # type: ignore[union-attr]
        return dg.MaterializeResult(metadata={"context": str(row)})

    definitions = dg.Definitions(assets=[version], resources={"account": resource})
    assert running(tmp_path) is None
    try:
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process()
        materialization = result.asset_materializations_for_node("version")[0]
        assert materialization.metadata["context"].value == "('LAKEHOUSE', 'OPS')"
        with connect(home=tmp_path, database="LAKEHOUSE") as connection:
            assert connection.cursor().execute("SELECT 1").fetchone() == (1,)  # type: ignore[union-attr]
        assert connection.is_closed()
    finally:
        assert stop(tmp_path)


def test_a_connection_is_closed_and_rolled_back_when_the_block_fails(tmp_path: Path) -> None:
    """Without it a failed publish keeps its locks."""

    def insert_and_fail() -> None:
        with connect(home=tmp_path, database="LAKEHOUSE", schema="OPS") as connection:
            connection.cursor().execute("BEGIN")
            connection.cursor().execute("INSERT INTO T VALUES (1)")
            raise RuntimeError("on the way")

    with connect(home=tmp_path, database="LAKEHOUSE", schema="OPS") as connection:
        connection.cursor().execute("CREATE TABLE T (a INT)")
    with pytest.raises(RuntimeError, match="on the way"):
        insert_and_fail()
    with connect(home=tmp_path, database="LAKEHOUSE", schema="OPS") as connection:
        assert connection.cursor().execute("SELECT COUNT(*) FROM T").fetchone() == (0,)  # type: ignore[union-attr]
    stop(tmp_path)


def test_values_of_a_real_account_stay_environment_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without it a secret is written into the definitions, the event log or the UI."""
    for name in snowflake.VARIABLES.values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SNOWFLAKE_ACCOUNT", "an-account")
    monkeypatch.setenv("SNOWFLAKE_USER", "a-user")
    monkeypatch.setenv("SNOWFLAKE_PASSWORD", "a-secret-value")
    resource = snowflake.snowflake_resource(mode="account", database="LAKEHOUSE", query_tag="a run")
    assert "a-secret-value" not in repr(resource)
    settings = Settings(_env_file=None, home=tmp_path, snowflake="account")  # type: ignore[call-arg]
    of_a_command = SnowflakeAccess.of(settings, database="LAKEHOUSE", query_tag="a run")
    assert "a-secret-value" not in repr(of_a_command)
    for account in (resource.process_config_and_initialize(), resource, of_a_command):
        delegate = account.dagster_resource()
        assert delegate.password == "a-secret-value"
        assert (delegate.account, delegate.user, delegate.database) == ("an-account", "a-user", "LAKEHOUSE")
        assert delegate.additional_snowflake_connection_args == {
            "session_parameters": {"TIMEZONE": "UTC", "LOCK_TIMEOUT": 600, "QUERY_TAG": "a run"}
        }


def test_a_real_account_without_its_values_says_which_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it a missing variable is an authentication error minutes later."""
    for name in snowflake.VARIABLES.values():
        monkeypatch.delenv(name, raising=False)
    resource = snowflake.snowflake_resource(mode="account").process_config_and_initialize()
    with (
        pytest.raises(LakehouseError, match="SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER, SNOWFLAKE_PRIVATE_KEY_PATH"),
        resource.get_connection(),
    ):
        pass
    with pytest.raises(LakehouseError, match="home"), connect():
        pass


def test_building_the_resource_imports_no_connector() -> None:
    """Without it every process that loads the definitions pays seconds for libraries it does not use."""
    script = (
        "import sys; from lakehouse_assets.orchestration.resources.snowflake import snowflake_resource;"
        " snowflake_resource(); sys.exit(any(name in sys.modules for name in"
        " ('snowflake.connector', 'dagster_snowflake', 'duckdb', 'fakesnow')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
