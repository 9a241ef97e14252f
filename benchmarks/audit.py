"""What judging costs: the step of `silver.order_lines` over a million lines, and the audit's share of it.

    python benchmarks/audit.py --landing DIR [--rows 1000000] [--repeat 5]

The order drops of the landing zone land as often as it takes, every copy with invoice numbers of its own, so that no
line is a duplicate of another. Then the step is timed from bronze to the committed silver table with its side tables,
and what the audit adds to it is timed by itself: the rules of every row (typed rows written with them and without), the
verdicts with their counts and samples, and the search for doubled keys in the staged slice. Prints one line of JSON:
CPU seconds of each, the least of the repetitions, for a busy neighbour only ever adds; and the audit's share of the
step.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
            f"{landing} holds {lines:,} order lines, of which no {wanted:,} can be made; name a landing zone with more,"
            " or ask for fewer --rows."
        )
    (out / "orders").mkdir(parents=True)
    for copy in range(copies):

        def shifted(match: re.Match[bytes], by: int = copy * SHIFT) -> bytes:
            return match[1] + b"%06d" % ((int(match[2]) + by) % NUMBERS)

        for name, body in drops.items():
            (out / "orders" / name.replace(".csv", f"_{copy}.csv")).write_bytes(INVOICE.sub(shifted, body))
    return lines * copies


def spent(work: Callable[[], Any]) -> float:
    """CPU seconds of some work. The engine runs in this process, so they are all of it; wall time would tell of the
    neighbours.
    """
    began = _cpu_seconds()
    work()
    return _cpu_seconds() - began


def measure(lakehouse: Any, source: Any, folder: str) -> dict[str, float]:
    """CPU seconds of the whole step, and of each part that the audit adds to it."""
    from lakehouse_assets.core.quality.drops import judge
    from lakehouse_assets.core.quality.rules import violations
    from lakehouse_assets.core.quality.slices import unique_key_violations
    from lakehouse_assets.core.sources.cleanse import cleanse

    model = source.contract

    cpu: dict[str, float] = {}

    def step() -> None:
        cleansed = cleanse(lakehouse, source, fingerprint="")
        assert cleansed
        staged = lakehouse.staged_frame(model, cleansed.slice.uri)
        cpu["keys"] = spent(lambda: unique_key_violations(staged, model))
        lakehouse.publish(cleansed.slice)

    typed = source.typed(lakehouse.store.frame(lakehouse.spark, source.bronze))
    judged = violations(typed, model, problems_column="_problems")
    kept = f"{folder}/candidates"
    cpu["step"] = spent(step)
    cpu["typed"] = spent(lambda: typed.write.mode("overwrite").parquet(kept))
    cpu["typed_and_judged"] = spent(lambda: judged.write.mode("overwrite").parquet(kept))
    candidates = lakehouse.spark.read.schema(judged.schema).parquet(kept)
    cpu["verdicts"] = spent(lambda: judge(candidates, model))
    for table in (TABLE, f"{TABLE}_quarantine", f"{TABLE}_verdicts"):
        shutil.rmtree(lakehouse.store.uri(table))
    return cpu


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
    from lakehouse_assets.core.declarations.registry import SOURCES
    from lakehouse_assets.core.sources.ingest import stage_bronze, stage_journal
    from lakehouse_assets.definitions import resources
    from lakehouse_assets.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        landing = Path(folder) / "landing"
        rows = multiply(options.landing, landing, options.rows)
        resource_ = resources(Settings(home=Path(folder) / "home", landing=landing))["lakehouse"]  # pyright: ignore[reportCallIssue]
        lakehouse = resource_.tables
        drops, _ = resource_.zone.scan("orders")
        lakehouse.publish(stage_bronze(lakehouse, SOURCES["orders"], resource_.zone, drops))
        lakehouse.publish(stage_journal(lakehouse, resource_.zone, drops))
        source = next(s for s in SOURCES.values() if s.table == TABLE)
        measure(lakehouse, source, folder)  # the first one warms the engine up
        times = [measure(lakehouse, source, folder) for _ in range(options.repeat)]
    least = {name: min(cpu[name] for cpu in times) for name in times[0]}
    least["rules"] = least.pop("typed_and_judged") - least.pop("typed")
    audit = least["rules"] + least["verdicts"] + least["keys"]
    print(
        json.dumps(
            {
                "rows": rows,
                "cpu_seconds": {n: round(v, 2) for n, v in least.items()},
                "audit_share": round(audit / least["step"], 3),
            }
        )
    )


if __name__ == "__main__":
    main()
