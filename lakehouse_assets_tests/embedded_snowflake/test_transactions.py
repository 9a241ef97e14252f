"""Publishing in one transaction: what readers see, what a conflict does, what a dead client leaves behind."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from textwrap import dedent

import pytest
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.embedded_snowflake import AccountAddress
from lakehouse_assets_tests.embedded_snowflake.conftest import Sql


@pytest.fixture
def state(sql: Sql) -> Sql:
    """A state row to lock, and a table with one old row."""
    sql("CREATE TABLE STATE (name VARCHAR, version INT)")
    sql("INSERT INTO STATE VALUES ('t', 0), ('u', 0)")
    sql("CREATE TABLE DATA (k INT)")
    sql("INSERT INTO DATA VALUES (1)")
    return sql


def test_a_reader_sees_the_old_state_until_commit_and_the_new_one_after(
    state: Sql, connect: Callable[..., SnowflakeConnection]
) -> None:
    """Without it a dashboard shows half a hand-off."""
    reader = Sql(connect())
    state("CREATE VIEW FRESH AS SELECT 2 AS k")
    for statement in (
        "BEGIN",
        "UPDATE STATE SET version = 1 WHERE name = 't'",
        "DELETE FROM DATA",
        "INSERT INTO DATA SELECT k FROM FRESH",
        "INSERT INTO DATA VALUES (3)",
    ):
        state(statement)
        assert reader("SELECT k FROM DATA") == [(1,)]
        assert reader("SELECT version FROM STATE WHERE name = 't'") == [(0,)]
    assert state("SELECT k FROM DATA ORDER BY k") == [(2,), (3,)]
    state("COMMIT")
    assert reader("SELECT k FROM DATA ORDER BY k") == [(2,), (3,)]


def test_rollback_restores_every_table(state: Sql) -> None:
    """Without it a hand-off that fails its own check leaves its rows behind."""
    state("BEGIN")
    state("UPDATE STATE SET version = 1")
    state("DELETE FROM DATA")
    state("ROLLBACK")
    assert state("SELECT k FROM DATA") == [(1,)]
    assert state("SELECT SUM(version) FROM STATE") == [(0,)]


def test_the_loser_of_a_conflict_gets_a_programming_error_after_its_lock_timeout(
    state: Sql, connect: Callable[..., SnowflakeConnection]
) -> None:
    """Without it the loser hangs in retries for minutes, or overwrites the winner."""
    loser = Sql(connect(session_parameters={"LOCK_TIMEOUT": 0}))
    state("BEGIN")
    state("UPDATE STATE SET version = 1 WHERE name = 't'")
    loser("BEGIN")
    loser("INSERT INTO DATA VALUES (7)")
    with pytest.raises(ProgrammingError, match="conflicts with a transaction of another session"):
        loser("UPDATE STATE SET version = 2 WHERE name = 't'")
    with pytest.raises(ProgrammingError, match="rolled back"):
        loser("COMMIT")
    state("COMMIT")
    assert state("SELECT version FROM STATE WHERE name = 't'") == [(1,)]
    assert state("SELECT k FROM DATA") == [(1,)]
    loser("BEGIN")  # and it can start again
    assert loser("UPDATE STATE SET version = 2 WHERE name = 't'") == [(1, 0)]
    loser("COMMIT")


def test_a_writer_that_locks_first_waits_for_the_other_and_sees_what_it_left(
    state: Sql, connect: Callable[..., SnowflakeConnection]
) -> None:
    """Without it a publish that Snowflake would let wait for its lock fails here, and the check of the acknowledged
    version is never exercised.
    """
    waiting = Sql(connect(session_parameters={"LOCK_TIMEOUT": 60}))
    state("BEGIN")
    state("UPDATE STATE SET version = version + 1 WHERE name = 't'")
    waiting("BEGIN")
    assert waiting("SELECT version FROM STATE WHERE name = 't'") == [(0,)]
    updated = threading.Thread(target=waiting, args=("UPDATE STATE SET version = version + 10 WHERE name = 't'",))
    updated.start()
    updated.join(0.3)
    assert updated.is_alive()
    state("COMMIT")
    updated.join(60)
    assert waiting("SELECT version FROM STATE WHERE name = 't'") == [(11,)]
    waiting("COMMIT")


def test_writers_of_different_rows_do_not_wait(state: Sql, connect: Callable[..., SnowflakeConnection]) -> None:
    """Without it two tables cannot be handed off at the same time."""
    other = Sql(connect(session_parameters={"LOCK_TIMEOUT": 0}))
    state("BEGIN")
    other("BEGIN")
    state("UPDATE STATE SET version = 1 WHERE name = 't'")
    other("UPDATE STATE SET version = 1 WHERE name = 'u'")
    state("COMMIT")
    other("COMMIT")
    assert state("SELECT SUM(version) FROM STATE") == [(2,)]


def test_a_killed_client_does_not_block_the_next_publish(state: Sql, address: AccountAddress) -> None:
    """Without it one `kill -9` in the middle of a publish stops every hand-off until the account is restarted."""
    context = state("SELECT CURRENT_SCHEMA()")[0][0]
    script = dedent(f"""
        import time, snowflake.connector
        from lakehouse_assets.embedded_snowflake import AccountAddress, connection_arguments
        connection = snowflake.connector.connect(**connection_arguments(AccountAddress(**{asdict(address)!r}), "LAKEHOUSE", "{context}"))
        for statement in ("BEGIN", "UPDATE STATE SET version = 9", "DELETE FROM DATA"):
            connection.cursor().execute(statement)
        print("in the middle", flush=True)
        time.sleep(600)
    """)  # noqa: E501
    client = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    assert client.stdout.readline() == "in the middle\n"
    client.kill()
    client.wait()
    state("ALTER SESSION SET LOCK_TIMEOUT = 60")
    state("BEGIN")
    state("UPDATE STATE SET version = 1")
    state("DELETE FROM DATA")
    state("COMMIT")
    assert state("SELECT SUM(version) FROM STATE") == [(2,)]


def test_a_definition_commits_the_open_transaction_first(
    state: Sql, connect: Callable[..., SnowflakeConnection]
) -> None:
    """Without it code that relies on rolling DDL back passes here and corrupts a real account."""
    state("BEGIN")
    state("INSERT INTO DATA VALUES (2)")
    state("CREATE TABLE ELSEWHERE (a INT)")
    state("ROLLBACK")
    assert Sql(connect())("SELECT k FROM DATA ORDER BY k") == [(1,), (2,)]


def test_a_failed_statement_fails_the_commit_of_its_transaction(state: Sql) -> None:
    """Without it DuckDB answers the COMMIT of a lost transaction with success."""
    state("BEGIN")
    state("INSERT INTO DATA VALUES (2)")
    with pytest.raises(ProgrammingError):
        state("INSERT INTO DATA SELECT 'no number'")
    with pytest.raises(ProgrammingError, match="rolled back"):
        state("COMMIT")
    assert state("SELECT k FROM DATA") == [(1,)]


def test_merge_and_copy_of_many_parts_are_all_or_nothing(sql: Sql) -> None:
    """Without it a MERGE that fails half-way leaves its updates behind."""
    sql("CREATE TABLE T (k INT, v INT NOT NULL)")
    sql("INSERT INTO T VALUES (1, 1)")
    with pytest.raises(ProgrammingError, match="NOT NULL"):
        sql(
            "MERGE INTO T USING (SELECT 1 AS k, 5 AS v UNION ALL SELECT 2, NULL) s ON T.k = s.k "
            "WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT (k, v) VALUES (s.k, s.v)"
        )
    assert sql("SELECT * FROM T") == [(1, 1)]
    sql("BEGIN")
    sql("MERGE INTO T USING (SELECT 1 AS k, 5 AS v) s ON T.k = s.k WHEN MATCHED THEN UPDATE SET v = s.v")
    sql("ROLLBACK")
    assert sql("SELECT * FROM T") == [(1, 1)]


def test_without_autocommit_changes_wait_for_commit(connect: Callable[..., SnowflakeConnection], state: Sql) -> None:
    """Without it a library that switches autocommit off publishes row by row."""
    manual = connect(autocommit=False)
    Sql(manual)("INSERT INTO DATA VALUES (2)")
    assert state("SELECT COUNT(*) FROM DATA") == [(1,)]
    manual.rollback()
    Sql(manual)("INSERT INTO DATA VALUES (3)")
    manual.commit()
    assert state("SELECT k FROM DATA ORDER BY k") == [(1,), (3,)]


def test_a_second_begin_is_an_error(state: Sql) -> None:
    """Without it two publishes in one session run as one."""
    state("BEGIN")
    with pytest.raises(ProgrammingError, match="open already"):
        state("BEGIN")
    state("ROLLBACK")


def test_closing_a_session_rolls_its_transaction_back_at_once(
    state: Sql, connect: Callable[..., SnowflakeConnection]
) -> None:
    """Without it a client that gives up in good order blocks the next one."""
    leaving = connect()
    Sql(leaving)("BEGIN")
    Sql(leaving)("UPDATE STATE SET version = 9")
    leaving.close()
    state("ALTER SESSION SET LOCK_TIMEOUT = 0")
    state("UPDATE STATE SET version = 1")
    assert state("SELECT SUM(version) FROM STATE") == [(2,)]


def test_two_sessions_that_create_the_same_tables_at_once_both_succeed(
    connect: Callable[..., SnowflakeConnection],
) -> None:
    """Without it one of two first deployments fails by a key of the account's own records."""
    sessions, failed = [Sql(connect()) for _ in range(3)], list[Exception]()
    start = threading.Barrier(len(sessions))

    def create(session: Sql) -> None:
        for number in range(15):
            columns = ", ".join(f"C{i} VARCHAR(10)" for i in range(8))
            start.wait(60)
            try:
                session(f"CREATE TABLE IF NOT EXISTS T{number} ({columns})")
            except ProgrammingError as error:
                failed.append(error)

    threads = [threading.Thread(target=create, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
