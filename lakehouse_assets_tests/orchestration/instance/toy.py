"""A code location in small, shaped like the real one: layers of assets over the same daily partitions, single-run
ranges, checks, one job.

Loaded as a module by the tests and by the servers they start. A file named by LAKEHOUSE_TOY_SIGNAL makes `gold/totals`
misbehave: "fail" in it makes the step fail, "hang" makes it wait for ever.
"""

import os
import time
from pathlib import Path
from typing import Any, TypedDict

import dagster as dg
from dagster_shared.record import replace

from lakehouse_assets.orchestration.instance.check_events import log_check_evaluations
from lakehouse_assets.orchestration.instance.processes import in_process_executor

partitions = dg.DailyPartitionsDefinition("2024-01-01", end_offset=1)


class Common(TypedDict):
    partitions_def: dg.PartitionsDefinition
    backfill_policy: dg.BackfillPolicy


common: Common = {"partitions_def": partitions, "backfill_policy": dg.BackfillPolicy.single_run()}


def misbehave() -> None:
    signal = Path(os.environ.get("LAKEHOUSE_TOY_SIGNAL", "/nonexistent"))
    word = signal.read_text() if signal.exists() else ""
    if word == "fail":
        raise ValueError("the toy was told to fail")
    if word == "hang":
        signal.with_suffix(".hanging").touch()
        time.sleep(600)


def per_day(context: dg.AssetExecutionContext) -> None:
    for number, key in enumerate(context.partition_keys):
        context.add_asset_metadata({"dagster/partition_row_count": number}, partition_key=key)


@dg.asset(key=["bronze", "orders"], code_version="1", **common)
def orders(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    per_day(context)
    return dg.MaterializeResult(data_version=dg.DataVersion("7"), tags={"toy": "yes"}, metadata={"rows": 3})


@dg.asset(
    key=["silver", "lines"],
    deps=[["bronze", "orders"]],
    check_specs=[
        dg.AssetCheckSpec(name, asset=["silver", "lines"], partitions_def=partitions) for name in ("unique", "complete")
    ],
    **common,
)
def lines(context: dg.AssetExecutionContext):
    per_day(context)
    found: dict[str, list[Any]] = {
        name: [
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(["silver", "lines"]),
                check_name=name,
                passed=number != 1,
                partition=key,
                metadata={"number": number},
            )
            for number, key in enumerate(context.partition_keys)
        ]
        for name in ("unique", "complete")
    }
    for evaluation in found["unique"]:
        context.log_event(evaluation)
    # One day is judged twice: the later verdict counts.
    log_check_evaluations(context, [*found["complete"], replace(found["complete"][1], passed=True)])
    context.log_event(dg.AssetObservation(asset_key=["silver", "lines"], metadata={"seen": 1}))
    for name in ("unique", "complete"):
        yield dg.AssetCheckResult(check_name=name, passed=name == "unique", severity=dg.AssetCheckSeverity.WARN)
    yield dg.MaterializeResult()


@dg.asset(key=["gold", "totals"], deps=[["silver", "lines"]], pool="totals", **common)
def totals(context: dg.AssetExecutionContext) -> None:
    misbehave()


@dg.asset_check(asset=["gold", "totals"])
def agrees() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True, metadata={"compared": 2})


defs = dg.Definitions(
    assets=[orders, lines, totals],
    asset_checks=[agrees],
    jobs=[dg.define_asset_job("load_all", selection="*", tags={"trigger": "job"})],
    executor=in_process_executor,
)
