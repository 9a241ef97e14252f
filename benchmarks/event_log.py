"""What the events of a range run cost: CPU seconds and wall seconds of one run over many partitions of assets that do
nothing, by event log.

    python benchmarks/event_log.py [--partitions 390] [--assets 18] [--checks 3] [--per-day-checks] [--storage
    stock|ours] [--batch-size 1000]
                                   [--database sqlite|postgresql]

Prints one line of JSON. PostgreSQL is a server of its own, without fsync, and the CPU seconds are those of the run, not
the server's. Each storage is measured in a process of its own, for the environment of a process decides whether events
are stored in batches.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path

STORAGES = ("stock", "ours")
PROJECT = Path(__file__).resolve().parents[1]
TEAM = PROJECT / "deploy" / "dagster.team.yaml"


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Execute the run in this process on an instance in a temporary folder."""
    import dagster as dg

    from lakehouse_assets.orchestration.instance.check_events import log_check_evaluations
    from lakehouse_assets.orchestration.instance.local import ensure_instance
    from lakehouse_assets.orchestration.instance.runs import execute_range

    first = date(2024, 1, 1)
    last = first + timedelta(days=options.partitions - 1)
    partitions = dg.DailyPartitionsDefinition(first.isoformat(), end_date=(last + timedelta(days=1)).isoformat())
    policy = dg.BackfillPolicy.single_run()

    def table(number: int) -> dg.AssetsDefinition:
        key = dg.AssetKey(["layer", f"table_{number}"])
        specs = [
            dg.AssetCheckSpec(f"check_{c}", asset=key, partitions_def=partitions if options.per_day_checks else None)
            for c in range(options.checks)
        ]
        deps = [dg.AssetKey(["layer", f"table_{number - 1}"])] if number else []

        @dg.asset(key=key, deps=deps, partitions_def=partitions, backfill_policy=policy, check_specs=specs)
        def nothing(context: dg.AssetExecutionContext):
            for partition in context.partition_keys:
                context.add_asset_metadata({"dagster/partition_row_count": 1}, partition_key=partition)
            if options.per_day_checks:
                days = [(spec.name, partition) for spec in specs for partition in context.partition_keys]
                log_check_evaluations(
                    context,
                    [
                        dg.AssetCheckEvaluation(asset_key=key, check_name=name, passed=True, partition=partition)
                        for name, partition in days
                    ],
                )
            for spec in specs:
                yield dg.AssetCheckResult(check_name=spec.name, passed=True)
            yield dg.MaterializeResult(data_version=dg.DataVersion("1"))

        return nothing

    defs = dg.Definitions(
        assets=[table(n) for n in range(options.assets)], jobs=[dg.define_asset_job("all_tables", selection="*")]
    )
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        if options.database == "postgresql" and options.storage == "ours":
            shutil.copy(TEAM, folder / "dagster.yaml")
        elif options.database == "postgresql":
            (folder / "dagster.yaml").write_text(
                "storage: {postgres: {postgres_url: {env: DAGSTER_POSTGRES_URL}}}\ntelemetry: {enabled: false}\n"
            )
        elif options.storage == "ours":
            folder = ensure_instance(folder)
        else:
            (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            cpu, wall = _cpu_seconds(), time.perf_counter()
            result = execute_range(
                instance,
                job_name="all_tables",
                asset_keys=None,
                start_key=first.isoformat(),
                end_key=last.isoformat(),
                defs=defs,
                module=__name__,
            )
            cpu, wall = _cpu_seconds() - cpu, time.perf_counter() - wall
            if not result.success:
                raise SystemExit(f"the run failed: {result}")
            events = instance.event_log_storage.get_stats_for_run(result.run_id)
            materialized = sum(
                len(instance.get_materialized_partitions(dg.AssetKey(["layer", f"table_{n}"])))
                for n in range(options.assets)
            )
    return {
        "database": options.database,
        "storage": options.storage,
        "batch_size": options.batch_size,
        "partitions": options.partitions,
        "assets": options.assets,
        "checks": options.checks,
        "per_day_checks": options.per_day_checks,
        "materializations": events.materializations,
        "materialized": materialized,
        "cpu_seconds": round(cpu, 1),
        "wall_seconds": round(wall, 1),
        "cpu_ms_per_asset_partition": round(1000 * cpu / (options.partitions * options.assets), 2),
    }


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure one storage, or each of them in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", type=int, default=390)
    parser.add_argument("--assets", type=int, default=18)
    parser.add_argument("--checks", type=int, default=3)
    parser.add_argument(
        "--per-day-checks", action="store_true", help="one evaluation a check and partition, besides the one of the run"
    )
    parser.add_argument("--batch-size", type=int, default=1000, help="DAGSTER_EVENT_BATCH_SIZE")
    parser.add_argument("--storage", choices=STORAGES)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    options = parser.parse_args()
    if options.storage is None:
        for storage in STORAGES:
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--storage", storage], check=True)
        return
    os.environ["DAGSTER_EVENT_BATCH_SIZE"] = str(options.batch_size)
    warnings.simplefilter("ignore")
    with ExitStack() as stack:
        if options.database == "postgresql":
            sys.path.insert(0, str(PROJECT))
            from lakehouse_assets_tests import postgres_server

            os.environ["DAGSTER_POSTGRES_URL"] = stack.enter_context(postgres_server.server())
        print(json.dumps(measure(options)), flush=True)


if __name__ == "__main__":
    main()
