"""Worlds that are computed by one engine or another, each in a process of its own, and what they come to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from lakehouse_assets_tests import spark_servers
from lakehouse_assets_tests.pipeline.conftest import make_world, shared
from lakehouse_assets_tests.pipeline.world import State, World

__all__ = ["cluster_url", "make_world", "shared"]

HAND_OFFS = "SELECT TABLE_NAME, UNTIL_VERSION, SLICES, ROW_COUNT, ROW_HASH, FILES, BYTES, STAGE_DIRECTORY FROM {db}.OPS.HANDOFF_LEDGER"


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


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Spark Connect server whose work is done by a standalone cluster of one master and two workers."""
    if reason := spark_servers.missing():
        pytest.skip(reason)
    folder: Path = tmp_path_factory.mktemp("cluster")
    with spark_servers.cluster(folder) as master:
        settings = {"spark.executor.memory": "1500m", "spark.cores.max": "2", "spark.executor.extraJavaOptions": spark_servers.FEW_SECONDS}
        try:
            with spark_servers.connect_server(folder / "connect.log", master=master, settings=settings) as url:
                yield url
        except spark_servers.JarsMissingError as error:
            pytest.skip(str(error))
