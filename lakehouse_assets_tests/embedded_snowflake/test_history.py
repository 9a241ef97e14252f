"""The log of statements: what it says of each, by Snowflake's rules of warehouses and results, and never says."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.embedded_snowflake import account_directory, ensure_running, stop
from lakehouse_assets.embedded_snowflake.history import Row, StatementLog, log, read_rows
from lakehouse_assets.embedded_snowflake.history.facts import Facts
from lakehouse_assets.embedded_snowflake.history.results import LONGEST_SECONDS, Results
from lakehouse_assets_tests.embedded_snowflake.conftest import Sql


@pytest.fixture
def rows(account_home: Path, sql: Sql) -> Callable[[], list[Row]]:
    """What the log says of the statements of the test's session so far, without the first ones of the connector."""
    session = next(reversed(list(read_rows(account_directory(account_home))))) if sql("SELECT 'mine'") else None
    assert session

    def read() -> list[Row]:
        return [r for r in read_rows(account_directory(account_home)) if r.session == session.session][1:]

    return read


Rows = Callable[[], list[Row]]


@pytest.mark.parametrize(
    ("statement", "kind", "needs_warehouse"),
    [
        ("SELECT * FROM T", "SELECT", True),
        ("WITH C AS (SELECT * FROM T) SELECT * FROM C", "SELECT", True),
        ("INSERT INTO T VALUES (1)", "INSERT", True),
        ("UPDATE T SET N = 2", "UPDATE", True),
        ("DELETE FROM T", "DELETE", True),
        ("CREATE TABLE U AS SELECT * FROM T", "CREATE TABLE", True),
        ("CREATE TABLE U (N INT)", "CREATE TABLE", False),
        ("CREATE VIEW V AS SELECT * FROM T", "CREATE VIEW", False),
        ("ALTER TABLE T ADD COLUMN M INT", "ALTER TABLE", False),
        ("DROP TABLE T", "DROP TABLE", False),
        ("SHOW TABLES", "SHOW", False),
        ("DESCRIBE TABLE T", "DESCRIBE", False),
        ("ALTER SESSION SET QUERY_TAG = 'x'", "ALTER SESSION", False),
        ("BEGIN", "BEGIN", False),
        ("LIST @ST", "LIST", False),
        ("REMOVE @ST", "REMOVE", False),
    ],
)
def test_what_needs_a_warehouse(sql: Sql, rows: Rows, statement: str, kind: str, needs_warehouse: bool) -> None:
    """Else a quiet night looks dear, or a dear one quiet."""
    sql("CREATE TABLE T (N INT)")
    sql("CREATE STAGE ST")
    sql(statement)
    last = rows()[-1]
    assert (last.kind, last.needs_warehouse, last.cached, last.error) == (kind, needs_warehouse, False, 0)
    if kind in ("SELECT", "INSERT", "UPDATE", "DELETE"):
        assert [name.rpartition(".")[2] for name in last.tables] == ["T"]


def test_an_error_of_the_compiler_wakes_no_warehouse_and_one_while_running_does(sql: Sql, rows: Rows) -> None:
    """Looking for what is not there yet would cost a minute each time."""
    for query in ("SELECT * FROM NOT_THERE", "SELECT 1 / 0"):
        with pytest.raises(ProgrammingError):
            sql(query)
    compiled, ran = rows()[-2:]
    assert (bool(compiled.error), compiled.needs_warehouse) == (True, False)
    assert (bool(ran.error), ran.needs_warehouse) == (True, True)


def cached(sql: Sql, rows: Rows, query: str) -> bool:
    """Whether an earlier result answers a query."""
    sql(query)
    return rows()[-1].cached


