"""Commands about topics: `stream` and `generate-events`. Does not belong here: taking messages in (`streams/`), what a
sample holds (`sample/events.py`).
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lakehouse_assets.cli import context
from lakehouse_assets.cli.context import Home
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.settings import Settings
from lakehouse_assets.shown import say

if TYPE_CHECKING:
    from datetime import datetime

    from lakehouse_assets.core.declarations.source import Source


def stream(
    source: Annotated[
        str | None, typer.Argument(help="The source; default: the only one that comes by a topic.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when all is taken in that is there now.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show rates, lag and delays while it runs.")] = False,
    every: Annotated[float, typer.Option(min=0.05, max=60, help="Seconds of a batch.")] = 0.5,
    max_rows: Annotated[int, typer.Option(min=1, help="A batch ends at so many messages.")] = 50_000,
    max_mb: Annotated[int, typer.Option(min=1, max=1000, help="A batch ends at so many MB of messages.")] = 32,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on although the broker no longer has messages that are lacking.")
    ] = False,
    home: Home = None,
) -> None:
    """Append the messages of a topic to bronze, exactly once, until it is stopped (Ctrl-C, SIGTERM).

    Example: `lakehouse stream --once`
    """
    settings = context.settings(makes_home=True, home=home)
    from lakehouse_assets.streams.extra import refuse_missing

    refuse_missing()
    if settings.engine != "embedded":
        raise LakehouseError(
            "Topics are taken in on the embedded engine only; unset LAKEHOUSE_ENGINE for this command."
        )
    lakehouse, _ = context.access(settings)
    chosen = _chosen(source)
    from lakehouse_assets.streams.broker import Broker
    from lakehouse_assets.streams.process import Limits, Stream

    console = Console(stderr=True)
    with context.at_work(settings):
        broker = Broker(settings, chosen.topic, most_mb=max_mb)
        limits = Limits(every=every, rows=max_rows, mb=max_mb)
        process = Stream(
            lakehouse.tables, chosen, broker, limits, accept_loss=accept_loss, say=lambda text: say(console, text)
        )
        stopped = _stopped()
        if watch:
            from lakehouse_assets.cli.watching import watched

            with watched(process):
                done = process.run(stopped, once=once)
        else:
            done = process.run(stopped, once=once)
        broker.close()
    print(f"Appended {done.rows:,} messages to {chosen.bronze} in {done.commits:,} commits.")


def _chosen(name: str | None) -> Source:
    """The source of that name, or the only one."""
    from lakehouse_assets.core.declarations.registry import streamed_sources

    there = {source.name: source for source in streamed_sources()}
    if not there:
        raise LakehouseError("No source comes by a topic; set LAKEHOUSE_KAFKA to the address of a broker.")
    if name is None and len(there) == 1:
        return next(iter(there.values()))
    if name not in there:
        raise LakehouseError(f"Name the source that is to be streamed: {', '.join(there)}.")
    return there[name]


def _stopped() -> Callable[[], bool]:
    """Whether somebody has asked the process to end. A second time it ends at once."""
    asked: list[int] = []

    def ask(number: int, _: FrameType | None) -> None:
        if asked:
            sys.exit(128 + number)
        asked.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    return lambda: bool(asked)


def generate_events(
    count: Annotated[int, typer.Option(min=1, help="So many messages.")] = 1000,
    rate: Annotated[float, typer.Option(min=0, help="Messages a second; 0: as fast as they go.")] = 100.0,
    seed: int = 7,
    start: Annotated[
        str | None, typer.Option(help="When the first happened, as 2026-09-01T08:00; default now.")
    ] = None,
    duplicates: Annotated[float, typer.Option(min=0, max=1, help="Share of events that come twice.")] = 0.01,
    late: Annotated[float, typer.Option(min=0, max=1, help="Share that comes three hours late.")] = 0.01,
    disorder: Annotated[float, typer.Option(min=0, max=1, help="Share that comes behind later ones.")] = 0.05,
    broken: Annotated[float, typer.Option(min=0, max=1, help="Share that cannot be read, or breaks a rule.")] = 0.01,
    ledger: Annotated[Path | None, typer.Option(help="Where a ledger of the dirt is written, as JSON.")] = None,
) -> None:
    """Send events of the sample shop to the topic of the area `web`.

    Example: `lakehouse generate-events --count 6000 --rate 100 --ledger dirt.json`
    """
    settings: Settings = context.settings()
    from lakehouse_assets.streams.extra import refuse_missing

    refuse_missing()
    from lakehouse_assets.sample import events as sample
    from lakehouse_assets.streams.broker import send

    dirt = sample.Dirt(duplicates, late, disorder, broken)
    sent = sample.events(count, seed, _moment(start) if start else sample.now(), rate or 1000.0, dirt)
    if ledger:
        ledger.write_text(sample.ledger(sent), encoding="utf-8")
    send(settings, sample.TOPIC, [(s.key, s.value) for s in sent], per_second=rate)
    dirty = sum(bool(s.wrong) for s in sent)
    print(f"Sent {len(sent):,} messages to {sample.TOPIC}, {dirty:,} of them late, twice or broken.")


def _moment(text: str) -> datetime:
    from datetime import UTC, datetime

    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise LakehouseError(f"--start is {text!r}, which is no time; write it as 2026-09-01T08:00.") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
