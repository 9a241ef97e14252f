"""Whether what a run needs is there: each thing that `lakehouse doctor` looks at, with what to do where it is not.

Belongs here: looking. Nothing is loaded, created or changed, but that the embedded account and the engine are started.
Does not belong here: printing (`cli/`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING, Any

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.settings import CATALOG, Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

OLDEST, NEWEST = (3, 11), (3, 13)
"""The versions of Python that the packages are installed on."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. fix: what to do; empty where all is well."""

    what: str
    found: str
    fix: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at each thing in turn; what is wrong with one does not keep the others from being looked at."""
    yield python(sys.version_info[:2])
    yield home(settings)
    yield landing(settings)
    yield from _engine(settings)
    yield _told("account", lambda: _account(settings))
    yield extras()


def python(running: tuple[int, int]) -> Finding:
    """Whether this Python is one that the packages support."""
    shown = ".".join(map(str, running))
    if OLDEST <= running <= NEWEST:
        return Finding("python", shown)
    least, most = (".".join(map(str, v)) for v in (OLDEST, NEWEST))
    return Finding("python", shown, f"make the environment anew with Python {least} to {most}")


def home(settings: Settings) -> Finding:
    """Whether state can be kept where the settings say."""
    there = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    if there.is_dir() and os.access(there, os.W_OK):
        made = "" if there == settings.home else ", which the first run makes"
        return Finding("home", f"{settings.home}{made}")
    return Finding("home", f"{there} cannot be written to", "give this user the right, or set LAKEHOUSE_HOME")


def landing(settings: Settings) -> Finding:
    """Whether there is a landing zone."""
    if settings.landing.is_dir() and os.access(settings.landing, os.R_OK):
        return Finding("landing", str(settings.landing))
    return Finding(
        "landing", f"{settings.landing} is no folder that can be read", "create it, or set LAKEHOUSE_LANDING"
    )


def extras() -> Finding:
    """Which optional packages are there."""
    on, off = [], []
    for line in requires("lakehouse_assets") or []:
        package, _, condition = line.partition(";")
        if "extra ==" not in condition:
            continue
        extra = condition.partition("extra ==")[2].strip(" '\"")
        name = package.split(">")[0].split("=")[0].split("<")[0].strip()
        try:
            version(name)
            on.append(extra)
        except PackageNotFoundError:
            off.append(extra)
    missing = sorted(set(off) - {"dev"})
    have = sorted(set(on) - set(off) - {"dev"})
    return Finding("extras", f"installed: {', '.join(have) or 'none'}; not installed: {', '.join(missing) or 'none'}")


def versions_fit(client: str, server: str) -> str:
    """What to do where a Spark Connect client cannot speak to a server: one that is newer asks for what the server does
    not know. Empty where it can. Source: Apache Spark's "Spark Connect overview", Databricks Connect's table of
    versions.
    """
    mine, theirs = (tuple(int(part) for part in text.split(".")[:2]) for text in (client, server))
    if mine <= theirs:
        return ""
    minor = ".".join(map(str, theirs))
    return f"use an endpoint of Spark {'.'.join(map(str, mine))} or later; this one needs a client of pyspark {minor}"


def pythons_fit(here: str, there: str) -> str:
    """What to do where functions cannot be sent to an engine's workers; empty where they can. Both as 3.11."""
    return "" if here == there else f"run this under Python {there}, or give the workers Python {here}"


def _engine(settings: Settings) -> Iterator[Finding]:
    from lakehouse_assets.orchestration.resources.spark import SparkEngine

    engine = SparkEngine(
        settings.engine,
        str(settings.spark_jars or ""),
        settings.spark_packages_mirror or "",
        settings.spark_memory,
        f"{settings.home}/logs/spark.log",
    )
    sessions: list[Any] = []

    def start() -> Finding:
        sessions.append(engine.session)
        return Finding("engine", f"{settings.engine} answers")

    yield _told("engine", start)
    if not sessions or not settings.engine.startswith("sc://"):
        return
    import pyspark

    session = sessions[0]
    server = str(session.version)
    yield Finding("spark", f"client {pyspark.__version__}, server {server}", versions_fit(pyspark.__version__, server))
    yield _told("workers", lambda: _workers(session))
    yield _told("commits", lambda: _commits(session, settings))
    if (settings.tables or "").startswith(CATALOG):
        yield _told("catalogue", lambda: _catalogue(session, (settings.tables or "").removeprefix(CATALOG)))


def _told(what: str, look: Callable[[], Finding]) -> Finding:
    """What was found, or the error's own sentence."""
    try:
        return look()
    except LakehouseError as error:
        return Finding(what, "failed", str(error))
    except Exception as error:  # of any client: what it says is all there is
        first = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        return Finding(what, "failed", first)


def _workers(session: SparkSession) -> Finding:
    """The Python of whatever runs our functions."""

    def say(batches: Iterator[Any]) -> Iterator[Any]:
        import sys

        import pyarrow

        for _ in batches:
            yield pyarrow.RecordBatch.from_pydict({"v": [f"{sys.version_info[0]}.{sys.version_info[1]}"]})

    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    try:
        there = str(session.range(1).mapInArrow(say, "v string").collect()[0][0])
    except Exception as error:
        if "PYTHON_VERSION_MISMATCH" not in str(error):
            raise
        return Finding("workers", "another Python than here", f"give the workers Python {here}, which runs this")
    return Finding("workers", f"Python {there}, here {here}", pythons_fit(here, there))


def _commits(session: SparkSession, settings: Settings) -> Finding:
    """Whether sessions may have the settings by which commits say what they are."""
    from pyspark.errors import PySparkException

    from lakehouse_assets.core.delta.spark import USER_METADATA

    by = f"by {settings.spark_commits}"
    if settings.spark_commits == "options":
        return Finding("commits", by)
    try:
        session.conf.set(USER_METADATA, "{}")
        session.conf.unset(USER_METADATA)
    except PySparkException:
        return Finding("commits", f"{by}, which the endpoint refuses", "set LAKEHOUSE_SPARK_COMMITS=options")
    return Finding("commits", by)


def _catalogue(session: SparkSession, name: str) -> Finding:
    found = [row[0] for row in session.sql(f"SHOW SCHEMAS IN `{name}`").collect()]
    missing = [layer for layer in ("bronze", "silver", "gold") if layer not in found]
    made = f"; the first run creates the schemas {', '.join(missing)}" if missing else ""
    return Finding("catalogue", f"{name} answers{made}")


def _account(settings: Settings) -> Finding:
    from lakehouse_assets.orchestration.resources.snowflake_access import SnowflakeAccess

    account = SnowflakeAccess.of(settings, query_tag="lakehouse doctor")
    with account.get_connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_USER(), CURRENT_ROLE(), CURRENT_WAREHOUSE()")
        [(user, role, warehouse)] = cursor.fetchall()
    where = "the embedded account" if settings.snowflake == "embedded" else "the account"
    return Finding("account", f"{where} answers user {user}, role {role or 'none'}, warehouse {warehouse or 'none'}")
