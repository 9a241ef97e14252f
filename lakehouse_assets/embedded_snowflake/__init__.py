"""The embedded Snowflake account: one server process with one persistent catalogue, shared by every process that works
on the same home.

What belongs here: finding, starting and stopping that process, and how to connect to it. What does not: the server
itself (`server.py`), what it executes (`session.py`) and anything heavy to import, for every process of the application
imports this module.

On disk, below `<home>/account/`: `databases/` (one DuckDB file a Snowflake database, and `_fs_global` for stages and
file formats), `stages/` (the staged files), `uploads/` (files on their way in), `server.json` (the address of the
running server), `server.lock` (held while it runs), `server.log`, `secret` (what a login must know). All of it is for
its owner alone.

Where it answers otherwise than Snowflake, beside what it refuses as "rendered only" (`refusals.py`): a transaction
reads a snapshot taken at its first statement, not what is committed meanwhile; a statement that fails ends its
transaction; a lock is waited for only while the transaction has changed nothing. VARCHAR(n) is recorded and not
enforced. Integer types hold 64 bits, NUMBER all its digits; division and AVG give FLOAT. Quoted names are not
case-sensitive. MERGE takes duplicate source keys. Row counts and sizes in the information schema are estimates or 0.
PUT reports UPLOADED also for a file that it left as it was.
"""

import fcntl
import hashlib
import hmac
import itertools
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any

import psutil

from lakehouse_assets.errors import AccountStoppedError, LakehouseError
from lakehouse_assets.paths import plain
from lakehouse_assets.private import open_home, opener
from lakehouse_assets.processes import ProcessIdentity

HOST = "127.0.0.1"
START_SECONDS = 90.0  # imports take seconds on a cold disk, and recovery after kill -9 replays a log
START_ATTEMPTS = 3  # a server that goes down idle while it is being called is no failure; one that never comes up is
STOP_SECONDS = 20.0
STATEMENT_SECONDS = 3600
USER = "embedded"
_SECRET = re.compile(r"[\w-]{43}", re.ASCII)
# What the server needs of the environment of whoever starts it. It outlives that command, which may hold keys and
# passwords of other things.
_ENVIRONMENT = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "VIRTUAL_ENV",
    "PYTHONPATH", "PYTHONHOME",
    "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
)  # fmt: skip
_GAVE_UP = re.compile(r" CRITICAL [\w.]+: (.*)")  # what a server that gave itself up wrote last
_EARLIER_MODULE = "lakehouse_assets.resources.embedded_account"  # that servers of earlier versions run
LOG_BYTES = 10_000_000  # looked at when a server starts; the log before is kept as server.log.1


@dataclass(frozen=True)
class AccountAddress:
    """Where the embedded account of a home listens, the process id of its server, the secret of the home, and the
    account's directory.
    """

    host: str
    port: int
    pid: int
    secret: str = field(default="", repr=False)
    directory: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True)
class _WhileItRuns:
    """The pauses, in seconds, between repetitions of a request that got no answer: an end to them when the server is
    gone.

    A class, so that connection arguments can be sent to another process.
    """

    address: AccountAddress

    def __call__(self) -> Iterator[int]:
        yield 0
        for pause in itertools.chain((0, 1, 2, 4), itertools.repeat(8)):
            if not _answers(self.address):
                lost = _GAVE_UP.search(_last_line(Path(self.address.directory)))
                raise AccountStoppedError(
                    "The embedded Snowflake account has stopped while it was being"
                    f" used{f', for {lost[1]}' if lost else ''}: run the command again, it starts anew."
                )
            yield pause


def account_directory(home: Path) -> Path:
    """The directory of the embedded account of `home`."""
    return plain(home) / "account"


def ensure_running(home: Path, idle_seconds: int = 1800) -> AccountAddress:
    """The address of the running embedded account of `home`, started first if it does not run.

    Safe to call from any number of processes at once: one server starts, all get its address. The server outlives the
    caller and stops by itself after `idle_seconds` without a request; a server that runs already keeps the idle time it
    was started with. Raises LakehouseError when the server does not come up.
    """
    directory = account_directory(home)
    open_home(directory.parent)
    directory.mkdir(exist_ok=True)
    deadline = time.monotonic() + START_SECONDS
    attempts = 0
    while True:
        address = read_address(directory)
        if address and _answers(address):
            return address
        if lock := try_lock(directory):
            lock.close()
            attempts += 1
            if attempts <= START_ATTEMPTS:
                _launch(directory, idle_seconds)
        if attempts > START_ATTEMPTS or time.monotonic() > deadline:
            raise LakehouseError(
                f"The embedded Snowflake account under {directory} does not start{_last_words(directory)}: read"
                f" {directory / 'server.log'}, run `lakehouse down`, then try again; where a database file is broken,"
                f" move {directory} away and run `lakehouse run`, which hands everything off again from the Delta"
                " tables."
            )
        time.sleep(0.02)


def running(home: Path) -> AccountAddress | None:
    """The address of the embedded account of `home` if it runs, else None; starts nothing."""
    address = read_address(account_directory(home))
    return address if address and _answers(address) else None


def stop(home: Path) -> bool:
    """Stop the embedded account of `home`, and wait until its files are closed. True if it ran, False if there was
    nothing to stop.

    Open transactions are rolled back. Raises LakehouseError when the process neither ends nor can be killed.
    """
    directory = account_directory(home)
    if not directory.is_dir():
        return False
    deadline = time.monotonic() + STOP_SECONDS
    stopped = False
    while not (lock := try_lock(directory)):
        # Without a state file it is still starting: wait for it.
        if process := _server_process(directory):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL if time.monotonic() > deadline else signal.SIGTERM)
            stopped = True
        if time.monotonic() > deadline + STOP_SECONDS:
            raise LakehouseError(
                f"The embedded Snowflake account under {directory} does not stop; end the process that holds"
                f" {directory / 'server.lock'}."
            )
        time.sleep(0.05)
    (directory / "server.json").unlink(missing_ok=True)
    lock.close()
    return stopped


