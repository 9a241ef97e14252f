"""The protocol of the embedded account: the part of Snowflake's REST interface that the connector uses, over HTTP on
loopback.

What belongs here: logins, queries, file uploads, and when sessions and the server end. What does not: what a statement
does (`session.py`).

Who may: a request that a web page sent is refused (`Host`, `Origin`). Of the rest, a login shows the secret of the
home, an upload a ticket of its session, the liveness probe `/account` a proof of the secret, and everything else the
token of a session. That is judged before a body is read, but for the login's, which carries the secret and is small.

A thread serves each client connection. That also tells when a client is gone: a session whose connections are all
closed, and which left a transaction open, is rolled back after a moment, so that a killed client never blocks the next
one.
"""

import hmac
import json
import logging
import os
import re
import secrets
import signal
import threading
import time
import warnings
import zlib
from base64 import b64encode
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import duckdb
from fakesnow.arrow import to_ipc, to_sf
from fakesnow.converter import from_binding
from fakesnow.statement_type import DML_TYPE_IDS
from fakesnow.transforms import SERVER_VERSION
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.embedded_snowflake import (
    HOST,
    AccountAddress,
    account_secret,
    proof,
    read_address,
    write_address,
)
from lakehouse_assets.embedded_snowflake.catalogue import Catalogue
from lakehouse_assets.embedded_snowflake.session import Session
from lakehouse_assets.embedded_snowflake.stages.file_statements import Put, upload_target
from lakehouse_assets.embedded_snowflake.statement import Statement, without_values

logger = logging.getLogger(__name__)

POLL_SECONDS = 40.0  # the connector gives a request up after 60 s; a longer statement is polled for
ORPHAN_SECONDS = 1.0  # a client may close one connection and open the next
LOGIN_BYTES = 1 << 20  # of a request before its sender is known
BODY_BYTES = 1 << 28  # of a statement with its bindings, compressed or not
UNKNOWN_SECONDS = 30.0  # how long a connection may take to show who it is; afterwards it may be idle for ever
READ_SECONDS = 60.0  # how long a body may come to a halt
ABANDONED_SECONDS = 6 * 3600.0  # sessions that were never closed: Snowflake ends them after four hours


class _RefusedError(Exception):
    """A request that is answered with an HTTP status and nothing else."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """A logged-in client: its session, the connections it uses and its last statement."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.connections: set[int] = set()
        self.orphaned: float | None = None
        self.used = time.monotonic()
        self.worker = ThreadPoolExecutor(1)
        self.statements: dict[str, Future[dict[str, Any]]] = {}

    @property
    def busy(self) -> bool:
        """Whether a statement is running."""
        return any(not statement.done() for statement in self.statements.values())

    def close(self) -> None:
        """End the session, interrupting what it runs; open transactions are rolled back."""
        self.session.ending = True
        self.session._duck_conn.interrupt()
        self.worker.shutdown(wait=True, cancel_futures=True)
        self.session.close()


