"""A source, a table and an area of one's own, each from outside the product, as a user adds them."""

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lakehouse_assets

PACKAGE = Path(lakehouse_assets.__file__).parent
WEATHER = "Date,Station Name,rain_mm,is_windy\n" + "".join(
    f"2026-09-{day:02},Tower {station},{day}.{station}5,{'true' if day % 3 else 'false'}\n"
    for day in range(1, 9)
    for station in (1, 2)
)


class Project:
    """A project of one's own, and the command in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("LAKEHOUSE_", "DAGSTER_"))}
        self.environment["PYTHONPATH"] = os.pathsep.join([str(folder), str(PACKAGE.parent)])

    def lakehouse(self, *arguments: str, fails: bool = False, **settings: str) -> str:
        """What the command prints; with stderr where it is to fail."""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "lakehouse_assets.cli", *arguments],
            cwd=self.folder,
            env=self.environment | settings,
            capture_output=True,
            text=True,
        )
        assert (done.returncode != 0) == fails, done.stderr
        return done.stdout + done.stderr if fails else done.stdout

    def files(self) -> dict[str, str]:
        """Every file of the project that somebody writes → the hash of its content."""
        found = (f for f in self.folder.rglob("*") if f.is_file() and not {".lakehouse", "__pycache__"} & set(f.parts))
        return {
            f.relative_to(self.folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest()
            for f in found
            if not f.relative_to(self.folder).as_posix().startswith("data/")
        }

    def land(self, source: str, name: str, text: str) -> None:
        file = self.folder / "data" / "landing" / source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path / "my_house")
    made.folder.mkdir()
    made.lakehouse("init", ".")
    yield made
    made.lakehouse("down")


def product() -> str:
    """A hash of the product's own code."""
    files = sorted(f for f in PACKAGE.rglob("*.py"))
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


def test_a_source_and_a_table_are_one_file_each_and_run_as_they_are_written(project: Project) -> None:
    """Else a stranger has to learn the whole house before one file of theirs is in Snowflake."""
    before, own = project.files(), product()
    (project.folder / "weather.csv").write_text(WEATHER)
    project.lakehouse("new", "source", "weather", "--sample", "weather.csv", "--served")
    after = project.files()
    assert after.keys() - before.keys() - {"weather.csv"} == {
        "my_house/weather.py",
        "tests/test_weather.py",
        "tests/weather_sample.csv",
    }
    project.lakehouse("new", "table", "wet_days", "--from", "silver.weather", "--served")
    assert project.files().keys() - after.keys() == {"my_house/wet_days.py"}
    assert {name for name in before if project.files()[name] != before[name]} == set()
    assert product() == own

    broken = WEATHER.splitlines(keepends=True)[0] + "2026-09-20,Tower 1,much,true\n2026-09-20,Tower 2,1.5,false\n"
    project.land("weather", "weather_2026-09-10.csv", WEATHER)
    project.land("weather", "weather_2026-09-11.csv", broken)
    project.lakehouse("run")
    project.lakehouse("verify")
    status = json.loads(project.lakehouse("status", "--format", "json"))
    accounts = {b["batch_date"]: (b["landed"], b["published"], b["quarantined"]) for b in status["batches"]}
    assert accounts == {"2026-09-10": (16, 16, 0), "2026-09-11": (2, 1, 1)}
    query = "SELECT COUNT(*) AS N, SUM(RAIN_MM) AS RAIN, MAX(DATE) AS LAST FROM ANALYTICS.{}"
    expected = sum(float(line.split(",")[2]) for line in WEATHER.splitlines()[1:]) + 1.5
    for table in ("WEATHER", "WET_DAYS"):
        (row,) = json.loads(project.lakehouse("sql", query.format(table), "--format", "json"))
        assert (row["n"], float(row["rain"]), row["last"]) == (17, pytest.approx(expected), "2026-09-20")
    assert "rain_mm.type" in project.lakehouse("quarantine", "list")


@pytest.mark.heavy
def test_a_source_that_is_pulled_runs_as_it_is_written(project: Project, tmp_path: Path) -> None:
    """Else whoever has no files has to write the first source by hand."""
    (project.folder / "shops.csv").write_text("ShopNo,Town,changed\n1,Graz,2026-09-01 10:00\n2,Linz,2026-09-01 11:00\n")
    new = ("new", "source", "shops", "--sample", "shops.csv", "--served", "--pulled")
    for wrong, said in (
        ("ShopNo", "--pulled is 'ShopNo'; write KEY:STAMP with two columns of the sample, which are shop_no, town"),
        ("shop_no:gone", "--pulled is 'shop_no:gone'; write KEY:STAMP"),
        ("shop_no:town", "--pulled names town as the time of change, which holds no times"),
    ):
        assert said in project.lakehouse(*new, wrong, fails=True)
    project.lakehouse(*new, "ShopNo:changed")
    with sqlite3.connect(tmp_path / "shops.sqlite") as connection:
        connection.execute("CREATE TABLE shops (ShopNo INTEGER, Town TEXT, changed TEXT)")
        connection.execute("INSERT INTO shops VALUES (1, 'Graz', '2026-09-01 10:00'), (7, 'Wels', '2026-09-02')")
    connection.close()
    project.lakehouse("run", LAKEHOUSE_SHOPS_DB=f"sqlite:///{tmp_path / 'shops.sqlite'}")
    query = "SELECT SHOP_NO, TOWN FROM ANALYTICS.SHOPS ORDER BY 1"
    rows = json.loads(project.lakehouse("sql", query, "--format", "json"))
    assert [(row["shop_no"], row["town"]) for row in rows] == [(1, "Graz"), (7, "Wels")]


