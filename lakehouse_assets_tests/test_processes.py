"""Which process something belongs to: with clocks that are set, process ids that are given out again, and records of
earlier versions.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from lakehouse_assets.core.handoff.state import Intent, is_alive, own_name
from lakehouse_assets.embedded_snowflake.address import AccountAddress, write_address
from lakehouse_assets.embedded_snowflake.lifecycle import _server_process
from lakehouse_assets.orchestration.instance.processes import RunProcess
from lakehouse_assets.processes import ProcessIdentity, has_ended

HOURS = [-5, 1, 30 * 24]

SetClock = Callable[[float], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """What processes see of a clock that was set by so many hours: their start times move with it, for Linux computes
    these from its boot time.
    """
    real = psutil.Process.create_time

    def to(hours: float) -> None:
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: real(self) + hours * 3600)

    return to


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """Another process, which has said who it is in its first line."""
    said = "from lakehouse_assets.core.handoff.state import own_name; print(own_name(), flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", said], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


@pytest.mark.parametrize("hours", HOURS)
def test_a_clock_that_is_set_between_recording_and_judging_kills_nobody(
    set_clock: SetClock, other: subprocess.Popen[str], hours: float
):
    """Else the hand-off of a living run is cleared up after, and its files are pulled from under it."""
    theirs, mine, run = first_line(other), own_name(), RunProcess.current("run")
    set_clock(hours)
    for owner in (theirs, mine, own_name()):
        assert is_alive(owner)
        assert not Intent("id", "T", 0, 1, owner, 10**9, False).abandoned(0)
    assert RunProcess.of_run("run", run.tags()) == run
    assert not run.is_gone()
    other.kill()
    other.wait()
    assert is_alive(theirs) is False
    set_clock(0)
    assert is_alive(theirs) is False


@pytest.mark.parametrize("hours", HOURS)
def test_a_server_is_known_whatever_the_clock_says_since(set_clock: SetClock, tmp_path: Path, hours: float):
    """Else `lakehouse down` waits for a server that it never tells to stop."""
    write_address(tmp_path, AccountAddress("127.0.0.1", 4000, os.getpid()))
    set_clock(hours)
    found = _server_process(tmp_path)
    assert found is not None
    assert found.pid == os.getpid()


def test_a_process_id_that_was_given_out_again_is_not_the_old_process(other: subprocess.Popen[str], tmp_path: Path):
    """Else a stranger keeps the intents of a dead run alive, or gets the signal that was meant for a server."""
    old = ProcessIdentity.parse(first_line(other))
    stranger = old._replace(pid=os.getpid())
    assert stranger.is_gone()
    assert is_alive(stranger.text) is False
    write_address(tmp_path, AccountAddress("127.0.0.1", 4000, os.getpid()))
    file = tmp_path / "server.json"
    file.write_text(file.read_text().replace(ProcessIdentity.current().text, stranger.text))
    assert _server_process(tmp_path) is None


def test_a_process_that_ended_and_was_not_waited_for_has_ended():
    """Else what a killed child of a server left is never cleared up."""
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert has_ended(child.pid)
    child.wait()
    assert has_ended(child.pid)


def test_an_owner_that_an_earlier_version_wrote_lives_while_its_process_id_does(
    set_clock: SetClock, other: subprocess.Popen[str]
):
    """Else an upgrade beside a run takes its files away."""
    first_line(other)
    set_clock(-5)
    earlier = f"{socket.gethostname()}:{other.pid}:{int(psutil.Process(other.pid).create_time()) - 7}"
    assert is_alive(earlier)
    other.kill()
    other.wait()
    assert is_alive(earlier) is False
    assert is_alive(f"elsewhere:{os.getpid()}:1700000000") is None


def test_a_server_of_an_earlier_version_is_known_by_what_it_runs(tmp_path: Path):
    """Else nobody can stop it after an upgrade; or a stranger is stopped in its place."""
    module = "lakehouse_assets.resources.embedded_account"
    for words, known in ((["-m", module], True), ([], False)):
        process = subprocess.Popen(
            [sys.executable, "-c", "print(flush=True); input()", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert process.stdout
            process.stdout.readline()  # for a moment after its start a process has no command line
            (tmp_path / "server.json").write_text(
                f'{{"host": "127.0.0.1", "port": 4000, "pid": {process.pid}, "started": 1.0}}'
            )
            assert (_server_process(tmp_path) is not None) == known
        finally:
            process.kill()
            process.wait()


def test_nothing_is_known_of_processes_elsewhere():
    """Else what another machine or container works on is taken away on a guess."""
    me = ProcessIdentity.current()
    assert ProcessIdentity.parse(me.text) == me
    assert me.is_gone() is False
    assert me._replace(realm=me.realm + "0").is_gone() is None
    assert me._replace(host="elsewhere", realm="other/pid:[1]").is_gone() is None
    assert me._replace(realm="earlier/pid:[1]").is_gone()  # of this host before a restart
    with pytest.raises((KeyError, ValueError)):
        ProcessIdentity.parse("host:1:2")
