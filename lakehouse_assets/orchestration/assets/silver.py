"""Silver tables that drops feed: typed, cleansed, deduplicated; bad rows set aside with their reasons."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any

import dagster as dg

from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.delta.slice_rules import OPERATION
from lakehouse_assets.core.delta.staging import JOURNAL, Lakehouse, StagedSlice
from lakehouse_assets.core.quality.drops import DropVerdict
from lakehouse_assets.core.quality.slices import UNIQUE, slice_violations, unique_key_violations
from lakehouse_assets.core.sources.cleanse import Cleansed, cleanse
from lakehouse_assets.core.sources.ingest import entries
from lakehouse_assets.core.sources.journal import ACCEPTED, REFUSED, acknowledged
from lakehouse_assets.core.sources.verdicts import batch_accounts, rejected_now, standing_verdicts
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.assets.step import (
    Step,
    TableAsset,
    TableConfig,
    lakehouse_asset,
    run_step,
    slice_doubles,
)
from lakehouse_assets.orchestration.gates import Gates, drift_metadata, drop_gates, gate_specs
from lakehouse_assets.orchestration.instance.check_events import log_check_evaluations
from lakehouse_assets.orchestration.keys import asset_key
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource


def refuse_broken_sides(lakehouse: Lakehouse, sides: Iterable[StagedSlice]) -> None:
    """Raise `LakehouseError` where a side table would break its contract. It is no drop's fault, so there is no gate to
    show it and nothing to set aside.
    """
    for side in sides:
        if side.uri is None:
            continue
        rows = lakehouse.staged_frame(side.contract, side.uri)
        doubled = unique_key_violations(rows, side.contract)
        written = rows.where(f"{OPERATION} <> 'D'").drop(OPERATION)
        broken = [*slice_violations(written, side.contract), *([UNIQUE] if doubled else [])]
        if broken:
            raise LakehouseError(
                f"{side.contract.name} would break {', '.join(broken)}; nothing was published, fix what writes it"
                " (core/sources/cleanse.py)."
            )


class _SourceStep(Step):
    """Judges drops. A drop that breaks a blocking rule makes its partition red; those of the others are published."""

    def __init__(self, context: dg.AssetExecutionContext, lakehouse: LakehouseResource, source: Source, force: bool):
        super().__init__(source.contract, lakehouse, self._stage)
        self.context, self.source, self.force = context, source, force
        self.days = {date.fromisoformat(key) for key in context.partition_keys}
        self.accounts = lambda rows: batch_accounts(lakehouse.tables, source, rows)
        self.cleansed: Cleansed | None = None
        self.by_day: dict[str, list[DropVerdict]] = {}
        self.doubled = False
        self.shown: set[str] = set()
        """The paths of the drops that the gates have shown as refused."""

    def _stage(self) -> StagedSlice | None:
        house = self.lakehouse.tables
        self.cleansed = cleanse(
            house, self.source, fingerprint=self.source.fingerprint, force=self.force, days=self.days
        )
        refuse_broken_sides(house, self.cleansed.slice.side if self.cleansed else ())
        return self.cleansed.slice if self.cleansed else None

    def gates(self, staged: StagedSlice | None) -> Gates:
        shown, elsewhere = self._verdicts()
        self.shown = {v.path for v in shown if v.verdict == REFUSED}
        self.by_day = {key: [] for key in self.context.partition_keys}
        for verdict in shown:
            self.by_day[str(verdict.batch_date)].append(verdict)
        doubled = slice_doubles(self.model, self.lakehouse, staged)
        self.doubled = doubled is not None
        gates = drop_gates(self.model, shown, self.by_day, doubled, elsewhere)
        log_check_evaluations(self.context, gates.evaluations)
        return gates

    def _verdicts(self) -> tuple[list[DropVerdict], list[DropVerdict]]:
        """The verdicts that count for the batch dates of the run, and those on rejected drops of other dates."""
        house = self.lakehouse.tables
        judged = list(self.cleansed.judged) if self.cleansed else []
        paths = {v.path for v in judged}
        # A day of the run without a verdict would be shown as skipped, and with it the check.
        judged += [v for v in standing_verdicts(house, self.source, self.days) if v.path not in paths]
        known = acknowledged(entries(house))
        judged = [v for v in judged if v.verdict == ACCEPTED or (v.path, v.content_hash) not in known]
        open_before = [v for v in rejected_now(house, self.source) if v.path not in paths]
        elsewhere = [v for v in (*judged, *open_before) if v.verdict != ACCEPTED and v.batch_date not in self.days]
        return [v for v in judged if v.batch_date in self.days], elsewhere

    def is_blocked(self, gates: Gates) -> bool:
        """A refused drop stops its own partition alone; a key that is twice in the slice stops all of it."""
        return self.doubled

    def again(self) -> StagedSlice | None:
        """Stage once more after a lost race; what the gates have shown by then must still be so."""
        staged = self._stage()
        refused = [v for v in (self.cleansed.refused if self.cleansed else []) if v.batch_date in self.days]
        if any(v.path not in self.shown for v in refused) or slice_doubles(self.model, self.lakehouse, staged):
            raise dg.Failure(
                f"{self.model.name}, staged again, has other verdicts; materialise it once more to see them."
            )
        return staged

    def of_partition(self, key: str) -> Mapping[str, Any]:
        return drift_metadata(self.by_day[key])


def source_table(source: Source) -> TableAsset:
    """The asset of the silver table of a source, which is bound to its settings."""
    model = source.contract

    def build(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
        @lakehouse_asset(
            model,
            partitions,
            source.fingerprint,
            source.wins,
            ins={"landings": dg.AssetIn(asset_key(JOURNAL)), "landed": dg.AssetIn(asset_key(source.bronze))},
            check_specs=gate_specs(model, partitions),
        )
        def compute(
            context: dg.AssetExecutionContext, config: TableConfig, lakehouse: LakehouseResource, **_: Any
        ) -> Iterator[Any]:
            yield from run_step(context, config, _SourceStep(context, lakehouse, source, config.force))

        return compute

    return TableAsset(model, (JOURNAL,), source.fingerprint, build, source.code)
