"""Every figure that docs/performance.md has a target for, measured several times in one run, each beside its floor.

    python benchmarks/all.py [--quick] [--landing DIR --start D --end D --one-more-day D] [--rows N] [--runs 3]

Without `--landing` it takes the sample. `--rows` multiplies the order drops until they hold so many lines. `--quick`
measures once, without the floor's load. Prints a table: the median, its target, and PASS, FAIL or NOT MEASURED.
A figure is void, and not judged, where other processes of this machine took more than a tenth of a core meanwhile.
Exits with 1 where the pipeline's totals are not the floor's. `--trend FILE` appends the figures with the commit to a
file that `compare.py` reads. Wall seconds are of this machine at this moment; what lasts are ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from audit import multiply
from year import HERE, LAKEHOUSE, measured

ROOT = HERE.parent
SAMPLE = ["--start", "2026-09-01", "--end", "2026-09-29", "--one-more-day", "2026-09-30"]
TARGETS = {
    "load, CPU to floor": 3.0,
    "load of 10 million lines, CPU to floor": 1.3,
    "load of 10 million lines, peak GB": 3.0,
    "one more day, CPU s": 5.0,
    "one more day, wall s": 4.0,
    "nothing to do, wall s": 1.2,
    "--help, wall s": 0.3,
    "sql SELECT 1, wall s": 0.8,
    "status, wall s": 1.0,
}
"""What each figure is to be at most, on two quiet cores."""

BUSY = 0.1
"""Cores that others may take before a figure is void."""


class Figures:
    """Values by name, in the order in which they were first measured, and how busy others were at worst."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = defaultdict(list)
        self.void: set[str] = set()

    def during(self, names: list[str], work: Callable[[], list[float]]) -> None:
        """Measure figures by one piece of work."""
        before, began = _others(), time.perf_counter()
        found = work()
        busy = sum(max(0.0, spent - before.get(pid, spent)) for pid, spent in _others().items())
        if busy / (time.perf_counter() - began) > BUSY:
            self.void.update(names)
        for name, value in zip(names, found, strict=True):
            self.values[name].append(value)

    def rows(self) -> list[tuple[str, float | None, float | None, str]]:
        """(figure, median, target, verdict), those with a target first."""
        found = []
        for name in dict.fromkeys([*TARGETS, *self.values]):
            values, target = self.values.get(name, []), TARGETS.get(name)
            middle = round(statistics.median(values), 2) if values else None
            verdict = "NOT MEASURED" if middle is None else "VOID, busy" if name in self.void else ""
            if not verdict and target is not None and middle is not None:
                verdict = "PASS" if middle <= target else "FAIL"
            found.append((name, middle, target, verdict))
        return found


def _others() -> dict[int, float]:
    """CPU seconds of each process of this machine that is not ours."""
    ours = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    found = {}
    for process in psutil.process_iter(["cpu_times", "cmdline"]):
        times, command = process.info["cpu_times"], process.info["cmdline"] or []
        if process.pid not in ours and times and not any("lakehouse_assets.embedded_snowflake" in c for c in command):
            found[process.pid] = times.user + times.system
    return found


def measure_commands(figures: Figures, home: Path) -> None:
    """What each short command takes, on a home that is loaded."""
    for words in (["--help"], ["sql", "SELECT 1"], ["status"]):
        named = [str(LAKEHOUSE), *words, *([] if words == ["--help"] else ["--home", str(home)])]
        figures.during([f"{' '.join(words)}, wall s"], lambda command=named: [_wall(command)])


def _wall(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def measure_year(figures: Figures, dates: list[str], landing: Path, lines: str) -> None:
    """A load, a second run and one more day, each beside its floor; `year.py` fails where totals differ."""
    names = [
        f"load{lines}, CPU to floor",
        f"load{lines}, peak GB",
        f"load{lines}, wall s",
        f"nothing to do{lines}, wall s",
        f"one more day{lines}, CPU s",
        f"one more day{lines}, wall s",
        f"one more day{lines}, CPU to floor",
    ]

    def work() -> list[float]:
        command = [sys.executable, str(HERE / "year.py"), "--landing", str(landing), *dates]
        said: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        load, again, day = (said[name] for name in ("load", "second run", "one more day"))
        return [
            load["cpu_ratio"],
            load["pipeline"]["peak_mb"] / 1000,
            load["pipeline"]["wall_s"],
            again["pipeline"]["wall_s"],
            day["pipeline"]["cpu_s"],
            day["pipeline"]["wall_s"],
            day["cpu_ratio"],
        ]

    figures.during(names, work)


def measure_again(figures: Figures, home: Path, landing: Path) -> None:
    """A run with nothing to do, by itself."""
    command = [str(LAKEHOUSE), "run", "--quiet", "--home", str(home), "--landing", str(landing)]
    figures.during(["nothing to do, wall s"], lambda: [measured(command)[0]["wall_s"]])


def surroundings() -> dict[str, Any]:
    """What the figures depend on."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    packages = ("dagster", "deltalake", "duckdb", "pyarrow", "polars", "pysail", "snowflake-connector-python")
    return {
        "commit": commit.stdout.strip(),
        "at": time.strftime("%Y-%m-%d %H:%M"),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--landing", type=Path, default=ROOT / "data" / "landing")
    parser.add_argument("--start")
    parser.add_argument("--end")
    parser.add_argument("--one-more-day")
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--trend", type=Path)
    options = parser.parse_args()
    given = [options.start, options.end, options.one_more_day]
    dates = SAMPLE if None in given else ["--start", given[0], "--end", given[1], "--one-more-day", given[2]]
    figures, around = Figures(), surroundings()
    with tempfile.TemporaryDirectory() as folder:
        landing, lines = options.landing.resolve(), ""
        if options.rows:
            shutil.copytree(landing / "fx", Path(folder, "landing", "fx"))
            multiply(landing, Path(folder, "landing"), options.rows)
            landing, lines = Path(folder, "landing"), f" of {options.rows // 1_000_000} million lines"
        home = Path(folder, "home")
        subprocess.run([LAKEHOUSE, "run", "--quiet", "--home", home, "--landing", ROOT / "data/landing"], check=True)
        for _ in range(1 if options.quick else options.runs):
            measure_commands(figures, home)
            measure_again(figures, home, ROOT / "data/landing")
            if not options.quick:
                measure_year(figures, dates, landing, lines)
        subprocess.run([LAKEHOUSE, "down", "--home", home], check=True, capture_output=True)
    rows = figures.rows()
    print(json.dumps(around))
    for name, middle, target, verdict in rows:
        print(
            f"{name:45} {'' if middle is None else middle:>9} {'' if target is None else f'≤ {target}':>8}  {verdict}"
        )
    found = {**around, "figures": {name: middle for name, middle, _, _ in rows if middle is not None}}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    if options.trend:
        with options.trend.open("a") as trend:
            trend.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
