"""Commands that fill a landing zone: `generate` and `fetch`. Does not belong here: what a sample holds (`sample/`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lakehouse_assets.cli import context
from lakehouse_assets.errors import LakehouseError


def generate(
    out: Annotated[Path, typer.Option(help="The landing zone to write.")],
    start: Annotated[str, typer.Option(help="First day, YYYY-MM-DD.")],
    days: Annotated[int, typer.Option(min=1)] = 30,
    lines_per_day: Annotated[int, typer.Option(min=1)] = 400,
    seed: int = 7,
    dirt: Annotated[
        str | None, typer.Option(help="Kinds of dirt, comma-separated; default every kind, 'none' for none.")
    ] = None,
) -> None:
    """Write sample drops, with a ledger of the dirt put in beside the landing zone.

    Example: `lakehouse generate --out drops --start 2026-09-01 --days 30 --lines-per-day 400 --seed 7`
    """
    from lakehouse_assets.sample.generate import generate as write

    kinds = None if dirt is None else [] if dirt == "none" else [k.strip() for k in dirt.split(",")]
    day = context.day(start, "--start")
    assert day is not None
    try:
        ledger = write(out, day, days, lines_per_day, seed, kinds)
    except OverflowError:
        raise LakehouseError(f"{days} days from {day} on leave the calendar; choose another --start.") from None
    rows = sum(ledger.landed().values())
    print(
        f"Wrote {len(ledger.drops)} drops with {rows:,} rows below {out}, {len(ledger.dirty)} of them bad; the ledger"
        " of dirt lies beside it."
    )


fetch_app = typer.Typer(help="Bring a published data set into a landing zone.", no_args_is_help=True)


@fetch_app.callback()
def _fetch() -> None:
    """Bring a published data set into a landing zone."""


@fetch_app.command("online-retail")
def fetch_online_retail(
    out: Annotated[Path, typer.Option(help="The landing zone to write.")],
    from_file: Annotated[
        Path | None, typer.Option("--from", help="The downloaded file (.csv, .xlsx or .zip); default: download it.")
    ] = None,
) -> None:
    """The Online Retail data set (Chen 2015, UCI Machine Learning Repository, CC BY 4.0) as daily drops.

    Example: `lakehouse fetch online-retail --out drops --from online_retail.csv`
    """
    from lakehouse_assets.sample.fetch import fetch_online_retail as fetch

    print(f"Wrote {fetch(out, from_file)} drops below {out}.")
