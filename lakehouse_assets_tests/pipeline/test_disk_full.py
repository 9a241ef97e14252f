"""A disk that fills up in the middle of a run: one sentence, nothing lost, and the next run, once there is room, ends
where an undisturbed one ends.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import dagster as dg
import pytest

from lakehouse_assets.disks import full_disk
from lakehouse_assets.embedded_snowflake import stop
from lakehouse_assets.embedded_snowflake.catalogue import Catalogue
from lakehouse_assets.embedded_snowflake.statement import Statement
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.pipeline.conftest import NewWorld, Sample
from lakehouse_assets_tests.pipeline.world import State, World, differences, line, order_csv

FILLING = """
import os, sys
from pathlib import Path
from lakehouse_assets.core.delta.staging import Lakehouse
from lakehouse_assets.core.handoff import faults
from lakehouse_assets_tests.pipeline.test_disk_full import fill

place, ballast = os.environ["FILL_AT"], Path(os.environ["BALLAST"])

def passing(name):
    if name == place:
        fill(ballast)

scratch, publish, crash_point = Lakehouse.scratch, Lakehouse.publish, faults.crash_point
Lakehouse.scratch = lambda self, name: (passing(f"stage {name}"), scratch(self, name))[1]
Lakehouse.publish = lambda self, staged: (passing(f"commit {staged.contract.name}"), publish(self, staged))[1]
faults.crash_point = lambda name: (passing(name), crash_point(name))[1]
passing("start")

from lakehouse_assets.cli import main
main()
"""
"""The `lakehouse` command, which fills the disk when it passes the place that the environment names."""


def fill(ballast: Path) -> None:
    """Write to a file until nothing more goes onto its disk."""
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with suppress(OSError):  # there is no room for so much
                while True:
                    file.write(bytes(size))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 MB."""
    if (
        sys.platform != "linux"
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", tmp_path], capture_output=True
        ).returncode
    ):
        pytest.skip("only root on Linux may mount a small disk")
    yield tmp_path
    stop(tmp_path / "home")
    subprocess.run(["umount", "-l", tmp_path], check=True)


def run_until_full(world: World, place: str, ballast: Path) -> subprocess.CompletedProcess[str]:
    environment = world.process_environment(FILL_AT=place, BALLAST=str(ballast))
    return subprocess.run(
        [sys.executable, "-c", FILLING, "run"], env=environment, cwd=world.root, text=True, capture_output=True
    )


def assert_says_so(ended: subprocess.CompletedProcess[str], disk: Path) -> None:
    said = [line for line in ended.stderr.splitlines() if line.startswith("Error")]
    assert len(said) == 1, ended.stderr
    assert said[0].startswith(f"Error: The disk of {disk}")
    assert "is full (" in said[0]
    assert "free some space there and run again" in said[0]
    assert "Traceback" not in ended.stdout + ended.stderr
    assert ended.returncode == 1


PHASES = {
    "bronze": "stage bronze.orders",
    "journal": "commit bronze.landings",
    "silver": "stage silver.order_lines-candidates",
    "gold": "commit gold.sales_lines",
    "upload": "exported",
    "account": "inserted",
}


@pytest.mark.heavy
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("phase", PHASES)
def test_a_run_whose_disk_fills_up_says_so_and_is_finished_by_the_next(
    phase: str, disk: Path, sample: Sample, loaded: tuple[World, State]
) -> None:
    """A user reads of SQLite and `os error 28`, loses rows, or has an account, a journal or an event log that no later
    run can use.
    """
    with closing(World(disk, disk / "home", "LAKEHOUSE")) as world:
        world.take(sample.landing)
        ballast = disk / "ballast"
        assert_says_so(run_until_full(world, PHASES[phase], ballast), disk)
        again = world.command("run")
        assert_says_so(again, disk)  # as long as it is full
        ballast.unlink()
        finished = world.command("run")
        assert "Error" not in finished.stderr
        assert world.command("verify").returncode == 0
        assert not world.runner().found
        assert not differences(loaded[1], world.state(("bronze", "silver", "gold", "snowflake")))


def test_a_run_that_begins_on_a_full_disk_says_so(disk: Path) -> None:
    """The same before anything is there."""
    with closing(World(disk, disk / "home", "LAKEHOUSE")) as world:
        assert_says_so(run_until_full(world, "start", disk / "ballast"), disk)


@pytest.mark.parametrize("full", ["staging", "tables"])
def test_a_step_whose_disk_is_full_says_so_to_whoever_looks_at_its_run(
    full: str, disk: Path, make_world: NewWorld
) -> None:
    """In the UI and in an alert a user reads the words of Sail or delta-rs, and no word of what to do."""
    world = make_world()
    world.drop("orders/orders_2012-05-01.csv", order_csv([line(500000, "2012-05-01")]))
    world.settings = world.settings.model_copy(update={full: str(disk / full)})
    world.load()
    (disk / full).mkdir()
    fill(disk / "ballast")
    told = f"LakehouseError: The disk of {disk / full} is full ("
    with pytest.raises(LakehouseError, match=re.escape(told.partition(": ")[2])):
        world.run()
    (run,) = world.instance.get_runs()
    # with its tables' disk full a run does not come as far as a step
    kind = dg.DagsterEventType.STEP_FAILURE if full == "staging" else dg.DagsterEventType.RUN_FAILURE
    said = [str(entry.dagster_event) for entry in world.instance.all_logs(run.run_id, of_type=kind)]
    assert said
    assert all(told in text for text in said), said
    (disk / "ballast").unlink()
    world.run()
    assert not world.runner().found


def test_a_database_that_could_not_be_made_on_a_full_disk_is_made_later(disk: Path) -> None:
    """DuckDB leaves a file that it does not open again, so that the account would be broken for good."""
    (disk / "account").mkdir()
    account = Catalogue(disk / "account")
    fill(disk / "ballast")
    with pytest.raises(Exception, match="No space left"):
        account.connect("SALES", "OPS")
    (disk / "ballast").unlink()
    Statement(account.connect("SALES", "OPS")).run("CREATE TABLE T AS SELECT 1 AS a")
    account.close()
    account = Catalogue(disk / "account")
    statement = Statement(account.connect("SALES", "OPS"))
    statement.run("SELECT table_name FROM INFORMATION_SCHEMA.TABLES")
    assert statement.fetchall() == [("T",)]
    account.close()


@pytest.mark.parametrize(
    "said",
    [
        "[Errno 28] No space left on device",
        "IO error: No space left on device (os error 28)",
        "database or disk is full",
        "Disk quota exceeded",
    ],
)
def test_every_way_to_say_it_is_understood(said: str, tmp_path: Path) -> None:
    """Five libraries write, each with words of its own; some clear up what they had begun, so that there is room when
    the error arrives.
    """
    assert (full_disk(RuntimeError(said), [tmp_path / "not" / "there"]) or "").startswith(
        f"The disk of {tmp_path}/not/there is full ("
    )


def test_another_error_is_left_as_it_is(tmp_path: Path) -> None:
    """Otherwise every mistake would be put down to the disk."""
    assert full_disk(ValueError("There is no table named spacecraft"), [tmp_path]) is None
