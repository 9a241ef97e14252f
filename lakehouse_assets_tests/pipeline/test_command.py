"""The `lakehouse` command as people and scripts use it: help, exit codes, one sentence on stderr, what it prints."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer

from lakehouse_assets.cli import app, command, context
from lakehouse_assets.cli.load import selected
from lakehouse_assets.cli.running import conclude
from lakehouse_assets.orchestration.instance.local import in_use
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import BRONZE, State, World, line, order_csv

PATH = "orders/orders_2012-03-01.csv"

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Said:
    """Run the command on a world in this process: (exit code, stdout, stderr)."""

    def run(world: World | None, *arguments: str) -> tuple[int, str, str]:
        for name, value in world.environment.items() if world else ():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        code = command(arguments)
        output = capfd.readouterr()
        return code, output.out, output.err

    return run


def commands() -> Iterator[tuple[str, Any]]:
    """Every command and sub-command that does something, by what one types."""

    def below(name: str, group: Any) -> Iterator[tuple[str, Any]]:
        for word, found in group.commands.items():
            if hasattr(found, "commands"):
                yield from below(f"{name} {word}", found)
            else:
                yield f"{name} {word}", found

    return below("lakehouse", typer.main.get_command(app))


def test_every_command_has_help_with_an_example() -> None:
    """A user has to guess how a command is typed."""
    found = dict(commands())
    assert {"lakehouse run", "lakehouse quarantine list", "lakehouse fetch online-retail"} <= found.keys()
    assert [name for name, of in found.items() if f"Example: `{name}" not in (of.help or "")] == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nonsense"], 2, "nonsense"),
        (["ui", "--port", "0"], 2, "'--port'"),
        (["rebuild"], 2, "'table'"),
        (["generate", "--out", "g", "--start", "9999-12-30", "--days", "5"], 1, "5 days from 9999-12-30 on leave"),
        (["run", "--start", "yesterday"], 1, "2010-12-01"),
        (["run", "--start", "2011-01-02", "--end", "2011-01-01"], 1, "exchange"),
        (["run", "--select", "gold.daily_sales,gold/nonsense"], 1, "'gold.nonsense'"),
        (["status", "--format", "yaml"], 1, "table or json"),
        (["sql", "SELECT 1", "--format", "yaml"], 1, "table, csv or json"),
        (["sql", " "], 1, "query is empty"),
        (["rebuild", "gold.nonsense"], 1, "gold.nonsense"),
        (
            ["rebuild", "gold.daily_sales"],
            1,
            "is computed from gold.sales_lines, which has never been; run `lakehouse run`",
        ),
        (["verify", "--tables", "nonsense"], 1, "nonsense"),
        (["quarantine", "list", "--table", "nonsense"], 1, "nonsense"),
        (["quarantine", "list", "--drop", "nonsense"], 1, "below the landing zone"),
        (["land", "nonsense"], 1, "below the landing zone"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_sentence(
    arguments: list[str], code: int, words: str, said: Said, make_world: NewWorld
) -> None:
    """A script goes on after a typing error, or a person reads a traceback."""
    world = make_world()
    found, _, error = said(world, *arguments)
    assert found == code
    assert error.startswith("Error: ")
    assert error.count("\n") == 1
    assert words in error


def test_a_selection_is_taken_with_a_dot_and_with_a_slash() -> None:
    """A user learns two ways to write the name of a table, and mixes them up."""
    settings = context.settings()
    assert selected(settings, "gold/daily_sales, snowflake.daily_sales") == [
        "gold.daily_sales",
        "snowflake.daily_sales",
    ]


def test_verbose_may_stand_after_the_command(said: Said, make_world: NewWorld) -> None:
    """A user who adds `-v` to the line that failed is told that there is no such option."""
    code, _, error = said(make_world(), "land", "nonsense", "-v")
    assert code == 1
    assert "Traceback" in error
    assert "Traceback" not in said(None, "land", "nonsense")[2]


def test_a_slip_in_a_file_of_the_project_is_told_with_its_place(
    said: Said, make_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes a contract reads a traceback through Dagster, or a message without the file."""

    def broken(*_: object) -> None:
        compile("class Orders(\n", "lakehouse_assets/core/contracts/gold.py", "exec")

    monkeypatch.setattr(context, "resources", broken)
    code, _, error = said(make_world(), "land", "nonsense")
    assert (code, error) == (
        1,
        "Error in lakehouse_assets/core/contracts/gold.py: '(' was never closed (gold.py, line 1)\n",
    )


READ_UNDER_WAY = """
import io, threading, time
import pyarrow, pyarrow.parquet

class Slow(io.BytesIO):
    def read(self, size=-1):
        while under_way.is_set():
            time.sleep(0.001)
        return super().read(size)

under_way, file = threading.Event(), Slow()
pyarrow.parquet.write_table(pyarrow.table({"n": [1]}), file)
file.seek(0)
parquet = pyarrow.parquet.ParquetFile(pyarrow.PythonFile(file, mode="r"), pre_buffer=True)
under_way.set()
threading.Thread(target=parquet.read, daemon=True).start()
from lakehouse_assets.cli import main
main()
"""
"""A thread of Arrow that calls Python again and again, as one of a read that delta-rs has begun may do when the process
ends.
"""


