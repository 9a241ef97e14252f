"""Requests over HTTP: read within limits, answered in JSON.

What belongs here: what holds for every request, whatever it asks: where it may come from, how long its body may be,
what is said of a failure. What does not: who asks, and for what (`handler.py`).
"""

import json
import logging
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

from lakehouse_assets.embedded_snowflake.address import HOST
from lakehouse_assets.embedded_snowflake.protocol.server import AccountServer

logger = logging.getLogger(__name__)

LOGIN_BYTES = 1 << 20  # of a request before its sender is known
BODY_BYTES = 1 << 28  # of a statement with its bindings, compressed or not
UNKNOWN_SECONDS = 30.0  # how long a connection may take to show who it is; afterwards it may be idle for ever
READ_SECONDS = 60.0  # how long a body may come to a halt


class RefusedError(Exception):
    """A request that is answered with an HTTP status and nothing else."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def failure(code: str, message: str | None, data: dict[str, Any] | None = None) -> dict[str, Any]:
    """The content of an answer that says what failed."""
    return {"success": False, "code": code, "message": message, "data": data}


class Requests(BaseHTTPRequestHandler):
    """The requests of one connection. `unread` is how much of the body of the current one has not been read."""

    server: AccountServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer leaves in one piece

    def setup(self) -> None:
        """Give the client a while to show who it is."""
        super().setup()
        self.connection.settimeout(UNKNOWN_SECONDS)

    def answer(self) -> tuple[int, dict[str, Any]]:
        """Status and content of the answer to the current request. Raises RefusedError."""
        raise NotImplementedError

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are logged with their statement, not by their address."""

    def version_string(self) -> str:
        """What the answers say of the server: nothing of its versions."""
        return "lakehouse"

    def content(self, most: int = BODY_BYTES) -> dict[str, Any]:
        """The body as JSON, unpacked if need be. Raises RefusedError where it is no JSON object, or becomes longer
        than `most` bytes.
        """
        body = self._read(most)
        try:
            if body and self.headers.get("Content-Encoding") == "gzip":
                unpack = zlib.decompressobj(wbits=31)
                body = unpack.decompress(body, most)
                if unpack.unconsumed_tail:
                    raise RefusedError(413, f"The request is longer than {most} bytes.")
            content = json.loads(body) if body else {}
        except (ValueError, zlib.error, RecursionError):
            raise RefusedError(400, "The body of the request is no JSON.") from None
        if not isinstance(content, dict):
            raise RefusedError(400, "The body of the request is no JSON object.")
        return content

    def blocks(self) -> Iterator[bytes]:
        """The body, piece by piece. Raises RefusedError where it ends early."""
        self.connection.settimeout(READ_SECONDS)
        while self.unread and (block := self.rfile.read(min(self.unread, 1 << 20))):
            yield block
            self.unread -= len(block)
        if self.unread:
            self.close_connection = True
            raise RefusedError(400, "The file ends before its Content-Length.")

    def let_pass(self) -> None:
        """Take what the sender is still sending, up to a limit, and forget it: a connection closed under a sender loses
        the answer.
        """
        with suppress(OSError):
            for _ in range(LOGIN_BYTES >> 16):
                if not self.unread or not (block := self.rfile.read1(min(self.unread, 1 << 16))):
                    return
                self.unread -= len(block)

    def _serve(self) -> None:
        with self.server.mutex:
            if self.server.closing:
                self.close_connection = True
                return
            self.server.in_flight += 1
        self.unread = 0
        try:
            self._refuse_web_pages()
            self.unread = self._length()
            self._reply(*self.answer())
        except RefusedError as refusal:
            self._reply(refusal.status, failure(str(refusal.status), str(refusal)))
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True
        except Exception:
            logger.exception("a request that could not be served")
            self._reply(400, failure("400", "The embedded account cannot read this request."))
        finally:
            with self.server.mutex:
                self.server.in_flight -= 1
                self.server.last_used = time.monotonic()

    do_GET = do_POST = do_PUT = _serve

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
            self.let_pass()

    def _refuse_web_pages(self) -> None:
        """A page of a browser says where it is from (Origin), and one whose name was made to lead here names itself
        (Host).
        """
        hosts = [f"{name}:{self.server.server_port}" for name in (HOST, "localhost")]
        given = self.headers.get_all("Host") or []
        if len(given) != 1 or given[0].strip().lower() not in hosts or "Origin" in self.headers:
            raise RefusedError(
                403, f"The embedded account answers clients of this machine at {hosts[0]}, and no web page."
            )

    def _length(self) -> int:
        """How many bytes of body follow."""
        given = self.headers.get_all("Content-Length") or ["0"]
        if self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            raise RefusedError(411, "The embedded account needs a Content-Length.")
        if len(given) != 1 or not re.fullmatch(r"[0-9]{1,15}", given[0].strip()):
            self.close_connection = True
            raise RefusedError(400, "Content-Length is no number of bytes.")
        return int(given[0])

    def _read(self, most: int) -> bytes:
        """The whole body. Raises RefusedError where it is longer than that, or ends early."""
        if self.unread > most:
            raise RefusedError(413, f"The request is longer than {most} bytes.")
        patience, length = self.connection.gettimeout(), self.unread
        self.connection.settimeout(min(READ_SECONDS, patience or READ_SECONDS))
        body = self.rfile.read(length)
        self.connection.settimeout(patience)
        self.unread = 0
        if len(body) < length:
            self.close_connection = True
            raise RefusedError(400, "The request ends before its Content-Length.")
        return body
