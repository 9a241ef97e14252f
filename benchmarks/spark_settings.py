"""What each setting of a local Spark is worth: the same load with it and without it, one after another.

    python benchmarks/spark_settings.py --landing DIR [--rows 1000000] [--repeat 2] [--variants Kryo "without AQE"]

Loads the lakehouse as `engines.py` does, on `LAKEHOUSE_ENGINE=local`, with the settings that come with the product and
then with one of them changed through LAKEHOUSE_SPARK_CONF. The variants take turns, so that a busy neighbour meets all
of them. Prints a line of JSON a variant: the least of the repetitions of the seconds until the engine answered, of the
load, of CPU and of the peak memory, and the ratio of load and CPU to ours. Exits with 1 where a row of any table
differs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from audit import multiply
from engines import fingerprint, load

from lakehouse_assets.core.contracts import CONTRACTS

VARIANTS = {
    "ours": "",
    "200 shuffle partitions, Spark's default": "spark.sql.shuffle.partitions=200",
    "16 shuffle partitions": "spark.sql.shuffle.partitions=16",
    "50 partitions for a table's log, Delta's default": "spark.databricks.delta.snapshotPartitions=50",
    "without AQE": "spark.sql.adaptive.enabled=false",
    "Kryo": "spark.serializer=org.apache.spark.serializer.KryoSerializer",
    "Java's own options": "spark.driver.extraJavaOptions=",
    "log level INFO": "spark.log.level=INFO",
    "Spark's UI": "spark.ui.enabled=true",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landing", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), metavar="NAME", help="beside ours")
    options = parser.parse_args()
    if unknown := set(options.variants) - VARIANTS.keys():
        parser.error(f"there is no variant {', '.join(unknown)}; choose among {', '.join(VARIANTS)}")
    variants = dict.fromkeys(["ours", *options.variants])
    with tempfile.TemporaryDirectory() as folder:
        landing = options.landing.resolve()
        if options.rows:
            landing = Path(folder) / "landing"
            multiply(options.landing, landing, options.rows)
            shutil.copytree(options.landing / "fx", landing / "fx")
        took: dict[str, list[dict[str, float]]] = {}
        expected: dict[str, tuple[int, int]] = {}
        for _ in range(options.repeat):
            for name in variants:
                home = Path(folder) / "home"
                took.setdefault(name, []).append(load("local", landing, home, LAKEHOUSE_SPARK_CONF=VARIANTS[name]))
                found = {table: fingerprint(table, home) for table in CONTRACTS}
                expected = expected or found
                print(f"{name}: {took[name][-1]}", file=sys.stderr)
                if found != expected:
                    sys.exit(f"With {name} other rows come out in {[t for t in CONTRACTS if found[t] != expected[t]]}.")
                shutil.rmtree(home)
    least = {name: {of: min(times[of] for times in of_all) for of in of_all[0]} for name, of_all in took.items()}
    for name, times in least.items():
        ratios = {f"{of}_ratio": round(times[of] / least["ours"][of], 2) for of in ("load_s", "cpu_s")}
        print(json.dumps({"settings": name, **times, **ratios}))


if __name__ == "__main__":
    main()
