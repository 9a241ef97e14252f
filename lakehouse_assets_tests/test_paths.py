"""Homes of any name: what can be used works from the first run to the UI, what cannot is refused by name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.paths import plain, plain_uri
from lakehouse_assets_tests.pipeline.world import ROOT, line, order_csv, outside

SAMPLE = ["a b", "50% off", "it's", "ünï"]
USABLE = [
    *SAMPLE,
    'quo"te',
    "star*",
    "plus+&=",
    "{ace}",
    "日本語",
    "semi;colon",
    "-dash",
    "--",
    "a  b ",
    "dot.",
    "~tilde",
    "dollar$HOME",
    "back`tick",
    "pipe|<>",
    "comma,colon:",
    "(paren)!^",
    "emoji😀",
    "combining\u0301",
    "percent%",
]
UNUSABLE = ["x%20y", "%41", "no#1", "what?", "[br]", "back\\slash"]


@pytest.mark.parametrize("name", USABLE)
def test_a_folder_of_any_name_has_a_plain_one(name: str, tmp_path: Path) -> None:
    """Each engine takes another sign of a path for something else."""
    folder = tmp_path / name
    found = plain(folder)
    assert str(found).isascii()
    assert not set(str(found)) & set(" %#?*'\"`$\\&;|<>(){}[]")
    found.mkdir(exist_ok=True)
    (found / "file").write_text("here")
    assert (folder / "file").read_text() == "here"
    assert plain(folder) == found == plain(str(folder))


def test_a_plain_path_stays_as_it_is(tmp_path: Path) -> None:
    """A link where none is needed is one thing more that can be gone."""
    assert plain(tmp_path) == tmp_path
    assert plain_uri("s3://bucket/a b?c#d") == "s3://bucket/a b?c#d"


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_name_that_no_link_helps_is_refused(name: str, tmp_path: Path) -> None:
    """`x%20y` would be looked for as `x y`."""
    with pytest.raises(LakehouseError, match="which delta-rs or DuckDB take for something else; choose another folder"):
        plain(tmp_path / name)


def test_a_link_that_somebody_else_could_have_made_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that all may write to, a link is whatever the first one says it is."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shared = tmp_path / "home" / ".cache" / "lakehouse_assets"
    shared.mkdir(parents=True)
    shared.chmod(0o777)
    assert shared not in plain(tmp_path / "a b").parents


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n == SAMPLE[1] else pytest.mark.heavy) for n in USABLE])
def test_the_whole_application_works_in_a_home_of_any_name(name: str, tmp_path: Path) -> None:
    """Ten of eleven such homes failed, each at another step and in another engine's words."""
    home, landing = tmp_path / name / "home", tmp_path / name / "landing"
    (landing / "orders").mkdir(parents=True)
    (landing / "orders" / "orders_2026-09-01.csv").write_text(
        order_csv([line(500000 + n, "2026-09-01") for n in range(5)])
    )
    environment = {**outside(), "LAKEHOUSE_HOME": str(home), "LAKEHOUSE_LANDING": str(landing), "PYTHONPATH": str(ROOT)}

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        code = "from lakehouse_assets.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", code, *words], env=environment, text=True, capture_output=True, cwd=tmp_path
        )

    try:
        for words, said in (
            (["run"], "1 run in"),
            (["run"], "Nothing to do."),
            (["verify"], "equal"),
            (["status"], "Nothing is pending."),
        ):
            done = command(*words)
            assert done.returncode == 0, done.stderr
            assert said in done.stdout + done.stderr
        found = command("sql", "SELECT COUNT(*) FROM ANALYTICS.SALES_LINES", "--format", "csv").stdout.split()[-1]
        assert found == "5"
        code = "import dagster as dg; i = dg.DagsterInstance.get(); print(len(i.get_runs()))"
        instance = {**environment, "DAGSTER_HOME": str(plain(home) / "dagster")}
        runs = subprocess.run(
            [sys.executable, "-c", code], env=instance, text=True, capture_output=True, check=True
        ).stdout.split()[-1]
        assert runs == "1"  # the UI shows the run of the command
    finally:
        command("down")
    assert {p.name for p in home.iterdir()} >= {"tables", "dagster", "account"}
    assert os.path.realpath(plain(home)) == os.path.realpath(home)
