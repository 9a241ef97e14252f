"""The command `doctor`. Does not belong here: what is looked at (`orchestration/automation/doctor.py`)."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from lakehouse_assets.cli import context
from lakehouse_assets.cli.context import Format, Home
from lakehouse_assets.shown import say, table, wide


def doctor(format: Format = "table", home: Home = None) -> None:
    """Look whether all that a run needs is there: Python, folders, engine and its versions, account, extras. Loads
    nothing; exits 1 where something is to be done first.

    Example: `lakehouse doctor --format json`
    """
    context.one_of(format, ["table", "json"])
    settings = context.settings(home=home)
    from lakehouse_assets.orchestration.automation.doctor import examine

    found = list(examine(settings))
    if format == "json":
        print(json.dumps([asdict(finding) for finding in found], indent=1, ensure_ascii=False))
    else:
        console = wide()
        console.print(table(["", "", "found"], [("✗" if f.fix else "✓", f.what, f.found) for f in found]))
        for finding in found:
            if finding.fix:
                say(console, finding.fix, f"{finding.what}:", "red")
    if any(finding.fix for finding in found):
        raise typer.Exit(1)
