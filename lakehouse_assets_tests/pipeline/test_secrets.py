"""No secret is seen anywhere: marked ones go into all places that take one, runs and ticks succeed and fail with them,
and everything that is kept or shown is searched for the marks.
"""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import grpc
import pytest
import snowflake.connector
import sqlalchemy
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget

from lakehouse_assets.definitions import build_definitions
from lakehouse_assets.embedded_snowflake import connection_arguments, ensure_running
from lakehouse_assets.orchestration.instance.runs import RunResult, execute_range
from lakehouse_assets.orchestration.io_managers.snowflake_stage import SnowflakeStageIOManager
from lakehouse_assets_tests import postgres_server
from lakehouse_assets_tests.orchestration.automation.conftest import Receiver, receiver
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import World, line, order_csv, rates_csv

__all__ = ["receiver"]

DAY = datetime.now(UTC).date().isoformat()
"""Today: what is pulled from a database is of the day on which it is pulled."""
PASSWORD, PASSPHRASE, EMAIL_KEY = "mark-password-5f1d", "mark-passphrase-77aa", "mark-email-key-e0b9"
TOKEN, DATABASE, HOOK = "mark-token-41c2", "mark-database-9d3e", "s3cret"

RESOURCES = """{ repositoriesOrError { ... on RepositoryConnection { nodes { allTopLevelResourceDetails {
    name configuredValues { key value type } configFields { name description defaultValueAsJson } } } } } }"""
RUNS = """{ runsOrError { ... on Runs { results { runId status runConfigYaml tags { key value } assetMaterializations { description metadataEntries {
    label description ... on TextMetadataEntry { text } ... on JsonMetadataEntry { jsonString } ... on MarkdownMetadataEntry { mdStr } } } } } } }"""  # noqa: E501
LOGS = """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { __typename ... on MessageEvent { message }
    ... on ExecutionStepFailureEvent { error { message stack causes { message stack } } }
    ... on ExecutionStepUpForRetryEvent { error { message stack causes { message stack } } }
    ... on RunFailureEvent { error { message stack causes { message stack } } } } } } }"""  # noqa: E501
TICK = """mutation($s: SensorSelector!) { sensorDryRun(selectorData: $s, cursor: null) { __typename ... on PythonError { message stack }
    ... on DryRunInstigationTick { evaluationResult { skipReason cursor error { message stack causes { message stack } } } } } }"""  # noqa: E501


class Key:
    """The key of a service user, encrypted, in a file."""

    def __init__(self, file: Path):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.file = file
        encrypted = serialization.BestAvailableEncryption(PASSPHRASE.encode())
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        file.write_bytes(key.private_bytes(pem, pkcs8, encrypted))
        plain = key.private_bytes(pem, pkcs8, serialization.NoEncryption())
        self.der = key.private_bytes(serialization.Encoding.DER, pkcs8, serialization.NoEncryption())
        # A line out of the middle of either text, and of the bytes as they are, as hex digits and as Python shows them.
        self.marks = [
            file.read_bytes().splitlines()[5],
            plain.splitlines()[5],
            self.der[200:230],
            self.der[200:230].hex().encode(),
        ]
        self.marks.append(repr(self.der[200:230])[2:-1].encode())


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return Key(tmp_path / "key.p8")


