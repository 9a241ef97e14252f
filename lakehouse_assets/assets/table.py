"""The one decorator that turns a transform and a contract into an asset: stage → audit → checks → Output.

Belongs here: the steps that every table goes through, in Dagster's terms. Does not belong here: what any one table is.
"""

import ast
import hashlib
import inspect
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import dagster as dg
from pyspark.sql import DataFrame

from lakehouse_assets.contracts import CONTRACTS, Contract, contract
from lakehouse_assets.delta.staging import Lakehouse, StagedSlice
from lakehouse_assets.delta.store import OPERATION
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.io_managers.delta import BatchAccounts, Publication
from lakehouse_assets.partitions import BACKFILL_POLICY
from lakehouse_assets.quality import checks
from lakehouse_assets.quality.audit import Broken, preview, slice_violations, unique_key_violations
from lakehouse_assets.quality.table_rules import disagreements_of_slice
from lakehouse_assets.resources.lakehouse import LakehouseResource
from lakehouse_assets.transforms import frames
from lakehouse_assets.transforms.frames import Transform


class TableConfig(dg.Config):
    """Launchpad settings that every table has."""

    force: bool = False
    """Recompute the table from its upstreams although nothing says that it is behind; rows that come out the same are
    not written.
    """
    reason: str = ""
    """Why the run was started by hand; kept with the materialisation."""


def fingerprint(*code: ModuleType | Callable[..., Any]) -> str:
    """12 hex digits over the code that makes a table; comments, docstrings and layout do not count."""
    digest = hashlib.sha256()
    for item in code:
        module = item if isinstance(item, ModuleType) else sys.modules[item.__module__]
        digest.update(_without_words(inspect.getsource(module)).encode())
        digest.update(getattr(item, "__qualname__", "").encode())
    return digest.hexdigest()[:12]


