"""Nobody but this process computes on its engine. Each test starts an engine in a process of its own."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from lakehouse_assets_tests import spark_servers

STARTED = """
import socket, subprocess, sys, threading
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.resources import spark, spark_embedded
started, ports = spark_embedded._start_sail, []
def start():
    host, port = started()
    ports.append(port)
    visit(port)
    return host, port
spark_embedded._start_sail = start
visit = lambda port: None
"""

CLOSED = (
    STARTED
    + """
session = spark.SparkEngine().session
assert session.client._builder._channel_options.count(("grpc.client_idle_timeout_ms", 2**31 - 1)) == 1
found = []
def compute(n):
    found.append(session.range(1000 * n).count())
threads = [threading.Thread(target=compute, args=(n,)) for n in range(16)]
[t.start() for t in threads]
[t.join() for t in threads]
assert sorted(found) == [1000 * n for n in range(16)], found
print(ports[0], flush=True)
sys.stdin.readline()
assert session.range(7).count() == 7
"""
)


def engine(script: str) -> subprocess.Popen[str]:
    """A process that runs a script."""
    return subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_nobody_else_can_connect_to_the_embedded_engine() -> None:
    """Without it whoever reaches the port of a running engine runs Python as its user."""
    knock = (
        "import socket, sys\ntry: socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)\nexcept OSError as e:"
        " print(type(e).__name__)"
    )
    process = engine(CLOSED)
    assert process.stdout
    port = process.stdout.readline().strip()
    assert port, process.communicate()[1]
    identity = {"user": pwd.getpwnam("nobody").pw_uid, "cwd": "/"} if os.geteuid() == 0 else {}
    python = "/usr/bin/python3" if identity and Path("/usr/bin/python3").exists() else sys.executable
    done = subprocess.run([python, "-c", knock, port], capture_output=True, text=True, check=False, **identity)
    assert done.stdout.strip() == "ConnectionRefusedError", done
    said = process.communicate("go on\n", timeout=120)
    assert process.returncode == 0, said[1]


@pytest.mark.parametrize("leaves", [False, True])
@pytest.mark.skipif(sys.platform != "linux", reason="connections are listed on Linux only")
def test_a_stranger_who_was_quicker_is_found(leaves: bool) -> None:
    """Without it the milliseconds in which the port is open are enough for whoever waits for them."""
    stays = "print(1, flush=True); sys.stdin.readline()"
    goes = (
        "c.recv(9999); c.shutdown(socket.SHUT_WR); [None for _ in iter(lambda: c.recv(9999), b'')]; c.close(); print(1,"
        " flush=True)"
    )
    visitor = (
        "import socket, sys; c = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
        f" {goes if leaves else stays}"
    )
    script = (
        STARTED
        + f"""
def visit(port):
    child = subprocess.Popen([sys.executable, "-c", {visitor!r}, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    if {leaves}:
        child.wait()
    import atexit; atexit.register(child.kill)
try:
    spark.SparkEngine().session
except LakehouseError as error:
    print(error)
"""  # noqa: E501
    )
    said, wrong = engine(script).communicate(timeout=120)
    assert "Another program of this machine connected to the embedded engine" in said, wrong


@pytest.mark.heavy
def test_a_local_spark_listens_on_loopback_and_asks_for_a_secret(tmp_path: Path) -> None:
    """Without it the driver's and the block manager's ports speak with other users of the machine, or of the
    network.
    """
    if reason := spark_servers.missing():
        pytest.skip(reason)
    script = """
import psutil
from pyspark.sql import SparkSession
from lakehouse_assets.orchestration.resources.spark_local import OWNERS_ALONE, SMALL_MACHINE
builder = SparkSession.builder.master("local[2]")
for key, value in {**SMALL_MACHINE, **OWNERS_ALONE}.items():
    builder = builder.config(key, value)
session = builder.getOrCreate()
assert session.sparkContext.uiWebUrl is None
manager = session._jvm.org.apache.spark.SparkEnv.get().securityManager()
assert manager.isAuthenticationEnabled() and len(manager.getSecretKey()) > 20
processes = (psutil.Process(), *psutil.Process().children(recursive=True))
for process in (p for p in processes if p.status() != psutil.STATUS_ZOMBIE):
    assert manager.getSecretKey() not in " ".join(process.cmdline())
    for connection in process.net_connections():
        if connection.status == "LISTEN":
            assert connection.laddr.ip.removeprefix("::ffff:") in ("127.0.0.1", "::1"), (process.name(), connection)
assert session.sparkContext.parallelize(range(100), 4).map(lambda n: (n % 3, n)).reduceByKey(int.__add__).count() == 3
session.stop()
print("done")
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("done"), done.stderr[-3000:]
