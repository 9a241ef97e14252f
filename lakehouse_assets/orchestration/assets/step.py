"""The one step that every lakehouse table goes through: stage → audit → gates → publish.

Belongs here: the order of these, in Dagster's terms, and what every asset says of itself. Does not belong here: what
any one table is, or which gates it has.
"""

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pyspark.sql import DataFrame

from lakehouse_assets.core.contracts import CONTRACTS, Contract
from lakehouse_assets.core.delta.slice_rules import OPERATION
from lakehouse_assets.core.delta.staging import Lakehouse, StagedSlice
from lakehouse_assets.core.quality.samples import preview
from lakehouse_assets.core.quality.slices import Broken, slice_violations, unique_key_violations
from lakehouse_assets.core.quality.table_rules import disagreements_of_slice
from lakehouse_assets.disks import full_disk_told
from lakehouse_assets.orchestration.gates import Gates, gate_specs, slice_gates
from lakehouse_assets.orchestration.io_managers.delta import BatchAccounts, Publication, publish
from lakehouse_assets.orchestration.keys import asset_key, table_of
from lakehouse_assets.orchestration.partitions import BACKFILL_POLICY
from lakehouse_assets.orchestration.presentation import dagster_lineage, dagster_schema
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource

Stage = Callable[[], StagedSlice | None]
"""Computes a slice and writes it where no reader looks; None where nothing is to be done."""


class TableConfig(dg.Config):
    """Launchpad settings that every table has."""

    force: bool = False
    """Recompute the table from its upstreams although nothing says that it is behind; rows that come out the same are
    not written.
    """
    reason: str = ""
    """Why the run was started by hand; kept with the materialisation."""


@dataclass(frozen=True)
class TableAsset:
    """A table of the graph before it is bound to a partitions definition. `build` makes the asset."""

    contract: Contract
    upstreams: tuple[str, ...]
    fingerprint: str
    build: Callable[[dg.PartitionsDefinition], dg.AssetsDefinition]
    code: Callable[..., Any]
    """Where to look for the meaning of its rows."""

    @property
    def name(self) -> str:
        return self.contract.name


