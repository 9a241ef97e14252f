"""Commits staged slices to Delta tables and loads table references. Judging and computing are not its business."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from lakehouse_assets.delta.staging import JOURNAL, StagedSlice
from lakehouse_assets.delta.store import TableRef
from lakehouse_assets.errors import StaleSliceError
from lakehouse_assets.resources.lakehouse import LakehouseResource
from lakehouse_assets.sources.batches import Batches, sentence

ATTEMPTS = 5


@dataclass(frozen=True)
class Publication:
    """What a lakehouse asset hands over: a slice that has passed its gates, or None where nothing is to be done; and how to stage it
    again, gates included, when the table has moved on meanwhile."""

    table: str
    staged: StagedSlice | None
    again: Callable[[], StagedSlice | None]


def publish(lakehouse: LakehouseResource, publication: Publication) -> TableRef:
    """Commit, starting again from Stage a bounded number of times when somebody else was first.

    Raises `StaleSliceError` when that happens `ATTEMPTS` times.
    """
    staged = publication.staged
    for attempt in range(1, ATTEMPTS + 1):
        if staged is None:
            break
        try:
            lakehouse.lakehouse.publish(staged)
            break
        except StaleSliceError as error:
            lakehouse.lakehouse.discard(staged.uri)
            if attempt == ATTEMPTS:
                raise StaleSliceError(
                    f"{publication.table} was published by others {ATTEMPTS} times while it was computed; "
                    "see which runs write to it, and materialise it again when they are done."
                ) from error
            staged = publication.again()
    return reference(lakehouse, publication.table)


def reference(lakehouse: LakehouseResource, table: str) -> TableRef:
    """The table at its newest version in which rows changed. Raises `LakehouseError` where the table does not exist."""
    return TableRef(table, lakehouse.lakehouse.upstream_heads([table])[table].data_version)


class DeltaIOManager(dg.ConfigurableIOManager):
    """Publishes a `Publication`, loads a `TableRef` that includes the batches of the run."""

    lakehouse: dg.ResourceDependency[LakehouseResource]
    _seen: Any = PrivateAttr(default=None)
    """Run and `Batches`, which read the landing zone once a run."""

    def handle_output(self, context: dg.OutputContext, obj: Publication) -> None:
        ref = publish(self.lakehouse, obj)
        counts = obj.staged.counts if obj.staged else {}
        context.add_output_metadata(
            {
                "delta_version": ref.version,
                "rows_inserted": counts.get("I", 0),
                "rows_updated": counts.get("U", 0),
                "rows_deleted": counts.get("D", 0),
                "dagster/uri": self.lakehouse.lakehouse.store.uri(obj.table),
            }
        )

    def load_input(self, context: dg.InputContext) -> TableRef:
        table = ".".join(context.asset_key.path)
        run = context.step_context.job_def.asset_layer.selected_asset_keys
        if context.asset_key not in run:
            self._refuse_missing_batches(context, table, landing=dg.AssetKey(JOURNAL.split(".")) not in run)
        return reference(self.lakehouse, table)

    def _refuse_missing_batches(self, context: dg.InputContext, table: str, *, landing: bool) -> None:
        """A partition is to be green only where its table includes the batch, so an upstream that this run does not bring up to date must include it already.

        One that the run does bring up to date is not asked: what lands meanwhile stays pending. Raises `dagster.Failure`.
        """
        run_id = context.step_context.run_id
        if self._seen is None or self._seen[0] != run_id:
            self._seen = (run_id, Batches(self.lakehouse.lakehouse, self.lakehouse.zone))
        days = {date.fromisoformat(key) for key in context.asset_partition_keys}
        reader = context.step_context.step.key.replace("__", ".")
        lacking = self._seen[1].lacking(table, days, reader, landing=landing)
        if lacking:
            raise dg.Failure(sentence(table, lacking), allow_retries=False)
