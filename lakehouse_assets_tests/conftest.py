"""What all tests share: one Spark session on one embedded Sail server, one Apache Spark behind one Spark Connect
server, one PostgreSQL, and one MariaDB.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import lakehouse_assets.areas  # noqa: F401 -- tells the registry every source and table, which tests ask for by name
from lakehouse_assets.orchestration.resources.spark_embedded import NEVER


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """A `SparkSession` on a Sail server of its own, in UTC."""
    os.environ.setdefault("RUST_LOG", "error")
    os.environ["SAIL_SPARK__SESSION_TIMEOUT_SECS"] = NEVER  # tests of other engines take longer than Sail waits
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    server = SparkConnectServer(port=0)
    server.start(background=True)
    host, port = server.listening_address or ("", 0)
    session = SparkSession.builder.remote(f"sc://{host}:{port}").getOrCreate()
    session.conf.set("spark.sql.session.timeZone", "UTC")
    yield session
    session.stop()
    server.stop()


@pytest.fixture(scope="session")
def connect_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Spark Connect server of Apache Spark with Delta, which starts when the first test asks for it."""
    from lakehouse_assets_tests import spark_servers

    if reason := spark_servers.missing():
        pytest.skip(reason)
    with ExitStack() as stack:
        try:
            url = stack.enter_context(spark_servers.connect_server(tmp_path_factory.mktemp("spark") / "connect.log"))
        except spark_servers.JarsMissingError as error:
            pytest.skip(str(error))
        yield url


@pytest.fixture(scope="session")
def connect_spark(spark: Any, connect_url: str) -> Iterator[Any]:
    """A `SparkSession` on Apache Spark, set up as the application does. Sail's stays the one that others find
    active.
    """
    from pyspark.sql import SparkSession

    from lakehouse_assets.orchestration.resources.spark_settings import SESSION_SETTINGS

    session = SparkSession.builder.remote(connect_url).create()
    for key, value in SESSION_SETTINGS.items():
        session.conf.set(key, value)
    yield session
    session.stop()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL, which starts when the first test asks for it."""
    from lakehouse_assets_tests import postgres_server

    pytest.importorskip("dagster_postgres", reason="the extra `postgres` is not installed")
    if reason := postgres_server.missing():
        pytest.skip(reason)
    with postgres_server.server() as url:
        yield url


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[str]:
    """The URL of a fresh database in it, dropped after the test."""
    from lakehouse_assets_tests import postgres_server

    with postgres_server.database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def mariadb_url() -> Iterator[str]:
    """The URL of a MariaDB, which starts when the first test asks for it."""
    from lakehouse_assets_tests import mariadb_server

    if reason := mariadb_server.missing():
        pytest.skip(reason)
    with mariadb_server.server() as url:
        yield url


@pytest.fixture
def mariadb(mariadb_url: str) -> Iterator[str]:
    """The URL of a fresh database in it, dropped after the test."""
    from lakehouse_assets_tests import mariadb_server

    with mariadb_server.database(mariadb_url) as url:
        yield url


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start a server or a JVM, so that the fast ones can be run alone."""
    servers = {
        "postgres",
        "postgres_url",
        "mariadb",
        "mariadb_url",
        "connect_url",
        "connect_spark",
        "shared",
        "make_world",
    }
    for item in items:
        if servers & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.server)
