"""Bronze: what landed, row by row, and the journal. Rows first, journal after."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import dagster as dg

from lakehouse_assets.core.contracts import contract
from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.delta.staging import JOURNAL, StagedSlice
from lakehouse_assets.core.names import short_name
from lakehouse_assets.core.sources.ingest import entries, landed_drops, new_drops, stage_bronze, stage_journal
from lakehouse_assets.core.sources.landing import Drop
from lakehouse_assets.core.sources.pull import Pull, due, pull
from lakehouse_assets.errors import SourceUnavailableError
from lakehouse_assets.orchestration.assets.step import Step, TableAsset, TableConfig, lakehouse_asset, run_step
from lakehouse_assets.orchestration.gates import Gates, gate_specs
from lakehouse_assets.orchestration.keys import asset_key
from lakehouse_assets.orchestration.presentation import plain
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource

DATABASE_ANSWERS = "database_answers"
"""The check of a bronze table that is red while the database of its source cannot be read; nothing waits for it."""


class _BronzeStep(Step):
    """Takes in the drops of the run's batch dates, and what is new in the database of the source, if it has one. The
    messages of a topic are taken in by `lakehouse stream`.
    """

    def __init__(self, context: dg.AssetExecutionContext, lakehouse: LakehouseResource, source: Source):
        super().__init__(source.bronze_contract, lakehouse, self._stage)
        self.context, self.source, self.silent = context, source, ""
        self.watermark: Mapping[str, Any] = {}
        self.drops = [] if source.topic else _drops_of(context, lakehouse, source.name)
        self.accounts = self._landed

    def _stage(self) -> StagedSlice | None:
        house = self.lakehouse.tables
        house.head(self.model)  # the table exists from its first run on, drops or not
        pulled, self.silent = _pull(self.context, self.lakehouse, self.source)
        staged = stage_bronze(house, self.source, self.lakehouse.zone, self.drops, pulled)
        self.watermark = staged.consumed.watermark if staged else {}
        return staged

    def _landed(self, rows: Mapping[date, int]) -> dict[date, dict[str, Any]]:
        landed = landed_drops(self.lakehouse.tables, self.source, self.drops)
        return {day: {"drops": landed[day]} for day in rows}

    def results(self, gates: Gates) -> Iterator[dg.AssetCheckResult]:
        if self.watermark:
            self.context.add_asset_metadata({"watermark": dg.MetadataValue.json(dict(self.watermark))})
        yield from gates.results
        if self.source.pulled:
            text = plain(self.silent) or None
            yield dg.AssetCheckResult(passed=not self.silent, check_name=DATABASE_ANSWERS, description=text)


class _JournalStep(Step):
    """Writes an entry for each drop whose rows are in bronze. The journal has no gates."""

    def gates(self, staged: StagedSlice | None) -> Gates:
        return Gates((), ())


def bronze_table(source: Source) -> TableAsset:
    """The asset of the rows of a source as they landed."""
    model = source.bronze_contract
    specs = gate_specs(model)
    if source.pulled:
        what = "The database of the source, where one is set, can be read."
        specs.append(dg.AssetCheckSpec(DATABASE_ANSWERS, asset=asset_key(model.name), description=what))

    def build(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
        @lakehouse_asset(model, partitions, "", source.landed, check_specs=specs)
        def compute(
            context: dg.AssetExecutionContext, config: TableConfig, lakehouse: LakehouseResource
        ) -> Iterator[Any]:
            yield from run_step(context, config, _BronzeStep(context, lakehouse, source))

        return compute

    return TableAsset(model, (), "", build, source.code)


def journal_table() -> TableAsset:
    """The asset of the journal."""
    model = contract(JOURNAL)
    ins = {short_name(s.bronze): dg.AssetIn(asset_key(s.bronze)) for s in SOURCES.values()}

    def build(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
        @lakehouse_asset(
            model, partitions, "", "An entry is written once its rows are in bronze.", check_specs=None, ins=ins
        )
        def compute(
            context: dg.AssetExecutionContext, config: TableConfig, lakehouse: LakehouseResource, **_: Any
        ) -> Iterator[Any]:
            def stage() -> StagedSlice | None:
                lakehouse.tables.head(model)
                return stage_journal(lakehouse.tables, lakehouse.zone, _drops_of(context, lakehouse))

            yield from run_step(context, config, _JournalStep(model, lakehouse, stage))

        return compute

    return TableAsset(model, (), "", build, stage_journal)


def _drops_of(context: dg.AssetExecutionContext, lakehouse: LakehouseResource, source: str | None = None) -> list[Drop]:
    """The drops of the run's batch dates that the journal does not know."""
    days = {date.fromisoformat(k) for k in context.partition_keys}
    drops, _ = lakehouse.zone.scan(source)
    return [d for d in new_drops(drops, entries(lakehouse.tables)) if d.batch_date in days]


def _pull(context: dg.AssetExecutionContext, lakehouse: LakehouseResource, source: Source) -> tuple[Pull | None, str]:
    """What is new in the database of a source, where the run has the batch date of that, and why it cannot be read, if
    so: that holds nothing else up.
    """
    database = lakehouse.databases.get(source.name) if source.pulled else None
    if database is None:
        return None, ""
    house, today, journal = lakehouse.tables, lakehouse.zone.today(), entries(lakehouse.tables)
    try:
        drop = due(house, database, journal, today)
        if drop is None or drop.batch_date.isoformat() not in context.partition_keys:
            return None, ""
        return pull(house, database, house.head(source.bronze_contract), journal, drop, today), ""
    except SourceUnavailableError as error:
        context.log.warning(str(error))
        return None, str(error)
