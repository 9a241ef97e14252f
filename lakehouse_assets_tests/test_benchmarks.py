"""What `bench all` and `bench compare` say of figures; measuring itself is not tested."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("all").Figures()


def test_the_median_is_judged_and_what_was_not_measured_is_said(figures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One lucky run would pass a target, and a target that nobody measured would look met."""
    monkeypatch.setattr(sys.modules["all"], "BUSY", float("inf"))
    for value in (0.1, 0.5, 0.6):
        figures.during(["--help, wall s", "status, wall s"], lambda value=value: [value, value])
    said = {name: (middle, verdict) for name, middle, _, verdict in figures.rows()}
    assert said["--help, wall s"] == (0.5, "FAIL")
    assert said["status, wall s"] == (0.5, "PASS")
    assert said["one more day, CPU s"] == (None, "NOT MEASURED")


def test_a_figure_taken_beside_other_work_is_void(figures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be believed."""
    monkeypatch.setattr(sys.modules["all"], "BUSY", 0.0)  # how much another process gets here is not known
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            figures.during(["--help, wall s"], lambda: [float(bool(sum(range(20_000_000))))])
        finally:
            busy.kill()
    assert {name: verdict for name, *_, verdict in figures.rows()}["--help, wall s"] == "VOID, busy"


def test_what_has_become_dearer_is_named(tmp_path: Path) -> None:
    """A change that costs a fifth is taken in unseen."""
    trend = tmp_path / "trend.jsonl"
    entries = [("old", {"a": 1.0, "b": 1.0}), ("new", {"a": 1.2, "b": 1.05})]
    trend.write_text("".join(json.dumps({"commit": c, "figures": f}) + "\n" for c, f in entries))

    def compare(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, str(BENCHMARKS / "compare.py"), str(trend), *words], capture_output=True, text=True
        )
        return done.returncode, done.stderr.strip()

    assert compare("old", "new") == (1, "More than a tenth dearer: a.")
    assert compare("new", "old") == (0, "")
    assert compare("old", "none") == (1, f"{trend} has no figures of none; it has those of old, new.")