@pytest.fixture
def logins(shared: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What reaches the connector. It goes to the embedded account in place of a real one, which refuses it; then its
    own password is shown instead.
    """
    seen: list[dict[str, Any]] = []
    connect = snowflake.connector.connect

    def to_the_embedded_account(**given: Any) -> Any:
        seen.append(given)
        there = connection_arguments(ensure_running(shared))
        where = {
            name: there[name]
            for name in (
                "host",
                "port",
                "protocol",
                "network_timeout",
                "backoff_policy",
                "platform_detection_timeout_seconds",
            )
        }
        try:
            return connect(**{**where, **given})  # a key that cannot be read fails here
        except snowflake.connector.errors.DatabaseError as refused:
            if "password of the embedded account" not in str(refused):
                raise
        own = {"user": there["user"], "password": there["password"], "authenticator": "snowflake"}
        kept = {name: value for name, value in given.items() if not name.startswith("private_key")}
        return connect(**{**where, **kept, **own})

    monkeypatch.setattr(snowflake.connector, "connect", to_the_embedded_account)
    return seen


@pytest.fixture
def customers(request: pytest.FixtureRequest) -> str:
    """The address of a database of customers with a password that it asks for; of one that nobody answers at, where
    PostgreSQL is not installed.
    """
    if postgres_server.missing():
        return f"postgresql://crm:{DATABASE}@127.0.0.1:9/crm"
    url = request.getfixturevalue("postgres")
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        for statement in (
            f"CREATE ROLE crm LOGIN PASSWORD '{DATABASE}'",
            (
                "CREATE TABLE customers (customer_id text PRIMARY KEY, updated_at timestamptz NOT NULL, name text,"
                " email text)"
            ),
            f"INSERT INTO customers VALUES ('17850', '{DAY}', 'Ann', 'ann@example.com')",
            "GRANT SELECT ON customers TO crm",
        ):
            connection.exec_driver_sql(statement)
    return str(sqlalchemy.make_url(url).set(username="crm", password=DATABASE).render_as_string(hide_password=False))


@pytest.fixture
def refusing_spark() -> Iterator[tuple[str, list[str]]]:
    """The URL of a Spark Connect endpoint that takes no token, and the tokens that it was given."""
    given: list[str] = []

    class Refusing(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            sent = handler_call_details.invocation_metadata
            given.extend(str(value) for name, value in sent if name == "authorization")
            return grpc.unary_unary_rpc_method_handler(
                lambda _, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "no such token")
            )

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Refusing()])
    port = server.add_secure_port("127.0.0.1:0", grpc.local_server_credentials())
    server.start()
    yield f"sc://localhost:{port}", given  # a token travels without TLS to this name only
    server.stop(None)


class Graph:
    """What the web server would answer, from definitions loaded anew with this environment."""

    def __init__(self, world: World, file: Path):
        from dagster_graphql.test.utils import execute_dagster_graphql

        file.write_text("from lakehouse_assets.definitions import build_definitions\ndefs = build_definitions()\n")
        origin = LoadableTargetOrigin(executable_path=sys.executable, python_file=str(file), attribute="defs")
        target = InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(origin, location_name="secrets"))
        self.stack = ExitStack()
        process = self.stack.enter_context(WorkspaceProcessContext(world.instance, target))
        self.said: list[str] = []
        self._execute = lambda query, variables: execute_dagster_graphql(
            process.create_request_context(), query, variables=variables
        )

    def ask(self, query: str, **variables: Any) -> Any:
        answer = self._execute(query, variables)
        self.said.append(f"{answer.data} {answer.errors}")
        assert not answer.errors, answer.errors
        return answer.data

    def tick(self) -> str:
        """Let the sensor `watch` tick; what the UI would show of it."""
        selector = {"repositoryLocationName": "secrets", "repositoryName": "__repository__", "sensorName": "watch"}
        return str(self.ask(TICK, s=selector))


def run(instance: dg.DagsterInstance, *assets: str) -> RunResult:
    """A run with the environment as it is now."""
    from lakehouse_assets.definitions import resources
    from lakehouse_assets.settings import Settings

    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    built = resources(settings)
    built["snowflake_stage_io"] = SnowflakeStageIOManager(handoff=built["handoff"], retry_seconds=0.01)
    return execute_range(
        instance,
        job_name="load_all",
        asset_keys=[dg.AssetKey(name.split(".")) for name in assets] or None,
        start_key=DAY,
        end_key=datetime.now(UTC).date().isoformat(),
        defs=build_definitions(settings, **built),
        echo=True,
    )


def test_no_secret_is_seen_anywhere(
    make_world: NewWorld,
    shared: Path,
    key: Key,
    logins: list[dict[str, Any]],
    customers: str,
    refusing_spark: tuple[str, list[str]],
    receiver: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    """Otherwise whoever may look at the UI, a log, or a copy of the instance's storage could log in to the
    warehouse.
    """
    world = make_world()
    world.drop(f"fx/rates_{DAY}.csv", rates_csv({DAY: "0.85"}))
    world.drop(f"orders/orders_{DAY}.csv", order_csv([line(500_000 + n, DAY, code=f"{85000 + n}A") for n in range(6)]))
    environment = {
        **world.environment,
        "LAKEHOUSE_SNOWFLAKE": "account",
        "LAKEHOUSE_EMAIL_KEY": EMAIL_KEY,
        "LAKEHOUSE_CUSTOMERS_DB": customers,
        "LAKEHOUSE_ALERT_WEBHOOK": receiver.url,
        "SNOWFLAKE_ACCOUNT": "an-account",
        "SNOWFLAKE_USER": "a-user",
        "SNOWFLAKE_PRIVATE_KEY_PATH": str(key.file),
        "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE": PASSPHRASE,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []

    # Runs that succeed, with the key and with a password.
    loaded = run(world.instance)
    assert loaded.success, loaded
    assert logins[-1]["private_key"] == key.der  # decrypted by the passphrase
    if not postgres_server.missing():
        assert [row["customer_id"] for row in world.delta("silver.customers").to_pylist()] == [17850]
    monkeypatch.delenv("SNOWFLAKE_PRIVATE_KEY_PATH")
    monkeypatch.delenv("SNOWFLAKE_PRIVATE_KEY_PASSPHRASE")
    monkeypatch.setenv("SNOWFLAKE_PASSWORD", PASSWORD)
    assert run(world.instance, "snowflake.daily_sales").success
    assert logins[-1]["password"] == PASSWORD

    # Runs that fail: at a server that nobody answers at, at a passphrase that is not that of the key, at a token that
    # is refused.
    with monkeypatch.context() as nobody:
        connect = snowflake.connector.connect
        nobody.setattr(
            snowflake.connector,
            "connect",
            lambda **given: connect(**{**given, "host": "127.0.0.1", "port": 9, "login_timeout": 1}),
        )
        unreachable = run(world.instance, "snowflake.daily_sales")
    monkeypatch.delenv("SNOWFLAKE_PASSWORD")
    monkeypatch.setenv("SNOWFLAKE_PRIVATE_KEY_PATH", str(key.file))
    monkeypatch.setenv("SNOWFLAKE_PRIVATE_KEY_PASSPHRASE", PASSPHRASE + "-wrong")
    undecided = run(world.instance, "snowflake.daily_sales")
    for result in (unreachable, undecided):
        assert not result.success
        assert result.failed_steps or result.error
        said.append(str(result))
    url, tokens = refusing_spark
    world.drop(f"orders/orders_{DAY}_2.csv", order_csv([line(510_000, DAY)]))
    refused = {
        "LAKEHOUSE_SNOWFLAKE": "embedded",
        "LAKEHOUSE_ENGINE": url,
        "LAKEHOUSE_SPARK_TOKEN": TOKEN,
        "DAGSTER_HOME": str(world.instance.root_directory),
    }
    # A process holds one Spark session, and this one has its own.
    code = (
        f"import dagster; from {__name__} import run; print(run(dagster.DagsterInstance.get(), 'silver.order_lines'))"
    )
    alone = [sys.executable, "-c", code]
    in_a_run = subprocess.run(
        alone, env=world.process_environment(**refused), cwd=world.root, text=True, capture_output=True
    )
    command = world.command("-v", "run", **refused)
    assert "success=False" in in_a_run.stdout, in_a_run.stderr
    assert command.returncode == 1
    for done in (in_a_run, command):
        said += [done.stdout, done.stderr]
        assert "no such token" in done.stdout + done.stderr
    assert set(tokens) == {f"Bearer {TOKEN}"}

    # Ticks that tell of it, to a receiver that refuses and to one that takes the news; and a database that refuses its
    # password.
    with_a_wrong_password = sqlalchemy.make_url(customers).set(password=f"{DATABASE}-wrong")
    monkeypatch.setenv("LAKEHOUSE_CUSTOMERS_DB", with_a_wrong_password.render_as_string(hide_password=False))
    graph = Graph(world, tmp_path / "location.py")
    with graph.stack:
        receiver.status = 500
        assert "webhook answered 500" in graph.tick()
        receiver.status = 200
        assert "run_failed" in graph.tick()
        (message,) = receiver.taken
        assert {a["kind"] for a in message["alerts"]} >= {"run_failed", "source_unavailable"}
        said.append(str(message))
        shown = str(graph.ask(RESOURCES))
        assert "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE" in shown
        assert "LAKEHOUSE_ALERT_WEBHOOK" in shown
        assert len(graph.ask(RUNS)["runsOrError"]["results"]) == 5
        for made in world.instance.get_runs():
            graph.ask(LOGS, id=made.run_id)
    output = capfd.readouterr()
    said += [*graph.said, output.out, output.err, caplog.text]

    marks = [mark.encode() for mark in (PASSWORD, PASSPHRASE, EMAIL_KEY, TOKEN, DATABASE, HOOK)] + key.marks
    found = [
        f"{mark!r} is said: …{text[max(0, at - 200) : at + 100]}…"
        for text in said
        for mark in marks
        if (at := text.encode().find(mark)) >= 0
    ]
    files = [file for root in (world.root, shared) for file in root.rglob("*") if file.is_file()]
    assert {"index.db", "runs.db"} <= {file.name for file in files}
    found += [f"{mark!r} in {file}" for file in files for mark in marks if mark in file.read_bytes()]
    assert found == []
