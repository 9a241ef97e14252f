"""Puts everything together: one pure `build_definitions(settings, **overrides)`, which merges the areas, and `defs`,
which Dagster loads. Importing this module starts nothing and reads no landing zone.

Does not belong here: what an area brings (`domains/`), which areas there are (`areas.py`), how an asset is built
(`orchestration/`).
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dagster as dg

from lakehouse_assets.areas import AREAS
from lakehouse_assets.core.contracts import CONTRACTS, Contract, contract
from lakehouse_assets.core.declarations.registry import SOURCES, TABLES
from lakehouse_assets.core.handoff.handoff import Handoff
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration import checks
from lakehouse_assets.orchestration.assets.bronze import bronze_table, journal_table
from lakehouse_assets.orchestration.assets.links import linked
from lakehouse_assets.orchestration.assets.silver import source_table
from lakehouse_assets.orchestration.assets.snowflake import publication, reconciliation, snowflake_assets
from lakehouse_assets.orchestration.assets.step import TableAsset
from lakehouse_assets.orchestration.assets.table import computed_table
from lakehouse_assets.orchestration.automation.alerts import watch_sensor
from lakehouse_assets.orchestration.automation.jobs import RECONCILE, table_jobs
from lakehouse_assets.orchestration.automation.maintenance import maintenance_job
from lakehouse_assets.orchestration.automation.recovery import check_job
from lakehouse_assets.orchestration.automation.schedules import schedules
from lakehouse_assets.orchestration.automation.sensor import landing_sensor
from lakehouse_assets.orchestration.automation.sinks import sink
from lakehouse_assets.orchestration.graph import graph, kept_tables, readers, served
from lakehouse_assets.orchestration.instance.processes import in_process_executor
from lakehouse_assets.orchestration.io_managers.delta import DeltaIOManager
from lakehouse_assets.orchestration.io_managers.snowflake_stage import SnowflakeStageIOManager
from lakehouse_assets.orchestration.keys import snowflake_key
from lakehouse_assets.orchestration.partitions import daily
from lakehouse_assets.orchestration.resources.handoff_resource import HandoffResource
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource
from lakehouse_assets.orchestration.resources.snowflake import snowflake_resource
from lakehouse_assets.settings import Settings

SETTLE_SECONDS = 5.0


def tables(settings: Settings) -> list[TableAsset]:
    """The Delta tables of the graph in topological order."""
    return [
        *(bronze_table(source) for source in SOURCES.values()),
        journal_table(),
        *(source_table(source.with_settings(settings)) for source in SOURCES.values()),
        *(computed_table(table) for table in TABLES.values()),
    ]


def resources(settings: Settings) -> dict[str, Any]:
    """The resources by the names under which assets ask for them. Nothing is started."""
    lakehouse = LakehouseResource.of(settings, readers())
    account = snowflake_resource(
        mode=settings.snowflake,
        home=settings.home,
        query_tag="lakehouse_assets",
        idle_seconds=settings.account_idle_seconds,
    )
    handoff = HandoffResource.of(settings, lakehouse, account)
    return {
        "lakehouse": lakehouse,
        "snowflake": account,
        "handoff": handoff,
        "delta_io": DeltaIOManager(lakehouse=lakehouse),
        "snowflake_stage_io": SnowflakeStageIOManager(handoff=handoff),
        "alert_sink": sink(settings),
    }


def build_definitions(settings: Settings | None = None, **overrides: Any) -> dg.Definitions:
    """All definitions for the given settings (default: the environment's). overrides: resources by name."""
    settings = settings or Settings()  # pyright: ignore[reportCallIssue] -- all fields have defaults
    partitions = daily(settings)
    built: Mapping[str, Any] = {**resources(settings), **overrides}
    own = [area.definitions(settings) for area in AREAS if area.definitions]
    users_read = _users_read(settings, partitions)
    after_each = [publication(model) for model in served().values()]
    whole_table = _whole_table_checks()
    jobs = table_jobs(
        [source.table for source in SOURCES.values()], [key for check in whole_table for key in check.check_keys]
    )
    nodes = graph(settings)
    if unmade := [model.name for model in served().values() if model.name not in nodes]:
        raise LakehouseError(
            f"{', '.join(unmade)} has a contract that is handed off, but no asset; declare it by @table in its domain."
        )
    quarantines = [source.quarantine.name for source in SOURCES.values()]
    maintenance, check = maintenance_job(kept_tables(), quarantines), check_job(kept_tables())
    spine = dg.Definitions(
        assets=[
            *(linked(t.build(partitions), t.code, t.contract, settings.code_url) for t in tables(settings)),
            *users_read,
        ],
        asset_checks=[*after_each, *whole_table],
        jobs=[*jobs, maintenance, check],
        schedules=schedules(nodes, maintenance, next(j for j in jobs if j.name == RECONCILE), check, settings.timezone),
        sensors=[
            landing_sensor(nodes, settings.retry_seconds, {job.name: job for job in jobs}),
            watch_sensor(
                [key for asset in users_read for key in asset.keys],
                [key for check in (*after_each, *whole_table) for key in check.check_keys],
                AREAS,
            ),
        ],
        resources=built,
        executor=in_process_executor,
    )
    return dg.Definitions.merge(spine, *own) if own else spine


def _users_read(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The Snowflake assets, each late where it was not materialised for long."""
    late = dg.FreshnessPolicy.time_window(
        warn_window=timedelta(hours=settings.freshness_hours), fail_window=timedelta(hours=2 * settings.freshness_hours)
    )
    assets = [
        linked(asset, Handoff.hand_off, served()[asset.key.path[-1]], settings.code_url)
        for asset in snowflake_assets(settings, partitions)
    ]
    return [asset.map_asset_specs(lambda spec: spec.replace_attributes(freshness_policy=late)) for asset in assets]


def _whole_table_checks() -> list[dg.AssetChecksDefinition]:
    """The checks that read whole tables; the job `reconcile` runs them."""

    def read(context: dg.AssetCheckExecutionContext, name: str):  # type: ignore[no-untyped-def]
        lakehouse = context.resources.lakehouse.tables
        lakehouse.head(contract(name))  # what a table refers to may not have been loaded yet
        return lakehouse.store.frame(lakehouse.spark, name)

    def live(model: Contract):  # type: ignore[no-untyped-def]
        return lambda context: read(context, model.name)

    return [
        *(reconciliation(model) for model in served().values()),
        *(checks.live_check(model, live(model), {"lakehouse"}) for model in served().values()),
        *(
            checks.table_check(model, CONTRACTS, read, {"lakehouse"})
            for model in CONTRACTS.values()
            if model.table_rules
        ),
        *(
            checks.volume_check(model, live(model), model.volume_by, {"lakehouse"})
            for model in CONTRACTS.values()
            if model.volume_by
        ),
    ]


def watched(definitions: dg.Definitions) -> tuple[list[dg.AssetKey], list[dg.AssetCheckKey]]:
    """What the sensor `watch` looks at: the assets with a freshness policy, and the stand-alone checks."""
    checks = [key for check in definitions.asset_checks or () for key in check.check_keys]
    return [snowflake_key(table) for table in served()], checks


def server_settings() -> Settings:
    """The environment's, for Dagster's servers: they let a drop settle where nothing else is set, for nobody knows who
    is writing it.
    """
    settings = Settings()  # pyright: ignore[reportCallIssue] -- all fields have defaults
    given = "drop_settle_seconds" in settings.model_fields_set
    return settings if given else settings.model_copy(update={"drop_settle_seconds": SETTLE_SECONDS})


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster's servers and `dg` load; built when it is first asked for."""
    return build_definitions(server_settings())
