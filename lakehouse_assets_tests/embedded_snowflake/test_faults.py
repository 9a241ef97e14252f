"""The account's server when its disk fails, and when it is killed while it is being born: never an answer as if all
were well, and the next use has a server.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import snowflake.connector
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.embedded_snowflake import account_directory, connection_arguments, ensure_running, stop
from lakehouse_assets.embedded_snowflake.address import try_lock
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.embedded_snowflake.conftest import Sql

MODULE = "lakehouse_assets.embedded_snowflake"

FAILING_DISK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Whether the file FAULT names this call, and the descriptor is one of a write-ahead log. */
static int fails(int fd, const char *call) {
    char link[64], path[4096], named[64] = "";
    FILE *fault = fopen(getenv("FAULT"), "r");
    if (!fault) return 0;
    if (!fgets(named, sizeof named, fault)) named[0] = 0;
    fclose(fault);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0 || strcmp(named, call)) return 0;
    path[length] = 0;
    if (!strstr(path, ".wal")) return 0;
    errno = EIO;
    return 1;
}
#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))
int fsync(int fd) { return fails(fd, "fsync") ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails(fd, "fsync") ? -1 : REAL(fdatasync)(fd); }
ssize_t write(int fd, const void *from, size_t n) { return fails(fd, "write") ? -1 : REAL(write)(fd, from, n); }
ssize_t pwrite64(int fd, const void *from, size_t n, off64_t at) { return fails(fd, "write") ? -1 : REAL(pwrite64)(fd, from, n, at); }
"""  # noqa: E501
"""A library loaded before the C library, for no file system can be asked to fail an fsync."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home without an account; stopped after the test."""
    yield tmp_path / "home"
    stop(tmp_path / "home")


@pytest.fixture
def fault(home: Path, tmp_path: Path) -> Path:
    """A file: while it is there, the call that it names fails on the log of the account of the home. The account
    runs.
    """
    compiler = shutil.which("cc")
    if not compiler or sys.platform != "linux":
        pytest.skip("no C compiler, or not Linux: nothing else makes an fsync fail")
    source, library, file = tmp_path / "disk.c", tmp_path / "disk.so", tmp_path / "fault"
    source.write_text(FAILING_DISK)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    born(home, LD_PRELOAD=str(library), FAULT=str(file))
    return file


