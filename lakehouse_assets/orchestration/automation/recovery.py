"""Makes way for a table that is to be made anew, and checks all tables: what `lakehouse rebuild` and `lakehouse check`
do beyond a run.

Belongs here: which remedy goes with which table. Does not belong here: finding damage (`core/delta/check.py`), having
bronze back (`core/sources/recover.py`).
"""

from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg

from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.delta.check import Checked, check, set_aside
from lakehouse_assets.core.delta.findings import SIDES, DamagedTableError, Finding
from lakehouse_assets.core.delta.staging import JOURNAL, Lakehouse
from lakehouse_assets.core.sources.ingest import entries, refuse_short_journal
from lakehouse_assets.core.sources.recover import Recovered, recover_bronze, recover_journal
from lakehouse_assets.errors import AccountUnavailableError
from lakehouse_assets.orchestration.automation.jobs import CHECK
from lakehouse_assets.orchestration.resources.handoff_access import HandoffAccess
from lakehouse_assets.orchestration.resources.handoff_resource import HandoffResource
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource
from lakehouse_assets.orchestration.resources.lakehouse_access import LakehouseAccess


def check_tables(
    lakehouse: Lakehouse, handoff: HandoffAccess | None, tables: Iterable[str], *, full: bool
) -> Iterator[Checked]:
    """Look at tables, one after the other. handoff: where what Snowflake has recorded of them is read; None where it is
    not asked.
    """
    short: dict[str, Finding] = {}
    if handoff:
        try:
            with handoff.open() as opened:
                short = handoff.short(handoff.state(opened))
        except AccountUnavailableError as error:
            # Tables can be checked without it; what it would have said is missed, and is said.
            yield Checked(
                "snowflake",
                notes=[
                    Finding(
                        "snowflake",
                        "OPS.HANDOFF_STATE",
                        f"was not asked: {error}",
                        "no rows",
                        "check again when it answers",
                    )
                ],
            )
    for name in tables:
        checked = check(lakehouse.store, name, lakehouse.readers.get(name, ()), full=full)
        if name in short and not checked.findings:
            checked.findings.append(short[name])
        if name == JOURNAL and checked.files and not checked.findings:
            try:
                refuse_short_journal(lakehouse, entries(lakehouse))
            except DamagedTableError as error:
                checked.findings += error.findings
        yield checked


def make_way(lakehouse: Lakehouse, handoff: HandoffAccess, table: str) -> list[str]:
    """Move a damaged silver or gold table out of the way, and its side tables; returns a sentence for each. They are
    then made anew, and since they are other tables, what lies downstream follows.
    """
    said = []
    names = [name for name in (table, *(f"{table}{side}" for side in SIDES)) if lakehouse.store.exists(name)]
    for checked in check_tables(lakehouse, handoff, names, full=True):
        if checked.findings and checked.table in names:
            aside = set_aside(lakehouse.store, checked.table)
            said.append(f"{checked.table} is made anew; the damaged one lies in {aside}.")
    return said


def recover(lakehouse: LakehouseAccess, table: str) -> Recovered:
    """Make a table of bronze whole again."""
    if table == JOURNAL:
        return recover_journal(lakehouse.tables)
    source = next(s for s in SOURCES.values() if table == s.bronze)
    return recover_bronze(lakehouse.tables, lakehouse.zone, source)


def check_job(tables: list[str]) -> Any:
    """The job that proves the content of all tables. tables: all Delta tables; those that do not exist yet are passed
    over.
    """

    @dg.op(
        description=(
            "Compare every file that is kept with what was committed, content included. Reads all tables once; changes"
            " nothing."
        )
    )
    def prove_tables(context: dg.OpExecutionContext, lakehouse: LakehouseResource, handoff: HandoffResource) -> None:
        found, unproven, files = [], 0, 0
        for checked in check_tables(lakehouse.tables, handoff, tables, full=True):
            found += [*checked.findings, *checked.notes]
            unproven, files = unproven + (checked.unproven or 0), files + checked.files
        context.add_output_metadata(
            {
                "files": files,
                "files_without_proof": unproven,
                "findings": dg.MetadataValue.json([f.sentence() for f in found]),
            }
        )
        if found:
            raise dg.Failure(f"{DamagedTableError(found)}", allow_retries=False)

    @dg.job(
        name=CHECK,
        description=(
            "Proves that what the lakehouse keeps is as it was committed, content included; fails by naming what is"
            " not."
        ),
    )
    def check_lakehouse() -> None:
        prove_tables()

    return check_lakehouse
