"""The command `lakehouse stream`, killed at random while messages come, and stopped as a system stops it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("confluent_kafka", reason="the extra `streaming` is not installed")

from lakehouse_assets.core.delta.check import check
from lakehouse_assets_tests.mock_broker import MockBroker
from lakehouse_assets_tests.streams.conftest import Taken
from lakehouse_assets_tests.streams.test_process import TOPIC, numbered, there

ROOT = Path(__file__).parents[2]


class Command:
    """`lakehouse stream` on the tables of `taken`, in a process of its own."""

    def __init__(self, taken: Taken, broker: MockBroker, *options: str):
        landing = taken.root / "landing"
        landing.mkdir(exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LAKEHOUSE_")}
        environment |= {
            "LAKEHOUSE_KAFKA": broker.address,
            "LAKEHOUSE_HOME": str(taken.root),
            "LAKEHOUSE_LANDING": str(landing),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from lakehouse_assets.cli import main; main()", "stream", *options],
            env=environment,
            cwd=taken.root,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def said(self, timeout: float = 120) -> tuple[int, str]:
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out + err


def versions(taken: Taken) -> int:
    store = taken.lakehouse.store
    return store.version("bronze.web_events") if store.exists("bronze.web_events") else -1


@pytest.mark.parametrize(("kills", "messages"), [(3, 6_000), pytest.param(30, 120_000, marks=pytest.mark.heavy)])
def test_kills_at_random_lose_and_double_nothing(taken: Taken, broker: MockBroker, kills: int, messages: int) -> None:
    """Otherwise what a process does between taking messages and committing them would be lost or done twice."""
    lot, sent = random.Random(kills), 0
    for _ in range(kills):
        broker.send(TOPIC, numbered(sent, messages // kills // 2))
        sent += messages // kills // 2
        before, command = versions(taken), Command(taken, broker, "--every", "0.05", "--max-rows", "100")
        while versions(taken) <= before + 1 and command.process.poll() is None:
            time.sleep(0.01)
        broker.send(TOPIC, numbered(sent, messages // kills // 2))
        sent += messages // kills // 2
        time.sleep(lot.random() * 0.3)
        assert command.process.poll() is None, command.said()
        command.process.kill()
        command.process.wait()
    code, said = Command(taken, broker, "--once").said()
    assert code == 0, said
    assert len(there(broker)) == sent
    assert taken.offsets() == there(broker)
    assert check(taken.lakehouse.store, "bronze.web_events", full=True).findings == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_its_batch(taken: Taken, broker: MockBroker, number: signal.Signals) -> None:
    """Otherwise a restart of the machine would be a crash, and the command would end with a traceback."""
    broker.send(TOPIC, numbered(0, 100))
    command = Command(taken, broker, "--every", "0.1")
    while versions(taken) < 1 and command.process.poll() is None:
        time.sleep(0.02)
    command.process.send_signal(number)
    code, said = command.said()
    assert (code, said.strip()) == (0, f"Appended {len(taken.offsets()):,} messages to bronze.web_events in 1 commits.")


def test_what_is_watched_is_shown(taken: Taken, broker: MockBroker) -> None:
    """Otherwise nobody sees whether a stream keeps up."""
    broker.send(TOPIC, numbered(0, 100))
    code, said = Command(taken, broker, "--once", "--watch").said()
    assert code == 0, said
    assert "web-events → bronze.web_events" in said
    assert "behind the topic" in said
    assert "100" in said


@pytest.mark.parametrize(("command", "code"), [("stream", 1), ("status", 0)])
def test_without_its_package_it_says_what_to_install(
    broker: MockBroker, tmp_path: Path, command: str, code: int
) -> None:
    """Otherwise an installation without the extra would end in a traceback, or pass the setting over."""
    hidden = "import sys; sys.modules['confluent_kafka'] = None; "
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAKEHOUSE_")}
    environment |= {"LAKEHOUSE_KAFKA": broker.address, "LAKEHOUSE_HOME": str(tmp_path)}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    found = subprocess.run(
        [sys.executable, "-c", f"{hidden}from lakehouse_assets.cli import main; main()", command],
        env=environment,
        cwd=tmp_path,
        text=True,
        capture_output=True,
    )
    assert found.returncode == code
    assert "pip install 'lakehouse_assets[streaming]'" in " ".join((found.stdout + found.stderr).split())
    assert "Traceback" not in found.stderr
