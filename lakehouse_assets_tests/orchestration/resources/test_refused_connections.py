"""The errors that a user gets where an account refuses: the real connector against a server that answers as one."""

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import snowflake.connector

from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.errors import AccountUnavailableError
from lakehouse_assets.orchestration.resources.handoff_resource import HandoffResource

Answer = tuple[int, dict[str, Any]]
SECRET = "hunter2-hunter2"
IN: Answer = (200, {"success": True, "data": {"token": "t", "masterToken": "m", "parameters": [], "sessionInfo": {}}})


def refused(code: str, message: str) -> Answer:
    return 200, {"success": False, "code": code, "message": message, "data": {}}


@pytest.fixture
def account() -> Iterator[Callable[[Answer, Answer], Session]]:
    """Makes a session to an account that gives these answers to the login and to every statement."""
    servers: list[ThreadingHTTPServer] = []

    def make(login: Answer, statement: Answer) -> Session:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                is_login = "login-request" in self.path
                status, content = login if is_login else statement if "query-request" in self.path else IN
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        Thread(target=servers[-1].serve_forever, daemon=True).start()
        return Session(lambda: connection(servers[-1].server_port))

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def connection(port: int) -> Any:
    return snowflake.connector.connect(
        account="an-account",
        user="LOADER",
        password=SECRET,
        host="127.0.0.1",
        port=port,
        protocol="http",
        login_timeout=2,
        network_timeout=2,
        platform_detection_timeout_seconds=0.0,
    )


def told(session: Session) -> str:
    """What the hand-off says where its first statement fails."""

    resource = SimpleNamespace(
        account=SimpleNamespace(get_connection=lambda: nullcontext(session.connection)),
        lakehouse=SimpleNamespace(tables=SimpleNamespace(store=None), local_staging=Path("staging")),
        database="L", analytics_schema="A", ops_schema="O", staging_schema="S", file_mb=1, retention_hours=1,
        _journal_id=str, _table_ids=list,
    )  # fmt: skip
    with (
        pytest.raises(AccountUnavailableError) as error,
        HandoffResource.open(resource) as opened,  # type: ignore[arg-type]
    ):
        opened.read_state()
    assert SECRET not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            refused("394508", "Failed to authenticate: MFA with TOTP is required."),
            "with a second factor, which a program cannot; give a service user a key pair",
        ),
        (
            refused("390422", "Incoming request with IP/Token 198.51.100.7 is not allowed to access Snowflake."),
            "a network policy keeps this address out; have the administrator allow",
        ),
        (
            refused("390189", "Role 'NOBODY' specified in the connect string does not exist or not authorized."),
            "the user does not have the role; correct SNOWFLAKE_ROLE",
        ),
        (
            refused("250001", "Role 'NOBODY' specified in the connect string does not exist or not authorized."),
            "the user does not have the role; correct SNOWFLAKE_ROLE",
        ),
        (refused("390201", "The requested warehouse does not exist or not authorized."), "correct SNOWFLAKE_WAREHOUSE"),
        (refused("394400", "Programmatic access token is invalid."), "has expired or was revoked; create another one"),
        (refused("390318", "OAuth access token expired."), "has expired or was revoked; create another one"),
        (
            refused("390144", "JWT token is invalid."),
            "the key pair is not accepted; see that the user's RSA_PUBLIC_KEY",
        ),
        (refused("390100", "Incorrect username or password was specified."), "correct SNOWFLAKE_USER"),
        ((403, {}), "there is no account of that name; correct SNOWFLAKE_ACCOUNT"),
        ((404, {}), "there is no account of that name; correct SNOWFLAKE_ACCOUNT"),
    ],
)
def test_a_login_that_is_refused_says_what_to_do(
    account: Callable[[Answer, Answer], Session], answer: Answer, sentence: str
) -> None:
    """Without it the user reads the number of an error, and looks for the cause in the wrong place."""
    said = told(account(answer, IN))
    assert said.startswith("The Snowflake account cannot be reached: ")
    assert sentence in said


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            refused("000606", "No active warehouse selected in the current session."),
            "has no warehouse that runs; set SNOWFLAKE_WAREHOUSE to one on which the role has USAGE, and resume it",
        ),
        (
            refused("000606", "Cannot execute: warehouse 'W' is suspended."),
            "is suspended and does not resume by itself; ALTER WAREHOUSE … RESUME",
        ),
        (
            refused("090073", "Warehouse 'W' cannot be resumed because resource monitor 'M' has exceeded its quota."),
            "has used up the quota of its resource monitor; raise the quota",
        ),
    ],
)
def test_a_statement_without_a_warehouse_says_what_to_do(
    account: Callable[[Answer, Answer], Session], answer: Answer, sentence: str
) -> None:
    """Without it the record cannot be read, and everything looks as if nothing were deployed."""
    said = told(account(IN, answer))
    assert said.startswith("The Snowflake account executes no statement: ")
    assert sentence in said


def test_an_account_that_does_not_answer_says_what_to_look_at() -> None:
    """Without it a wrong account name looks like a network that is down for a moment, and nothing else."""
    said = told(Session(lambda: connection(9)))
    assert "nothing answers; see that SNOWFLAKE_ACCOUNT is right and this machine reaches it" in said
