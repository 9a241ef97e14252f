"""The server, the clients that are logged in, and when either ends.

What belongs here: what the threads of the server share. What does not: requests (`requests.py`, `handler.py`).
"""

import logging
import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb

from lakehouse_assets.embedded_snowflake.address import HOST, account_secret
from lakehouse_assets.embedded_snowflake.catalogue import Catalogue
from lakehouse_assets.embedded_snowflake.history import StatementLog
from lakehouse_assets.embedded_snowflake.session import Session
from lakehouse_assets.embedded_snowflake.stages.file_statements import Put

logger = logging.getLogger(__name__)

ORPHAN_SECONDS = 1.0  # a client may close one connection and open the next
ABANDONED_SECONDS = 6 * 3600.0  # sessions that were never closed: Snowflake ends them after four hours


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

    def __init__(self, catalogue: Catalogue, directory: Path, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__((HOST, 0), handler)
        self.catalogue = catalogue
        self.directory = directory
        self.history = StatementLog(directory, account_secret(directory), catalogue.duck_conn)
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
