"""One embedded account for all tests of this folder, a schema of its own for each test, and how a test asks. Does not
belong here: assertions.
"""

from __future__ import annotations

import http.client
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import snowflake.connector
from snowflake.connector import SnowflakeConnection

from lakehouse_assets.embedded_snowflake import AccountAddress, connection_arguments, ensure_running, stop

_SCHEMAS = itertools.count(1)


@pytest.fixture(scope="session")
def account_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the account that this folder's tests share keeps its files."""
    home = tmp_path_factory.mktemp("home")
    yield home
    stop(home)


@pytest.fixture
def address(account_home: Path) -> AccountAddress:
    """A running account; started anew if it went down idle while other tests ran."""
    return ensure_running(account_home)


@pytest.fixture
def connect(address: AccountAddress) -> Iterator[Callable[..., SnowflakeConnection]]:
    """Opens connections to the test's own schema; closed after the test."""
    schema = f"TEST_{next(_SCHEMAS)}"
    opened: list[SnowflakeConnection] = []

    def open_(**options: Any) -> SnowflakeConnection:
        arguments = connection_arguments(address, "LAKEHOUSE", schema)
        arguments["session_parameters"] |= options.pop("session_parameters", {})
        opened.append(snowflake.connector.connect(**(arguments | options)))
        return opened[-1]

    yield open_
    for connection in opened:
        connection.close()


@pytest.fixture
def sql(connect: Callable[..., SnowflakeConnection]) -> Sql:
    """Executes a statement in the test's session."""
    return Sql(connect())


class Sql:
    """A session that is called with a statement and answers with its rows."""

    def __init__(self, connection: SnowflakeConnection) -> None:
        self.connection = connection

    def __call__(self, statement: str, parameters: Any = None) -> list[tuple]:
        """All rows of a statement."""
        return self.connection.cursor().execute(statement, parameters).fetchall()  # type: ignore[union-attr,return-value]

    def value(self, expression: str) -> Any:
        """The value of an expression."""
        return self(f"SELECT {expression}")[0][0]


def request(
    address: AccountAddress, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Status and content of the answer to a raw request; it must come within some seconds, and be JSON."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=15)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, json.loads(content) if content else None


def login(
    address: AccountAddress, query: str = "", headers: dict[str, str] | None = None, **data: Any
) -> tuple[int, Any]:
    """A login request as the connector sends it, with the right password unless `data` says another."""
    given = {"PASSWORD": connection_arguments(address)["password"], "LOGIN_NAME": "embedded"} | data
    return request(address, "POST", f"/session/v1/login-request?{query}", json.dumps({"data": given}).encode(), headers)


def token(connection: SnowflakeConnection) -> dict[str, str]:
    """The header that a session shows."""
    return {"Authorization": f'Snowflake Token="{connection.rest.token}"'}  # type: ignore[union-attr]


@pytest.fixture
def staged(sql: Sql, tmp_path: Path) -> Callable[..., None]:
    """Puts tables as Parquet files on the stage ST; file format PQ reads timestamps, file format PLAIN does not."""
    sql("CREATE STAGE ST")
    sql("CREATE FILE FORMAT PQ TYPE = PARQUET USE_LOGICAL_TYPE = TRUE BINARY_AS_TEXT = FALSE")
    sql("CREATE FILE FORMAT PLAIN TYPE = PARQUET")

    def put(name: str, table: pa.Table, directory: str = "d", overwrite: bool = False) -> None:
        pq.write_table(table, tmp_path / name)
        sql(f"PUT file://{tmp_path / name} @ST/{directory}/ AUTO_COMPRESS=FALSE OVERWRITE={overwrite}")

    return put