def born(home: Path, code: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Start the account's server as `ensure_running` does, after some code in its process."""
    directory = account_directory(home)
    directory.mkdir(parents=True, exist_ok=True)
    script = f"import os, signal, sys\nfrom {MODULE} import __main__\n{code}\nsys.exit(__main__.main())"
    command = [sys.executable, "-c", script, "--home", str(home), "--detach"]
    with (directory / "server.log").open("ab") as log:
        return subprocess.run(
            command, env={**os.environ, **environment}, stdout=log, stderr=log, start_new_session=True
        )


def session(home: Path) -> Sql:
    """A session of the account of a home, started if need be."""
    return Sql(snowflake.connector.connect(**connection_arguments(ensure_running(home), "LAKEHOUSE", "OPS")))


def rows(home: Path) -> list[tuple]:
    """What a fresh session reads in the table T."""
    return session(home)("SELECT a FROM T ORDER BY a")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("transaction", [False, True])
def test_an_fsync_of_the_log_that_fails_ends_the_server_and_the_next_use_has_a_new_one(
    home: Path, fault: Path, transaction: bool
) -> None:
    """A server that goes on refuses every statement of every session for hours, or says of a commit that it is kept
    when it is not.
    """
    sql, other = session(home), session(home)
    sql("CREATE TABLE T (a INT)")
    sql("INSERT INTO T VALUES (1)")
    before = ensure_running(home)
    if transaction:
        sql("BEGIN")
        sql("INSERT INTO T VALUES (2)")
    fault.write_text("fsync")
    with pytest.raises(
        LakehouseError,
        match=(
            r"has stopped .*, for the files below .*account could not be written \(.*fsync failed.*\): run the command"
            r" again"
        ),
    ):
        sql("COMMIT" if transaction else "INSERT INTO T VALUES (2)")
    with pytest.raises(LakehouseError, match="has stopped"):
        other("SELECT 1")
    fault.unlink()
    assert rows(home) in ([(1,)], [(1,), (2,)])  # whoever got no answer asks, as a hand-off does
    assert ensure_running(home).pid != before.pid
    session(home)("INSERT INTO T VALUES (3)")
    assert rows(home)[-1] == (3,)


@pytest.mark.timeout(120)
def test_a_write_of_the_log_that_fails_is_said_and_changes_nothing(home: Path, fault: Path) -> None:
    """A full disk, say: the statement must not count as done, and what was there must stay."""
    sql = session(home)
    sql("CREATE TABLE T (a INT)")
    sql("INSERT INTO T VALUES (1)")
    fault.write_text("write")
    with pytest.raises((ProgrammingError, LakehouseError), match=r"Could not write file .*\.wal"):
        sql("INSERT INTO T VALUES (2)")
    assert rows(home) == [(1,)]
    fault.unlink()
    session(home)("INSERT INTO T VALUES (3)")
    assert rows(home) == [(1,), (3,)]
    psutil.Process(ensure_running(home).pid).kill()
    assert rows(home) == [(1,), (3,)]


DIES = "os.kill(os.getpid(), signal.SIGKILL)"
AT = {
    "before it has the lock": f"__main__.try_lock = lambda directory: {DIES}",
    "with the lock": f"os.fork = lambda: {DIES}",
    "in the background": f"fork = os.fork\nos.fork = lambda: fork() or {DIES}",
    "before it reads its files": f"from {MODULE} import serving\nserving.Catalogue = lambda directory: {DIES}",
    "before it writes server.json": f"from {MODULE} import serving\nserving.write_address = lambda *_: {DIES}",
    "while it writes server.json": f"from pathlib import Path\nPath.replace = lambda *_: {DIES}",
    "just after it wrote server.json": (
        f"from {MODULE} import serving\nwrite = serving.write_address\nserving.write_address = lambda *a: (write(*a),"
        f" {DIES})"
    ),
}
"""Where a server dies while it is being born → the code that makes it do so."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("place", AT)
def test_a_server_that_is_killed_while_it_is_born_is_followed_by_another(home: Path, place: str) -> None:
    """Otherwise a machine that went down in that second has no account until somebody deletes the right file."""
    session(home)("CREATE TABLE T (a INT)")
    stop(home)
    born(home, AT[place])
    directory = account_directory(home)
    while not (lock := try_lock(directory)):  # it dies in the background
        time.sleep(0.02)
    lock.close()
    assert (directory / "server.json").exists() == (place == "just after it wrote server.json")
    session(home)("INSERT INTO T VALUES (1)")
    assert rows(home) == [(1,)]


@pytest.mark.timeout(120)
def test_whoever_waits_for_a_server_that_dies_while_it_is_born_starts_another(home: Path) -> None:
    """Of two commands at once, the second one waits for the server that the first one starts."""
    session(home)("CREATE TABLE T (a INT)")
    stop(home)
    go = home / "go"
    waits = (
        f"import time\nfrom {MODULE} import serving\ndef dies(*_):\n while not os.path.exists({str(go)!r}):"
        f" time.sleep(0.01)\n {DIES}\nserving.write_address = dies"
    )
    born(home, waits)
    waiting = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                f"import sys; from pathlib import Path; from {MODULE} import ensure_running;"
                " print(ensure_running(Path(sys.argv[1])).pid)"
            ),
            home,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert try_lock(account_directory(home)) is None
    go.touch()
    said, _ = waiting.communicate()
    assert int(said) == ensure_running(home).pid
    assert rows(home) == []