AREA = '''"""An area without tables: an asset, a command, what is pending, an alert."""

import dagster as dg
import typer

from lakehouse_assets.orchestration.area import Area


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["north", "south"]))
def forecast() -> None:
    """No Delta table, and not by day."""


def commands() -> typer.Typer:
    app = typer.Typer(help="The weather.")

    @app.command("tell")
    def tell() -> None:
        """Say it."""
        print("It rains.")

    @app.command("ask")
    def ask() -> None:
        """Ask it."""

    return app


AREA = Area(
    name="outlook",
    definitions=lambda settings: dg.Definitions(assets=[forecast]),
    commands=commands,
    pending=lambda lakehouse: {"forecast": "it was never made"},
    alerts=lambda lakehouse: {"storm": "A storm is coming; close the windows."},
)
'''


def test_help_is_had_where_a_setting_is_wrong(project: Project) -> None:
    """Else whoever has mistyped a setting cannot even ask what there is."""
    assert "quarantine" in project.lakehouse("--help", LAKEHOUSE_SNOWFLAKE="real", LAKEHOUSE_AREAS="my_house")


def test_the_folders_that_dg_is_named_are_there(project: Project) -> None:
    """Else `dg check defs` ends with a traceback about a folder that nobody needs."""
    named = tomllib.loads((project.folder / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    for module in (named["root_module"], named["defs_module"]):
        assert (project.folder / module / "__init__.py").is_file()


def test_an_area_is_a_folder_and_a_line(project: Project) -> None:
    """Else a capability finds no room, or its commands and alerts are nowhere."""
    own, folder = product(), project.folder / "outlook"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "area.py").write_text(AREA)
    both: dict[str, Any] = {"LAKEHOUSE_AREAS": "my_house outlook"}
    assert project.lakehouse("outlook", "tell", **both) == "It rains.\n"
    assert "outlook" in project.lakehouse("--help", **both)
    assert "No such command" in project.lakehouse("outlook", "tell", fails=True)
    status = json.loads(project.lakehouse("status", "--format", "json", **both))
    assert status["pending"]["areas"] == {"outlook": {"forecast": "it was never made"}}
    keys = "from lakehouse_assets.definitions import defs; print(sorted(k.to_user_string() for k in defs().resolve_asset_graph().get_all_asset_keys()))"  # fmt: skip  # noqa: E501
    listed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", keys],
        cwd=project.folder,
        env=project.environment | both,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "A storm is coming; close the windows." in project.lakehouse("alerts", fails=True, **both)
    assert listed.strip() == "['bronze/landings', 'forecast', 'silver/intake']"
    assert product() == own


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["new", "source", "Weather", "--sample", "weather.csv"], "cannot be the name of a source"),
        (["new", "source", "select", "--sample", "weather.csv"], "a word that SQL reserves"),
        (["new", "source", "lambda", "--sample", "weather.csv"], "for Python uses it"),
        (["new", "source", "copied", "--sample", "weather.csv", "--served"], "for Python uses it"),
        (["new", "table", "typed", "--from", "silver.intake"], "for Python uses it"),
        (["new", "table", "select", "--from", "silver.intake"], "a word that SQL reserves"),
        (["new", "source", "intake", "--sample", "weather.csv"], "There is a table silver.intake already"),
        (["new", "source", "weather", "--sample", "nothing.csv"], "There is no sample"),
        (["new", "source", "weather", "--sample", "weather.csv", "--domain", "1st"], "cannot be the name of a domain"),
        (["new", "table", "wet", "--from", "silver.nothing"], "There is no table silver.nothing"),
        (["init", "."], "is there already; nothing was written"),
    ],
)
def test_what_cannot_be_written_is_told_in_a_sentence(project: Project, arguments: list[str], told: str) -> None:
    """Else a user meets a traceback in their first minute."""
    (project.folder / "weather.csv").write_text(WEATHER)
    before = project.files()
    assert told in project.lakehouse(*arguments, fails=True)
    assert project.files() == before