class AccountServer(ThreadingHTTPServer):
    """Serves one catalogue until `shutdown`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, catalogue: Catalogue, directory: Path) -> None:
        super().__init__((HOST, 0), Handler)
        self.catalogue = catalogue
        self.directory = directory
        self.uploads = directory / "uploads"
        self.lock = directory / "server.lock"
        self.home = _identity(self.lock)
        self.mutex = threading.Lock()
        self.clients: dict[str, Client] = {}
        self.tickets: dict[str, tuple[Client, Put]] = {}
        self.last_used = time.monotonic()
        self.in_flight = 0
        self.closing = False

    def housekeeping(self, idle_seconds: float) -> None:
        """End sessions whose client is gone, and the server itself once nobody has used it for `idle_seconds`. Runs
        until then.
        """
        while not self.closing:
            time.sleep(0.25)
            now = time.monotonic()
            with self.mutex:
                gone = [token for token, client in self.clients.items() if _gone(client, now)]
                leaving = [self.clients.pop(token) for token in gone]
                idle = not self.in_flight and now - self.last_used > idle_seconds
                # A home that was deleted under its server, or made anew, is no longer this server's.
                deleted = _identity(self.lock) != self.home
                self.closing = self.closing or idle or deleted
            for client in leaving:
                logger.info(
                    "a session ended without saying goodbye; in a transaction: %s", client.session.in_transaction
                )
                client.close()
            if idle or deleted:
                logger.info("stopping: %s", "the home is gone" if deleted else f"idle for {idle_seconds} s")
                self.shutdown()

    def end_if_lost(self, error: BaseException) -> None:
        """End this process where DuckDB has given itself up, as it does when an fsync of its log fails: it would refuse
        everything from now on. What was committed is in its files, the client sees its connection end, and the next use
        starts a new server.
        """
        for lost in (error, error.__cause__):
            if isinstance(lost, duckdb.FatalException):
                logger.critical(
                    "the files below %s could not be written (%s)", self.directory, str(lost).splitlines()[-1]
                )
                logging.shutdown()
                os._exit(1)


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _gone(client: Client, now: float) -> bool:
    if client.orphaned is not None and client.session.in_transaction and now - client.orphaned > ORPHAN_SECONDS:
        return True
    return not client.busy and now - client.used > ABANDONED_SECONDS


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    server: AccountServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer leaves in one piece

    def setup(self) -> None:
        """Remember no session yet."""
        super().setup()
        self.connection.settimeout(UNKNOWN_SECONDS)
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

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are logged with their statement, not by their address."""

    def do_GET(self) -> None:
        """Serve a request without a body."""
        self._serve()

    def do_POST(self) -> None:
        """Serve a request with a JSON body."""
        self._serve()

    def do_PUT(self) -> None:
        """Serve the upload of a staged file."""
        self._serve()

    def version_string(self) -> str:
        """What the answers say of the server: nothing of its versions."""
        return "lakehouse"

    def _serve(self) -> None:
        with self.server.mutex:
            if self.server.closing:
                self.close_connection = True
                return
            self.server.in_flight += 1
        self.unread = 0
        try:
            self._reply(*self._answer())
        except _RefusedError as refusal:
            self._reply(
                refusal.status, {"success": False, "code": str(refusal.status), "message": str(refusal), "data": None}
            )
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True
        except Exception:
            logger.exception("a request that could not be served")
            self._reply(
                400,
                {
                    "success": False,
                    "code": "400",
                    "message": "The embedded account cannot read this request.",
                    "data": None,
                },
            )
        finally:
            with self.server.mutex:
                self.server.in_flight -= 1
                self.server.last_used = time.monotonic()

    def _reply(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.unread:
            # What was not read is not the next request.
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if self.unread:
            self._let_pass()

    def _let_pass(self) -> None:
        """Take what the sender is still sending, up to a limit, and forget it: a connection closed under a sender loses
        the answer.
        """
        with suppress(OSError):
            for _ in range(LOGIN_BYTES >> 16):
                if not self.unread or not (block := self.rfile.read1(min(self.unread, 1 << 16))):
                    return
                self.unread -= len(block)

    def _answer(self) -> tuple[int, dict[str, Any]]:
        """Judge who is asking, then read what, then do it."""
        self._refuse_web_pages()
        self.unread = self._length()
        try:
            address = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
        except ValueError:
            raise _RefusedError(400, "The address of the request cannot be read.") from None
        path = address.path
        if self.command == "PUT":
            return self._upload(path)
        if path == "/account":
            return self._account(query)
        if path == "/session/v1/login-request":
            return 200, self._login(query, self._content(LOGIN_BYTES))
        client = self._client()
        if client is None:
            # As an answer of Snowflake's, for a client whose session has ended.
            if self.unread > LOGIN_BYTES:
                raise _RefusedError(401, "The session has ended: connect again.")
            self._let_pass()
            return 200, {
                "success": False,
                "code": "390104",
                "message": "The session has ended: connect again.",
                "data": None,
            }
        return self._route(client, path, query)

    def _refuse_web_pages(self) -> None:
        """A page of a browser says where it is from (Origin), and one whose name was made to lead here names itself
        (Host).
        """
        hosts = [f"{name}:{self.server.server_port}" for name in (HOST, "localhost")]
        given = self.headers.get_all("Host") or []
        if len(given) != 1 or given[0].strip().lower() not in hosts or "Origin" in self.headers:
            raise _RefusedError(
                403, f"The embedded account answers clients of this machine at {hosts[0]}, and no web page."
            )

    def _length(self) -> int:
        """How many bytes of body follow."""
        given = self.headers.get_all("Content-Length") or ["0"]
        if self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            raise _RefusedError(411, "The embedded account needs a Content-Length.")
        if len(given) != 1 or not re.fullmatch(r"[0-9]{1,15}", given[0].strip()):
            self.close_connection = True
            raise _RefusedError(400, "Content-Length is no number of bytes.")
        return int(given[0])

    def _read(self, most: int) -> bytes:
        """The whole body. Raises _RefusedError where it is longer than that, or ends early."""
        if self.unread > most:
            raise _RefusedError(413, f"The request is longer than {most} bytes.")
        patience, length = self.connection.gettimeout(), self.unread
        self.connection.settimeout(min(READ_SECONDS, patience or READ_SECONDS))
        body = self.rfile.read(length)
        self.connection.settimeout(patience)
        self.unread = 0
        if len(body) < length:
            self.close_connection = True
            raise _RefusedError(400, "The request ends before its Content-Length.")
        return body

    def _content(self, most: int = BODY_BYTES) -> dict[str, Any]:
        """The body as JSON, unpacked if need be. Raises _RefusedError where it is no JSON object, or becomes longer
        than `most` bytes.
        """
        body = self._read(most)
        try:
            if body and self.headers.get("Content-Encoding") == "gzip":
                unpack = zlib.decompressobj(wbits=31)
                body = unpack.decompress(body, most)
                if unpack.unconsumed_tail:
                    raise _RefusedError(413, f"The request is longer than {most} bytes.")
            content = json.loads(body) if body else {}
        except (ValueError, zlib.error, RecursionError):
            raise _RefusedError(400, "The body of the request is no JSON.") from None
        if not isinstance(content, dict):
            raise _RefusedError(400, "The body of the request is no JSON object.")
        return content

    def _account(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """The liveness probe of our own processes. It proves that this is the server of the home, to whoever proves
        that they are of the home.
        """
        self._let_pass()
        secret, nonce = account_secret(self.server.directory), query.get("nonce", "")
        if not hmac.compare_digest(query.get("proof", "").encode(), proof(secret, "client", nonce).encode()):
            raise _RefusedError(404, "There is nothing here.")
        return 200, {"proof": proof(secret, "server", nonce, os.getpid())}

    def _route(self, client: Client, path: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        content = self._content()
        if path == "/telemetry/send":
            return 200, {"success": True, "data": None}
        if path == "/queries/v1/query-request":
            if not isinstance(content.get("sqlText"), str):
                raise _RefusedError(400, "The request holds no sqlText.")
            return 200, self._query(client, query.get("requestId") or secrets.token_hex(8), content)
        if path == "/queries/v1/abort-request":
            client.session._duck_conn.interrupt()
            return 200, {"success": True, "data": None}
        if path.startswith("/queries/") and path.endswith("/result"):
            return 200, self._result(client, path.split("/")[2])
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
        raise _RefusedError(404, f"{path} is not served by the embedded account")

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix('Snowflake Token="').removesuffix('"')

    def _client(self) -> Client | None:
        token = self._token()
        with self.server.mutex:
            client = self.server.clients.get(token)
            if client:
                client.connections.add(id(self))
                client.orphaned = None
                client.used = time.monotonic()
                self.tokens.add(token)
                self.connection.settimeout(None)
            return client

    def _login(self, query: dict[str, str], content: dict[str, Any]) -> dict[str, Any]:
        data = content.get("data")
        data = data if isinstance(data, dict) else {}
        given = data.get("PASSWORD")
        if not isinstance(given, str) or not hmac.compare_digest(
            given.encode(), account_secret(self.server.directory).encode()
        ):
            return {"success": False, "code": "390100", "message": _WRONG, "data": {}}
        parameters = {name.upper(): value for name, value in (data.get("SESSION_PARAMETERS") or {}).items()}
        database, schema = query.get("databaseName"), query.get("schemaName")
        try:
            session = self.server.catalogue.connect(_identifier(database), _identifier(schema))
        except ProgrammingError as error:
            return {"success": False, "code": "390100", "message": error.raw_msg, "data": {}}
        except Exception as error:
            self.server.end_if_lost(error)
            logger.exception("login")
            return {"success": False, "code": "390100", "message": str(error), "data": {}}
        session.parameters.update(parameters)
        session.role, session.warehouse = query.get("roleName"), query.get("warehouse")
        session.autocommits = str(parameters.get("AUTOCOMMIT", True)).upper() == "TRUE"
        token = secrets.token_urlsafe(32)
        with self.server.mutex:
            client = self.server.clients[token] = Client(session)
            client.connections.add(id(self))
            self.tokens.add(token)
        self.connection.settimeout(None)
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
                    "roleName": query.get("roleName"),
                },
            },
        }

    def _query(self, client: Client, request_id: str, content: dict[str, Any]) -> dict[str, Any]:
        # A client that lost the answer asks again with the same id: it must get that answer, not a second execution.
        with client.session.lock:
            if request_id not in client.statements:
                client.statements = {request_id: client.worker.submit(self._execute, client, content)}
        return self._result(client, request_id)

    def _result(self, client: Client, request_id: str) -> dict[str, Any]:
        statement = client.statements.get(request_id)
        if statement is None:
            return {"success": False, "code": "000709", "message": f"Statement {request_id} not found", "data": {}}
        try:
            return statement.result(timeout=POLL_SECONDS)
        except StillRunning:
            return {
                "success": True,
                "code": "333333",
                "message": "running",
                "data": {"getResultUrl": f"/queries/{request_id}/result"},
            }

    def _execute(self, client: Client, content: dict[str, Any]) -> dict[str, Any]:
        text, session = content["sqlText"], client.session
        started = time.perf_counter()
        statement = Statement(session)
        try:
            changed = self._run(statement, text, content)
            data = self._data(client, statement, changed)
        except ProgrammingError as error:
            self.server.end_if_lost(error)
            code = f"{error.errno or 0:06d}"
            return {
                "success": False,
                "code": code,
                "message": error.raw_msg,
                "data": {"errorCode": code, "sqlState": error.sqlstate},
            }
        except Exception as error:
            self.server.end_if_lost(error)
            logger.exception("result of: %s", without_values(text))
            return {
                "success": False,
                "code": "009999",
                "message": f"{type(error).__name__}: {error}",
                "data": {"errorCode": "009999", "sqlState": "99999"},
            }
        finally:
            client.used = time.monotonic()
            logger.info("%.1f ms: %s", 1000 * (time.perf_counter() - started), without_values(text))
        if statement.put:
            return {"success": True, "data": data}
        return {
            "success": True,
            "data": {**data, "finalDatabaseName": session.database, "finalSchemaName": session.schema},
        }

    def _run(self, statement: Statement, text: str, content: dict[str, Any]) -> int | None:
        """Execute with the request's bindings. The number of changed rows if it was a batch, else None."""
        bindings = content.get("bindings") or {}
        describe_only = bool(content.get("describeOnly"))
        if not bindings:
            statement.run(text, describe_only=describe_only)
            return None
        if not all(name.isdigit() for name in bindings):
            statement.run(text, {name: from_binding(binding) for name, binding in bindings.items()}, describe_only)
            return None
        ordered = [bindings[str(position)] for position in range(1, len(bindings) + 1)]
        if not any(isinstance(binding["value"], list) for binding in ordered):
            statement.run(text, tuple(_value(binding) for binding in ordered), describe_only)
            return None
        changed = 0
        for row in zip(
            *[[_value({**binding, "value": value}) for value in binding["value"]] for binding in ordered], strict=True
        ):
            statement.run(text, row)
            changed += statement.rowcount or 0
        return changed

    def _data(self, client: Client, statement: Statement, changed: int | None) -> dict[str, Any]:
        if statement.put:
            return self._transfer(client, statement.put)
        table = statement._arrow_table
        common = {
            "parameters": [{"name": "TIMEZONE", "value": "Etc/UTC"}],
            "rowtype": statement.rowtype,
            "total": table.num_rows if table is not None else 0,
            "queryId": statement.sfqid or secrets.token_hex(16),
            "statementTypeId": statement.type_id,
        }
        if changed is not None:
            return {**common, "total": 1, "queryResultFormat": "json", "rowset": [[str(changed)]]}
        if table is not None and statement.type_id in DML_TYPE_IDS:
            rows = [[None if value is None else str(value) for value in row.values()] for row in table.to_pylist()]
            return {**common, "queryResultFormat": "json", "rowset": rows}
        encoded = b64encode(to_ipc(to_sf(table, statement.rowtype))).decode() if table is not None else ""
        return {**common, "queryResultFormat": "arrow", "rowsetBase64": encoded}

    def _transfer(self, client: Client, put: Put) -> dict[str, Any]:
        """Tell the client to send a file here. Of the locations a connector knows, a signed cloud address is the one it
        sends to by plain HTTP.
        """
        ticket = secrets.token_urlsafe(16)
        with self.server.mutex:
            self.server.tickets[ticket] = client, put
        address = f"http://{HOST}:{self.server.server_port}/uploads/{ticket}/{quote(Path(put.source).name)}"
        return {
            "stageInfo": {
                "locationType": "GCS",
                "location": f"{put.target.reference()}/",
                "creds": {},
                "presignedUrl": address,
            },
            "src_locations": [put.source],
            "parallel": put.parallel,
            "autoCompress": put.auto_compress,
            "sourceCompression": "auto_detect",
            "overwrite": put.overwrite,
            "command": "UPLOAD",
        }

    def _upload(self, path: str) -> tuple[int, dict[str, Any]]:
        """Write a staged file: aside, then renamed, so that a client or server that dies on the way leaves no half file
        on the stage.
        """
        parts = path.split("/", 3)
        with self.server.mutex:
            ticket = self.server.tickets.pop(parts[2], None) if len(parts) == 4 and parts[1] == "uploads" else None
            if ticket is None or ticket[0] not in self.server.clients.values():
                raise _RefusedError(403, "There is no such upload.")
        put = ticket[1]
        try:
            target = upload_target(put, parts[3])
        except ProgrammingError as error:
            raise _RefusedError(403, error.raw_msg or "The name of the file leads out of the stage.") from None
        self.connection.settimeout(READ_SECONDS)
        incoming = self.server.uploads / secrets.token_hex(16)
        try:
            with incoming.open("xb") as file:
                while self.unread and (block := self.rfile.read(min(self.unread, 1 << 20))):
                    file.write(block)
                    self.unread -= len(block)
                file.flush()
                os.fsync(file.fileno())
            if self.unread:
                self.close_connection = True
                raise _RefusedError(400, "The file ends before its Content-Length.")
            target.parent.mkdir(parents=True, exist_ok=True)
            if put.overwrite or not target.exists():
                incoming.replace(target)
        finally:
            incoming.unlink(missing_ok=True)
        return 200, {}