def test_the_same_query_over_the_same_rows_is_answered_by_its_result(sql: Sql, rows: Rows) -> None:
    """Snowflake answers it so, and without it no night is quiet."""
    sql("CREATE TABLE T (N INT)")
    assert not cached(sql, rows, "SELECT * FROM T")
    assert cached(sql, rows, "SELECT * FROM T")
    assert not cached(sql, rows, "SELECT * FROM t")  # not the same text
    sql("UPDATE T SET N = 2")  # changes no row
    assert cached(sql, rows, "SELECT * FROM T")
    sql("INSERT INTO T VALUES (1)")
    assert not cached(sql, rows, "SELECT * FROM T")
    sql("ALTER TABLE T ADD COLUMN M INT")
    assert not cached(sql, rows, "SELECT * FROM T")


@pytest.mark.parametrize(
    "query",
    ["SELECT N, SYSDATE() FROM T", "SELECT N, CURRENT_TIMESTAMP FROM T", "SELECT RANDOM() FROM T",
     "SELECT UUID_STRING() FROM T", "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES", "SELECT * FROM OVER_TIME"],
)  # fmt: skip
def test_a_query_over_the_clock_or_chance_is_not(sql: Sql, rows: Rows, query: str) -> None:
    """It is another result each time; also where the clock is read inside a view."""
    sql("CREATE TABLE T (N INT)")
    sql("CREATE VIEW OVER_TIME AS SELECT N, SYSDATE() AS NOW FROM T")
    assert not cached(sql, rows, query)
    assert not cached(sql, rows, query)


def test_what_a_view_reads_counts_through_views_of_views(sql: Sql, rows: Rows) -> None:
    """A view over a table that was loaded would seem unchanged."""
    sql("CREATE TABLE T (N INT)")
    sql("CREATE TABLE OTHER (N INT)")
    sql("CREATE VIEW V AS SELECT * FROM T")
    sql("CREATE VIEW W AS SELECT * FROM V")
    assert [cached(sql, rows, "SELECT * FROM W") for _ in range(2)] == [False, True]
    sql("INSERT INTO OTHER VALUES (1)")
    assert cached(sql, rows, "SELECT * FROM W")
    sql("INSERT INTO T VALUES (1)")
    assert not cached(sql, rows, "SELECT * FROM W")
    sql("CREATE OR REPLACE VIEW V AS SELECT * FROM OTHER")
    assert [cached(sql, rows, "SELECT * FROM W") for _ in range(2)] == [False, True]
    sql("INSERT INTO OTHER VALUES (1)")
    assert not cached(sql, rows, "SELECT * FROM W")


def test_a_result_that_another_session_got_before_a_commit_is_not_used_after_it(
    connect: Callable[..., SnowflakeConnection], sql: Sql, rows: Rows
) -> None:
    """The change is made before the commit and seen after it."""
    sql("CREATE TABLE T (N INT)")
    writer = Sql(connect())
    writer("BEGIN")
    writer("INSERT INTO T VALUES (1)")
    assert not cached(sql, rows, "SELECT * FROM T")
    writer("COMMIT")
    assert not cached(sql, rows, "SELECT * FROM T")
    assert cached(sql, rows, "SELECT * FROM T")


def test_results_live_for_a_day_after_their_last_use_and_a_month_at_most() -> None:
    """A look once a day costs a minute each time, one every hour does not."""
    results, hour = Results(), 3600.0
    assert not results.asked("q", ["T"], 10.0)
    assert results.asked("q", ["T"], 10 + 23 * hour)
    assert results.asked("q", ["T"], 10 + 46 * hour)
    assert not results.asked("q", ["T"], 10 + 70.1 * hour)
    month = LONGEST_SECONDS / hour
    asked = [results.asked("r", ["T"], 10 + n * hour) for n in range(0, int(month) + 24, 12)]
    assert asked.index(False, 1) == month / 12


