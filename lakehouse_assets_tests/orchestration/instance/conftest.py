"""A local instance in a temporary folder, and other processes on it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from lakehouse_assets.orchestration.instance.local import ensure_instance, environment

ROOT = Path(__file__).parents[3]
TOY = "lakehouse_assets_tests.orchestration.instance.toy"


def wait_for(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    """Wait until `condition()` is true; fail the test after `seconds`, which only bounds a hanging test."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The DAGSTER_HOME of a fresh local instance, in this process's environment too; `signal` beside it tells the toy
    location to misbehave.
    """
    folder = ensure_instance(tmp_path / "home")
    for name, value in environment(folder).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LAKEHOUSE_TOY_SIGNAL", str(tmp_path / "signal"))
    return folder


@pytest.fixture
def instance(home: Path) -> Iterator[DagsterInstance]:
    with DagsterInstance.from_config(str(home)) as opened:
        yield opened


@pytest.fixture
def in_other_process(home: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start Python code in another process on the same instance: `instance`, `toy`, `execute_range` and `run_range` are
    at hand there.
    """
    started: list[subprocess.Popen[str]] = []
    prelude = (
        "import os, signal, sys, time, warnings\nwarnings.simplefilter('ignore')\nfrom dagster import AssetKey,"
        " DagsterInstance\nfrom lakehouse_assets.orchestration.instance.runs import execute_range\n"
        f"import {TOY} as toy\ninstance ="
        " DagsterInstance.from_config(os.environ['DAGSTER_HOME'])\ndef run_range(first, last):\n    return"
        " execute_range(instance, job_name='load_all', asset_keys=None, start_key=first, end_key=last, defs=toy.defs,"
        f" module={TOY!r})\n"
    )

    def start(code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", prelude + code],
            cwd=ROOT,
            env=dict(os.environ),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
