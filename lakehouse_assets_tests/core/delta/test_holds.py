"""What somebody reads stays readable while maintenance tidies up."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakehouse_assets.core.delta.holds import FOREIGN_SECONDS, Holds
from lakehouse_assets_tests.core.delta.conftest import THINGS, Workbench, thing

NAME = THINGS.name


def readable(bench: Workbench, version: int) -> bool:
    try:
        DeltaTable(bench.place, version=version).to_pyarrow_table()
        return True
    except (FileNotFoundError, OSError):
        return False


def test_a_vacuum_leaves_what_others_hold(bench: Workbench):
    """Otherwise a run that reads a version fails, or a reader that does not notice serves fewer rows, as soon as the
    next version is published.
    """
    holds = bench.store.holds
    if holds is None:
        pytest.skip(
            "A remote engine may keep tables where this process sees no files; there age alone protects readers."
        )
    bench.store.create(THINGS)
    bench.commit(("U", thing(1)))
    first = bench.store.version(NAME)
    bench.commit(("U", thing(1, note="n")))
    before = bench.store.version(NAME)
    with holds.placed("reader"):
        bench.commit(("U", thing(1, note="m")))
        bench.store.vacuum(NAME, 0, "maintenance")
        assert readable(bench, before)
        bench.store.vacuum(NAME, 0, "")
        assert readable(bench, before)
        bench.store.vacuum(NAME, 0, "reader")
        assert not readable(bench, before)
    assert not readable(bench, first)
    assert holds.oldest(NAME) is None
    assert not list(holds.folder.iterdir())


def test_the_oldest_of_several_holds_counts_and_a_table_that_came_later_is_held_from_its_beginning(tmp_path: Path):
    holds = Holds(tmp_path)
    log = tmp_path / "gold" / "things" / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{3:020}.json").touch()
    with holds.placed("one"):
        (log / f"{4:020}.json").touch()
        with holds.placed("two"):
            assert (holds.oldest("gold.things"), holds.oldest("gold.things", "one"), holds.oldest("gold.later")) == (
                3,
                4,
                0,
            )
        assert holds.oldest("gold.things", "one") is None


def test_the_hold_of_a_dead_process_holds_nothing(tmp_path: Path):
    """Otherwise one killed run keeps every file for ever."""
    (tmp_path / "gold" / "things" / "_delta_log").mkdir(parents=True)
    said = (
        "import sys; from pathlib import Path; from lakehouse_assets.core.delta.holds import Holds\nwith"
        f" Holds(Path({str(tmp_path)!r})).placed('x'): print('held', flush=True); input()"
    )
    process = subprocess.Popen([sys.executable, "-c", said], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    holds = Holds(tmp_path)
    assert holds.oldest("gold.things") == 0
    process.kill()
    process.wait()
    assert holds.oldest("gold.things") is None
    assert not list(holds.folder.iterdir())


def test_the_hold_of_another_machine_counts_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    holds = Holds(tmp_path)
    holds.folder.mkdir()
    (holds.folder / "0-elsewhere-1-1").write_text('{"run": "x", "versions": {"gold.things": 2}}')
    assert holds.oldest("gold.things") == 2
    later = time.time() + FOREIGN_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert holds.oldest("gold.things") is None


def test_a_command_makes_no_folder_where_there_are_no_tables(tmp_path: Path):
    """Otherwise a mistyped home is made in silence."""
    with Holds(tmp_path / "nowhere").placed():
        assert not (tmp_path / "nowhere").exists()
