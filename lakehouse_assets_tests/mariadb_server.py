"""A MariaDB server of our own for tests. Belongs here: starting and stopping it, and fresh databases. Does not belong
here: what is kept in it.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

USER, PASSWORD = "lakehouse", "not-a-secret"
_numbers = count(1)
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"  # where Debian puts the server


def missing() -> str | None:
    """Why MariaDB cannot run here; None where it can."""
    if importlib.util.find_spec("pymysql") is None:
        return "the extra `mysql` is not installed"
    lacking = [name for name in ("mariadbd", "mariadb-install-db") if not shutil.which(name, path=_PATH)]
    return f"{' and '.join(lacking)} cannot be found; as root, `make mariadb` installs them" if lacking else None


@contextmanager
def server() -> Iterator[str]:
    """Yields the URL of its database. It lives in Tokyo, so that a time in the server's zone shows."""
    import pymysql

    folder = Path(tempfile.mkdtemp(prefix="lakehouse-mariadb-"))  # pytest's own folders are closed to the other user
    own = f"--user={'nobody' if os.getuid() == 0 else os.environ.get('USER', '')}"
    if os.getuid() == 0:
        shutil.chown(folder, "nobody")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = ["--no-defaults", f"--datadir={folder / 'data'}", *([own] if own != "--user=" else [])]
    install = [str(shutil.which("mariadb-install-db", path=_PATH)), *common, "--auth-root-authentication-method=normal"]
    done = subprocess.run([*install, "--skip-test-db"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    alone = [f"--socket={folder / 'socket'}", "--bind-address=127.0.0.1", f"--port={port}", f"--pid-file={folder}/pid"]
    quick = ["--innodb-flush-log-at-trx-commit=0", "--default-time-zone=+09:00", "--skip-log-bin"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(shutil.which("mariadbd", path=_PATH)), *common, *alone, *quick], stdout=log, stderr=log
        )
    try:
        end = time.monotonic() + 60
        while True:
            try:
                root = pymysql.connect(unix_socket=str(folder / "socket"), user="root")
                break
            except pymysql.err.OperationalError:
                waiting = process.poll() is None and time.monotonic() < end
                assert waiting, (folder / "log").read_text()
                time.sleep(0.1)
        with root, root.cursor() as cursor:
            cursor.execute(f"CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
            cursor.execute(f"GRANT ALL ON *.* TO {USER}@'127.0.0.1' WITH GRANT OPTION")
        yield f"mariadb://{USER}:{PASSWORD}@127.0.0.1:{port}/mysql"
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder)


@contextmanager
def database(url: str) -> Iterator[str]:
    """Yields the URL of a fresh database on the server of `url`, which is dropped at the end."""
    name = f"test_{next(_numbers)}"
    fresh = f"{url.rpartition('/')[0]}/{name}"
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    yield fresh
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")


def connect(url: str) -> Any:
    """A connection of the driver to a database of this server."""
    import pymysql
    from sqlalchemy import make_url

    place = make_url(url)
    assert place.port
    return pymysql.connect(host=str(place.host), port=place.port, user=USER, password=PASSWORD, database=place.database)
