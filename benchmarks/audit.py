"""What judging costs: the step of `silver.order_lines` over a million lines, with the rules of its contract and without.

    python benchmarks/audit.py --landing DIR [--rows 1000000] [--repeat 5]

The order drops of the landing zone land as often as it takes, every copy with invoice numbers of its own, so that no line is a duplicate of another. Then the
step is timed from bronze to the committed silver table, with its side tables, in turn with and without all that the audit adds to it: the rules of every row,
the verdicts with their counts and samples, and the search for doubled keys. Prints one line of JSON: seconds of each repetition, and the audit's share of the
whole step, by CPU seconds and by wall time, each from the least of the repetitions: a busy neighbour only ever adds.
"""

import argparse
import gzip
import json
import os
import re
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

TABLE = "silver.order_lines"
INVOICE = re.compile(rb"(?m)^([AC]?)([0-9]{6})(?=,)")
SHIFT, NUMBERS = 50_000, 1_000_000


def multiply(landing: Path, out: Path, wanted: int) -> int:
    """Write the order drops as often as it takes to reach that many lines; returns how many there are."""
    drops = {}
    for file in sorted((landing / "orders").rglob("*.csv*")):
        content = file.read_bytes()
        drops[file.name.removesuffix(".gz")] = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    lines = sum(len(INVOICE.findall(body)) for body in drops.values())
    copies = -(-wanted // lines) if lines else 0
    if not 1 <= copies <= NUMBERS // SHIFT:
        sys.exit(
            f"{landing} holds {lines:,} order lines, of which no {wanted:,} can be made; name a landing zone with more, or ask for fewer --rows."
        )
    (out / "orders").mkdir(parents=True)
    for copy in range(copies):

        def shifted(match: re.Match[bytes], by: int = copy * SHIFT) -> bytes:
            return match[1] + b"%06d" % ((int(match[2]) + by) % NUMBERS)

        for name, body in drops.items():
            (out / "orders" / name.replace(".csv", f"_{copy}.csv")).write_bytes(INVOICE.sub(shifted, body))
    return lines * copies


def step(lakehouse: Any, source: Any, *, audited: bool) -> dict[str, float]:
    """The step from bronze to the committed table: wall and CPU seconds. The engine runs in this process, so they are all of it."""
    from lakehouse_assets.quality.audit import unique_key_violations
    from lakehouse_assets.sources import cleanse as module

    def unjudged(frame: Any, *_: Any, **__: Any) -> Any:
        return frame.selectExpr("*", "CAST(array() AS ARRAY<STRING>) AS _violations", "CAST(array() AS ARRAY<STRING>) AS _warnings")

    wall, cpu = time.perf_counter(), _cpu_seconds()
    if audited:
        slice_ = module.cleanse(lakehouse, source, fingerprint="").slice
        assert unique_key_violations(lakehouse.staged_frame(slice_.contract, slice_.uri), slice_.contract) is None
    else:
        with patch.object(module, "violations", unjudged), patch.object(module, "judge", lambda *_: []):
            slice_ = module.cleanse(lakehouse, source, fingerprint="").slice
    lakehouse.publish(slice_)
    spent = {"wall": round(time.perf_counter() - wall, 2), "cpu": round(_cpu_seconds() - cpu, 2)}
    for table in (TABLE, f"{TABLE}_quarantine", f"{TABLE}_verdicts"):
        shutil.rmtree(lakehouse.store.uri(table))
    return spent


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landing", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    os.environ.setdefault("RUST_LOG", "error")
    from lakehouse_assets.definitions import LAPTOP_EMAIL_KEY, resources
    from lakehouse_assets.settings import Settings
    from lakehouse_assets.sources.ingest import stage_bronze, stage_journal
    from lakehouse_assets.sources.tables import source_tables

    with tempfile.TemporaryDirectory() as folder:
        landing = Path(folder) / "landing"
        rows = multiply(options.landing, landing, options.rows)
        resource_ = resources(Settings(home=Path(folder) / "home", landing=landing))["lakehouse"]  # pyright: ignore[reportCallIssue]
        lakehouse = resource_.lakehouse
        drops, _ = resource_.zone.scan("orders")
        lakehouse.publish(stage_bronze(lakehouse, "orders", resource_.zone, drops))
        lakehouse.publish(stage_journal(lakehouse, resource_.zone, drops))
        source = next(s for s in source_tables(LAPTOP_EMAIL_KEY, False) if s.name == TABLE)
        step(lakehouse, source, audited=True)  # the first one warms the engine up
        spent: dict[bool, list[dict[str, float]]] = {True: [], False: []}
        for _ in range(options.repeat):
            for audited, times in spent.items():
                times.append(step(lakehouse, source, audited=audited))
    share = {}
    for unit in ("cpu", "wall"):
        whole, without = (min(times[unit] for times in spent[audited]) for audited in (True, False))
        share[unit] = round((whole - without) / whole, 3)
    print(json.dumps({"rows": rows, "with": spent[True], "without": spent[False], "audit_share": share}))


if __name__ == "__main__":
    main()
