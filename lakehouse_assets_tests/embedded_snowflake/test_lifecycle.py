"""One server a home: started by whoever comes first, shared, stopped or idle, and back with everything after any
death.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import snowflake.connector

from lakehouse_assets import embedded_snowflake
from lakehouse_assets.embedded_snowflake import (
    AccountAddress,
    connection_arguments,
    ensure_running,
    running,
    stop,
)
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.embedded_snowflake.conftest import Sql
from lakehouse_assets_tests.given import present


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home without an account; stopped after the test."""
    yield tmp_path / "a home"
    stop(tmp_path / "a home")


def session(home: Path) -> Sql:
    """A session of the account of a home, started if need be."""
    return Sql(snowflake.connector.connect(**connection_arguments(ensure_running(home), "LAKEHOUSE", "OPS")))


def test_processes_that_race_to_start_it_share_one_server(home: Path) -> None:
    """Without it two servers fight over the same files, or a run fails because another one was starting."""
    script = (
        "import sys; from pathlib import Path; from lakehouse_assets.embedded_snowflake import ensure_running;"
        " print(ensure_running(Path(sys.argv[1])).pid)"
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", script, str(home)], stdout=subprocess.PIPE, text=True) for _ in range(5)
    ]
    pids = {int(racer.communicate()[0]) for racer in racers}
    assert len(pids) == 1
    assert ensure_running(home).pid in pids


@pytest.mark.parametrize("kill", [False, True])
def test_everything_is_there_after_a_restart(home: Path, kill: bool) -> None:
    """Without it a laptop that is switched off loses what was handed off."""
    sql = session(home)
    sql("CREATE TABLE T (a NUMBER(38,0) NOT NULL, b VARCHAR(7)) COMMENT = 'kept'")
    sql("INSERT INTO T VALUES (18446744073709551615, 'x')")
    sql("CREATE VIEW V AS SELECT a FROM T")
    sql("CREATE STAGE ST")
    sql("CREATE FILE FORMAT PQ TYPE = PARQUET USE_LOGICAL_TYPE = TRUE")
    pq.write_table(pa.table({"A": [1]}), home / "f.parquet")
    sql(f"PUT 'file://{home}/f.parquet' @ST/d/ AUTO_COMPRESS=FALSE")
    sql("CREATE VIEW S AS SELECT $1:A::INT AS a FROM @ST/d/ (FILE_FORMAT => 'PQ')")
    copy = "COPY INTO LOADED FROM @ST/d/ FILE_FORMAT = (FORMAT_NAME = 'PQ') MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE"
    sql("CREATE TABLE LOADED (A INT)")
    sql(copy)
    sql("CREATE DATABASE SECOND")
    sql("CREATE DATABASE DROPPED")
    sql("DROP DATABASE DROPPED")
    open_transaction = session(home)
    open_transaction("BEGIN")
    open_transaction("DELETE FROM T")

    before = ensure_running(home)
    if kill:
        os.kill(before.pid, signal.SIGKILL)
    else:
        assert stop(home)
    sql = session(home)
    assert ensure_running(home).pid != before.pid
    assert sql("SELECT * FROM T") == [(18446744073709551615, "x")]
    assert sql("SELECT a FROM V") == [(18446744073709551615,)]
    assert sql("SELECT a FROM S") == [(1,)]
    assert [row[0] for row in sql("LIST @ST")] == ["st/d/f.parquet"]
    assert [row[1] for row in sql(copy)] == ["LOAD_SKIPPED"]
    assert [row[1] for row in sql("DESCRIBE TABLE T")] == ["NUMBER(38,0)", "VARCHAR(7)"]
    assert sql("SELECT comment FROM INFORMATION_SCHEMA.TABLES WHERE table_name = 'T'") == [("kept",)]
    assert {"SECOND", "LAKEHOUSE"} == {row[1] for row in sql("SHOW DATABASES")}


def test_no_name_of_a_database_keeps_the_account_from_starting_again(home: Path) -> None:
    """Without it one CREATE DATABASE, by any client, loses the whole account at its next start."""
    words = present(duckdb.sql("SELECT upper(keyword_name), keyword_category FROM duckdb_keywords()")).fetchall()
    kinds = {kind: [word for word, of in words if of == kind] for _, kind in words}
    # fakesnow's SQL does not quote names: the words of the first two kinds would end a statement
    taken = {*kinds["reserved"], *kinds["type_function"], "MEMORY", "SYSTEM", "TEMP"}
    free = {*kinds["unreserved"][:15], *kinds["column_name"][:15]} - taken
    sql = session(home)
    for word in taken:
        with pytest.raises(
            snowflake.connector.errors.ProgrammingError, match=r"cannot be the name of a database|already exists"
        ):
            sql(f'CREATE DATABASE "{word}"')
    for word in free:
        sql(f'CREATE DATABASE "{word}"')
    stop(home)
    there = {row[1] for row in session(home)("SHOW DATABASES")}
    assert free <= there
    assert not there & taken


