"""Worlds that are computed by one engine or another, each in a process of its own, and what they come to."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from lakehouse_assets.core.contracts import CONTRACTS
from lakehouse_assets.sample.generate import generate
from lakehouse_assets_tests import spark_servers
from lakehouse_assets_tests.pipeline.conftest import PROJECT, make_world, shared
from lakehouse_assets_tests.pipeline.world import ROOT, State, World, bag, drops_of, outside

__all__ = ["cluster_url", "make_world", "shared"]

REAL = Path(os.environ.get("LAKEHOUSE_TEST_DATA", PROJECT.parent / "shared" / "data")) / "landing"
"""Real orders; without them the sample alone is compared."""

TWO_MONTHS = ("2010-12", "2011-01")

HAND_OFFS = (
    "SELECT TABLE_NAME, UNTIL_VERSION, SLICES, ROW_COUNT, ROW_HASH, FILES, BYTES, STAGE_DIRECTORY FROM"
    " {db}.OPS.HANDOFF_LEDGER"
)


@cache
def sample() -> Path:
    """The landing zone of the sample with every kind of dirt; made when a test first asks for it, and removed at the
    end.
    """
    folder = tempfile.TemporaryDirectory(prefix="lakehouse-parity-")
    atexit.register(folder.cleanup)
    generate(Path(folder.name, "landing"), date(2026, 9, 1), 30, 400, 7)
    return Path(folder.name, "landing")


def real(days: tuple[str, ...]) -> list[str]:
    """The real drops of days or months; none where they are not at hand."""
    return [path for path in drops_of(REAL) if any(day in path for day in days)] if REAL.is_dir() else []


def run(world: World, engine: str) -> str:
    """`lakehouse run` on an engine; gives what it printed. A refused drop makes it exit 1, as it should."""
    done = world.command("run", LAKEHOUSE_ENGINE=engine)
    assert done.returncode in (0, 1), done.stderr
    assert not [line for line in done.stderr.splitlines() if line.startswith("Error")], done.stderr
    return done.stdout


def outcome(world: World) -> State:
    """Every table of every layer as a bag, and what was handed off by number, hash and bytes."""
    rows = [(*row[:-1], row[-1].rstrip("/").rsplit("/", 1)[-1]) for row in world.cursor_do(HAND_OFFS)]
    names = ["table", "version", "slices", "rows", "hash", "files", "bytes", "directory"]
    handed = pl.DataFrame([[str(v) for v in row] for row in rows], schema=names, orient="row").sort(pl.all())
    return {**world.state(("bronze", "silver", "gold", "snowflake")), "hand-offs": handed}


def loaded(engine: str, landing: Path, root: Path) -> tuple[State, dict[str, int]]:
    """The lakehouse's tables as an engine loads them, by `loading.py`, and their versions."""
    said = {
        "LAKEHOUSE_ENGINE": engine,
        "LAKEHOUSE_HOME": str(root),
        "LAKEHOUSE_LANDING": str(landing),
        # Where the jars come from is a matter of the machine.
        **{k: v for k, v in os.environ.items() if k.startswith("LAKEHOUSE_SPARK_")},
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "lakehouse_assets_tests.parity.loading"]
    done = subprocess.run(command, env={**outside(), **said}, cwd=root, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    print(engine, done.stdout)
    tables = {name: DeltaTable(str(root / "tables" / name.replace(".", "/"))) for name in CONTRACTS}
    return {name: bag(pa.table(table.to_pyarrow_table())) for name, table in tables.items()}, {
        n: t.version() for n, t in tables.items()
    }


@pytest.fixture(scope="session")
def two_months(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[State, dict[str, int]]]:
    """Two months of real orders and rates, without them the sample; and what the embedded engine makes of them,
    computed once.
    """
    landing = tmp_path_factory.mktemp("two_months")
    of, paths = (REAL, real(TWO_MONTHS)) if REAL.is_dir() else (sample(), drops_of(sample()))
    for path in paths:
        (landing / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(of / path, landing / path)
    return landing, loaded("embedded", landing, tmp_path_factory.mktemp("embedded"))


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Spark Connect server whose work is done by a standalone cluster of one master and two workers."""
    if reason := spark_servers.missing():
        pytest.skip(reason)
    folder: Path = tmp_path_factory.mktemp("cluster")
    with spark_servers.cluster(folder) as master:
        settings = {
            "spark.executor.memory": "1500m",
            "spark.cores.max": "2",
            "spark.executor.extraJavaOptions": spark_servers.FEW_SECONDS,
        }
        try:
            with spark_servers.connect_server(folder / "connect.log", master=master, settings=settings) as url:
                yield url
        except spark_servers.JarsMissingError as error:
            pytest.skip(str(error))
