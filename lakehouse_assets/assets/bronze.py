"""Bronze: what landed, row by row, and the journal. Rows first, journal after."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import dagster as dg

from lakehouse_assets.assets.table import Table, TableConfig, asset_key, audit, gated, lakehouse_asset, output, timed
from lakehouse_assets.contracts import contract
from lakehouse_assets.delta.staging import JOURNAL, StagedSlice
from lakehouse_assets.errors import SourceUnavailableError
from lakehouse_assets.io_managers.delta import Publication
from lakehouse_assets.quality import checks
from lakehouse_assets.resources.lakehouse import LakehouseResource
from lakehouse_assets.sources import journal, parse
from lakehouse_assets.sources.ingest import entries, landed_drops, new_drops, stage_bronze, stage_journal
from lakehouse_assets.sources.landing import SOURCES, Drop
from lakehouse_assets.sources.pull import SOURCE as PULLED
from lakehouse_assets.sources.pull import TABLE, Pull, due, pull


def _drops_of(context: dg.AssetExecutionContext, lakehouse: LakehouseResource, source: str | None = None) -> list[Drop]:
    """The drops of the run's batch dates that the journal does not know."""
    days = {date.fromisoformat(k) for k in context.partition_keys}
    drops, _ = lakehouse.zone.scan(source)
    return [d for d in new_drops(drops, entries(lakehouse.lakehouse)) if d.batch_date in days]


DATABASE_ANSWERS = "database_answers"
"""The check of bronze.customers that is red while the customers' database cannot be read; nothing waits for it."""


def _pull(context: dg.AssetExecutionContext, lakehouse: LakehouseResource) -> tuple[Pull | None, str]:
    """What is new in the customers' database, where the run has the batch date of that, and why it cannot be read, if
    so: that holds nothing else up.
    """
    database = lakehouse.customers
    if database is None:
        return None, ""
    house, today, journal = lakehouse.lakehouse, lakehouse.zone.today(), entries(lakehouse.lakehouse)
    try:
        drop = due(house, database, journal, today)
        if drop is None or drop.batch_date.isoformat() not in context.partition_keys:
            return None, ""
        return pull(house, database, house.head(contract(TABLE)), journal, drop, today), ""
    except SourceUnavailableError as error:
        context.log.warning(str(error))
        return None, str(error)


def _bronze(source: str, words: str) -> Table:
    model = contract(f"bronze.{SOURCES[source]}")
    specs = checks.gate_specs(model)
    if source == PULLED:
        specs.append(
            dg.AssetCheckSpec(
                DATABASE_ANSWERS,
                asset=asset_key(model.name),
                description="The customers' database, where one is set, can be read.",
            )
        )

    def build(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
        @lakehouse_asset(model, partitions, "", words, check_specs=specs)
        def compute(
            context: dg.AssetExecutionContext, config: TableConfig, lakehouse: LakehouseResource
        ) -> Iterator[Any]:
            drops = _drops_of(context, lakehouse, source)
            silent = ""

            def stage() -> StagedSlice | None:
                nonlocal silent
                lakehouse.lakehouse.head(model)  # the table exists from its first run on, drops or not
                pulled, silent = _pull(context, lakehouse) if source == PULLED else (None, "")
                return stage_bronze(lakehouse.lakehouse, source, lakehouse.zone, drops, pulled)

            def batches(rows: Mapping[date, int]) -> dict[date, dict[str, Any]]:
                landed = landed_drops(lakehouse.lakehouse, source, drops)
                return {day: {"drops": landed[day]} for day in rows}

            seconds: dict[str, float] = {}
            with timed(seconds, "stage"):
                staged = stage()
            if staged and staged.consumed.watermark:
                context.add_asset_metadata({"watermark": dg.MetadataValue.json(dict(staged.consumed.watermark))})
            with timed(seconds, "audit"):
                gates = audit(model, lakehouse, staged)
            yield from gates.results
            if source == PULLED:
                yield dg.AssetCheckResult(
                    passed=not silent, check_name=DATABASE_ANSWERS, description=checks.plain(silent) or None
                )
            if not gates.blocked:
                yield output(
                    context,
                    lakehouse,
                    Publication(model.name, staged, gated(model, lakehouse, stage), batches, seconds),
                    config,
                )

        return compute

    return Table(model.name, (), "", build, parse)


orders = _bronze("orders", "Taken in from the CSV drops of the folder `orders/`.")
customers = _bronze(
    "customers",
    "Taken in from the JSON lines of the folder `customers/`, and pulled from the customers' database where one is"
    " set.",
)
fx_rates = _bronze("fx", "Taken in from the ECB files of the folder `fx/`, unpivoted.")


def _landings() -> Table:
    model = contract(JOURNAL)

    def build(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
        @lakehouse_asset(
            model,
            partitions,
            "",
            "An entry is written once its rows are in bronze.",
            check_specs=None,
            ins={t: dg.AssetIn(asset_key(f"bronze.{t}")) for t in SOURCES.values()},
        )
        def compute(
            context: dg.AssetExecutionContext, config: TableConfig, lakehouse: LakehouseResource, **_: Any
        ) -> Iterator[Any]:
            def stage() -> StagedSlice | None:
                lakehouse.lakehouse.head(model)
                return stage_journal(lakehouse.lakehouse, lakehouse.zone, _drops_of(context, lakehouse))

            seconds: dict[str, float] = {}
            with timed(seconds, "stage"):
                staged = stage()
            yield output(context, lakehouse, Publication(model.name, staged, stage, seconds=seconds), config)

        return compute

    return Table(model.name, (), "", build, journal)


landings = _landings()

TABLES = [orders, customers, fx_rates, landings]
