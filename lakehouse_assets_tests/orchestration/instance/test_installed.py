"""The package works where there is no checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lakehouse_assets.settings import PROJECT

COMMAND = [sys.executable, "-c", "from lakehouse_assets.cli import main; main()"]


@pytest.mark.heavy
def test_a_wheel_works_outside_a_checkout(tmp_path: Path) -> None:
    """SQL, settings of Dagster or the sample would be looked for where only a checkout has them."""
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path / "wheel"),
    ]
    subprocess.run([*build, str(PROJECT)], check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "packages")
    work = tmp_path / "work"
    work.mkdir()
    mine = {n: v for n, v in os.environ.items() if not n.startswith(("LAKEHOUSE_", "DAGSTER_", "SNOWFLAKE_"))}
    environment = {**mine, "PYTHONPATH": str(tmp_path / "packages")}

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*COMMAND, *words], cwd=work, env=environment, text=True, capture_output=True)

    place = subprocess.run(
        [sys.executable, "-c", "import lakehouse_assets; print(lakehouse_assets.__file__)"],
        cwd=work,
        env=environment,
        text=True,
        capture_output=True,
    )
    assert place.stdout.startswith(str(tmp_path / "packages"))
    refused = command("run")
    assert refused.returncode == 1
    assert f"The landing zone {work / 'data/landing'} is not a folder" in refused.stderr
    sample = ("--start", "2026-09-01", "--days", "2", "--lines-per-day", "40", "--dirt", "none")
    assert command("generate", "--out", "data/landing", *sample).returncode == 0
    try:
        done = command("run", "--quiet")
        assert (done.returncode, done.stderr) == (0, "")
        assert command("verify").returncode == 0
        assert command("alerts").stdout.strip() == "Nothing is wrong."
        assert not list((tmp_path / "packages").glob("*/.lakehouse"))
    finally:
        command("down")
