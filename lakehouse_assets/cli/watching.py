"""What `lakehouse stream --watch` shows. Does not belong here: the process itself (`streams/process.py`)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from lakehouse_assets.shown import printable, table

if TYPE_CHECKING:
    from lakehouse_assets.streams.process import Stream

_MINUTES = 5


class _View:
    """Drawn anew each time that it is looked at."""

    def __init__(self, process: Stream):
        self._process = process

    def __rich__(self) -> RenderableType:
        progress = self._process.progress
        batches, now = list(progress.batches), time.time()
        last = [b for b in batches if b[0] > now - 10]
        waits = sorted(b[2] for b in last)
        middle, worst = (f"{waits[int(q * (len(waits) - 1))]:.2f} s" if waits else "" for q in (0.5, 1.0))
        rate = sum(b[1] for b in last) / 10
        head = table(
            ["messages", "commits", "a second", "oldest of a batch waited (median, most)", "behind the topic"],
            [[f"{progress.rows:,}", progress.commits, f"{rate:,.0f}", f"{middle}, {worst}", f"{progress.lag:,}"]],
            f"{self._process.source.topic} → {self._process.source.bronze}",
        )
        minutes: Counter[int] = Counter()
        for at, rows, _ in batches:
            minutes[int(at // 60)] += rows
        shown = sorted(minutes)[-_MINUTES:]
        rows = [[time.strftime("%H:%M", time.gmtime(60 * m)), f"{minutes[m]:,}"] for m in shown]
        parts: list[RenderableType] = [head, table(["minute (UTC)", "messages taken in"], rows)]
        return Group(*parts, *([Text(printable(progress.trouble), "yellow")] if progress.trouble else []))


@contextmanager
def watched(process: Stream) -> Iterator[None]:
    """Show how a stream goes while it runs."""
    with Live(_View(process), console=Console(), refresh_per_second=2):
        yield
