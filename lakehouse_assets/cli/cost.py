"""The command `cost`: what the statements of a time would cost on a real account. Does not belong here: the model
(`operations/cost/`).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse_assets.cli import context
from lakehouse_assets.cli.context import Format, Home
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.shown import say, wide
from lakehouse_assets.shown import table as table_of

if TYPE_CHECKING:
    from lakehouse_assets.operations.cost import Assumptions, Cost


def cost(
    day: Annotated[str | None, typer.Option(help="One day in UTC, YYYY-MM-DD; default the last 24 hours.")] = None,
    since: Annotated[str | None, typer.Option(help="All since the beginning of this day in UTC, YYYY-MM-DD.")] = None,
    auto_suspend: Annotated[
        float, typer.Option(help="Seconds without a statement after which the warehouse is suspended.", min=0)
    ] = 60.0,
    format: Format = "table",
    home: Home = None,
) -> None:
    """What the statements of a time would cost on a real account: a model by the embedded account's log, not a bill.

    Example: `lakehouse cost --day 2026-09-01 --format json`
    """
    context.one_of(format, ["table", "json"])
    first, last = context.day(day, "--day"), context.day(since, "--since")
    if first and last:
        raise LakehouseError("--day and --since exclude each other; give one of them.")
    settings = context.settings(home=home)
    from lakehouse_assets.embedded_snowflake import account_directory
    from lakehouse_assets.embedded_snowflake.history import has_rows, read_rows
    from lakehouse_assets.operations.cost import Assumptions, cost_of

    directory = account_directory(settings.home)
    if not has_rows(directory):
        raise LakehouseError(
            f"There is no log of statements in {directory}: only the embedded account keeps one, from its first"
            " statement on. What a real account has used is in its view ACCOUNT_USAGE.WAREHOUSE_METERING_HISTORY."
        )
    began, ended = _time(first, last)
    assumed = Assumptions(auto_suspend=auto_suspend)
    found = cost_of(list(read_rows(directory, began.timestamp(), ended.timestamp())), assumed)
    if format == "json":
        report = {"from": began.isoformat(), "to": ended.isoformat(), "assumptions": asdict(assumed), **asdict(found)}
        print(json.dumps(report, indent=1, ensure_ascii=False))
        return
    _print(found, assumed, f"{began:%Y-%m-%d %H:%M} to {ended:%Y-%m-%d %H:%M} UTC")


def _time(day: date | None, since: date | None) -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    if day:
        began = datetime.combine(day, time(), UTC)
        return began, began + timedelta(days=1)
    return (datetime.combine(since, time(), UTC) if since else now - timedelta(days=1)), now


def _print(found: Cost, assumed: Assumptions, title: str) -> None:
    console = wide()
    rows = [
        ("credits", f"{found.credits:.4f}"),
        ("warehouse resumed", f"{found.resumes:,}"),
        ("seconds billed", f"{found.seconds:,.0f}"),
        ("seconds with a statement at work", f"{found.busy:,.1f}"),
        ("statements", f"{found.statements:,}"),
        ("… in a warehouse", f"{found.in_warehouse:,}"),
        ("… answered by an earlier result", f"{found.cached:,}"),
        ("… that need no warehouse", f"{found.statements - found.in_warehouse - found.cached:,}"),
        ("files uploaded", f"{found.uploads:,}"),
        ("bytes uploaded", f"{found.bytes_uploaded:,}"),
    ]
    console.print(table_of(["", title], rows))
    for what, spent in (("table", found.by_table), ("run", found.by_run)):
        if spent:
            most = sorted(spent.items(), key=lambda item: -item[1])
            shown = [(name or "(not told by the query tag)", f"{value:.4f}") for name, value in most[:20]]
            console.print(table_of([what, "credits"], shown))
            if len(most) > 20:
                console.print(f"The first 20 of {len(most)}; all with --format json.")
    say(
        console,
        f"{assumed.credits_per_hour:g} credit an hour (one warehouse of size XS), suspended {assumed.auto_suspend:g} s"
        f" after its last statement, at least {assumed.least:g} s billed each time that it is resumed; statements take"
        " as long as they took here. Not in it: the price of a credit, storage, transfer, and cloud services, which are"
        " free below 10 % of a day's credits.",
        "A model, not a bill:",
        "yellow",
    )
