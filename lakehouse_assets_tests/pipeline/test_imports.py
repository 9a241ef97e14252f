"""What a command imports: libraries that take long to import come only with the commands that need them."""

import subprocess
import sys

import pytest

from lakehouse_assets.definitions import tables
from lakehouse_assets_tests.pipeline.world import State, World

RUNS = {"dagster", "dagster_pyspark", "dagster_snowflake", "sqlalchemy", "alembic", "pyspark.sql.connect", "pysail"}
"""What a run needs, and no command that makes none."""
NEVER = {"pandas", "hypothesis", "pandera.pandas"}
TABLES = {"pandera", "polars", "pyarrow", "deltalake", "pyspark"}
ACCOUNT = {"snowflake.connector"}


TOLD = """
import os, pathlib, sys
from lakehouse_assets.cli import command
code = command(sys.argv[2:])
pathlib.Path(sys.argv[1]).write_text(" ".join(sys.modules))
os._exit(code)
"""


def imported(world: World, *words: str) -> tuple[set[str], str]:
    """Every module that there is at the end of a command, and what it has said on stderr."""
    told = world.root / "imported"
    done = subprocess.run(
        [sys.executable, "-c", TOLD, str(told), *words],
        env=world.process_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return set(told.read_text().split()), done.stderr


@pytest.mark.parametrize(
    ("words", "not_needed"),
    [
        (["--help"], RUNS | NEVER | TABLES | ACCOUNT),
        (["sql", "SELECT 1"], RUNS | NEVER | (TABLES - {"pyarrow"})),
        (["account"], RUNS | NEVER | TABLES | ACCOUNT),
        (["status"], RUNS | NEVER),
        (["quarantine", "list"], RUNS | NEVER),
        (["plan"], RUNS | NEVER),
    ],
    ids=["help", "sql", "account", "status", "quarantine", "plan"],
)
def test_a_command_that_runs_nothing_imports_little(
    loaded: tuple[World, State], words: list[str], not_needed: set[str]
) -> None:
    """Every short command takes a second longer, for libraries that it does not use."""
    modules, said = imported(loaded[0], *words)
    assert (modules & not_needed, said) == (set(), "")


@pytest.mark.parametrize(
    "words",
    [["rebuild", "gold.daily_sales"], ["check", "gold.daily_sales"], ["deploy", "--roles"], ["alerts"], ["verify"]],
    ids=" ".join,
)
def test_a_process_of_its_own_has_the_areas_for_every_command(loaded: tuple[World, State], words: list[str]) -> None:
    """A command works only where another one has loaded the areas before, as in tests."""
    assert "No areas are loaded" not in imported(loaded[0], *words)[1]


def test_a_run_with_nothing_to_do_imports_no_dagster(loaded: tuple[World, State]) -> None:
    """A schedule that asks every minute spends most of the machine on imports."""
    world = loaded[0]
    imported(world, "run")  # which makes the instance, where there is none yet
    modules, said = imported(world, "run")
    assert said.startswith("Nothing to do.\n")
    assert modules & (RUNS | NEVER) == set()


def test_what_pending_knows_of_a_table_is_what_its_asset_is_made_of(loaded: tuple[World, State]) -> None:
    """A table is computed from other tables, or by another transform, than those by which it is found to be behind."""
    world = loaded[0]
    made = {t.name: (t.upstreams, t.fingerprint) for t in tables(world.settings)}
    assert {name: (node.upstreams, node.fingerprint) for name, node in world.graph.items()} == made
    assert list(world.graph) == list(made)