def test_a_database_of_an_earlier_version_that_cannot_be_is_passed_over(home: Path) -> None:
    """Without it the account of a home in which one was made does not start until all is handed off again."""
    session(home)("CREATE TABLE T (a INT)")
    stop(home)
    duckdb.connect(home / "account" / "databases" / "LEFT.db").close()
    assert session(home)("SELECT COUNT(*) FROM T") == [(0,)]
    assert "LEFT.db is passed over" in (home / "account" / "server.log").read_text()


def test_stop_says_whether_it_ran_and_leaves_nothing_running(home: Path) -> None:
    """Without it `lakehouse down` leaves a process behind, or fails when there is nothing to stop."""
    assert not stop(home)
    address = ensure_running(home)
    assert running(home) == address
    assert stop(home)
    assert running(home) is None
    assert not psutil.pid_exists(address.pid) or psutil.Process(address.pid).status() in (
        psutil.STATUS_ZOMBIE,
        psutil.STATUS_DEAD,
    )
    assert not stop(home)
    assert not (home / "account" / "server.json").exists()


def test_an_idle_server_stops_by_itself_and_a_used_one_does_not(home: Path) -> None:
    """Without it every home ever used keeps a process, or a long run loses its account."""
    address = ensure_running(home, idle_seconds=1)
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        assert ensure_running(home).pid == address.pid
        time.sleep(0.2)
    for _ in range(300):
        if embedded_snowflake.read_address(home / "account") is None:
            break
        time.sleep(0.1)
    assert running(home) is None
    assert ensure_running(home).pid != address.pid


def test_the_address_of_a_dead_server_is_not_believed(home: Path) -> None:
    """Without it a run after a crash talks to whatever listens on that port now, or ends a stranger's process."""
    address = ensure_running(home)
    os.kill(address.pid, signal.SIGKILL)
    state = home / "account" / "server.json"
    state.write_text(state.read_text().replace(str(address.pid), str(os.getpid())))
    assert running(home) is None
    assert not stop(home)
    assert ensure_running(home).pid not in (address.pid, os.getpid())


def test_a_server_whose_home_is_deleted_stops_and_leaves_the_next_one_alone(home: Path) -> None:
    """Without it every home that is deleted by hand keeps a process for half an hour, which may then take the new
    server's address away.
    """
    before = ensure_running(home)
    shutil.rmtree(home)
    after = ensure_running(home)
    assert after.pid != before.pid
    psutil.wait_procs([psutil.Process(before.pid)] if psutil.pid_exists(before.pid) else [], timeout=30)
    assert not psutil.pid_exists(before.pid) or psutil.Process(before.pid).status() == psutil.STATUS_ZOMBIE
    assert running(home) == after


def test_connection_arguments_can_be_sent_to_another_process() -> None:
    """Without it a worker process cannot be told where the account is."""
    arguments = connection_arguments(AccountAddress("127.0.0.1", 1, 2), "LAKEHOUSE", "OPS")
    assert pickle.loads(pickle.dumps(arguments)) == arguments


@pytest.mark.timeout(60)
def test_a_client_whose_server_died_is_told_so(home: Path) -> None:
    """Without it the connector repeats its request for as long as a statement may take: an hour."""
    sql = session(home)
    sql("BEGIN")
    os.kill(ensure_running(home).pid, signal.SIGKILL)
    with pytest.raises(LakehouseError, match="has stopped"):
        sql("SELECT 1")
    with pytest.raises(LakehouseError, match="has stopped"):
        sql("COMMIT")


def test_a_server_that_cannot_start_says_why_and_where_to_look(home: Path) -> None:
    """Without it a broken catalogue looks like a hang."""
    databases = home / "account" / "databases"
    databases.mkdir(parents=True)
    (databases / "BROKEN.db").write_bytes(b"no database at all" * 1000)
    with pytest.raises(LakehouseError, match=r"does not start .*BROKEN.*server\.log"):
        ensure_running(home)


def test_no_secret_and_no_value_reaches_the_log(home: Path) -> None:
    """Without it personal data that passes through a statement stays in a log file."""
    sql = session(home)
    sql("CREATE TABLE T (a VARCHAR)")
    sql("INSERT INTO T VALUES ('zoe@example.com')")
    with pytest.raises(snowflake.connector.errors.ProgrammingError):
        sql("INSERT INTO NOPE VALUES ('zoe@example.com')")
    log = (home / "account" / "server.log").read_text()
    assert "INSERT INTO T" in log
    assert "zoe@example.com" not in log
