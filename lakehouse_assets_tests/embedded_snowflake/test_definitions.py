"""DDL: what it creates is what the catalogue then says, and what Snowflake does not enforce is not enforced."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets_tests.embedded_snowflake.conftest import Sql


def comment(sql: Sql, table: str) -> str | None:
    """A table's comment, which both ways of asking agree on."""
    (said,) = sql(
        "SELECT comment FROM INFORMATION_SCHEMA.TABLES WHERE table_schema = CURRENT_SCHEMA() AND table_name ="
        f" '{table}'"
    )
    shown = {row[1]: row[5] for row in sql("SHOW TABLES")}
    assert shown[table] == (said[0] or "")
    return said[0]


def test_keys_are_not_enforced_but_not_null_is(sql: Sql) -> None:
    """Without it a delete and insert of the same key fails here, or a duplicate is stopped here that a real account
    would take.
    """
    sql(
        "CREATE TABLE T (k INT PRIMARY KEY, v VARCHAR NOT NULL UNIQUE, w INT, CONSTRAINT other UNIQUE (w), PRIMARY KEY"
        " (k))"
    )
    sql("INSERT INTO T VALUES (1, 'a', 1), (1, 'a', 1)")
    for row in ("(NULL, 'a', 1)", "(1, NULL, 1)"):
        with pytest.raises(ProgrammingError, match="NOT NULL"):
            sql(f"INSERT INTO T VALUES {row}")
    assert [row[3] for row in sql("DESCRIBE TABLE T")] == ["N", "N", "Y"]


def test_a_comment_belongs_to_its_table_and_changes_with_it(sql: Sql) -> None:
    """Without it the mark of a hand-off in the comment survives the table it marked, or is lost with a crash between
    two commits.
    """
    sql("CREATE TABLE T (a INT COMMENT 'the a') COMMENT = 'first'")
    assert comment(sql, "T") == "first"
    assert sql("SELECT comment FROM INFORMATION_SCHEMA.COLUMNS WHERE table_schema = CURRENT_SCHEMA()") == [("the a",)]
    sql("CREATE OR REPLACE TABLE T COPY GRANTS COMMENT = 'it''s second' AS SELECT 1 AS a")
    assert comment(sql, "T") == "it's second"
    assert [row[:2] for row in sql("DESCRIBE TABLE T")] == [("A", "NUMBER(38,0)")]
    sql("CREATE TABLE IF NOT EXISTS T (a INT) COMMENT = 'ignored'")
    assert comment(sql, "T") == "it's second"
    sql("COMMENT ON TABLE T IS 'third'")
    assert comment(sql, "T") == "third"
    sql("ALTER TABLE T SET COMMENT = 'fourth'")
    assert comment(sql, "T") == "fourth"
    sql("CREATE OR REPLACE TABLE T (a INT)")
    assert comment(sql, "T") is None


def test_create_or_replace_as_select_keeps_the_old_table_when_it_fails(
    sql: Sql, connect: Callable[..., SnowflakeConnection]
) -> None:
    """Without it a failed rebuild leaves no table at all."""
    sql("CREATE TABLE T COMMENT = 'good' AS SELECT 1 AS a")
    with pytest.raises(ProgrammingError):
        sql("CREATE OR REPLACE TABLE T COPY GRANTS COMMENT = 'bad' AS SELECT 1 / x AS a FROM (SELECT 0 AS x)")
    assert Sql(connect())("SELECT a FROM T") == [(1,)]
    assert comment(sql, "T") == "good"


def test_columns_are_added_and_widened_but_never_narrowed(sql: Sql) -> None:
    """Without it DuckDB converts a column in a way that a real account refuses, after plan said it was fine."""
    sql("CREATE TABLE T (n NUMBER(10,2), v VARCHAR(10), i INT)")
    sql("INSERT INTO T VALUES (1.25, 'x', 1)")
    sql("ALTER TABLE T ADD COLUMN a DATE, b NUMBER(12,3)")
    sql("ALTER TABLE T ADD COLUMN IF NOT EXISTS a DATE")
    sql("ALTER TABLE T ALTER COLUMN n SET DATA TYPE NUMBER(18,2)")
    sql("ALTER TABLE T ALTER COLUMN v SET DATA TYPE VARCHAR(20)")
    sql("ALTER TABLE T ALTER COLUMN v SET DATA TYPE VARCHAR")
    for narrowing in (
        "n SET DATA TYPE NUMBER(17,2)",
        "n SET DATA TYPE NUMBER(18,3)",
        "v SET DATA TYPE VARCHAR(20)",
        "i SET DATA TYPE VARCHAR",
    ):
        with pytest.raises(ProgrammingError, match="only widening"):
            sql(f"ALTER TABLE T ALTER COLUMN {narrowing}")
    assert [row[:2] for row in sql("DESCRIBE TABLE T")] == [
        ("N", "NUMBER(18,2)"),
        ("V", "VARCHAR(16777216)"),
        ("I", "NUMBER(38,0)"),
        ("A", "DATE"),
        ("B", "NUMBER(12,3)"),
    ]
    rows = sql(
        "SELECT column_name, data_type, numeric_precision, numeric_scale FROM INFORMATION_SCHEMA.COLUMNS WHERE"
        " table_schema = CURRENT_SCHEMA() ORDER BY ordinal_position"
    )
    assert rows[0] == ("N", "NUMBER", 18, 2)
    assert rows[1][:2] == ("V", "TEXT")


def test_databases_and_schemas_are_created_once_and_dropped_with_what_they_hold(sql: Sql) -> None:
    """Without it dev and prod cannot share an account, or a dropped database is back after a restart."""
    sql("CREATE DATABASE IF NOT EXISTS OTHER")
    sql("CREATE SCHEMA IF NOT EXISTS OTHER.S")
    sql("CREATE SCHEMA IF NOT EXISTS OTHER.S")
    sql("CREATE TABLE OTHER.S.T AS SELECT 1 AS a")
    sql("CREATE STAGE OTHER.S.ST")
    assert "OTHER" in {row[1] for row in sql("SHOW DATABASES")}
    sql("DROP DATABASE OTHER")
    assert "OTHER" not in {row[1] for row in sql("SHOW DATABASES")}
    assert "OTHER" not in {row[2] for row in sql("SHOW STAGES IN ACCOUNT")}
    with pytest.raises(ProgrammingError):
        sql("SELECT a FROM OTHER.S.T")


def test_many_sessions_may_open_the_same_new_schema_at_once(
    sql: Sql, connect: Callable[..., SnowflakeConnection]
) -> None:
    """Without it parallel runs on a fresh account fail each other."""
    with ThreadPoolExecutor(8) as pool:
        for database in ("FRESH_1", "FRESH_2", "FRESH_3", "FRESH_4"):
            sessions = pool.map(
                lambda n, name=database: Sql(connect(database=name, schema="S"))(f"CREATE TABLE T{n} (a INT)"), range(8)
            )
            assert [row[0][0] for row in sessions] == [f"Table T{n} successfully created." for n in range(8)]


def test_a_temporary_table_is_seen_by_its_session_only(sql: Sql, connect: Callable[..., SnowflakeConnection]) -> None:
    """Without it tools that stage in temporary tables fail."""
    sql("CREATE TEMPORARY TABLE TEMPORARY_ONE (a INT)")
    sql("INSERT INTO TEMPORARY_ONE VALUES (1)")
    assert sql("SELECT a FROM TEMPORARY_ONE") == [(1,)]
    with pytest.raises(ProgrammingError):
        Sql(connect())("SELECT a FROM TEMPORARY_ONE")
