"""Commands that prove: `verify` what is served, `check` what is kept. Does not belong here: the proofs themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse_assets.cli import context
from lakehouse_assets.cli.context import Home
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.shown import printable

if TYPE_CHECKING:
    from lakehouse_assets.orchestration.automation.verification import Step


def verify(
    repair: Annotated[bool, typer.Option(help="Hand the differing slices off again.")] = False,
    tables: Annotated[str | None, typer.Option(help="Snowflake tables, comma-separated; default all.")] = None,
    slices: Annotated[
        str | None,
        typer.Option(
            help="Only these hand-off slices, as 2010-12-01..2010-12-31 (dates), 0..3 (buckets); needs --tables."
        ),
    ] = None,
    home: Home = None,
) -> None:
    """Prove every Snowflake table equal to the snapshot that the ledger names. Exit 1 and the differing rows if any.

    Example: `lakehouse verify --tables sales_lines --slices 2010-12-01..2010-12-31 --repair`
    """
    settings = context.settings(home=home)
    from lakehouse_assets.core.handoff.slices import between
    from lakehouse_assets.orchestration.automation.verification import verify_tables
    from lakehouse_assets.orchestration.graph import served

    _, handoff = context.resources(settings)
    chosen = {t.strip().lower() for t in tables.split(",")} if tables else set(served())
    if unknown := chosen - set(served()):
        raise LakehouseError(
            f"There is no Snowflake table {', '.join(sorted(unknown))}; choose among {', '.join(served())}."
        )
    if slices and not tables:
        raise LakehouseError(
            "--slices says nothing without --tables, for each table has slices of its own; name the tables, too."
        )
    compared = {name: between(served()[name], slices) if slices else None for name in chosen}
    different = False
    for step in verify_tables(handoff, compared, repair=repair):
        for line in _lines(step):
            print(line)
        different |= step.wrong
    if different:
        raise typer.Exit(1)


def _lines(step: Step) -> Iterator[str]:
    """What was found of a table, or done to it."""
    from lakehouse_assets.orchestration.automation.verification import Altered, Compared, Damaged, Repaired, Replaced

    name = f"{step.table.upper():20}"
    match step:
        case Altered(why=why):
            yield f"{name} {why}; {'`lakehouse run` restores it' if step.wrong else 'made anew'}"
        case Replaced(why=why):
            yield f"{name} REPLACED  {why}"
        case Damaged(why=why):
            yield f"{name} DAMAGED  {why}"
        case Compared(result=result) if result.version < 0:
            yield f"{name} not handed off; `lakehouse run` does that"
        case Compared(result=result):
            said = "equal" if result.equal else "DIFFERS"
            yield f"{name} {said:8} {result.rows:>10,} rows at Delta version {result.version}"
            for slice_ in result.slices:
                yield f"  slice {slice_.slice}: {slice_.snowflake} in Snowflake, {slice_.ledger} in the ledger"
            for row in result.row_differences:
                yield f"  {printable(str(row))}"
        case Repaired(sent=sent, whole=whole):
            now = "still DIFFERENT" if step.wrong else "equal"
            if whole:
                yield f"{name} restored: {sent.rows} rows; now {now}"
            else:
                yield f"  repaired: {sent.rows} rows in {len(sent.slices)} slices; now {now}"


def check(
    table: Annotated[str | None, typer.Argument(help="One Delta table, as gold.daily_sales; default all.")] = None,
    full: Annotated[bool, typer.Option(help="Also compare the content of every file.")] = False,
    home: Home = None,
) -> None:
    """Prove that what the lakehouse keeps is as it was committed. Exit 1 and a line for each file that is not, with its
    remedy.

    Example: `lakehouse check --full`
    """
    settings = context.settings(home=home)
    lakehouse, handoff = context.resources(settings)
    from lakehouse_assets.orchestration.automation.recovery import check_tables
    from lakehouse_assets.orchestration.graph import kept_tables

    if table is not None and table not in kept_tables():
        raise LakehouseError(f"There is no table {table}; choose one of {', '.join(kept_tables())}.")
    wrong = files = 0
    for checked in check_tables(lakehouse.tables, handoff, [table] if table else kept_tables(), full=full):
        files += checked.files
        for finding in (*checked.findings, *checked.notes):
            print(f"{finding.sentence()}.")
            wrong += 1
        if checked.unproven:
            print(
                f"{checked.table}: {checked.unproven} of {checked.files} files have no proof; the job `maintenance`"
                " gives them one."
            )
        elif checked.unproven is None:
            print(f"{checked.table}: lies where no proofs are kept; the object store keeps sums of its own.")
    how = "content, size and log" if full else "size and log; content by --full"
    said = f"{wrong} finding{'s' if wrong > 1 else ''}" if wrong else "nothing is wrong"
    print(f"{files:,} files compared ({how}): {said}.")
    if wrong:
        raise typer.Exit(1)
