"""Commands on single drops: `withdraw`, `land` and `acknowledge`. Does not belong here: the journal
(`core/sources/`).
"""

from __future__ import annotations

from typing import Annotated

import typer

from lakehouse_assets.cli import context
from lakehouse_assets.cli.context import Home, Landing
from lakehouse_assets.shown import pasted, printable


def withdraw(
    path: Annotated[str, typer.Argument(help="A drop, as its path below the landing zone.")],
    landing: Landing = None,
    home: Home = None,
) -> None:
    """Take a drop back: the next run removes the lines that no other drop supports.

    Example: `lakehouse withdraw orders/orders_2010-12-01.csv.gz`
    """
    settings = context.settings(landing=landing, home=home)
    from lakehouse_assets.core.declarations.registry import SOURCES
    from lakehouse_assets.core.sources.cleanse import supported_elsewhere
    from lakehouse_assets.core.sources.ingest import withdraw as take_back

    lakehouse, _ = context.resources(settings)
    entry = take_back(lakehouse.tables, path)
    print(
        f"Withdrawn: {printable(path)}, batch {entry.batch_date}. Run `lakehouse run` to publish this;"
        f" `lakehouse land {pasted(path)}` undoes it."
    )
    for other, rows in supported_elsewhere(lakehouse.tables, SOURCES[entry.source].with_settings(settings), entry):
        print(f"  {rows} of its rows also stand in {printable(other)}")


def land(
    path: Annotated[str, typer.Argument(help="A withdrawn drop, as its path below the landing zone.")],
    landing: Landing = None,
    home: Home = None,
) -> None:
    """Undo a withdrawal.

    Example: `lakehouse land orders/orders_2010-12-01.csv.gz`
    """
    from lakehouse_assets.core.sources.ingest import land_again

    lakehouse, _ = context.resources(context.settings(landing=landing, home=home))
    entry = land_again(lakehouse.tables, path)
    print(f"Landed again: {printable(path)}, batch {entry.batch_date}. Run `lakehouse run` to publish this.")


def acknowledge(
    path: Annotated[str, typer.Argument(help="A drop, as its path below the landing zone.")],
    landing: Landing = None,
    home: Home = None,
) -> None:
    """Say that what is wrong with a drop is known and stays so: a refused or unreadable one is left out for good, other
    columns are reported no more.

    Example: `lakehouse acknowledge orders/orders_2010-12-01.csv.gz`
    """
    from lakehouse_assets.core.sources.ingest import acknowledge as journal

    lakehouse, _ = context.resources(context.settings(landing=landing, home=home))
    entry = journal(lakehouse.tables, path)
    print(
        f"Acknowledged: {printable(path)}, batch {entry.batch_date}. What is published stays as it is; the next"
        " `lakehouse run` clears its batch date."
    )
