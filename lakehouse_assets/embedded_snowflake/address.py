"""Where the account of a home is, and what shows that a client or server belongs to it.

What belongs here: the account's directory, the address of its server, the secret, the lock. What does not: starting and
stopping the server (`lifecycle.py`).
"""

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from lakehouse_assets.paths import plain
from lakehouse_assets.private import opener
from lakehouse_assets.processes import ProcessIdentity

HOST = "127.0.0.1"
_SECRET = re.compile(r"[\w-]{43}", re.ASCII)


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


def account_directory(home: Path) -> Path:
    """The directory of the embedded account of `home`."""
    return plain(home) / "account"


def read_address(directory: Path) -> AccountAddress | None:
    """The address in the state file of an account directory, whether or not the server still runs."""
    try:
        state = json.loads((directory / "server.json").read_text())
        host, port, pid, secret = state["host"], state["port"], state["pid"], account_secret(directory)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # absent, being replaced or broken: the caller looks again, and a server that starts writes it anew
    if host != HOST or not (isinstance(port, int) and 0 < port < 65536 and isinstance(pid, int)):
        return None
    return AccountAddress(host, port, pid, secret, str(directory))


def write_address(directory: Path, address: AccountAddress) -> None:
    """Publish the address of this process, a server that listens."""
    written = directory / f"server.json.{address.pid}"
    process = ProcessIdentity.current().text
    with open(written, "w", opener=opener) as file:
        json.dump({"host": address.host, "port": address.port, "pid": address.pid, "process": process}, file)
    written.replace(directory / "server.json")


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
