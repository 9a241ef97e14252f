"""Apache Spark for tests, in processes of its own: a Spark Connect server with Delta, and a standalone cluster.

Belongs here: starting and stopping them, and what a machine lacks for it. Does not belong here: what is computed on
them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyspark

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.resources.spark_local import (
    FEW_SECONDS,
    SMALL_MACHINE,
    delta_artifact,
    delta_jars,
    java,
)
from lakehouse_assets.orchestration.resources.spark_settings import DELTA_SETTINGS
from lakehouse_assets.settings import Settings

HOME = Path(pyspark.__file__).parent
STARTED_WITHIN = 240.0
"""Seconds: a start takes 12 to 18, more where jars are brought and others work on the machine."""


class JarsMissingError(Exception):
    """The Delta jars are not here and cannot be brought."""


def missing() -> str | None:
    """Why Apache Spark cannot run here; None where it can, as far as one can say without trying."""
    try:
        java()
    except LakehouseError as error:
        return str(error)
    return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def connect_server(log: Path, *, master: str = "local[2]", settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """A Spark Connect server; gives its URL. Raises `JarsMissingError` where Maven cannot be reached and no jars are
    given.
    """
    port = free_port()
    conf = {
        **DELTA_SETTINGS,
        **SMALL_MACHINE,
        "spark.driver.extraJavaOptions": FEW_SECONDS,
        "spark.driver.memory": "2g",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        **(settings or {}),
    }
    jars = Settings().spark_jars
    brought = ["--jars", ",".join(map(str, delta_jars(jars)))] if jars else ["--packages", delta_artifact()]
    said = [word for key, value in conf.items() for word in ("--conf", f"{key}={value}")]
    server = "org.apache.spark.sql.connect.service.SparkConnectServer"
    with _process(
        [f"{HOME}/bin/spark-submit", "--master", master, "--class", server, *brought, *said, "spark-internal"],
        log,
        port,
    ):
        yield f"sc://127.0.0.1:{port}"


@contextmanager
def cluster(folder: Path, *, workers: int = 2) -> Iterator[str]:
    """A standalone cluster of one master and some workers of one core each; gives the master's URL."""
    port = free_port()
    url = f"spark://127.0.0.1:{port}"
    master = [
        "org.apache.spark.deploy.master.Master",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--webui-port",
        str(free_port()),
    ]
    with ExitStack() as stack:
        stack.enter_context(_process([f"{HOME}/bin/spark-class", *master], folder / "master.log", port))
        for number in range(workers):
            own = free_port()
            worker = [
                "org.apache.spark.deploy.worker.Worker",
                "--host",
                "127.0.0.1",
                "--port",
                str(own),
                "-c",
                "1",
                "-m",
                "2g",
            ]
            options = ["--webui-port", str(free_port()), "--work-dir", str(folder / f"work-{number}")]
            stack.enter_context(
                _process([f"{HOME}/bin/spark-class", *worker, *options, url], folder / f"worker-{number}.log", own)
            )
        yield url


@contextmanager
def _process(command: Sequence[str], log: Path, port: int) -> Iterator[None]:
    environment = {
        **os.environ,
        "SPARK_HOME": str(HOME),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
    }
    mirror = Settings().spark_packages_mirror
    if mirror:
        environment["DEFAULT_ARTIFACT_REPOSITORY"] = mirror
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=out,
            stderr=out,
            cwd=log.parent,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        _wait(process, port, log)
        yield
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sign)
                process.wait(10)
                break
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:
                break


def _end_with_parent() -> None:
    """A killed test session leaves no JVM behind; the scripts replace themselves by it, so that it inherits this."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + STARTED_WITHIN
    while time.monotonic() < until:
        if process.poll() is not None:
            said = log.read_text(errors="replace")
            if "unresolved dependency" in said:
                raise JarsMissingError(
                    f"the jars of {delta_artifact()} cannot be brought from Maven; set LAKEHOUSE_SPARK_JARS"
                )
            raise RuntimeError(f"It ended before it listened: {said[-2000:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise RuntimeError(
        f"It does not listen on port {port} after {STARTED_WITHIN:.0f} s: {log.read_text(errors='replace')[-2000:]}"
    )