def test_a_failing_command_ends_with_its_own_exit_code_though_a_read_is_under_way(make_world: NewWorld) -> None:
    """Such a thread aborts the process when the interpreter is taken down: a script sees 134 and a core dump."""
    done = subprocess.run(
        [sys.executable, "-c", READ_UNDER_WAY, "land", "nonsense"],
        env=make_world().process_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr


def test_decimals_keep_all_their_digits_in_json(said: Said, loaded: tuple[World, State]) -> None:
    """A finance user's sum loses its last digits on the way through a float."""
    query = (
        "SELECT 123456789012345678.120::NUMBER(38,3) AS Exact, NULL AS None_, DATE '2012-03-01' AS A_Day, 'ü' AS Word"
    )
    code, output, _ = said(loaded[0], "sql", query, "--format", "json")
    assert code == 0
    (row,) = json.loads(output, parse_float=str)
    assert row == {"exact": "123456789012345678.120", "none_": None, "a_day": "2012-03-01", "word": "ü"}


def test_the_status_in_json_has_the_agreed_shape(said: Said, loaded: tuple[World, State]) -> None:
    """A monitor that reads it breaks."""
    code, output, _ = said(loaded[0], "status", "--format", "json")
    assert code == 0
    status = json.loads(output)
    assert status.keys() >= {"batches", "tables", "stage"}
    counts = {"drops", "landed", "published", "quarantined", "duplicates"}
    assert {frozenset(b) for b in status["batches"]} == {frozenset({"batch_date", "source", *counts})}
    assert all(b["landed"] == b["published"] + b["quarantined"] + b["duplicates"] for b in status["batches"])
    assert all(t.keys() >= {"name", "delta_version", "acknowledged_version", "rows"} for t in status["tables"])
    assert status["stage"].keys() >= {"files", "bytes", "orphaned"}


def test_a_drop_is_taken_back_and_landed_again_once(said: Said, make_world: NewWorld) -> None:
    """A user cannot tell whether a withdrawal was taken down, or undoes it twice."""
    world = make_world()
    world.drop(PATH, order_csv([line(500001, "2012-03-01")]))
    world.run(select=BRONZE)
    assert said(world, "withdraw", PATH)[0] == 0
    code, _, error = said(world, "withdraw", PATH)
    assert code == 1
    assert "already withdrawn" in error
    assert said(world, "land", PATH)[0] == 0
    assert said(world, "land", PATH)[0] == 1
    assert [r["state"] for r in sorted(world.delta("bronze.landings").to_pylist(), key=lambda r: r["sequence"])] == [
        "landed",
        "withdrawn",
        "landed",
    ]


def test_a_table_that_was_moved_away_is_made_anew_and_the_rows_are_told(said: Said, make_world: NewWorld) -> None:
    """The remedy for a contract that rows cannot follow does nothing, or says that it did nothing."""
    world = make_world()
    world.drop(PATH, order_csv([line(500001, "2012-03-01", 2)]))
    world.run()
    before = world.state(("gold",))
    Path(world.lakehouse.store.uri("gold.daily_sales")).rename(world.root / "away")
    code, output, _ = said(world, "rebuild", "gold.daily_sales")
    assert (code, output) == (0, "Recomputed gold.daily_sales: rows 1 inserted, 0 updated, 0 deleted.\n")
    after = world.state(("gold",))
    assert all(before[name].equals(after[name]) for name in before)


def test_what_the_runs_leave_undone_is_told_and_fails_the_command(
    make_world: NewWorld, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A scheduled command is green although what landed never arrives."""
    world = make_world()
    world.drop(PATH, order_csv([line(500001, "2012-03-01")]))
    runner = world.runner()
    monkeypatch.setattr(runner, "_execute", lambda *_: None)
    runner.run()
    with pytest.raises(typer.Exit) as ended:
        conclude(runner.found, runner.damaged.values(), runner.unfinished)
    assert ended.value.exit_code == 1
    assert PATH in capfd.readouterr().err


def test_a_table_that_was_never_handed_off_is_not_called_equal(said: Said, make_world: NewWorld) -> None:
    """A user takes an empty account for a proven one."""
    world = make_world()
    assert said(world, "deploy")[0] == 0
    code, output, _ = said(world, "verify", "--tables", "daily_sales")
    assert code == 1
    assert "not handed off" in output


def test_a_second_sample_does_not_overwrite_the_ledger_of_the_first(said: Said, tmp_path: Path) -> None:
    """The dirt of the first sample can no longer be told."""
    options = ("--start", "2026-09-01", "--days", "1", "--lines-per-day", "5")
    assert said(None, "generate", "--out", str(tmp_path / "one"), *options)[0] == 0
    before = (tmp_path / "ledger.jsonl").read_bytes()
    code, _, error = said(None, "generate", "--out", str(tmp_path / "two"), *options, "--seed", "8")
    assert code == 1
    assert "ledger" in error
    assert (tmp_path / "ledger.jsonl").read_bytes() == before
    assert not (tmp_path / "two").exists()


def test_reset_deletes_local_state_when_told_so_and_nothing_else(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user loses a folder that was named by mistake, or keeps state that was to go."""
    home = tmp_path / "home"
    (home / "tables").mkdir(parents=True)
    monkeypatch.setattr(sys, "stdin", StringIO("n\n"))
    assert said(None, "reset", "--home", str(home))[0] == 1
    assert home.exists()
    (home / "thesis.txt").write_text("")
    code, _, error = said(None, "reset", "--yes", "--home", str(home))
    assert code == 1
    assert "by hand" in error
    (home / "thesis.txt").unlink()
    assert said(None, "reset", "--yes", "--home", str(home))[0] == 0
    assert not home.exists()


def test_reset_leaves_a_home_on_which_a_command_works(said: Said, tmp_path: Path) -> None:
    """A run goes on with files that are gone, and says so in the words of a library."""
    home = tmp_path / "home"
    with in_use(home), in_use(home):
        code, _, error = said(None, "reset", "--yes", "--home", str(home))
    assert code == 1
    assert error.startswith(f"Error: A command works on {home}; wait until it has ended")
    assert home.exists()
    assert said(None, "reset", "--yes", "--home", str(home))[0] == 0
    assert not home.exists()