def test_bound_values_and_texts_are_never_in_it(sql: Sql, rows: Rows, account_home: Path) -> None:
    """Personal data would lie in a file that nobody expects it in. A tag is in it, as in Snowflake's own history."""
    sql("CREATE TABLE T (S VARCHAR)")
    sql("INSERT INTO T SELECT %s", ("ada@example.com",))
    sql("SELECT * FROM T WHERE S = 'ada@example.com'")
    sql.connection.cursor().execute("SELECT 5", _statement_params={"QUERY_TAG": "of the statement"})
    assert rows()[-1].tag == "of the statement"
    assert rows()[-2].query
    for file in account_directory(account_home).glob("statements*"):
        assert "ada@" not in file.read_text()
        assert file.stat().st_mode & 0o077 == 0


def test_files_that_are_put_are_in_it_with_their_size(sql: Sql, rows: Rows, tmp_path: Path) -> None:
    """What a load sends would not be known."""
    (tmp_path / "f.txt").write_bytes(b"x" * 1234)
    sql("CREATE STAGE ST")
    sql(f"PUT file://{tmp_path / 'f.txt'} @ST AUTO_COMPRESS=FALSE")
    assert [row.bytes for row in rows() if row.kind == "UPLOAD"] == [1234]
    assert not any(row.needs_warehouse for row in rows() if row.kind in ("UPLOAD", "PUT"))


def test_results_outlive_the_server(tmp_path: Path) -> None:
    """The server stops when it is idle, and the first look after it would cost a minute."""
    import snowflake.connector

    from lakehouse_assets.embedded_snowflake import connection_arguments

    try:
        for _ in range(2):
            with snowflake.connector.connect(**connection_arguments(ensure_running(tmp_path), "D", "S")) as connection:
                ask = Sql(connection)
                ask("CREATE TABLE IF NOT EXISTS T (N INT)") if not (tmp_path / "made").exists() else None
                (tmp_path / "made").touch()
                ask("SELECT * FROM T")
            stop(tmp_path)
    finally:
        stop(tmp_path)
    asked = [row.cached for row in read_rows(account_directory(tmp_path)) if row.kind == "SELECT"]
    assert asked == [False, True]


class _NoViews:
    def cursor(self) -> "_NoViews":
        return self

    def execute(self, _: str) -> "_NoViews":
        return self

    def fetchall(self) -> list[tuple]:
        return []


def written(directory: Path) -> StatementLog:
    """A log of a directory."""
    return StatementLog(directory, "secret", _NoViews())  # type: ignore[arg-type]


def test_it_is_bounded_and_keeps_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop's disk would fill up, or the last day would be gone."""
    monkeypatch.setattr(log, "MOST_BYTES", 5000)
    kept = written(tmp_path)
    for number in range(500):
        kept.add(Facts("SELECT"), "", float(number + 1), session="s")
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2 * 5200
    starts = [row.started for row in read_rows(tmp_path)]
    assert starts == [float(n) for n in range(501 - len(starts), 501)]
    assert len(starts) > 50


def test_what_a_kill_left_half_written_is_passed_over(tmp_path: Path) -> None:
    """One line would make all of the log unreadable, and the account would not start."""
    written(tmp_path).add(Facts("SELECT", ("T",), ("U",)), "", time.time(), session="s")
    with (tmp_path / log.FILE).open("ab") as file:
        file.write(b'{"started": 17, "se')
    written(tmp_path).add(Facts("INSERT"), "", time.time(), session="s")
    assert [row.kind for row in read_rows(tmp_path)] == ["SELECT"]
    written(tmp_path).add(Facts("DELETE"), "", time.time(), session="s")
    assert [(row.kind, row.tables, row.changes) for row in read_rows(tmp_path)] == [
        ("SELECT", ("T",), ("U",)),
        ("DELETE", (), ()),
    ]


def test_a_disk_on_which_nothing_can_be_written_stops_no_statement(tmp_path: Path) -> None:
    """The account would answer nothing because its log cannot be kept."""
    kept = written(tmp_path)
    kept.close()
    kept.add(Facts("SELECT"), "", time.time(), session="s")
    assert not list(read_rows(tmp_path))
