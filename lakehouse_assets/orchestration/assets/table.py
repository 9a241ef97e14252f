"""The asset of a table that is computed from others, from its declaration.

Does not belong here: what any one table is (`domains/`), the step itself (`step.py`).
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import dagster as dg

from lakehouse_assets.core.declarations.table import Table
from lakehouse_assets.core.delta.staging import StagedSlice
from lakehouse_assets.core.sources.intake import INTAKE
from lakehouse_assets.orchestration.assets.step import Step, TableAsset, TableConfig, lakehouse_asset, run_step
from lakehouse_assets.orchestration.io_managers.delta import BatchAccounts
from lakehouse_assets.orchestration.keys import asset_key, step_name
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource

_COUNTS = ("landed", "published", "quarantined", "duplicates")


def computed_table(table: Table) -> TableAsset:
    """The asset of a table that is computed from others."""
    model = table.contract
    # Side tables are committed with their table, and are no assets.
    ins = {step_name(u): dg.AssetIn(asset_key(u)) for u in table.upstreams if not u.endswith("_verdicts")}

    def build(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
        @lakehouse_asset(model, partitions, table.fingerprint, table.transform.__doc__, ins=ins)
        def compute(
            context: dg.AssetExecutionContext, config: TableConfig, lakehouse: LakehouseResource, **_: Any
        ) -> Iterator[Any]:
            def stage() -> StagedSlice | None:
                return lakehouse.tables.stage(
                    model, table.transform, table.upstreams, fingerprint=table.fingerprint, force=config.force
                )

            step = Step(model, lakehouse, stage)
            step.accounts = _drop_accounts(lakehouse) if model.name == INTAKE else None
            yield from run_step(context, config, step)

        return compute

    return TableAsset(model, table.upstreams, table.fingerprint, build, table.code)


def _drop_accounts(lakehouse: LakehouseResource) -> BatchAccounts:
    """The accounts of the drops of each batch date, all sources together."""

    def accounts(rows: Mapping[date, int]) -> Mapping[date, Mapping[str, int]]:
        found: dict[date, dict[str, int]] = {day: dict.fromkeys(_COUNTS, 0) for day in rows}
        for row in lakehouse.tables.store.read(INTAKE, columns=["batch_date", *_COUNTS]).to_pylist():
            for name in _COUNTS if row["batch_date"] in found else ():
                found[row["batch_date"]][name] += row[name]
        return found

    return accounts
