"""What the connector relies on between statement and answer: long statements, repeated requests, cancelled ones, ended
sessions.
"""

from __future__ import annotations

import gzip
import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import snowflake.connector
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import Error, ProgrammingError

from lakehouse_assets.embedded_snowflake import AccountAddress, connection_arguments, running, stop
from lakehouse_assets.embedded_snowflake.catalogue import RESULTS_KEPT, _Results
from lakehouse_assets_tests.embedded_snowflake.conftest import Sql

SLOW = "SELECT COUNT(*) FROM TABLE(GENERATOR(ROWCOUNT => 100000000000)) g"


def post(address: AccountAddress, connection: SnowflakeConnection, request_id: str, statement: str) -> dict[str, Any]:
    """The raw answer to a query request."""
    http_ = http.client.HTTPConnection(address.host, address.port)
    headers = {"Authorization": f'Snowflake Token="{connection.rest.token}"', "Content-Encoding": "gzip"}  # type: ignore[union-attr]
    http_.request(
        "POST",
        f"/queries/v1/query-request?requestId={request_id}",
        gzip.compress(json.dumps({"sqlText": statement}).encode()),
        headers,
    )
    answer = json.loads(http_.getresponse().read())
    http_.close()
    return answer


def test_a_repeated_request_is_answered_but_not_executed_again(
    sql: Sql, connect: Callable[..., SnowflakeConnection], address: AccountAddress
) -> None:
    """Without it a client that lost an answer inserts its rows twice."""
    sql("CREATE TABLE T (a INT)")
    connection = connect()
    answers = [post(address, connection, "the-same", "INSERT INTO T VALUES (1)") for _ in range(3)]
    assert [answer["data"]["rowset"] for answer in answers] == [[["1"]]] * 3
    assert sql("SELECT COUNT(*) FROM T") == [(1,)]
    post(address, connection, "another", "INSERT INTO T VALUES (1)")
    assert sql("SELECT COUNT(*) FROM T") == [(2,)]


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[AccountAddress]:
    """An account that lets clients poll for whatever takes longer than a tenth of a second."""
    script = dedent("""
        import sys
        from pathlib import Path
        from lakehouse_assets.embedded_snowflake.address import account_directory, try_lock
        from lakehouse_assets.embedded_snowflake.protocol import queries
        from lakehouse_assets.embedded_snowflake.serving import serve
        directory = account_directory(Path(sys.argv[1]))
        directory.mkdir(parents=True)
        lock = try_lock(directory)
        queries.POLL_SECONDS = 0.1
        serve(directory, 600)
    """)
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stderr=subprocess.DEVNULL)
    while (address := running(tmp_path)) is None:
        assert process.poll() is None
    yield address
    stop(tmp_path)
    process.wait()


def test_a_statement_may_take_longer_than_a_request(impatient: AccountAddress) -> None:
    """Without it the connector gives a statement up after 60 s and sends it again."""
    sql = Sql(snowflake.connector.connect(**connection_arguments(impatient, "LAKEHOUSE", "OPS")))
    slow = "FROM (SELECT UNNEST(RANGE(3000000)) AS i) WHERE SHA2(TO_VARCHAR(i)) <> 'x'"
    assert sql(f"SELECT COUNT(*) {slow}") == [(3_000_000,)]
    with pytest.raises(ProgrammingError, match="Division by zero"):
        sql(f"SELECT SUM(1 / (i - 2999999)) {slow}")
    sql.connection.close()


def test_a_statement_that_times_out_is_cancelled_and_the_session_goes_on(sql: Sql) -> None:
    """Without it a cancelled query keeps both cores busy for the next hour."""
    with pytest.raises(ProgrammingError, match="nterrupt"):
        sql.connection.cursor().execute(SLOW, timeout=1)
    assert sql.value("1") == 1


def test_an_ended_session_is_an_error_and_not_a_hang(
    connect: Callable[..., SnowflakeConnection], address: AccountAddress
) -> None:
    """Without it a client whose session is gone retries until its time-out."""
    connection = connect()
    token = connection.rest.token  # type: ignore[union-attr]
    http_ = http.client.HTTPConnection(address.host, address.port)
    http_.request("POST", "/session?delete=true", headers={"Authorization": f'Snowflake Token="{token}"'})
    assert json.loads(http_.getresponse().read())["success"]
    with pytest.raises(Error, match="connect again"):
        connection.cursor().execute("SELECT 1")


def test_a_query_is_described_without_being_run(sql: Sql) -> None:
    """Without it a tool that asks for columns first runs everything twice."""
    described = sql.connection.cursor().describe(
        "SELECT 1::NUMBER(12,3) AS amount, 'x' AS name FROM (SELECT 1 / x FROM (SELECT 0 AS x))"
    )
    assert [(column.name, column.precision, column.scale) for column in described] == [
        ("AMOUNT", 12, 3),
        ("NAME", None, None),
    ]


def test_the_server_remembers_the_last_results_only() -> None:
    """Without it fakesnow keeps every result, and a server that runs for days eats the machine's memory."""
    results = _Results()
    for number in range(10 * RESULTS_KEPT):
        results[str(number)] = ()
    assert list(results) == [str(number) for number in range(9 * RESULTS_KEPT, 10 * RESULTS_KEPT)]
