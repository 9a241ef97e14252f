"""The local instance and the `.env` that names it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance
from dotenv import dotenv_values

from lakehouse_assets.cli import context
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.instance import local
from lakehouse_assets.orchestration.instance.event_log import BatchingSqliteEventLogStorage
from lakehouse_assets.orchestration.instance.local import ensure_instance, environment, write_env_file
from lakehouse_assets.paths import plain
from lakehouse_assets.settings import Settings
from lakehouse_assets_tests.orchestration.instance.conftest import ROOT


@pytest.mark.parametrize("name", ["home", "a home with 'quotes\" and spaces", "heimat-ü"])
def test_the_instance_stores_everything_below_its_home(name: str, tmp_path: Path):
    """Otherwise command, UI and daemon would not share their runs, or leave files where nobody looks for them."""
    folder = ensure_instance(tmp_path / name)
    with DagsterInstance.from_config(str(folder)) as instance:
        assert type(instance.event_log_storage) is BatchingSqliteEventLogStorage
        instance.report_engine_event("hello", job_name="job", run_id="run")
    assert (folder / "history" / "runs" / "run.db").is_file()
    assert (folder / "history" / "runs.db").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_the_instance_survives_being_ensured_again(tmp_path: Path):
    """Otherwise every command would touch the file under a running server."""
    file = ensure_instance(tmp_path) / "dagster.yaml"
    before = file.stat().st_mtime_ns
    assert ensure_instance(tmp_path) == file.parent
    assert file.stat().st_mtime_ns == before
    file.write_text("telemetry: {enabled: true}\n")
    ensure_instance(tmp_path)
    assert "event_log_storage" in file.read_text()


def test_the_instance_retries_lost_runs_only_and_keeps_a_place_beside_a_backfill(tmp_path: Path):
    """Otherwise a refused drop would be loaded again and again, or a long backfill would hold up what lands."""
    with DagsterInstance.from_config(str(ensure_instance(tmp_path))) as instance:
        assert instance.run_retries_enabled
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert instance.run_monitoring_enabled
        assert not instance.telemetry_enabled
        limits = instance.get_concurrency_config().run_queue_config
        assert limits is not None
        of_backfills = {limit["key"]: limit["limit"] for limit in limits.tag_concurrency_limits}
        assert of_backfills["dagster/backfill"] < limits.max_concurrent_runs


def test_both_deployments_agree_on_limits_and_retries():
    """Otherwise what has been tried on a laptop would behave differently for the team."""
    one, team = (yaml.safe_load(file.read_text()) for file in (local.TEMPLATE, ROOT / "deploy" / "dagster.team.yaml"))
    for section in ("run_retries", "run_monitoring", "sensors", "schedules", "backfills", "retention", "telemetry"):
        assert one[section] == team[section], section
    assert one["concurrency"]["runs"]["tag_concurrency_limits"] == team["concurrency"]["runs"]["tag_concurrency_limits"]


def test_a_missing_template_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Otherwise a user of an incomplete installation would get a traceback."""
    monkeypatch.setattr(local, "TEMPLATE", tmp_path / "nowhere.yaml")
    with pytest.raises(LakehouseError, match=r"nowhere\.yaml is missing: .*`make`"):
        ensure_instance(tmp_path)


def test_the_users_lines_in_the_env_file_stay_and_win(tmp_path: Path):
    """Otherwise `make` would destroy credentials, or move a user's instance."""
    file = tmp_path / ".env"
    theirs = "# mine\nSNOWFLAKE_PASSWORD='p#w \"x\"'\n\nexport DAGSTER_HOME=/srv/dagster\nLAST=no-newline"
    file.write_text(theirs)
    file.chmod(0o600)
    for folder in ("first", "second"):
        write_env_file(file, environment(tmp_path / folder))
    assert file.read_text().startswith(theirs + "\n")
    values = dotenv_values(file)
    assert values["DAGSTER_HOME"] == "/srv/dagster"
    assert values["SNOWFLAKE_PASSWORD"] == 'p#w "x"'
    assert values["LAST"] == "no-newline"
    assert values["DAGSTER_EVENT_BATCH_SIZE"] == "1000"
    assert file.read_text().count("DAGSTER_EVENT_BATCH_SIZE") == 1
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["plain", "with spaces", "it's $HOME"])
def test_the_env_file_names_the_instance_whatever_its_path(name: str, tmp_path: Path):
    """Otherwise dagster would start on a temporary instance, and the command's runs would be missing from the UI."""
    home, file = tmp_path / name, tmp_path / ".env"
    command = [
        sys.executable,
        "-m",
        "lakehouse_assets.orchestration.instance.local",
        "--home",
        str(home),
        "--env-file",
        str(file),
    ]
    subprocess.run(command, check=True, cwd=ROOT)
    assert dotenv_values(file)["DAGSTER_HOME"] == str(plain(home) / "dagster")
    write_env_file(file, environment(home / "moved"))
    assert dotenv_values(file)["DAGSTER_HOME"] == str(home / "moved")
    assert file.read_text().count("DAGSTER_HOME") == 1


