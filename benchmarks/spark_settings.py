"""What the settings of a local Spark are worth: the lakehouse's tables loaded with ours, and with one of them as Spark has it by itself, or another.

    python benchmarks/spark_settings.py --landing DIR [--repeat N]

Each load runs in a process and a home of its own, in turns, without Dagster and without a hand-off (`lakehouse_assets_tests/parity/loading.py`). Prints a
line of JSON a variant: its loads' seconds and CPU seconds, least first, and the row counts of the tables, which are the same for all or it ends with 1.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

VARIANTS: dict[str, dict[str, str]] = {
    "ours": {},
    "200 shuffle partitions": {"spark.sql.shuffle.partitions": "200"},
    "50 snapshot partitions": {"spark.databricks.delta.snapshotPartitions": "50"},
    "without adaptive execution": {"spark.sql.adaptive.enabled": "false"},
    "Kryo": {"spark.serializer": "org.apache.spark.serializer.KryoSerializer"},
    "the JVM's own compilers and collector": {"spark.driver.extraJavaOptions": ""},
}
LOAD = """
import json, sys
from lakehouse_assets.resources import spark
changed = json.loads(sys.argv[1])
spark.FEW_SECONDS = changed.pop("spark.driver.extraJavaOptions", spark.FEW_SECONDS)
spark.SMALL_MACHINE.update(changed)
from lakehouse_assets_tests.parity.loading import main
main()
"""


def load(landing: Path, changed: dict[str, str]) -> tuple[dict[str, float], dict[str, int]]:
    """What the load took, and how many rows each table has."""
    from deltalake import DeltaTable

    with tempfile.TemporaryDirectory() as folder:
        told = {"LAKEHOUSE_ENGINE": "local", "LAKEHOUSE_LANDING": str(landing), "LAKEHOUSE_HOME": folder}
        command = [sys.executable, "-c", LOAD, json.dumps(changed)]
        done = subprocess.run(command, env={**os.environ, **told}, cwd=folder, text=True, stdout=subprocess.PIPE, check=True)
        tables = sorted((Path(folder) / "tables").glob("*/*"))
        return json.loads(done.stdout.splitlines()[-1]), {f"{t.parent.name}.{t.name}": DeltaTable(t).count() for t in tables}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landing", type=Path, required=True)
    parser.add_argument("--repeat", type=int, default=1)
    arguments = parser.parse_args()
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    counts = []
    for _ in range(arguments.repeat):
        for name, changed in VARIANTS.items():
            times, rows = load(arguments.landing.resolve(), changed)
            taken[name].append(times)
            counts.append(rows)
    for name, times in taken.items():
        print(json.dumps({"variant": name, "load_s": sorted(t["load_s"] for t in times), "cpu_s": sorted(t["cpu_s"] for t in times)}))
    if any(rows != counts[0] for rows in counts):
        print("The tables differ.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
