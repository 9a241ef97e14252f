"""Keeping house: compacting, z-ordering and vacuuming Delta tables, the stage's retention, slices that died runs left
behind, rejected rows that are old.

The last is the only one that changes rows, and nothing is computed from those.

Belongs here: what may be done at any time beside running loads. Does not belong here: closing dead runs
(`orchestration/instance/sweep.py`), which every command and sensor does.
"""

import shutil
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from lakehouse_assets.core.contracts import contract
from lakehouse_assets.core.delta.findings import DamagedTableError, Finding
from lakehouse_assets.core.delta.staging import Lakehouse
from lakehouse_assets.core.sources.quarantine import age_quarantine as age
from lakehouse_assets.errors import LakehouseError, StaleSliceError
from lakehouse_assets.orchestration.automation.jobs import MAINTENANCE
from lakehouse_assets.orchestration.presentation import markdown_table
from lakehouse_assets.orchestration.resources.handoff_resource import HandoffResource
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource
from lakehouse_assets.processes import in_use

ATTEMPTS = 5


class TablesConfig(dg.Config):
    """How long old versions stay readable."""

    vacuum_hours: int = 168
    """Files that no version younger than this needs are deleted; a hand-off that is further behind compares slices
    instead of changes.
    """


class QuarantineConfig(dg.Config):
    """How long rejected rows are kept. They can be had back from bronze; what was counted of them stays."""

    quarantine_days: int | None = None
    """Rows of batch dates longer ago than this leave quarantine; 0 keeps them for ever. Without it, what
    LAKEHOUSE_QUARANTINE_DAYS says.
    """


class StagingConfig(dg.Config):
    """How old something left behind must be before nobody can be at work on it."""

    leftover_hours: int = 24


def compact(lakehouse: Lakehouse, table: str) -> int:
    """Compact a table's small files, or z-order what has changed where its contract says by what; returns how many
    files were replaced.

    Starts again when a run publishes meanwhile; raises `LakehouseError` when that happens `ATTEMPTS` times.
    """
    model, store = contract(table), lakehouse.store
    for attempt in range(ATTEMPTS):
        try:
            return store.z_order(lakehouse.spark, model) if model.z_order_by else store.optimize(table)
        except StaleSliceError:
            time.sleep(0.5 * 2**attempt)
    raise LakehouseError(
        f"{table} was published by others {ATTEMPTS} times while it was compacted; run maintenance again when they are"
        " done."
    )


def remove_leftovers(staging: Path, hours: float, aside: Sequence[str] = ("handoff",)) -> list[str]:
    """Remove staged slices in which nothing was written for so many hours; returns their folders below `staging`.

    What a living process of this machine staged stays whatever its age: a clock that is set makes everything old at
    once. staging: holds a folder a table, in each a folder a slice. aside: folders that somebody else clears up.
    """
    removed = []
    for slice_ in sorted(p for p in staging.glob("*/*") if p.parent.name not in aside):
        if in_use(slice_.name):
            continue
        try:
            newest = max(p.stat().st_mtime for p in [slice_, *slice_.rglob("*")])
        except FileNotFoundError:
            continue  # published in this moment
        if time.time() - newest > hours * 3600:
            shutil.rmtree(slice_, ignore_errors=True) if slice_.is_dir() else slice_.unlink(missing_ok=True)
            removed.append(slice_.relative_to(staging).as_posix())
    return removed


def maintenance_job(tables: Sequence[str], quarantines: Sequence[str]) -> dg.JobDefinition:
    """The job. tables: all Delta tables; those that do not exist yet are passed over. quarantines: those among them
    that hold rejected rows.
    """
    age_quarantine, tidy_tables = _age_quarantine(quarantines), _tidy_tables(tables)

    @dg.job(
        name=MAINTENANCE,
        description=(
            "Age quarantine, compact, vacuum, clear up the stage and left-over slices. Makes nothing pending; may run"
            " beside loads."
        ),
    )
    def maintenance() -> None:
        tidy_tables(start_after=age_quarantine())
        tidy_stage()
        tidy_staging()

    return maintenance


def _age_quarantine(quarantines: Sequence[str]) -> dg.OpDefinition:
    @dg.op(
        description=(
            "Remove rejected rows that are old from quarantine. Rows go, counts stay, and nothing becomes pending."
        )
    )
    def age_quarantine(context: dg.OpExecutionContext, config: QuarantineConfig, lakehouse: LakehouseResource) -> None:
        days = lakehouse.quarantine_days if config.quarantine_days is None else config.quarantine_days
        if days < 0:
            raise LakehouseError(f"quarantine_days is {days}; give the days that rejected rows are kept, 0 for ever.")
        before = lakehouse.zone.today() - timedelta(days=days)
        removed = {t: age(lakehouse.tables, contract(t), before) for t in quarantines} if days else {}
        context.add_output_metadata({"rows_removed": sum(removed.values()), "tables": dg.MetadataValue.json(removed)})

    return age_quarantine


def _tidy_tables(tables: Sequence[str]) -> dg.OpDefinition:
    @dg.op(
        ins={"start_after": dg.In(dg.Nothing)},
        description=(
            "Compact small files of every Delta table, z-order those whose contract asks for it, and delete files that"
            " no recent version needs. No row changes."
        ),
    )
    def tidy_tables(context: dg.OpExecutionContext, config: TablesConfig, lakehouse: LakehouseResource) -> None:
        store = lakehouse.tables.store
        rows: list[dict[str, Any]] = []
        damaged: list[Finding] = []
        for table in tables:
            try:
                if store.exists(table):
                    rows.append(
                        {
                            "table": table,
                            "files compacted": compact(lakehouse.tables, table),
                            "files deleted": store.vacuum(table, config.vacuum_hours, context.run_id),
                            "files given a proof": store.adopt(table),
                        }
                    )
            except DamagedTableError as error:
                damaged += error.findings
        context.add_output_metadata({"tables": markdown_table(rows, len(rows))})
        if damaged:
            raise DamagedTableError(damaged)

    return tidy_tables


@dg.op(description="Remove files on the Snowflake stage that retention lets go, and what dead hand-offs left.")
def tidy_stage(context: dg.OpExecutionContext, handoff: HandoffResource) -> None:
    with handoff.open() as open_handoff:
        removed = open_handoff.sweep() if handoff.state(open_handoff) is not None else 0
    context.add_output_metadata({"directories_removed": removed})


@dg.op(description="Remove staged slices that died runs left behind.")
def tidy_staging(context: dg.OpExecutionContext, config: StagingConfig, lakehouse: LakehouseResource) -> None:
    if "://" in lakehouse.staging:
        context.log.warning(
            f"Slices are staged in {lakehouse.staging}, where a lifecycle rule of the bucket removes what is old."
        )
    removed = remove_leftovers(lakehouse.local_staging, config.leftover_hours)
    context.add_output_metadata({"slices_removed": len(removed), "slices": dg.MetadataValue.json(removed[:100])})
