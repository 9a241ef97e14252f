"""Snowflake's REST interface, as far as the connector uses it: who asks, and for what.

What belongs here: routes, logins and tokens. What does not: reading requests (`requests.py`), statements (`queries.py`)
and files (`uploads.py`).
"""

import hmac
import logging
import os
import secrets
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fakesnow.transforms import SERVER_VERSION
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.embedded_snowflake import refusals
from lakehouse_assets.embedded_snowflake.address import account_secret, proof
from lakehouse_assets.embedded_snowflake.privileges.statements import check_login
from lakehouse_assets.embedded_snowflake.privileges.store import ADMIN, Securable
from lakehouse_assets.embedded_snowflake.protocol import queries, uploads
from lakehouse_assets.embedded_snowflake.protocol.requests import LOGIN_BYTES, RefusedError, Requests, failure
from lakehouse_assets.embedded_snowflake.protocol.server import Client

logger = logging.getLogger(__name__)

_WRONG = (
    "Incorrect username or password was specified: the password of the embedded account is the secret of its home,"
    " which `lakehouse account --show-secret` prints."
)


class Handler(Requests):
    """One connection of a client."""

    def setup(self) -> None:
        """Remember no session yet."""
        super().setup()
        self.tokens: set[str] = set()

    def finish(self) -> None:
        """The client has closed the connection, or died."""
        with self.server.mutex:
            for token in self.tokens:
                if client := self.server.clients.get(token):
                    client.connections.discard(id(self))
                    if not client.connections:
                        client.orphaned = time.monotonic()
        super().finish()

    def answer(self) -> tuple[int, dict[str, Any]]:
        """Judge who is asking, then read what, then do it."""
        try:
            address = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
        except ValueError:
            raise RefusedError(400, "The address of the request cannot be read.") from None
        path = address.path
        if self.command == "PUT":
            uploads.receive(self.server, path, self.blocks())
            return 200, {}
        if path == "/account":
            return self._account(query)
        if path == "/session/v1/login-request":
            return 200, self._login(query, self.content(LOGIN_BYTES))
        client = self._client()
        if client is None:
            # As an answer of Snowflake's, for a client whose session has ended.
            if self.unread > LOGIN_BYTES:
                raise RefusedError(401, "The session has ended: connect again.")
            self.let_pass()
            return 200, failure("390104", "The session has ended: connect again.")
        return self._route(client, path, query)

    def _account(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """The liveness probe of our own processes. It proves that this is the server of the home, to whoever proves
        that they are of the home.
        """
        self.let_pass()
        secret, nonce = account_secret(self.server.directory), query.get("nonce", "")
        if not hmac.compare_digest(query.get("proof", "").encode(), proof(secret, "client", nonce).encode()):
            raise RefusedError(404, "There is nothing here.")
        return 200, {"proof": proof(secret, "server", nonce, os.getpid())}

    def _route(self, client: Client, path: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        content = self.content()
        if path == "/telemetry/send":
            return 200, {"success": True, "data": None}
        if path == "/queries/v1/query-request":
            if not isinstance(content.get("sqlText"), str):
                raise RefusedError(400, "The request holds no sqlText.")
            return 200, queries.query(self.server, client, query.get("requestId") or secrets.token_hex(8), content)
        if path == "/queries/v1/abort-request":
            client.session._duck_conn.interrupt()
            return 200, {"success": True, "data": None}
        if path.startswith("/queries/") and path.endswith("/result"):
            return 200, queries.result(client, path.split("/")[2])
        if path.startswith("/monitoring/queries/"):
            known = path.split("/")[3] in client.session.results_cache
            return 200, {"success": True, "data": {"queries": [{"status": "SUCCESS"}] if known else []}}
        if path == "/session" and query.get("delete"):
            with self.server.mutex:
                self.server.clients.pop(self._token(), None)
            client.close()
            return 200, {"success": True, "data": None, "code": None, "message": None}
        if path in ("/session", "/session/heartbeat"):
            return 200, {"success": True, "data": None, "code": None, "message": None}
        raise RefusedError(404, f"{path} is not served by the embedded account")

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix('Snowflake Token="').removesuffix('"')

    def _client(self) -> Client | None:
        token = self._token()
        with self.server.mutex:
            client = self.server.clients.get(token)
            if client:
                self._know(token, client)
            return client

    def _know(self, token: str, client: Client) -> None:
        """Note that this connection is one of a client. Holds the server's mutex."""
        client.connections.add(id(self))
        client.orphaned = None
        client.used = time.monotonic()
        self.tokens.add(token)
        self.connection.settimeout(None)

    def _login(self, query: dict[str, str], content: dict[str, Any]) -> dict[str, Any]:
        data = content.get("data")
        data = data if isinstance(data, dict) else {}
        given = data.get("PASSWORD")
        if not isinstance(given, str) or not hmac.compare_digest(
            given.encode(), account_secret(self.server.directory).encode()
        ):
            return failure("390100", _WRONG, {})
        parameters = {name.upper(): value for name, value in (data.get("SESSION_PARAMETERS") or {}).items()}
        database, schema = _identifier(query.get("databaseName")), _identifier(query.get("schemaName"))
        privileges, role = self.server.catalogue.shared.privileges, _identifier(query.get("roleName")) or ADMIN
        try:
            refusals.check_login(parameters)
            if role != ADMIN:
                check_login(privileges, role)
                # A role begins in a database or schema that it may use, and makes none.
                database = database if database and privileges.sees(role, Securable.of("DATABASE", database)) else None
                inside = database and schema and privileges.sees(role, Securable.of("SCHEMA", database, schema))
                schema = schema if inside else None
            session = self.server.catalogue.connect(database, schema)
        except ProgrammingError as error:
            return failure("390189" if error.errno == 390189 else "390100", error.raw_msg, {})
        except Exception as error:
            self.server.end_if_lost(error)
            logger.exception("login")
            return failure("390100", str(error), {})
        session.parameters.update(parameters)
        session.role, session.warehouse = role, query.get("warehouse")
        session.autocommits = str(parameters.get("AUTOCOMMIT", True)).upper() == "TRUE"
        token = secrets.token_urlsafe(32)
        with self.server.mutex:
            client = self.server.clients[token] = Client(session)
            self._know(token, client)
        return {
            "success": True,
            "data": {
                "token": token,
                "masterToken": token,
                "serverVersion": SERVER_VERSION,
                "parameters": [
                    {"name": "AUTOCOMMIT", "value": session.autocommits},
                    {"name": "CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY", "value": 3600},
                    # array bindings come inline, never as a file
                    {"name": "CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", "value": 0},
                    {"name": "CLIENT_TELEMETRY_ENABLED", "value": False},
                ],
                "sessionInfo": {
                    "databaseName": session.database,
                    "schemaName": session.schema,
                    "warehouseName": query.get("warehouse"),
                    "roleName": role,
                },
            },
        }


def _identifier(name: str | None) -> str | None:
    if not name:
        return None
    return name[1:-1] if len(name) > 2 and name.startswith('"') and name.endswith('"') else name.upper()
