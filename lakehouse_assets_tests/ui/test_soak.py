"""A night in a bad data centre: drops arrive in any order and again, while the servers and their runs are killed."""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import dagster as dg
import psutil
import pytest
from deltalake import DeltaTable

from lakehouse_assets.contracts import CONTRACTS
from lakehouse_assets.instance.processes import PROCESS_TAG
from lakehouse_assets.sample.generate import generate
from lakehouse_assets_tests.instance.conftest import wait_for
from lakehouse_assets_tests.pipeline.world import State, bag, differences, drops_of
from lakehouse_assets_tests.ui.conftest import FIRST, Site

DROPS = int(os.environ.get("LAKEHOUSE_SOAK_DROPS", "100"))
KILLS = 3


def state(home: Path) -> State:
    """Every silver and gold table as a bag."""
    tables = {name: home / "tables" / name.replace(".", "/") for name in CONTRACTS if not name.startswith("bronze")}
    return {name: bag(DeltaTable(str(uri)).to_pyarrow_table()) for name, uri in tables.items()}


def arrive(pool: Path, landing: Path, path: str, number: int) -> None:
    """A drop lands; where it has landed before, its content comes as a re-delivery under another name."""
    target = landing / path
    while target.exists():
        target = target.with_name(f"again_{number}_{target.name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes((pool / path).read_bytes())


def kill_server(site: Site, words: str) -> None:
    """Kill one of the servers; `dagster dev` goes down with it, and is started again as a supervisor would."""
    for process in psutil.Process(site.server.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if words in " ".join(process.cmdline()):
                process.kill()
    site.kill()
    site.start()


def kill_run(site: Site) -> None:
    """Kill the process of the run that is loading, as the kernel does when memory runs out."""

    def victims() -> list[int]:
        runs = site.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        return [int(run.tags[PROCESS_TAG].split("pid=")[1].split()[0]) for run in runs if PROCESS_TAG in run.tags]

    wait_for(victims, "a run to kill", 300)
    for pid in victims():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.heavy
@pytest.mark.timeout(7200)
def test_whatever_dies_the_state_is_that_of_one_clean_run(tmp_path: Path):
    """Otherwise a power cut, or a restart in the wrong moment, would lose or double sales, and nobody could say which."""
    dice = random.Random(DROPS)
    pool = tmp_path / "pool"
    generate(pool, FIRST, DROPS // 3, 30, 9)
    paths = drops_of(pool)[:DROPS]
    site = Site(tmp_path / "site", sample=False, LAKEHOUSE_RETRY_SECONDS="2")
    try:
        site.switch_on("landing_sensor")
        arriving = [*paths, *dice.choices(paths, k=DROPS // 5)]
        dice.shuffle(arriving)
        events = ["daemon", "webserver", "run"] * KILLS
        dice.shuffle(events)
        every = max(1, len(arriving) // (len(events) + 1))
        for number, path in enumerate(arriving):
            arrive(pool, site.landing, path, number)
            if number % every == every - 1 and events:
                event = events.pop()
                time.sleep(dice.uniform(0, 20))
                if event == "run":
                    arrive(pool, site.landing, path, number)  # so that there is something to load, if all has been loaded meanwhile
                    kill_run(site)
                else:
                    kill_server(site, {"daemon": "dagster._daemon", "webserver": "dagster_webserver"}[event])
        assert not events
        wait_for(lambda: site.loaded(), "everything to be loaded", 3600)
        runs = site.instance.get_runs()
        ended = {status: sum(run.status == status for run in runs) for status in {run.status for run in runs}}
        print(f"{len(arriving)} drops, {len(runs)} runs: {ended}")

        clean = tmp_path / "clean"
        site.python("-m", "lakehouse_assets.cli", "run", "--home", str(clean), "--quiet", expect=(0, 1))
        assert differences(state(clean), state(site.home)) == ""
        assert "DIFFERS" not in site.python("-m", "lakehouse_assets.cli", "verify")
        site.python("-m", "lakehouse_assets.cli", "down", "--home", str(clean))
    finally:
        site.close()