COMMAND = """
import os
from pathlib import Path
from dotenv import load_dotenv
from lakehouse_assets.cli import context
from lakehouse_assets.orchestration.instance.local import environment_of_command
load_dotenv(Path(".env"))
os.environ.update(environment_of_command(context.settings(HOME).home, os.environ))
print(os.environ["DAGSTER_HOME"], os.environ["DAGSTER_EVENT_BATCH_SIZE"])
"""
DAGSTER_DEV = """#!/bin/sh
exec {python} -c 'import os; from dotenv import load_dotenv; load_dotenv(".env"); print(os.environ["DAGSTER_HOME"], os.environ["DAGSTER_EVENT_BATCH_SIZE"])'
"""  # noqa: E501


class Checkout:
    """A folder with the Makefile of this project, whose environment has been installed: Python is this one, and
    `dagster` says which instance it would take.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        shutil.copy(ROOT / "Makefile", folder)
        for name in ("pyproject.toml", "constraints.txt", "setup.py"):
            (folder / name).touch()
        programs = folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        for name, text in {
            "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
            "dagster": DAGSTER_DEV.format(python=sys.executable),
        }.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        (folder / ".venv" / ".installed").touch()

    def ask(self, *command: str, **more: str) -> str:
        outside = {k: v for k, v in os.environ.items() if not k.startswith(("LAKEHOUSE_", "DAGSTER_", "MAKE"))}
        done = subprocess.run(
            command, cwd=self.folder, env={**outside, "PYTHONPATH": str(ROOT), **more}, text=True, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().splitlines()[-1].split()[0]

    def of_the_ui(self, **more: str) -> str:
        return self.ask("make", "ui", **more)

    def of_the_command(self, home: Path | None = None, **more: str) -> str:
        return self.ask(
            sys.executable, "-c", COMMAND.replace("(HOME)", f"(home={str(home)!r})" if home else "()"), **more
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    (tmp_path / "checkout").mkdir()
    return Checkout(tmp_path / "checkout")


@pytest.mark.parametrize("said", ["nowhere", "in .env", "in the environment"])
def test_make_ui_and_the_command_are_on_one_instance_wherever_the_home_is_said(
    said: str, checkout: Checkout, tmp_path: Path
):
    """Otherwise the runs of the command would be missing from the UI, and the two would load different tables."""
    home = checkout.folder / ".lakehouse" if said == "nowhere" else tmp_path / "elsewhere"
    more: Mapping[str, Any] = {"LAKEHOUSE_HOME": str(home)} if said == "in the environment" else {}
    if said == "in .env":
        checkout.of_the_ui()  # as when the line is added later
        with (checkout.folder / ".env").open("a") as file:
            file.write(f"LAKEHOUSE_HOME={home}\n")
    assert checkout.of_the_ui(**more) == checkout.of_the_command(**more) == str(home / "dagster")


def test_an_instance_of_the_users_own_is_left_to_command_and_ui(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Otherwise the runs of the command would not be among those of the team."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(own))
    with context.instance(Settings(home=tmp_path / "home")) as instance:
        assert instance.root_directory == str(own)
    assert not (tmp_path / "home").exists()
    (checkout.folder / ".env").write_text(f"DAGSTER_HOME={own}\n")
    assert checkout.of_the_ui() == checkout.of_the_command() == str(own)
    assert (own / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"


def test_another_home_given_to_the_command_has_an_instance_of_its_own(checkout: Checkout, tmp_path: Path):
    """Otherwise runs over a trial's tables would be shown as loads of the real ones."""
    checkout.of_the_ui()
    (tmp_path / "trial").mkdir()
    for asked in (
        checkout.of_the_command(tmp_path / "trial"),
        checkout.of_the_command(LAKEHOUSE_HOME=str(tmp_path / "trial")),
    ):
        assert asked == str(tmp_path / "trial" / "dagster")
