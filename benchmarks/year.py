"""A load, a second run and one more day, beside the floor script doing the same work by hand in the same run.

    python benchmarks/year.py --landing DIR --start 2010-11-15 --end 2011-12-08 --one-more-day 2011-12-09 [--engine
    local]

Prints JSON: for each phase wall and CPU seconds and peak memory of the pipeline (the command with its JVM, and the
embedded account's server) and of the floor, their ratio, and the totals of both; exits with 1 where these differ. The
range excludes the further day. Times are of this machine at this moment: the ratio is the figure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

HERE = Path(__file__).parent
LAKEHOUSE = Path(sys.executable).with_name("lakehouse")
MEGABYTE = 1024 * 1024


def measured(command: Sequence[str], server: int | None = None) -> tuple[dict[str, float], str]:
    """Run a command to its end: (wall s, CPU s, peak MB of its processes and of the server's), and what it printed."""
    began = time.perf_counter()
    before = _cpu(server) if server else 0.0
    process = psutil.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak, cpu = 0, {}

    def watch() -> None:
        nonlocal peak
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            resident = 0
            watched = [process, *_children(process), *([psutil.Process(server)] if server else [])]
            for each in watched:
                try:
                    resident += each.memory_info().rss
                    if each.pid != server:
                        times = each.cpu_times()
                        cpu[each.pid] = times.user + times.system
                except psutil.NoSuchProcess:
                    continue
            peak = max(peak, resident)
            time.sleep(0.05)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    output, errors = process.communicate()
    wall = time.perf_counter() - began
    watcher.join(timeout=1)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed with {process.returncode}:\n{errors}")
    spent = sum(cpu.values()) + (_cpu(server) - before if server else 0.0)
    return {"wall_s": round(wall, 1), "cpu_s": round(spent, 1), "peak_mb": round(peak / MEGABYTE)}, output


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def totals(home: str) -> dict[str, str]:
    """What both must come to, from the served tables, by the names that the floor gives them."""
    query = """SELECT COUNT(*) AS sales_lines, SUM(amount) AS net_of_all_lines, SUM(CASE WHEN line_type = 'sale' THEN amount END) AS gross_sales,
        SUM(CASE WHEN line_type = 'return' THEN amount END) AS returns, SUM(CASE WHEN line_type = 'sale' THEN amount_eur END) AS gross_sales_eur,
        COUNT(DISTINCT CASE WHEN line_type = 'sale' THEN invoice END) AS orders FROM ANALYTICS.SALES_LINES"""  # noqa: E501
    output = subprocess.run(
        [LAKEHOUSE, "sql", query, "--format", "json", "--home", home], check=True, capture_output=True, text=True
    ).stdout
    return {k: str(v) for k, v in json.loads(output, parse_float=str)[0].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--landing", type=Path, required=True)
    parser.add_argument("--start", required=True)
    parser.add_argument("--end", required=True)
    parser.add_argument("--one-more-day", required=True)
    parser.add_argument(
        "--engine", default="embedded", help="embedded, local, or the sc://… of a server, which is then not measured"
    )
    options = parser.parse_args()
    os.environ["LAKEHOUSE_ENGINE"] = options.engine
    with tempfile.TemporaryDirectory() as folder:
        home, out = f"{folder}/home", f"{folder}/floor"
        # The account's server stays up between runs, as it does for a user; starting it is not part of a load.
        subprocess.run([LAKEHOUSE, "deploy", "--home", home], check=True, capture_output=True)
        server = json.loads((Path(home) / "account" / "server.json").read_text())["pid"]
        load = [str(LAKEHOUSE), "run", "--home", home, "--landing", str(options.landing), "--start", options.start]
        floor = [sys.executable, str(HERE / "floor.py"), "--landing", str(options.landing), "--out", out]
        phases: dict[str, dict] = {}
        for name, ours, by_hand in (
            ("load", [*load, "--end", options.end], [*floor, "--start", options.start, "--end", options.end]),
            ("second run", [*load, "--end", options.end], None),
            ("one more day", [*load, "--end", options.one_more_day], [*floor, "--one-more-day", options.one_more_day]),
        ):
            phases[name] = {"pipeline": measured(ours, server)[0]}
            if by_hand:
                cost, output = measured(by_hand)
                phases[name]["floor"] = cost
                phases[name]["cpu_ratio"] = round(phases[name]["pipeline"]["cpu_s"] / cost["cpu_s"], 2)
                ours_came_to, by_floor = totals(home), json.loads(output)["totals"]
                phases[name]["totals"] = {"pipeline": ours_came_to, "floor": {k: by_floor[k] for k in ours_came_to}}
        subprocess.run([LAKEHOUSE, "down", "--home", home], check=True, capture_output=True)
    print(json.dumps(phases, indent=1, default=str))
    different = [
        name
        for name, said in phases.items()
        if "totals" in said and said["totals"]["pipeline"] != said["totals"]["floor"]
    ]
    if different:
        sys.exit(f"The totals of pipeline and floor differ after: {', '.join(different)}.")


if __name__ == "__main__":
    main()
