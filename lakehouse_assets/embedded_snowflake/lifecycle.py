"""The server's process, seen from outside: finding, starting and stopping it.

What belongs here: what every process that works on a home may do with its server. What does not: the process itself
(`__main__.py`) and how to connect to it (`connection.py`).
"""

import hmac
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil

from lakehouse_assets.embedded_snowflake.address import AccountAddress, account_directory, proof, read_address, try_lock
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.private import open_home, opener
from lakehouse_assets.processes import ProcessIdentity

START_SECONDS = 90.0  # imports take seconds on a cold disk, and recovery after kill -9 replays a log
START_ATTEMPTS = 3  # a server that goes down idle while it is being called is no failure; one that never comes up is
STOP_SECONDS = 20.0
# What the server needs of the environment of whoever starts it. It outlives that command, which may hold keys and
# passwords of other things.
_ENVIRONMENT = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "VIRTUAL_ENV",
    "PYTHONPATH", "PYTHONHOME",
    "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
)  # fmt: skip
_EARLIER_MODULE = "lakehouse_assets.resources.embedded_account"  # that servers of earlier versions run
LOG_BYTES = 10_000_000  # looked at when a server starts; the log before is kept as server.log.1


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
        if address and answers(address):
            return address
        if lock := try_lock(directory):
            lock.close()
            attempts += 1
            if attempts <= START_ATTEMPTS:
                _launch(directory, idle_seconds)
        if attempts > START_ATTEMPTS or time.monotonic() > deadline:
            said = last_line(directory)
            raise LakehouseError(
                f"The embedded Snowflake account under {directory} does not start{f' ({said})' if said else ''}: read"
                f" {directory / 'server.log'}, run `lakehouse down`, then try again; where a database file is broken,"
                f" move {directory} away and run `lakehouse run`, which hands everything off again from the Delta"
                " tables."
            )
        time.sleep(0.02)


def running(home: Path) -> AccountAddress | None:
    """The address of the embedded account of `home` if it runs, else None; starts nothing."""
    address = read_address(account_directory(home))
    return address if address and answers(address) else None


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


def answers(address: AccountAddress) -> bool:
    """Whether the server at an address runs and is the one of its home."""
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
    command = [sys.executable, "-m", "lakehouse_assets.embedded_snowflake", "--home", str(directory.parent)]
    command += ["--idle-seconds", str(idle_seconds), "--detach"]
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    with open(log_file, "ab", opener=opener) as log:
        # Returns as soon as the server has the lock and has left this process's session, or has found that another one
        # has the lock.
        subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )


def last_line(directory: Path) -> str:
    """The last line of the server's log that says something; empty where there is none."""
    try:
        lines = (directory / "server.log").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    # below its message DuckDB writes the statement and a row of ^ that points into it
    said = [line.strip() for line in lines if any(map(str.isalpha, line)) and not line.startswith("LINE ")]
    return said[-1] if said else ""
