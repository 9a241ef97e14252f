"""What the gates on sums cost: the gold tables over all drops but those of the last day, and then over that day.

    python benchmarks/gates.py --landing DIR

Stages, audits and publishes orders and rates as the assets do, in this process, without Dagster and without a hand-off.
Prints one line of JSON a load: rows and CPU seconds of each gold table's stage, of the rules of its rows, and of the
comparison of its sums; and of the whole load.
"""

import argparse
import json
import os
import resource
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any


def cpu_seconds() -> float:
    """Of this process, in which the engine runs too."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def load(resource_: Any, tables: list[Any], sources: list[Any], wanted: Callable[[Any], bool]) -> dict[str, Any]:
    """Take in those drops and bring the tables up to date; what it cost."""
    from lakehouse_assets.core.contracts import contract
    from lakehouse_assets.core.declarations.registry import TABLES
    from lakehouse_assets.core.delta.slice_rules import OPERATION
    from lakehouse_assets.core.quality.slices import slice_violations
    from lakehouse_assets.core.sources.cleanse import cleanse
    from lakehouse_assets.core.sources.ingest import stage_bronze, stage_journal
    from lakehouse_assets.orchestration.assets.step import disagreements

    lakehouse, said, began = resource_.tables, {}, cpu_seconds()
    for source in sources:
        drops = [d for d in resource_.zone.scan(source.name)[0] if wanted(d)]
        if drops:
            lakehouse.publish(stage_bronze(lakehouse, source, resource_.zone, drops))
            lakehouse.publish(stage_journal(lakehouse, resource_.zone, drops))
    for source in sources:
        cleansed = cleanse(lakehouse, source, fingerprint="")
        if cleansed:
            lakehouse.publish(cleansed.slice)
    for table in tables:
        model = contract(table.name)
        at = [cpu_seconds()]
        staged = lakehouse.stage(model, TABLES[table.name].transform, table.upstreams, fingerprint=table.fingerprint)
        at.append(cpu_seconds())
        rows = lakehouse.staged_frame(model, staged.uri)
        written = rows.where(f"{OPERATION} <> 'D'").drop(OPERATION)
        assert not slice_violations(written, model)
        at.append(cpu_seconds())
        assert not disagreements(model, lakehouse, staged, rows, written)
        at.append(cpu_seconds())
        stage, rules, sums = (round(b - a, 2) for a, b in pairwise(at))
        said[table.name] = {"rows": staged.rows, "stage": stage, "rules": rules, "sums": sums}
        lakehouse.publish(staged)
    return {
        "load": round(cpu_seconds() - began, 2),
        "sums": round(sum(t["sums"] for t in said.values()), 2),
        "tables": said,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landing", type=Path, required=True)
    options = parser.parse_args()
    os.environ.setdefault("RUST_LOG", "error")
    from lakehouse_assets.core.declarations.registry import SOURCES
    from lakehouse_assets.definitions import resources, tables
    from lakehouse_assets.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder), landing=options.landing)  # pyright: ignore[reportCallIssue]
        resource_ = resources(settings)["lakehouse"]
        sources = [s for s in SOURCES.values() if s.name != "customers"]
        gold = [t for t in tables(settings) if t.name.startswith("gold.") and not t.name.startswith("gold.dim_")]
        last = max(d.batch_date for d in resource_.zone.scan("orders")[0])
        print(json.dumps(load(resource_, gold, sources, lambda d: d.batch_date < last)))
        print(json.dumps(load(resource_, gold, sources, lambda d: d.batch_date == last)))


if __name__ == "__main__":
    main()
