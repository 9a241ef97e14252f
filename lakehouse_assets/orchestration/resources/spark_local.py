"""Apache Spark in this process: the Java and the jars that it needs, and its settings.

Belongs here: what a machine must have for it, and what is said where it has not. Does not belong here: settings that
every engine is given (`spark_settings.py`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.resources.spark_settings import DELTA_SETTINGS, own_settings

JAVA = 17
"""The least Java that Apache Spark 4.2 runs on."""

SMALL_MACHINE = {
    # The defaults are made for clusters: 200 tasks a shuffle, 50 a table's log, 10,000 to look for files that may go.
    "spark.sql.shuffle.partitions": "4",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "4",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
}
"""What makes Spark bearable on one machine."""

FEW_SECONDS = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC"
"""Java options for work of minutes on few cores, where the second compiler costs more than it gains."""

OWNERS_ALONE = {
    # The driver's and the block manager's ports ask for a secret, which Spark makes up itself where it runs in one
    # process; and they are loopback's.
    "spark.authenticate": "true",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}
"""What keeps other users of the machine out of a local Spark; its UI is off, and its gateway to Python has a token of
its own.
"""


def start_local(jars: str, mirror: str, memory: str, log: str) -> Any:
    """A session on Apache Spark in this process; the arguments are those of `SparkEngine`."""
    java()
    from delta import configure_spark_with_delta_pip
    from pyspark.sql import SparkSession

    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if mirror:
        os.environ["DEFAULT_ARTIFACT_REPOSITORY"] = mirror
    builder = SparkSession.builder.master("local[*]").appName("lakehouse_assets").config("spark.driver.memory", memory)
    builder = builder.config("spark.driver.extraJavaOptions", FEW_SECONDS)
    own = own_settings()
    for key, value in {**DELTA_SETTINGS, **SMALL_MACHINE, **OWNERS_ALONE, **own}.items():
        builder = builder.config(key, value)
    # Delta's jars come beside those of one's own.
    if jars:
        builder = builder.config(
            "spark.jars", ",".join([*map(str, delta_jars(Path(jars))), *_listed(own, "spark.jars")])
        )
    else:
        builder = configure_spark_with_delta_pip(builder, _listed(own, "spark.jars.packages"))
    file = Path(log or Path(tempfile.gettempdir()) / "lakehouse-spark.log")
    try:
        with _speaking_to(file):
            session = builder.getOrCreate()
    except Exception as error:
        raise LakehouseError(_why_not(file)) from error
    if "spark.sql.shuffle.partitions" not in own:
        # Two tasks a core, of those that the JVM may use, is what Spark's tuning guide begins with.
        session.conf.set("spark.sql.shuffle.partitions", max(4, 2 * session.sparkContext.defaultParallelism))
    return session


def _listed(settings: dict[str, str], key: str) -> list[str]:
    return [word for word in settings.get(key, "").split(",") if word]


def java() -> str:
    """The Java that Spark will start. Raises `LakehouseError` where there is none that is new enough."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    remedy = (
        f"install Java {JAVA} or later (Debian, Ubuntu: apt-get install openjdk-17-jre-headless; macOS: brew install"
        " openjdk@17) and set JAVA_HOME, or set LAKEHOUSE_ENGINE=embedded, which needs none"
    )
    if not found:
        raise LakehouseError(
            f"LAKEHOUSE_ENGINE=local needs Java, and {f'JAVA_HOME ({home}) holds none' if home else 'none was found'};"
            f" {remedy}."
        )
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(\d+)', said)
    if not match or int(match[1]) < JAVA:
        raise LakehouseError(
            f"LAKEHOUSE_ENGINE=local needs Java {JAVA}, and {found} is {match[1] if match else 'none that runs'};"
            f" {remedy}."
        )
    return found


def delta_artifact() -> str:
    """The jar of the installed delta-spark for the installed pyspark, as `group:artifact:version`."""
    spark = ".".join(version("pyspark").split(".")[:2])
    return f"io.delta:delta-spark_{spark}_2.13:{version('delta-spark')}"


def delta_jars(folder: Path) -> list[Path]:
    """The jars in a folder. Raises `LakehouseError` where the one of the installed delta-spark, or its delta-storage,
    is not among them.
    """
    found = sorted(folder.glob("*.jar"))
    _, artifact, number = delta_artifact().split(":")
    missing = [
        jar
        for jar in (f"{artifact}-{number}.jar", f"delta-storage-{number}.jar")
        if not any(f.name.endswith(jar) for f in found)
    ]
    if missing:
        raise LakehouseError(
            f"LAKEHOUSE_SPARK_JARS ({folder}) lacks {' and '.join(missing)}; put it there, or unset it to have Maven"
            " asked."
        )
    return found


@contextmanager
def _speaking_to(log: Path) -> Iterator[None]:
    """What is started within writes its errors to that file, for as long as it lives: a JVM says much that concerns
    nobody.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    terminal = os.dup(2)
    try:
        with log.open("wb") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def _why_not(log: Path) -> str:
    if "unresolved dependency" in log.read_text(errors="replace"):
        return (
            f"The jars of {delta_artifact()} could not be brought from Maven ({log} says why); set"
            " LAKEHOUSE_SPARK_PACKAGES_MIRROR to a repository that can be reached, or LAKEHOUSE_SPARK_JARS to a folder"
            " that holds them."
        )
    return f"Apache Spark did not start; see {log} for what it said, or set LAKEHOUSE_ENGINE=embedded."
