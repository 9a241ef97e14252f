"""A PostgreSQL server of our own for tests. Belongs here: starting and stopping it, and fresh databases. Does not
belong here: what is kept in it.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

USER, PASSWORD = "lakehouse", "not-a-secret"
DEBIAN = Path("/usr/lib/postgresql")
_numbers = count(1)


def programs() -> Path | None:
    """The folder of PostgreSQL's server programs: that of `initdb` on the PATH, else Debian's newest, which keeps them
    off the PATH.
    """
    on_path = shutil.which("initdb")
    debian = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda program: [int(n) for n in program.parts[-3].split(".")])
    found = Path(on_path) if on_path else debian[-1] if debian else None
    return found.resolve().parent if found else None


def missing() -> str | None:
    """Why PostgreSQL cannot run here; None where it can."""
    return (
        None
        if programs()
        else f"PostgreSQL's initdb is neither on the PATH nor below {DEBIAN}; as root, `make postgres` installs it"
    )


@contextmanager
def server() -> Iterator[str]:
    """Yields the URL of its database."""
    bin_ = programs()
    assert bin_ is not None, missing()
    folder = Path(tempfile.mkdtemp(prefix="lakehouse-postgres-"))  # pytest's own folders are closed to the other user
    as_user: dict[str, Any] = {}
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        nobody = 65534
        os.chown(folder, nobody, nobody)
        as_user = {"user": nobody, "group": nobody}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data, password = folder / "data", folder / "password"
    password.write_text(PASSWORD)
    if as_user:
        os.chown(password, as_user["user"], as_user["group"])  # whatever the umask is

    def run(program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [bin_ / program, *arguments],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            capture_output=True,
            text=True,
            **as_user,
        )
        assert done.returncode == 0, done.stderr

    run("initdb", "-D", data, "-U", USER, "-E", "UTF8", f"--pwfile={password}", "-A", "scram-sha-256", "--no-sync")
    options = f"-k {folder} -c listen_addresses=127.0.0.1 -c port={port} -c fsync=off -c timezone=Asia/Tokyo"
    run("pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
    try:
        yield f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@contextmanager
def database(url: str) -> Iterator[str]:
    """Yields the URL of a fresh database on the server of `url`, which is dropped at the end."""
    import sqlalchemy

    server = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    name = f"test_{next(_numbers)}"
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield f"{url.rpartition('/')[0]}/{name}"
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
