"""Puts everything together: one pure `build_definitions(settings, **overrides)`, and `defs`, which Dagster loads."""

from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any

import dagster as dg

from lakehouse_assets.assets import bronze, gold, silver
from lakehouse_assets.assets.links import linked
from lakehouse_assets.assets.snowflake import publication, reconciliation, snowflake_assets
from lakehouse_assets.assets.table import Table
from lakehouse_assets.automation.alerts import watch_sensor
from lakehouse_assets.automation.jobs import RECONCILE, table_jobs
from lakehouse_assets.automation.maintenance import maintenance_job
from lakehouse_assets.automation.pending import TableNode
from lakehouse_assets.automation.recovery import check_job
from lakehouse_assets.automation.schedules import schedules
from lakehouse_assets.automation.sensor import landing_sensor
from lakehouse_assets.automation.sinks import sink
from lakehouse_assets.contracts import CONTRACTS, contract
from lakehouse_assets.delta.proof import SIDES
from lakehouse_assets.delta.staging import JOURNAL
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.handoff.handoff import Handoff
from lakehouse_assets.instance.processes import in_process_executor
from lakehouse_assets.io_managers.delta import DeltaIOManager
from lakehouse_assets.io_managers.snowflake_stage import SnowflakeStageIOManager
from lakehouse_assets.partitions import daily
from lakehouse_assets.quality import checks
from lakehouse_assets.resources.handoff import HandoffResource, served
from lakehouse_assets.resources.lakehouse import LakehouseResource
from lakehouse_assets.resources.snowflake import snowflake_resource
from lakehouse_assets.settings import Settings
from lakehouse_assets.sources.intake import TABLES as PUBLISHED
from lakehouse_assets.sources.landing import SOURCES

SETTLE_SECONDS = 5.0
LAPTOP_EMAIL_KEY = "no secret: for the embedded account only"


def email_key(settings: Settings) -> str:
    """The key of the e-mail hash. Raises `LakehouseError` where a real account lacks it."""
    if settings.email_key is not None:
        return settings.email_key.get_secret_value()
    if settings.snowflake == "embedded":
        return LAPTOP_EMAIL_KEY
    raise LakehouseError(
        "LAKEHOUSE_EMAIL_KEY is not set, and with a real account it has no default; set it to a long random text."
    )


def tables(settings: Settings) -> list[Table]:
    """The Delta tables of the graph in topological order."""
    return [*bronze.TABLES, *silver.build_tables(email_key(settings), settings.keep_email), *gold.TABLES]


def graph(settings: Settings) -> dict[str, TableNode]:
    """What `pending` needs to know of every Delta table, in topological order."""
    return {t.name: TableNode(t.upstreams, t.fingerprint) for t in tables(settings)}


@cache
def readers() -> dict[str, tuple[str, ...]]:
    """Every table that others are computed from → those. The journal reads bronze: an entry says that its rows are
    there.
    """
    found: dict[str, list[str]] = {f"bronze.{table}": [JOURNAL] for table in SOURCES.values()}
    for table in (*silver.build_tables("", False), *gold.TABLES):  # whichever key: who reads what does not depend on it
        for upstream in table.upstreams:
            found.setdefault(upstream, []).append(table.name)
    return {table: tuple(of) for table, of in found.items()}


def kept_tables() -> list[str]:
    """Every Delta table, side tables too, upstreams first."""
    sides = [f"{table}{side}" for table in PUBLISHED.values() for side in SIDES]
    return [
        *(t.name for t in bronze.TABLES),
        *sides,
        *(t.name for t in (*silver.build_tables("", False), *gold.TABLES)),
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

    def read(context: dg.AssetCheckExecutionContext, name: str):  # type: ignore[no-untyped-def]
        lakehouse = context.resources.lakehouse.lakehouse
        lakehouse.head(contract(name))  # what a table refers to may not have been loaded yet
        return lakehouse.store.frame(lakehouse.spark, name)

    def live(model):  # type: ignore[no-untyped-def]
        return lambda context: read(context, model.name)

    late = dg.FreshnessPolicy.time_window(
        warn_window=timedelta(hours=settings.freshness_hours), fail_window=timedelta(hours=2 * settings.freshness_hours)
    )
    users_read = [
        asset.map_asset_specs(lambda spec: spec.replace_attributes(freshness_policy=late))
        for asset in (
            linked(asset, Handoff.hand_off, served()[asset.key.path[-1]], settings.code_url)
            for asset in snowflake_assets(settings, partitions)
        )
    ]
    after_each = [publication(model) for model in served().values()]
    whole_table = [
        *(reconciliation(model) for model in served().values()),
        *(checks.live_check(model, live(model), {"lakehouse"}) for model in served().values()),
        *(
            checks.table_check(model, CONTRACTS, read, {"lakehouse"})
            for model in CONTRACTS.values()
            if model.table_rules
        ),
        checks.volume_check(served()["sales_lines"], live(served()["sales_lines"]), "invoice_date", {"lakehouse"}),
    ]
    jobs = table_jobs(list(PUBLISHED.values()), [key for check in whole_table for key in check.check_keys])
    nodes = graph(settings)
    if keyless := [model.name for model in CONTRACTS.values() if not model.key]:
        raise LakehouseError(
            f"The contract of {', '.join(keyless)} names no key; name the columns that tell its rows apart."
        )
    if unmade := [model.name for model in served().values() if model.name not in nodes]:
        raise LakehouseError(
            f"{', '.join(unmade)} has a contract that is handed off, but no asset; add it to the TABLES of its layer in"
            " assets/."
        )
    quarantines = [f"{table}_quarantine" for table in PUBLISHED.values()]
    maintenance, check = maintenance_job(kept_tables(), quarantines), check_job(kept_tables())
    return dg.Definitions(
        assets=[
            *(linked(t.build(partitions), t.code, contract(t.name), settings.code_url) for t in tables(settings)),
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
            ),
        ],
        resources=built,
        executor=in_process_executor,
    )


def watched(definitions: dg.Definitions) -> tuple[list[dg.AssetKey], list[dg.AssetCheckKey]]:
    """What the sensor `watch` looks at: the assets with a freshness policy, and the stand-alone checks."""
    checks = [key for check in definitions.asset_checks or () for key in check.check_keys]
    return [dg.AssetKey(["snowflake", table]) for table in served()], checks


def server_settings() -> Settings:
    """The environment's, for Dagster's servers: they let a drop settle where nothing else is said, for nobody knows who
    is writing it.
    """
    settings = Settings()  # pyright: ignore[reportCallIssue] -- all fields have defaults
    said = "drop_settle_seconds" in settings.model_fields_set
    return settings if said else settings.model_copy(update={"drop_settle_seconds": SETTLE_SECONDS})


defs = build_definitions(server_settings())
