"""Nothing that a client sends as SQL, or as a name in it, gets out of the account. Each test here is an exploit that
worked once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from snowflake.connector.errors import Error

from lakehouse_assets.embedded_snowflake import AccountAddress
from lakehouse_assets_tests.embedded_snowflake.conftest import Sql, login, request

NAMES = ["x; DROP TABLE LAKEHOUSE.KEPT.T; --", 'x"; DROP TABLE LAKEHOUSE.KEPT.T; --', "x; COPY (SELECT 1) TO '{out}'; --", "'x'; COPY (SELECT 1) TO '{out}'; --", "x' OR '1'='1", "../x", "a b", "_fs_global",  # noqa: E501
         "x\0y", "{{ 7*7 }}", "$(touch {out})", "é", "", "a" * 300, "-- x", "x/*", "x' UNION SELECT 1 --"]  # fmt: skip


@pytest.mark.parametrize("where", ["databaseName", "schemaName", "roleName", "warehouse"])
@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_login_runs_as_sql(
    address: AccountAddress, sql: Sql, tmp_path: Path, where: str, name: str
) -> None:
    """Without it a name drops tables and writes files, as a schema name in a login request did."""
    sql("CREATE SCHEMA IF NOT EXISTS LAKEHOUSE.KEPT")
    sql("CREATE TABLE IF NOT EXISTS LAKEHOUSE.KEPT.T (a INT)")
    out = tmp_path / "out"
    given = name.format(out=out) if "{out}" in name else name
    query = "&".join(
        f"{k}={quote(v)}" for k, v in ({"databaseName": "LAKEHOUSE", "schemaName": "S"} | {where: given}).items()
    )
    status, answer = login(address, query)
    assert status == 200
    refused = where in ("databaseName", "schemaName", "roleName")
    if refused and given and not (where == "schemaName" and given == "_fs_global"):
        assert answer["success"] is False
    elif where == "warehouse":
        header = {"Authorization": f'Snowflake Token="{answer["data"]["token"]}"'}
        function = "CURRENT_WAREHOUSE()"
        asked = json.dumps(
            {"sqlText": f"SELECT {function} = ? AS same", "bindings": {"1": {"type": "TEXT", "value": given}}}
        ).encode()
        said = request(address, "POST", "/queries/v1/query-request?requestId=1", asked, header)[1]
        assert said["success"] or "\0" in given, said
    assert sql("SELECT COUNT(*) FROM LAKEHOUSE.KEPT.T") == [(0,)]
    assert not out.exists()
    assert sql("SHOW DATABASES") == sql("SHOW DATABASES LIKE '%LAKEHOUSE%'") or {
        r[1] for r in sql("SHOW DATABASES")
    } == {"LAKEHOUSE"}


FILES = [
    "SELECT * FROM read_text('{secret}')", "SELECT * FROM READ_BLOB('{secret}')",
    "SELECT * FROM \"read_text\"('{secret}')",
    "SELECT * FROM system.main.read_text('{secret}')", "SELECT * FROM TABLE(read_text('{secret}'))",
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_csv_auto('{secret}')", "SELECT * FROM read_json('{secret}')",
    "SELECT * FROM read_parquet('{secret}')",
    "SELECT * FROM '{secret}'", "FROM '{secret}'", 'SELECT * FROM "{secret}"', "SELECT * FROM IDENTIFIER('{secret}')",
    "SELECT * FROM IDENTIFIER('\"{secret}\"')", "SELECT * FROM glob('{home}/**')",
    "SELECT * FROM sniff_csv('{secret}')",
    "SELECT * FROM read_text('/proc/self/environ')", "SELECT getenv('HOME')", "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('T')", "SELECT * FROM json_execute_serialized_sql('x')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()", "SELECT current_setting('temp_directory')", "SELECT * FROM arrow_scan(1, 2, 3)",
    "COPY (SELECT 1) TO '{out}'", "COPY T TO '{out}'", "COPY INTO '{out}' FROM T", "COPY INTO 'file://{out}' FROM T",
    "COPY INTO T FROM '{secret}'", "COPY INTO T FROM 'file://{secret}'", "COPY INTO T FROM 's3://x/y'",
    "COPY T FROM '{secret}'",
    "COPY (SELECT 1) TO '{home}/account/databases/x.db'",
    "SELECT * FROM read_blob('{home}/account/databases/LAKEHOUSE.db')",
    "SELECT * FROM '{home}/account/databases/LAKEHOUSE.db'", 'SELECT * FROM "{home}/account/databases/LAKEHOUSE.db"',
    "ATTACH ':memory:' AS m", "ATTACH '{out}' AS m", "ATTACH DATABASE '{out}'", "DETACH LAKEHOUSE",
    "EXPORT DATABASE '{out}'",
    "IMPORT DATABASE '{home}'", "INSTALL httpfs", "LOAD httpfs", "LOAD '{out}'", "PRAGMA database_list",
    "PRAGMA enable_logging",
    "CREATE SECRET s (TYPE s3)", "CREATE TEMPORARY SECRET s (TYPE s3)", "RESET allowed_directories",
    "CALL enable_logging(storage_path = '{out}')", "CREATE VIEW V AS SELECT * FROM read_text('{secret}')",
    "CREATE TABLE U AS SELECT * FROM read_text('{secret}')", "INSERT INTO T SELECT content FROM read_text('{secret}')",
    "DESCRIBE SELECT * FROM read_text('{secret}')", "WITH c AS (SELECT * FROM read_text('{secret}')) SELECT * FROM c",
    "SELECT (SELECT content FROM read_text('{secret}'))",
    "MERGE INTO T USING (SELECT content AS a FROM read_text('{secret}')) s ON T.a = s.a WHEN NOT MATCHED THEN INSERT VALUES (s.a)",  # noqa: E501
    "DELETE FROM T WHERE a IN (SELECT content FROM read_text('{secret}'))",
    "UPDATE T SET a = (SELECT content FROM read_text('{secret}'))",
    "SELECT 1; COPY (SELECT 1) TO '{out}'", "USE SCHEMA \"x'; COPY (SELECT 1) TO '{out}'; --\"",
    "USE DATABASE \"x'; COPY (SELECT 1) TO '{out}'; --\"",
    "CREATE DATABASE \"../x\"", "DROP DATABASE \"../../x\"", 'DROP DATABASE "_fs_global"', 'CREATE OR REPLACE DATABASE "_fs_global"',  # noqa: E501
    "CREATE SCHEMA \"x'; COPY (SELECT 1) TO '{out}'; --\"", "CREATE STAGE \"../../x\"",
    "CREATE STAGE \"a' || (SELECT content FROM read_text('{secret}')) || '\"",
    "CREATE FILE FORMAT \"a' || 'b\" TYPE = PARQUET", "CREATE TABLE \"{out}\" (a INT)",
    "PUT file:///tmp/x '@\"../../x\"/'", "GET @ST 'file://{out}'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'", "VACUUM", "CHECKPOINT",
    "SELECT * FROM parquet_metadata('{secret}')", "SELECT write_log('x')",
]  # fmt: skip


@pytest.mark.parametrize("statement", FILES)
def test_sql_reaches_no_file_and_no_setting(sql: Sql, account_home: Path, tmp_path: Path, statement: str) -> None:
    """Without it a statement reads any file of the user's, or writes one. Also the account's own database files are
    none of its business.
    """
    secret, out = tmp_path / "secret.csv", tmp_path / "out"
    secret.write_text("CANARY\n1\n")
    sql("CREATE TABLE T (a VARCHAR)")
    sql("CREATE STAGE ST")
    with pytest.raises(Error) as refused:
        sql(statement.format(secret=secret, out=out, home=account_home))
    assert "CANARY" not in str(refused.value)
    assert not out.exists()
    assert sql("SELECT COUNT(*) FROM T") == [(0,)]


def test_a_variable_cannot_hold_what_a_statement_may_not(sql: Sql, tmp_path: Path) -> None:
    """Without it the refusals are gone round by SET, and by a binding that names a table."""
    (tmp_path / "x.csv").write_text("CANARY\n1\n")
    with pytest.raises(Error):
        sql(f"SET v = (SELECT content FROM read_text('{tmp_path}/x.csv'))")
    with pytest.raises(Error):
        sql("SELECT * FROM IDENTIFIER(%s)", (f'"{tmp_path}/x.csv"',))


def test_what_refusals_would_let_through_is_shut_in_duckdb_itself(sql: Sql, tmp_path: Path) -> None:
    """Without it one function that nobody thought of opens the machine. The refusals are turned off here, in a
    catalogue of this process.
    """
    script = f"""
