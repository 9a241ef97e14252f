"""The source `stock_levels`, loaded from its sample as it would be from its folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

SAMPLE = Path(__file__).with_name("stock_levels_sample.csv")


def lakehouse(home: Path, *arguments: str) -> str:
    """What the command prints."""
    environment = {
        **os.environ,
        "LAKEHOUSE_HOME": str(home / "home"),
        "LAKEHOUSE_LANDING": str(home / "landing"),
    }
    command = [sys.executable, "-m", "lakehouse_assets.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_sample_is_loaded_and_every_row_accounted_for(tmp_path: Path) -> None:
    """Else rows of stock_levels are lost or rejected, and nobody sees it before they are missed."""
    (tmp_path / "landing" / "stock_levels").mkdir(parents=True)
    shutil.copyfile(SAMPLE, tmp_path / "landing" / "stock_levels" / "stock_levels_2026-01-31.csv")
    lakehouse(tmp_path, "run")
    batches = json.loads(lakehouse(tmp_path, "status", "--format", "json"))["batches"]
    (account,) = [b for b in batches if b["source"] == "stock_levels"]
    lakehouse(tmp_path, "down")
    assert account["landed"] > 0
    assert account["quarantined"] == 0
    assert account["landed"] == account["published"] + account["duplicates"]