def lakehouse_asset(
    model: Contract, partitions: dg.PartitionsDefinition, fingerprint: str, description: str | None, **more: Any
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """`dagster.asset` with what every lakehouse asset says of itself, from its contract. fingerprint: the
    transform's.
    """
    given: dict[str, Any] = {
        "key": asset_key(model.name),
        "partitions_def": partitions,
        "backfill_policy": BACKFILL_POLICY,
        "io_manager_key": "delta_io",
        "group_name": model.layer,
        "kinds": {"deltalake", "pyspark", model.layer},
        "owners": [model.owner],
        "description": "\n\n".join(filter(None, [model.description, inspect.cleandoc(description or "")])),
        "code_version": f"{model.fingerprint}-{fingerprint}",
        "metadata": {
            "dagster/column_schema": dagster_schema(model),
            **dagster_lineage(model, CONTRACTS, [table_of(i.key) for i in more.get("ins", {}).values()]),
            "dagster/table_name": model.name,
            "dagster/storage_kind": "deltalake",
            "key": ", ".join(model.key),
        },
        "output_required": False,
        "check_specs": gate_specs(model),
    }
    return dg.asset(**{**given, **more})


@contextmanager
def timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Note how long something took."""
    began = time.perf_counter()
    try:
        yield
    finally:
        seconds[step] = time.perf_counter() - began


class Step:
    """What the step of a table does beside publishing; tables that drops feed do some of it in another way."""

    def __init__(self, model: Contract, lakehouse: LakehouseResource, stage: Stage):
        self.model, self.lakehouse, self.stage = model, lakehouse, stage

    def gates(self, staged: StagedSlice | None) -> Gates:
        """What the gates of the table say of a slice."""
        return audit(self.model, self.lakehouse, staged)

    def results(self, gates: Gates) -> Iterator[dg.AssetCheckResult]:
        """The check results to be yielded."""
        yield from gates.results

    def is_blocked(self, gates: Gates) -> bool:
        """Whether nothing may be published."""
        return gates.blocked

    def again(self) -> StagedSlice | None:
        """Stage once more after a lost race. The gates have been shown by then, so a slice that breaks them fails the
        step.
        """
        staged = self.stage()
        if self.gates(staged).blocked:
            self.lakehouse.tables.discard(staged.uri if staged else None)
            raise dg.Failure(
                f"{self.model.name}, staged again, breaks its contract; materialise it once more to see by which rows."
            )
        return staged

    accounts: BatchAccounts | None = None
    """What is to be said of each batch date beside its rows."""

    def of_partition(self, key: str) -> Mapping[str, Any]:
        """What is to be said of a partition beside that."""
        return {}


def run_step(context: dg.AssetExecutionContext, config: TableConfig, step: Step) -> Iterator[Any]:
    """Bring a table up to date: its check results, and its Output unless a gate says otherwise.

    Where drops of some partitions are refused, the others are published, and there is no Output: without one nothing
    downstream runs in this run. It would take the refused batches for loaded, so it follows in a run of its own.
    """
    model, lakehouse = step.model, step.lakehouse
    seconds: dict[str, float] = {}
    with full_disk_told(lakehouse.written), timed(seconds, "stage"):
        staged = step.stage()
    with full_disk_told(lakehouse.written), timed(seconds, "audit"):
        gates = step.gates(staged)
    for key in context.partition_keys:
        if metadata := step.of_partition(key):
            context.add_asset_metadata(metadata, partition_key=key)
    publication = Publication(model.name, staged, step.again, step.accounts, seconds)
    if step.is_blocked(gates):
        for part in (staged, *staged.side) if staged else ():
            lakehouse.tables.discard(part.uri)
    elif gates.refused:
        others = sorted(set(context.partition_keys) - set(gates.refused))
        for day, metadata in publish(lakehouse, publication, others).items():
            said = {**metadata, **step.of_partition(day)}
            context.log_event(dg.AssetMaterialization(asset_key(model.name), partition=day, metadata=said))
    yield from step.results(gates)
    if not step.is_blocked(gates) and not gates.refused:
        yield _output(lakehouse, publication, config)


def _output(lakehouse: LakehouseResource, publication: Publication, config: TableConfig) -> dg.Output:
    """The Output of a lakehouse asset; its data version is the Delta version, so that a run without change leaves
    downstream in sync.
    """
    staged = publication.staged
    head = lakehouse.tables.store.head(publication.table)
    version = staged.base_version + 1 if staged and staged.rows else head.data_version if head else 0
    metadata = {"reason": config.reason} if config.reason else {}
    return dg.Output(publication, data_version=dg.DataVersion(str(version)), metadata=metadata)


def audit(model: Contract, lakehouse: LakehouseResource, staged: StagedSlice | None) -> Gates:
    """Judge the rows that a slice would write, in one pass; deleted rows are not judged. Of gold, which people read,
    some are kept to be shown.
    """
    if staged is None or staged.uri is None:
        return slice_gates(model, 0, {}, None)
    rows = lakehouse.tables.staged_frame(model, staged.uri)
    written = rows.where(f"{OPERATION} <> 'D'").drop(OPERATION)
    if model.layer == "gold":
        staged.preview = preview(written, model)
    broken = slice_violations(written, model) | disagreements(model, lakehouse.tables, staged, rows, written)
    return slice_gates(model, staged.rows, broken, slice_doubles(model, lakehouse, staged))


def disagreements(
    model: Contract, lakehouse: Lakehouse, staged: StagedSlice, rows: DataFrame, written: DataFrame
) -> dict[str, Broken]:
    """The sums of the touched days that differ from those of the upstreams, as these were when they were read."""
    if not any(rule.gate for rule in model.table_rules):
        return {}

    def upstream(name: str) -> DataFrame:
        head, read = lakehouse.upstream_heads([name])[name], staged.consumed.upstreams[name]
        # The newest version of the same rows: the files of the one in which they changed may be compacted and gone.
        return lakehouse.store.frame(lakehouse.spark, name, head.version if head.data_version == read else read)

    target = lakehouse.store.frame(lakehouse.spark, model.name, staged.base_version)
    return disagreements_of_slice(model, CONTRACTS, rows, written, target, upstream)


def slice_doubles(model: Contract, lakehouse: LakehouseResource, staged: StagedSlice | None) -> Broken | None:
    """The keys that a slice holds twice, whatever becomes of them."""
    if staged is None or staged.uri is None:
        return None
    return unique_key_violations(lakehouse.tables.staged_frame(model, staged.uri), model)
