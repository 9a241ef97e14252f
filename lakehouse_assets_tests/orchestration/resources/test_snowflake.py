"""Connections: the embedded account on first use and not before, a real one through values that stay in the
environment.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from snowflake.connector.arrow_context import ArrowConverterContext
from snowflake.connector.errors import DatabaseError
from snowflake.connector.nanoarrow_arrow_iterator import PyArrowTableIterator

from lakehouse_assets.embedded_snowflake import connection_arguments, running, stop
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.resources import snowflake, snowflake_access
from lakehouse_assets.orchestration.resources.snowflake_access import MEANING, SnowflakeAccess, connect
from lakehouse_assets.settings import Settings


def test_the_embedded_account_starts_with_the_first_connection_of_a_run(tmp_path: Path) -> None:
    """Without it loading the definitions starts a server, or a run finds none."""
    resource = snowflake.snowflake_resource(
        home=tmp_path, database="LAKEHOUSE", schema="OPS", query_tag="a run", lock_timeout_seconds=7
    )

    @dg.asset
    def version(account: dg.ResourceParam[snowflake.SnowflakeAccount]) -> dg.MaterializeResult:
        with account.get_connection() as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT CURRENT_DATABASE(), CURRENT_SCHEMA()")
            row = cursor.fetchone()
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
            "session_parameters": {**MEANING, "LOCK_TIMEOUT": 600, "QUERY_TAG": "a run"},
            "arrow_number_to_decimal": True,
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


def test_what_an_account_has_set_for_its_sessions_changes_no_meaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it dates are read as American ones, or nothing of a hand-off is committed, where an administrator set
    that for all sessions.
    """
    hostile = {
        "TIMEZONE": "America/Los_Angeles",
        "AUTOCOMMIT": False,
        "DATE_INPUT_FORMAT": "MM/DD/YYYY",
        "TIMESTAMP_INPUT_FORMAT": "DD-MON-YYYY",
        "TIMESTAMP_TYPE_MAPPING": "TIMESTAMP_LTZ",
        "BINARY_INPUT_FORMAT": "BASE64",
        "QUOTED_IDENTIFIERS_IGNORE_CASE": True,
        "ROWS_PER_RESULTSET": 1,
    }

    def of_such_an_account(*arguments: Any) -> dict[str, Any]:
        made = connection_arguments(*arguments)
        return made | {"session_parameters": made["session_parameters"] | hostile}

    monkeypatch.setattr(snowflake_access, "connection_arguments", of_such_an_account)
    for name in hostile.keys() - {"AUTOCOMMIT", "QUOTED_IDENTIFIERS_IGNORE_CASE"}:
        with monkeypatch.context() as patched:
            patched.delitem(MEANING, name)
            with pytest.raises(DatabaseError, match=name), connect(home=tmp_path):
                pass
    try:
        with connect(home=tmp_path, database="LAKEHOUSE", schema="OPS") as connection:
            ask = connection.cursor().execute
            ask("CREATE TABLE T (a DATE)")
            ask("INSERT INTO T SELECT '2026-02-01'::DATE")
        with connect(home=tmp_path, database="LAKEHOUSE", schema="OPS") as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT a FROM T")
            assert cursor.fetchall() == [(date(2026, 2, 1),)]
    finally:
        stop(tmp_path)


def test_decimals_are_exact_beyond_the_digits_of_a_float(tmp_path: Path) -> None:
    """Without it a verification calls 123456789012345.678 and .677 the same. An account sends such a decimal as an
    integer with its scale, and the connector makes a float of it by default.
    """
    column = pa.field("A", pa.int64(), metadata={"logicalType": "FIXED", "scale": "3", "precision": "18"})
    sent = pa.record_batch([pa.array([123456789012345678])], schema=pa.schema([column]))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, sent.schema) as writer:
        writer.write_batch(sent)
    try:
        with connect(home=tmp_path) as connection:
            exact = connection.arrow_number_to_decimal
            batches = PyArrowTableIterator(
                None,
                sink.getvalue().to_pybytes(),
                ArrowConverterContext({"TIMEZONE": "UTC"}),
                False,
                False,
                exact,
                False,
                True,
            )
            assert next(iter(batches)).to_pylist() == [{"A": Decimal("123456789012345.678")}]
    finally:
        stop(tmp_path)


def test_building_the_resource_imports_no_connector() -> None:
    """Without it every process that loads the definitions pays seconds for libraries it does not use."""
    script = (
        "import sys; from lakehouse_assets.orchestration.resources.snowflake import snowflake_resource;"
        " snowflake_resource(); sys.exit(any(name in sys.modules for name in"
        " ('snowflake.connector', 'dagster_snowflake', 'duckdb', 'fakesnow')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