def connection_arguments(
    address: AccountAddress, database: str | None = None, schema: str | None = None
) -> dict[str, Any]:
    """Keyword arguments for `snowflake.connector.connect`. The password is the secret of the home; the user is a name
    only.

    `database` and `schema` are created when they do not exist.
    """
    arguments: dict[str, Any] = {
        "user": USER,
        "password": address.secret,
        "account": "embedded",
        "host": address.host,
        "port": address.port,
        "protocol": "http",
        "login_timeout": 30,
        # The connector cancels a statement after this time, and repeats a request for as long; that it does not repeat
        # one to a stopped account for an hour is the back-off's doing.
        "network_timeout": STATEMENT_SECONDS,
        "backoff_policy": _WhileItRuns(address),
        # The connector otherwise asks three clouds at every login whether it runs on one of them.
        "platform_detection_timeout_seconds": 0.0,
        "session_parameters": {"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False},
    }
    if database:
        arguments["database"] = database
    if schema:
        arguments["schema"] = schema
    return arguments


def read_address(directory: Path) -> AccountAddress | None:
    """The address in the state file of an account directory, whether or not the server still runs."""
    try:
        state = json.loads((directory / "server.json").read_text())
        address = AccountAddress(
            host=state["host"],
            port=state["port"],
            pid=state["pid"],
            secret=account_secret(directory),
            directory=str(directory),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # absent, being replaced or broken: the caller looks again, and a server that starts writes it anew
    right = (
        address.host == HOST
        and isinstance(address.port, int)
        and 0 < address.port < 65536
        and isinstance(address.pid, int)
    )
    return address if right else None


def account_secret(directory: Path) -> str:
    """The secret of the account in a directory; made when there is none, or none that can be used. Deleting the file
    makes a new one.
    """
    file = directory / "secret"
    with suppress(FileNotFoundError):
        if _SECRET.fullmatch(secret := file.read_text(encoding="ascii", errors="replace")):
            return secret
        file.unlink(missing_ok=True)
    written = directory / f"secret.{secrets.token_hex(8)}"
    with open(written, "x", opener=opener) as new:
        new.write(secrets.token_urlsafe(32))
    with suppress(FileExistsError):
        os.link(written, file)  # of two that make one at once, the first one's is it
    written.unlink()
    return account_secret(directory)


def proof(secret: str, *said: object) -> str:
    """What shows that its sender knows the secret, without telling it. `said`: who is speaking, and what may be said
    once only.
    """
    return hmac.new(secret.encode(), "\n".join(map(str, said)).encode(), hashlib.sha256).hexdigest()


def _server_process(directory: Path) -> psutil.Process | None:
    """The server's process by all that it is known by: an id alone may be a stranger's by now."""
    try:
        state = json.loads((directory / "server.json").read_text())
        process = psutil.Process(state["pid"])
        if "process" in state:
            return process if ProcessIdentity.parse(state["process"]).is_gone() is False else None
        # A server of an earlier version wrote when it started by a clock that may have been set since.
        return process if _EARLIER_MODULE in process.cmdline() else None
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, OverflowError, psutil.Error):
        return None


def write_address(directory: Path, address: AccountAddress) -> None:
    """Publish the address of this process, a server that listens."""
    written = directory / f"server.json.{address.pid}"
    process = ProcessIdentity.current().text
    with open(written, "w", opener=opener) as file:
        json.dump({"host": address.host, "port": address.port, "pid": address.pid, "process": process}, file)
    written.replace(directory / "server.json")


def try_lock(directory: Path) -> IO[str] | None:
    """The server's lock, if nobody holds it. It lasts until the file is closed or the process (with its forks) ends,
    however it ends.
    """
    file = open(directory / "server.lock", "a", opener=opener)  # noqa: SIM115 -- it is the caller's
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _answers(address: AccountAddress) -> bool:
    # A request, not a look at the process table: it also restarts the server's idle clock, so that it cannot stop under
    # a caller who was just told its address. Both prove that they know the secret: a stranger learns nothing, and one
    # that took the port of a dead server is sent no password.
    connection = HTTPConnection(address.host, address.port, timeout=10)
    nonce = secrets.token_hex(16)
    try:
        connection.request("GET", f"/account?nonce={nonce}&proof={proof(address.secret, 'client', nonce)}")
        answer = json.loads(connection.getresponse().read(1000))
        return hmac.compare_digest(str(answer["proof"]), proof(address.secret, "server", nonce, address.pid))
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return False
    finally:
        connection.close()


def _launch(directory: Path, idle_seconds: int) -> None:
    log_file = directory / "server.log"
    if log_file.exists() and log_file.stat().st_size > LOG_BYTES:
        log_file.replace(directory / "server.log.1")
    command = [
        sys.executable,
        "-m",
        __name__,
        "--home",
        str(directory.parent),
        "--idle-seconds",
        str(idle_seconds),
        "--detach",
    ]
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    with open(log_file, "ab", opener=opener) as log:
        # Returns as soon as the server has the lock and has left this process's session, or has found that another one
        # has the lock.
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
            check=False,
        )


def _last_words(directory: Path) -> str:
    line = _last_line(directory)
    return f" ({line})" if line else ""


def _last_line(directory: Path) -> str:
    try:
        lines = (directory / "server.log").read_text(errors="replace").strip().splitlines()
    except FileNotFoundError:
        return ""
    return lines[-1].strip() if lines else ""
