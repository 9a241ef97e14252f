"""What `lakehouse doctor` says before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lakehouse_assets.orchestration.automation.doctor import (
    Finding,
    examine,
    home,
    landing,
    python,
    pythons_fit,
    versions_fit,
)
from lakehouse_assets.settings import Settings
from lakehouse_assets_tests.pipeline.world import World


@pytest.mark.parametrize(("running", "fits"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)])
def test_a_python_that_the_packages_do_not_support_is_named(running: tuple[int, int], fits: bool):
    """Else an installation fails somewhere in a compiler."""
    assert bool(python(running).fix) is not fits


@pytest.mark.parametrize(
    ("client", "server", "fix"),
    [
        ("4.2.0", "4.2.0", ""),
        ("4.2.0", "4.2.7.dev3", ""),
        ("4.1.1", "4.2.0", ""),
        ("4.2.0", "5.0.0", ""),
        ("4.2.0", "4.1.0", "use an endpoint of Spark 4.2 or later; this one needs a client of pyspark 4.1"),
        ("4.10.0", "4.9.9", "use an endpoint of Spark 4.10 or later; this one needs a client of pyspark 4.9"),
    ],
)
def test_a_client_that_is_newer_than_its_server_is_named(client: str, server: str, fix: str):
    """Else a run ends in the words of a protocol."""
    assert versions_fit(client, server) == fix


def test_functions_need_the_same_python_on_both_sides():
    """Else the first drop fails in the engine, with a traceback that does not name the cause."""
    assert pythons_fit("3.11", "3.11") == ""
    assert pythons_fit("3.11", "3.12") == "run this under Python 3.12, or give the workers Python 3.11"


def test_folders_that_cannot_be_used_are_named(tmp_path: Path):
    """Else a first run fails after a minute of work."""
    (tmp_path / "file").write_text("")
    given = Settings(home=tmp_path / "file" / "home", landing=tmp_path / "nowhere")
    assert home(given) == Finding(
        "home", f"{tmp_path / 'file'} cannot be written to", "give this user the right, or set LAKEHOUSE_HOME"
    )
    assert landing(given).fix == "create it, or set LAKEHOUSE_LANDING"
    assert home(Settings(home=tmp_path / "new")) == Finding("home", f"{tmp_path / 'new'}, which the first run makes")


def test_what_is_wrong_with_one_thing_does_not_hide_the_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Else a user fixes one thing a run."""
    for name in ("SNOWFLAKE_ACCOUNT", "SNOWFLAKE_USER"):
        monkeypatch.delenv(name, raising=False)
    given = Settings(home=tmp_path, landing=tmp_path / "nowhere", engine="sc://127.0.0.1:1", snowflake="account")
    found = {finding.what: finding for finding in examine(given)}
    assert list(found) == ["python", "home", "landing", "engine", "account", "extras"]
    assert {what for what, finding in found.items() if finding.fix} == {"landing", "engine", "account"}
    assert "Nothing answers at 127.0.0.1:1" in found["engine"].fix
    assert "SNOWFLAKE_ACCOUNT" in found["account"].fix


def test_the_command_says_it_and_exits_by_it(world: World):
    """Else a script goes on where a person would have stopped."""
    done = world.command("doctor", "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {finding["what"]: finding["found"] for finding in json.loads(done.stdout)}
    assert found["engine"] == "embedded answers"
    assert found["account"].startswith("the embedded account answers user ")
    failed = world.command("doctor", LAKEHOUSE_LANDING=str(world.root / "nowhere"))
    assert failed.returncode == 1
    assert "create it, or set LAKEHOUSE_LANDING" in failed.stdout.replace("\n", " ")
