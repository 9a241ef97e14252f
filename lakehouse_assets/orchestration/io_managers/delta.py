"""Commits staged slices to Delta tables, says what it has published, and loads table references. Judging and computing
are not its business.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from lakehouse_assets.core.contracts import contract
from lakehouse_assets.core.delta.heads import TableRef
from lakehouse_assets.core.delta.staging import JOURNAL, StagedSlice
from lakehouse_assets.core.sources.progress import Batches, sentence
from lakehouse_assets.disks import full_disk_told
from lakehouse_assets.errors import StaleSliceError
from lakehouse_assets.orchestration.io_managers.metadata import say, with_run
from lakehouse_assets.orchestration.keys import asset_key, table_of, table_of_step
from lakehouse_assets.orchestration.presentation import markdown_table
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource

ATTEMPTS = 5

BatchAccounts = Callable[[Mapping[date, int]], Mapping[date, Mapping[str, Any]]]
"""What is to be said of each batch date once the table is published, from how many rows it then has of it."""


@dataclass(frozen=True)
class Publication:
    """What a lakehouse asset hands over: a slice that has passed its gates, or None where nothing is to be done; and
    how to stage it again, gates included, when the table has moved on meanwhile. seconds: what the steps before have
    taken, by name.
    """

    table: str
    staged: StagedSlice | None
    again: Callable[[], StagedSlice | None]
    accounts: BatchAccounts | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


def publish(
    lakehouse: LakehouseResource, publication: Publication, partitions: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Commit, starting again from Stage a bounded number of times when somebody else was first; returns what is to be
    said of each partition.

    Raises `StaleSliceError` when that happens `ATTEMPTS` times.
    """
    staged, began = publication.staged, time.perf_counter()
    for attempt in range(1, ATTEMPTS + 1):
        if staged is None:
            break
        try:
            lakehouse.tables.publish(staged)
            break
        except StaleSliceError as error:
            lakehouse.tables.discard(staged.uri)
            if attempt == ATTEMPTS:
                raise StaleSliceError(
                    f"{publication.table} was published by others {ATTEMPTS} times while it was computed; "
                    "see which runs write to it, and materialise it again when they are done."
                ) from error
            staged = publication.again()
    seconds = {**publication.seconds, "publish": time.perf_counter() - began}
    return with_run(_of_partitions(lakehouse, publication, partitions), _of_run(staged, seconds))


def _of_partitions(
    lakehouse: LakehouseResource, publication: Publication, partitions: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The table as it is now, which is the same of every partition, and what it holds of each."""
    store, name = lakehouse.tables.store, publication.table
    head = lakehouse.tables.upstream_heads([name])[name]
    consumed = dict(head.consumed.upstreams) if head.consumed else {}
    table = {
        "delta_version": head.data_version,
        "dagster/row_count": store.count(name),
        "dagster/uri": store.uri(name),
        **({"consumed": dg.MetadataValue.json(consumed)} if consumed else {}),
    }
    said: dict[str, dict[str, Any]] = {key: dict(table) for key in partitions}
    if said and "batch_date" in contract(name).names:
        days = [date.fromisoformat(key) for key in partitions]
        counted = store.counts(name, "batch_date", min(days), max(days))
        rows = {day: counted.get(day, 0) for day in days}
        of_batches = publication.accounts(rows) if publication.accounts else {}
        for day in days:
            said[str(day)] |= {"dagster/partition_row_count": rows[day], **of_batches.get(day, {})}
    return said


def _of_run(staged: StagedSlice | None, seconds: Mapping[str, float]) -> dict[str, Any]:
    """What the run has changed, and how long that took."""
    counts = staged.counts if staged else {}
    said: dict[str, Any] = {
        "rows_inserted": counts.get("I", 0),
        "rows_updated": counts.get("U", 0),
        "rows_deleted": counts.get("D", 0),
        **{f"seconds_{step}": round(spent, 3) for step, spent in seconds.items()},
    }
    if staged and staged.dates:
        said |= {
            "dates_touched": len(staged.dates),
            "first_date": str(staged.dates[0]),
            "last_date": str(staged.dates[-1]),
        }
    if staged and staged.preview:
        said["preview"] = markdown_table(staged.preview)
    return said


def reference(lakehouse: LakehouseResource, table: str) -> TableRef:
    """The table at its newest version in which rows changed. Raises `LakehouseError` where the table does not exist."""
    return TableRef(table, lakehouse.tables.upstream_heads([table])[table].data_version)


class DeltaIOManager(dg.ConfigurableIOManager):
    """Publishes a `Publication`, loads a `TableRef` that includes the batches of the run."""

    lakehouse: dg.ResourceDependency[LakehouseResource]
    _seen: Any = PrivateAttr(default=None)
    """Run and `Batches`, which read the landing zone once a run."""

    def handle_output(self, context: dg.OutputContext, obj: Publication) -> None:
        with full_disk_told(self.lakehouse.written):
            say(context, publish(self.lakehouse, obj, context.asset_partition_keys))

    def load_input(self, context: dg.InputContext) -> TableRef:
        table = table_of(context.asset_key)
        run = context.step_context.job_def.asset_layer.selected_asset_keys
        if context.asset_key not in run:
            self._refuse_missing_batches(context, table, landing=asset_key(JOURNAL) not in run)
        return reference(self.lakehouse, table)

    def _refuse_missing_batches(self, context: dg.InputContext, table: str, *, landing: bool) -> None:
        """A partition is to be green only where its table includes the batch, so an upstream that this run does not
        bring up to date must include it already.

        One that the run does bring up to date is not asked: what lands meanwhile stays pending. Raises
        `dagster.Failure`.
        """
        run_id = context.step_context.run_id
        if self._seen is None or self._seen[0] != run_id:
            self._seen = (run_id, Batches(self.lakehouse.tables, self.lakehouse.zone))
        days = {date.fromisoformat(key) for key in context.asset_partition_keys}
        reader = table_of_step(context.step_context.step.key)
        lacking = self._seen[1].lacking(table, days, reader, landing=landing)
        if lacking:
            raise dg.Failure(sentence(table, lacking), allow_retries=False)