def _without_words(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            body[0].value.value = ""
    return ast.dump(tree)


@dataclass(frozen=True)
class Table:
    """A table of the graph before it is bound to a partitions definition. `build` makes the asset."""

    name: str
    upstreams: tuple[str, ...]
    fingerprint: str
    build: Callable[[dg.PartitionsDefinition], dg.AssetsDefinition]
    code: ModuleType | Callable[..., Any]
    """Where to look for the meaning of its rows."""
    transform: Transform | None = None

    @property
    def key(self) -> dg.AssetKey:
        return asset_key(self.name)


def asset_key(name: str) -> dg.AssetKey:
    """`layer.table` → the asset key `[layer, table]`."""
    return dg.AssetKey(name.split("."))


@contextmanager
def timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Note how long something took."""
    began = time.perf_counter()
    try:
        yield
    finally:
        seconds[step] = time.perf_counter() - began


def table(
    name: str,
    *,
    upstreams: Sequence[str],
    code: Sequence[ModuleType] = (),
    accounts: Callable[[LakehouseResource], BatchAccounts] | None = None,
) -> Callable[[Transform], Table]:
    """Make a table of the graph from a transform.

    name: `layer.table`, which must have a contract. upstreams: the tables whose changes the transform consumes. code:
    further modules whose change makes the table stale, beside the transform's own. accounts: what is to be said of each
    batch date beside its rows.
    """

    def decorate(transform: Transform) -> Table:
        model = contract(name)
        mark = fingerprint(transform, frames, *code)
        if elsewhere := sorted({rule.gate for rule in model.table_rules if rule.gate} - set(upstreams)):
            raise LakehouseError(
                f"The sums of {name} are gated against {', '.join(elsewhere)}, which is no upstream; name one of"
                f" {', '.join(upstreams)}."
            )

        def build(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
            @lakehouse_asset(
                model,
                partitions,
                mark,
                transform.__doc__,
                ins={u.replace(".", "__"): dg.AssetIn(asset_key(u)) for u in upstreams if "_verdicts" not in u},
            )
            def compute(
                context: dg.AssetExecutionContext, config: TableConfig, lakehouse: LakehouseResource, **_: Any
            ) -> Iterator[Any]:
                def stage() -> StagedSlice | None:
                    return lakehouse.lakehouse.stage(model, transform, upstreams, fingerprint=mark, force=config.force)

                seconds: dict[str, float] = {}
                with timed(seconds, "stage"):
                    staged = stage()
                with timed(seconds, "audit"):
                    gates = audit(model, lakehouse, staged)
                yield from gates.results
                if not gates.blocked:
                    said = accounts(lakehouse) if accounts else None
                    yield output(
                        context,
                        lakehouse,
                        Publication(name, staged, gated(model, lakehouse, stage), said, seconds),
                        config,
                    )
                elif staged:
                    lakehouse.lakehouse.discard(staged.uri)

            return compute

        return Table(name, tuple(upstreams), mark, build, transform, transform)

    return decorate


def lakehouse_asset(
    model: Contract, partitions: dg.PartitionsDefinition, mark: str, words: str | None, **more: Any
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """`dagster.asset` with what every lakehouse asset says of itself, from its contract. mark: the transform's
    fingerprint.
    """
    said: dict[str, Any] = {
        "key": asset_key(model.name),
        "partitions_def": partitions,
        "backfill_policy": BACKFILL_POLICY,
        "io_manager_key": "delta_io",
        "group_name": model.layer,
        "kinds": {"deltalake", "pyspark", model.layer},
        "owners": [model.owner],
        "description": "\n\n".join(filter(None, [model.description, inspect.cleandoc(words or "")])),
        "code_version": f"{model.fingerprint}-{mark}",
        "metadata": {
            "dagster/column_schema": checks.dagster_schema(model),
            **checks.dagster_lineage(model, CONTRACTS, [".".join(i.key.path) for i in more.get("ins", {}).values()]),
            "dagster/table_name": model.name,
            "dagster/storage_kind": "deltalake",
            "key": ", ".join(model.key),
        },
        "output_required": False,
        "check_specs": checks.gate_specs(model),
    }
    return dg.asset(**{**said, **more})


def audit(model: Contract, lakehouse: LakehouseResource, staged: StagedSlice | None) -> checks.Gates:
    """Judge the rows that a slice would write, in one pass; deleted rows are not judged. Of gold, which people read,
    some are kept to be shown.
    """
    if staged is None or staged.uri is None:
        return checks.slice_gates(model, 0, {}, None, ())
    rows = lakehouse.lakehouse.staged_frame(model, staged.uri)
    written = rows.where(f"{OPERATION} <> 'D'").drop(OPERATION)
    if model.layer == "gold":
        staged.preview = preview(written, model)
    broken = slice_violations(written, model) | disagreements(model, lakehouse.lakehouse, staged, rows, written)
    return checks.slice_gates(model, staged.rows, broken, slice_doubles(model, lakehouse, staged), ())


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


def gated(
    model: Contract, lakehouse: LakehouseResource, stage: Callable[[], StagedSlice | None]
) -> Callable[[], StagedSlice | None]:
    """How a table is staged again after a lost race. The gates have been shown by then, so a slice that breaks them
    fails the step.
    """

    def stage_again() -> StagedSlice | None:
        staged = stage()
        if audit(model, lakehouse, staged).blocked:
            lakehouse.lakehouse.discard(staged.uri if staged else None)
            raise dg.Failure(
                f"{model.name}, staged again, breaks its contract; materialise it once more to see by which rows."
            )
        return staged

    return stage_again


def slice_doubles(model: Contract, lakehouse: LakehouseResource, staged: StagedSlice | None) -> Broken | None:
    """The keys that stand twice in a slice, whatever becomes of them."""
    if staged is None or staged.uri is None:
        return None
    return unique_key_violations(lakehouse.lakehouse.staged_frame(model, staged.uri), model)


def output(
    context: dg.AssetExecutionContext, lakehouse: LakehouseResource, publication: Publication, config: TableConfig
) -> dg.Output:
    """The Output of a lakehouse asset; its data version is the Delta version, so that a run without change leaves
    downstream in sync.
    """
    staged = publication.staged
    head = lakehouse.lakehouse.store.head(publication.table)
    version = staged.base_version + 1 if staged and staged.rows else head.data_version if head else 0
    metadata: dict[str, Any] = {}
    if config.reason:
        metadata["reason"] = config.reason
    return dg.Output(publication, data_version=dg.DataVersion(str(version)), metadata=metadata)