import duckdb, pathlib
from lakehouse_assets.embedded_snowflake.catalogue import Catalogue
home = pathlib.Path({str(tmp_path)!r})
(home / "x.csv").write_text("CANARY")
(home / "a").mkdir()
catalogue = Catalogue(home / "a")
duck = catalogue.connect("LAKEHOUSE", "S")._duck_conn
for statement in (f"FROM read_text('{{home}}/x.csv')", "FROM read_text('/proc/self/environ')", f"FROM '{{home}}/x.csv'", f"FROM glob('{{home}}/*')",
    f"COPY (SELECT 1) TO '{{home}}/out'", f"ATTACH '{{home}}/out.db'", f"EXPORT DATABASE '{{home}}/out'", "INSTALL httpfs", "LOAD httpfs",
    "SET enable_external_access = true", "SET GLOBAL allowed_directories = ['/']", "SET lock_configuration = false",
    "CREATE PERSISTENT SECRET s (TYPE s3)", f"CALL enable_logging(storage = 'file', storage_path = '{{home}}/out')"):
    try:
        rows = duck.execute(statement).fetchall()
    except duckdb.Error:
        continue
    raise SystemExit(f"{{statement}}: {{rows}}")
assert not list(home.glob("out*"))
catalogue.connect("SECOND", "S")._duck_conn.execute("CREATE TABLE t AS SELECT 1")
"""  # noqa: E501
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
