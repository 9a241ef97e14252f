"""Runs that a command makes: their progress on stderr, and what they leave undone.

Belongs here: what `run`, `rebuild` and `quarantine replay` share. Does not belong here: what is run (`Runner`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from lakehouse_assets.cli import context
from lakehouse_assets.settings import Settings
from lakehouse_assets.shown import printable, say

if TYPE_CHECKING:
    from lakehouse_assets.orchestration.automation.look import Look
    from lakehouse_assets.orchestration.automation.pending import Pending
    from lakehouse_assets.orchestration.automation.runner import Runner

_MARKS = {"success": ("✓", "green"), "failure": ("✗", "red"), "skipped": ("-", "yellow")}


@contextmanager
def open_runner(
    settings: Settings,
    first: date | None = None,
    last: date | None = None,
    select: list[str] | None = None,
    *,
    quiet: bool = False,
    look: Look | None = None,
) -> Iterator[Runner]:
    """A runner that tells its progress on stderr. first, last, select: what it is restricted to. look: what was seen
    just before.
    """
    # Dagster redirects stderr while a run lasts, so progress needs a descriptor of its own.
    with os.fdopen(os.dup(2), "w") as terminal, context.instance(settings) as instance:
        from lakehouse_assets.definitions import build_definitions, resources
        from lakehouse_assets.orchestration.automation.runner import Runner
        from lakehouse_assets.orchestration.graph import graph, served

        total, done = len(select) if select else len(graph(settings)) + len(served()), 0
        console = Console(file=terminal, quiet=quiet)

        def observe(step: Any) -> None:
            nonlocal done
            if step.kind in _MARKS:
                for key in step.asset_keys[:1]:
                    done = done % total + 1
                    seconds = f"{step.seconds:6.2f} s" if step.seconds is not None else step.kind
                    mark, style = _MARKS[step.kind]
                    say(console, f"{done:2} of {total} {'.'.join(key.path):32} {seconds}", f"  {mark}", style)

        built = resources(settings)
        yield Runner(
            instance=instance,
            definitions=build_definitions(settings, **built),
            graph=graph(settings),
            lakehouse=built["lakehouse"],
            handoff=built["handoff"],
            start=first,
            end=last,
            select=[s.split(".") for s in select] if select else None,
            say=lambda text: say(console, text),
            effect=lambda table: effect_on_quarantine(settings, table),
            observer=observe,
            echo=context.verbose,
            look=look,
        )


def effect_on_quarantine(settings: Settings, table: str) -> str | None:
    """What judging everything again would change; None for a table without quarantine."""
    import lakehouse_assets.areas  # noqa: F401 -- fills the registry
    from lakehouse_assets.core.declarations.registry import SOURCES
    from lakehouse_assets.core.sources.quarantine import preview

    source = next((s for s in SOURCES.values() if s.table == table), None)
    if source is None:
        return None
    entering, leaving = preview(context.resources(settings)[0].tables, source.with_settings(settings))
    return f"{entering} rows would enter quarantine, {leaving} would leave it"


def conclude(found: Pending, damaged: Iterable[str] = (), unfinished: str | None = None) -> None:
    """Say on stderr what waits for somebody and what was left undone; exit with 1 where anything is wrong.

    damaged, unfinished: what runs have said of damaged tables, and of what they left undone.
    """
    every = dict.fromkeys([*found.damaged.values(), *damaged])
    unavailable = found.unavailable.values()
    wrong = [*every, *found.rejections(), *unavailable, *filter(None, [unfinished])]
    for reason in (*wrong, *found.left_out()):
        print(printable(reason), file=sys.stderr)
    if wrong:
        raise typer.Exit(1)
