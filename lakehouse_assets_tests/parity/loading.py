"""The lakehouse's tables, loaded from all drops without Dagster and without the hand-off: what an engine computes and
commits, and no more.

    LAKEHOUSE_ENGINE=… LAKEHOUSE_LANDING=… LAKEHOUSE_TABLES=… LAKEHOUSE_STAGING=… python -m
    lakehouse_assets_tests.parity.loading

Prints a line of JSON: seconds until the engine answered, seconds of the load, and what all of it took of this process
and its children, a JVM among them: CPU seconds and the peak memory. An engine has a process of its own, for a session
of Spark Connect and one of Apache Spark itself do not live side by side.
"""

from __future__ import annotations

import json
import threading
import time

import psutil

from lakehouse_assets.core.contracts import contract
from lakehouse_assets.core.declarations.registry import SOURCES, TABLES
from lakehouse_assets.core.delta.staging import StagedSlice
from lakehouse_assets.core.sources.cleanse import cleanse
from lakehouse_assets.core.sources.ingest import stage_bronze, stage_journal
from lakehouse_assets.definitions import tables
from lakehouse_assets.orchestration.assets.step import TableAsset
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource
from lakehouse_assets.settings import Settings


def load(settings: Settings, resource: LakehouseResource) -> None:
    """Bring every table up to all drops of the landing zone, in the order of the graph."""
    lakehouse = resource.tables
    drops, _ = resource.zone.scan()
    sources = {source.table: source.with_settings(settings) for source in SOURCES.values()}

    def staged(table: TableAsset) -> StagedSlice | None:
        if computed := TABLES.get(table.name):
            return lakehouse.stage(
                contract(table.name), computed.transform, table.upstreams, fingerprint=table.fingerprint
            )
        if table.name in sources:
            cleansed = cleanse(lakehouse, sources[table.name], fingerprint=table.fingerprint)
            return cleansed.slice if cleansed else None
        lakehouse.head(contract(table.name))
        for source in SOURCES.values():
            if table.name == source.bronze:
                return stage_bronze(lakehouse, source, resource.zone, [d for d in drops if d.source == source.name])
        return stage_journal(lakehouse, resource.zone, drops)

    for table in tables(settings):
        slice_ = staged(table)
        if slice_:
            lakehouse.publish(slice_)


def main() -> None:
    settings = Settings()  # pyright: ignore[reportCallIssue] -- all fields have defaults
    resource = LakehouseResource.of(settings)
    peak = 0

    def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, sum(memory for _, memory in _taken()))
            time.sleep(0.2)

    threading.Thread(target=watch, daemon=True).start()
    began = time.perf_counter()
    resource.tables.spark.sql("SELECT 1").collect()
    started = time.perf_counter()
    load(settings, resource)
    ended = time.perf_counter()
    cpu = sum(seconds for seconds, _ in _taken())
    times = {"start_s": started - began, "load_s": ended - started, "cpu_s": cpu}
    print(json.dumps({**{name: round(value, 1) for name, value in times.items()}, "peak_mb": peak >> 20}))


def _taken() -> list[tuple[float, int]]:
    """(CPU seconds, resident bytes) of this process and each that it started."""
    taken = []
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            times = process.cpu_times()
            taken.append((times.user + times.system, process.memory_info().rss))
        except psutil.NoSuchProcess:
            continue
    return taken


if __name__ == "__main__":
    main()
