"""The same lakehouse loaded by one engine and another, side by side, beside the floor script doing the work by hand.

    python benchmarks/engines.py --landing DIR [--rows 10000000] [--engines embedded local] [--memory 4g] [--keep DIR]

All drops are loaded into bronze, silver and gold, without Dagster, the gates of gold and the hand-off, each engine in a
process and a home of its own. With --rows the order drops land as often as it takes to reach that many lines, every
copy with invoice numbers of its own. Prints a line of JSON for the drops, each engine and the floor: seconds until the
engine answered and of the load, CPU seconds and peak memory with all child processes, a JVM among them, and the ratio
of CPU to the floor's phases up to gold. The landing zone must be clean enough for the floor, which knows no dirt. Exits
with 1 where a row of any table differs between engines, or a total of gold from the floor's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
from audit import multiply
from deltalake import DeltaTable

from lakehouse_assets.core.contracts import CONTRACTS

HERE = Path(__file__).resolve().parent

TOTALS = """SELECT COUNT(*) AS sales_lines, SUM(amount) AS net_of_all_lines, SUM(amount) FILTER (line_type = 'sale') AS gross_sales,
    SUM(amount) FILTER (line_type = 'return') AS returns, SUM(amount_eur) FILTER (line_type = 'sale') AS gross_sales_eur,
    COUNT(DISTINCT invoice) FILTER (line_type = 'sale') AS orders FROM t"""  # noqa: E501


def load(engine: str, landing: Path, home: Path, **settings: str) -> dict[str, float]:
    """Load all tables in a process of its own, with further environment variables; gives what it says of its times and
    memory.
    """
    home.mkdir(parents=True)
    said = {
        "LAKEHOUSE_ENGINE": engine,
        "LAKEHOUSE_HOME": str(home),
        "LAKEHOUSE_LANDING": str(landing),
        "PYTHONPATH": str(HERE.parent),
        **settings,
    }
    command = [sys.executable, "-m", "lakehouse_assets_tests.parity.loading"]
    done = subprocess.run(command, env={**os.environ, **said}, cwd=home, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"Loading by {engine} failed with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)


def relation(table: str, home: Path) -> str:
    """A Delta table of a home as DuckDB reads it: its files, whose partition columns stand in their paths."""
    files = DeltaTable(str(home / "tables" / table.replace(".", "/"))).file_uris()
    return f"read_parquet({files!r}, hive_partitioning = true, hive_types_autocast = false)" if files else ""


def fingerprint(table: str, home: Path) -> tuple[int, int]:
    """(rows, sum of their hashes): equal for equal bags of rows, whatever their order and files."""
    of = relation(table, home)
    if not of:
        return 0, 0
    columns = ", ".join(f'"{c}"' for c in sorted(CONTRACTS[table].names))
    ((rows, hashes),) = duckdb.sql(
        f"SELECT count(*), coalesce(sum(hash({columns})::HUGEINT), 0)::VARCHAR FROM {of}"
    ).fetchall()
    return rows, int(hashes)


def totals(home: Path) -> dict[str, str]:
    """What gold comes to, by the names that the floor gives its own."""
    found = duckdb.sql(f"WITH t AS (FROM {relation('gold.sales_lines', home)}) {TOTALS}")
    (row,) = found.fetchall()
    return {name: str(value) for name, value in zip(found.columns, row, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landing", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--engines", nargs="+", default=["embedded", "local"])
    parser.add_argument("--memory", default="2g", help="of a local Spark")
    parser.add_argument("--keep", type=Path, help="an empty folder to work in, which is left as it is in the end")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp())
    try:
        wrong = compare(options, folder)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    if wrong:
        sys.exit(wrong)


def compare(options: argparse.Namespace, folder: Path) -> str:
    """Load with the floor and with each engine, and say what differs; empty where nothing does."""
    landing = options.landing.resolve()
    if options.rows:
        landing = folder / "landing"
        print(json.dumps({"order_lines": multiply(options.landing, landing, options.rows)}), flush=True)
        shutil.copytree(options.landing / "fx", landing / "fx")
    by_hand = [sys.executable, str(HERE / "floor.py"), "--landing", str(landing), "--out", str(folder / "floor")]
    done = subprocess.run([*by_hand, "--start", "1900-01-01", "--end", "9999-12-31"], capture_output=True, text=True)
    if done.returncode:
        return f"The floor failed with {done.returncode}:\n{done.stderr}"
    floor = json.loads(done.stdout)
    expected = floor["totals"]
    phases = [floor["phases"][name] for name in ("start", "bronze", "silver", "gold")]
    wall, cost = (sum(phase[of] for phase in phases) for of in ("wall_s", "cpu_s"))
    print(
        json.dumps({"by_hand": {"load_s": round(wall, 1), "cpu_s": round(cost, 1), "peak_mb": floor["peak_rss_mb"]}}),
        flush=True,
    )
    wrong = []
    first: dict[str, tuple[int, int]] = {}
    for number, engine in enumerate(options.engines):
        home = folder / f"home-{number}"
        said = load(engine, landing, home, LAKEHOUSE_SPARK_MEMORY=options.memory)
        came_to = totals(home)
        print(
            json.dumps({"engine": engine, **said, "cpu_ratio": round(said["cpu_s"] / cost, 1), "totals": came_to}),
            flush=True,
        )
        wrong += [f"{engine}: {k} is {v}, by hand {expected[k]}" for k, v in came_to.items() if v != str(expected[k])]
        tables = {table: fingerprint(table, home) for table in CONTRACTS}
        first = first or tables
        wrong += [
            f"{engine}: {t} holds other rows than on {options.engines[0]}" for t in CONTRACTS if tables[t] != first[t]
        ]
    return "\n".join(wrong)


if __name__ == "__main__":
    main()
