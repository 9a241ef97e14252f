"""Sail in this process, to which nobody else can connect.

Belongs here: starting it, closing its port, and finding whoever came before that. Does not belong here: any other
engine.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.resources.spark_endpoint import connect

_servers: list[Any] = []

NEVER = "315360000"
"""Ten years, in seconds."""


def start_embedded() -> Any:
    """A session on a Sail of this process to which nobody else can connect.

    Sail listens on a port of loopback, asks for no token and runs Python for whoever connects. So its listening socket
    is closed as soon as our own connection is there, which all threads share. What connected in the milliseconds before
    is found by comparing both ends of all connections with our own.
    """
    # Imported before the port is open, which is then so for a moment only.
    import pyspark.sql.connect.session  # noqa: F401
    from pyspark.sql.connect.client import ChannelBuilder

    # A channel that is idle for half an hour would close its connection, and there is no way to open another.
    never = ("grpc.client_idle_timeout_ms", 2**31 - 1)
    if never not in ChannelBuilder.GRPC_DEFAULT_OPTIONS:
        ChannelBuilder.GRPC_DEFAULT_OPTIONS.append(never)
    before = {(local, remote) for local, remote, _ in _connections()}
    host, port = _start_sail()
    session = connect(f"sc://{host}:{port}")
    session.conf.get("spark.sql.session.timeZone")  # the first call, which connects
    if not _close_listener(port):
        said = "The embedded engine's port could not be closed to other programs of this machine"
        if sys.platform == "linux":
            session.stop()
            _hang_up(port)
            raise LakehouseError(
                f"{said}, so nothing was computed; set LAKEHOUSE_ENGINE=local, or tell us which system this is."
            )
        warnings.warn(f"{said}; see SECURITY.md.", stacklevel=1)
    if strangers := _strangers(port, before):
        session.stop()
        _hang_up(port)
        raise LakehouseError(
            "Another program of this machine connected to the embedded engine while it started (from port"
            f" {', '.join(map(str, sorted(strangers)))}), so nothing was computed; find that program, then run the"
            " command again."
        )
    return session


def _sockets() -> Iterator[int]:
    """The descriptors of this process that are sockets."""
    for entry in list(Path("/dev/fd").iterdir()):
        with suppress(OSError):  # of the listing itself, or closed meanwhile
            if stat.S_ISSOCK(os.fstat(int(entry.name)).st_mode):
                yield int(entry.name)


def _close_listener(port: int) -> bool:
    """Put /dev/null in the place of the socket that listens on a port in this process. False where there is none."""
    closed = False
    for descriptor in list(_sockets()):
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as found:
            if found.family not in (socket.AF_INET, socket.AF_INET6) or found.getsockname()[1] != port:
                continue
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
                os.dup2(nothing, descriptor, inheritable=False)
                os.close(nothing)
                closed = True
    return closed


def _hang_up(port: int) -> None:
    """End all connections to a port of this process; the engine's own way to stop waits for whoever is connected."""
    for descriptor in list(_sockets()):
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as found:
            if found.family in (socket.AF_INET, socket.AF_INET6) and found.getsockname()[1] == port:
                found.shutdown(socket.SHUT_RDWR)


def _connections() -> Iterator[tuple[int, int, int]]:
    """Both ports and the inode of every TCP connection of this machine, also of those just closed; nothing where the
    system does not list them so.
    """
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(FileNotFoundError):
            for line in Path(table).read_text().splitlines()[1:]:
                words = line.split()
                yield int(words[1].rpartition(":")[2], 16), int(words[2].rpartition(":")[2], 16), int(words[9])


def _strangers(port: int, before: Collection[tuple[int, ...]]) -> set[int]:
    """The ports from which others than this process have connected to one of its ports since it was opened."""
    own = set()
    for descriptor in _sockets():
        with suppress(OSError):
            own.add(os.fstat(descriptor).st_ino)
    found = [c for c in _connections() if port in c[:2] and 0 not in c[:2] and c[:2] not in before]
    ours = {local for local, remote, inode in found if remote == port and inode in own}
    return {remote if local == port else local for local, remote, _ in found} - ours


def _start_sail() -> tuple[str, int]:
    os.environ.setdefault("RUST_LOG", "error")
    # Sail ends a session that has been idle for some minutes, and a step may wait longer than that for Snowflake.
    os.environ["SAIL_SPARK__SESSION_TIMEOUT_SECS"] = NEVER
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer(port=0)
    server.start(background=True)
    _servers.append(server)
    address = server.listening_address
    if address is None:
        raise LakehouseError("The embedded engine has started without an address; run the command again.")
    return address