_WRONG = (
    "Incorrect username or password was specified: the password of the embedded account is the secret of its home,"
    " which `lakehouse account --show-secret` prints."
)


def _identifier(name: str | None) -> str | None:
    if not name:
        return None
    return name[1:-1] if len(name) > 2 and name.startswith('"') and name.endswith('"') else name.upper()


def _value(binding: dict[str, Any]) -> Any:
    return None if binding["value"] is None else from_binding(binding)


def serve(directory: Path, idle_seconds: int) -> None:
    """Serve the account of a directory until it is told to stop (SIGTERM, SIGINT) or is idle. The caller holds the
    server's lock.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    warnings.filterwarnings("ignore", message="Arrow output on a DB-API result")
    logging.getLogger("snowflake").setLevel(logging.WARNING)
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    uploads = directory / "uploads"
    account_secret(directory)
    uploads.mkdir(exist_ok=True)
    for left_over in uploads.iterdir():
        left_over.unlink()
    catalogue = Catalogue(directory)
    server = AccountServer(catalogue, directory)
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: threading.Thread(target=server.shutdown).start())
    threading.Thread(target=server.housekeeping, args=(idle_seconds,), daemon=True).start()
    write_address(directory, AccountAddress(HOST, server.server_port, os.getpid()))
    logger.info("listening on port %s", server.server_port)
    try:
        server.serve_forever(poll_interval=0.2)
    finally:
        server.closing = True
        if (address := read_address(directory)) and address.pid == os.getpid():
            (directory / "server.json").unlink(missing_ok=True)
        for client in list(server.clients.values()):
            client.close()
        catalogue.close()
        logger.info("stopped")
