"""A night in a bad data centre: drops arrive in any order and again, while the servers and their runs are killed."""

import json
import os
import random
import signal
import time
from contextlib import suppress
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from deltalake import DeltaTable

from lakehouse_assets.core.contracts import CONTRACTS
from lakehouse_assets.orchestration.automation.inflight import only_refused
from lakehouse_assets.orchestration.instance.processes import PROCESS_TAG
from lakehouse_assets.sample.generate import generate
from lakehouse_assets_tests.orchestration.instance.conftest import wait_for
from lakehouse_assets_tests.pipeline.world import State, bag, differences, drops_of
from lakehouse_assets_tests.ui.conftest import Site

DROPS = int(os.environ.get("LAKEHOUSE_SOAK_DROPS", "1000"))
REDELIVERED = 0.2
"""The share of drops that come a second time."""
KILLS = 3
START = date(2025, 1, 1)
"""Long enough ago: a drop of tomorrow is refused by its name."""
PAUSE = 0.25
"""Seconds between two drops, so that the sensor sees them come and not all at once."""


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


def kill_run(site: Site) -> None:
    """Kill the process of a run that is loading, as the kernel does when memory runs out, when there is one."""

    def loading() -> list[tuple[str, int]]:
        runs = site.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        return [
            (run.run_id, int(run.tags[PROCESS_TAG].split("pid=")[1].split()[0]))
            for run in runs
            if PROCESS_TAG in run.tags
        ]

    def killed() -> bool:
        for run_id, pid in loading():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                # The sweep of the next tick finds that the process is gone; one that had just ended is no victim.
                return site.ended(run_id) == dg.DagsterRunStatus.FAILURE
        return False

    wait_for(killed, "a run to kill", 600)


@pytest.mark.heavy
@pytest.mark.timeout(7200)
def test_whatever_dies_the_state_is_that_of_one_clean_run(tmp_path: Path):
    """Otherwise a power cut, or a restart in the wrong moment, would lose or double sales, and nobody could say
    which.
    """
    dice = random.Random(DROPS)
    pool = tmp_path / "pool"
    generate(pool, START, DROPS // 3, 30, 9)
    paths = dice.sample(drops_of(pool), DROPS)
    site = Site(tmp_path / "site", sample=False, apart=True, LAKEHOUSE_RETRY_SECONDS="2")
    try:
        site.switch_on("landing_sensor")
        arriving = [*paths, *dice.choices(paths, k=int(DROPS * REDELIVERED))]
        dice.shuffle(arriving)
        deaths = ["daemon", "webserver", "run"] * KILLS
        dice.shuffle(deaths)
        every = len(arriving) // (len(deaths) + 1)
        for number, path in enumerate(arriving):
            arrive(pool, site.landing, path, number)
            time.sleep(PAUSE)
            if number % every == every - 1 and deaths:
                victim = deaths.pop()
                if victim == "run":
                    # so that there is something to load, if all has been loaded meanwhile
                    arrive(pool, site.landing, path, number)
                    kill_run(site)
                else:
                    site.kill_server(victim)
                    time.sleep(dice.uniform(0, 20))
                    site.start()
        assert not deaths
        wait_for(site.loaded, "everything to be loaded", 3600)
        runs = site.instance.get_runs()
        ended = {status.value: sum(run.status == status for run in runs) for status in {run.status for run in runs}}
        print(f"{len(arriving) + KILLS} drops, {len(runs)} runs: {ended}")
        failed = [
            run
            for run in runs
            if run.status == dg.DagsterRunStatus.FAILURE and not only_refused(site.instance, run.run_id)
        ]
        assert len(failed) == KILLS, failed
        # One run at a time and a tick every 30 s: never one a drop.
        assert len(runs) < len(arriving) / 5

        status = json.loads(site.python("-m", "lakehouse_assets.cli", "status", "--format", "json"))
        assert sum(batch["drops"] for batch in status["batches"]) == len(arriving) + KILLS
        assert status["pending"]["refused_names"] == {}
        clean = tmp_path / "clean"
        site.python("-m", "lakehouse_assets.cli", "run", "--home", str(clean), "--quiet", expect=(0, 1))
        assert differences(state(clean), state(site.home)) == ""
        assert "DIFFERS" not in site.python("-m", "lakehouse_assets.cli", "verify")
        site.python("-m", "lakehouse_assets.cli", "down", "--home", str(clean))
    finally:
        site.close()
