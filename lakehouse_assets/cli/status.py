"""Commands that say how things stand: `status` and `alerts`. Does not belong here: finding it out
(`orchestration/automation/`).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from lakehouse_assets.cli import context
from lakehouse_assets.cli.context import Format, Home, Landing
from lakehouse_assets.shown import pasted, say, wide
from lakehouse_assets.shown import table as table_of

if TYPE_CHECKING:
    from lakehouse_assets.core.handoff import HandoffStatus
    from lakehouse_assets.core.quality.drops import DropVerdict
    from lakehouse_assets.orchestration.automation.pending import Pending
    from lakehouse_assets.orchestration.automation.status import Status


def status(format: Format = "table", landing: Landing = None, home: Home = None) -> None:
    """What is loaded and what is pending.

    Example: `lakehouse status --format json`
    """
    context.one_of(format, ["table", "json"])
    settings = context.settings(landing=landing, home=home)
    from lakehouse_assets.areas import AREAS, left_out
    from lakehouse_assets.orchestration.automation.status import status_now
    from lakehouse_assets.orchestration.graph import graph

    found = status_now(*context.resources(settings), graph(settings), AREAS)
    if format == "json":
        print(json.dumps(found.report(), indent=1, ensure_ascii=False))
        return
    console = wide()
    _print_tables(console, found)
    _print_stage(console, found.stage)
    _print_pending(console, found.pending)
    for name, reason in found.replaced.items():
        say(console, f"is {reason}.", name.upper(), "red")
    _print_drift(console, found.drift)
    if missing := left_out(settings):
        say(console, missing, "Left out:", "yellow")
    for area, waiting in found.areas.items():
        for what, why in waiting.items():
            say(console, f"{what}: {why}.", f"Pending in {area}:", "yellow")
    for label, style, reasons in (
        ("Waits for a correction:", "red", found.pending.rejections()),
        ("Not taken in:", "yellow", found.pending.left_out()),
        ("Cannot be asked:", "red", found.pending.unavailable.values()),
    ):
        for reason in reasons:
            say(console, reason, label, style)


def _print_tables(console: Console, found: Status) -> None:
    columns = ["batch date", "source", "drops", "landed", "published", "quarantined", "duplicates"]
    console.print(table_of(columns, [list(b.values()) for b in found.batches[-20:]], "Batches"))
    if len(found.batches) > 20:
        console.print(f"The last 20 of {len(found.batches)} batches; all with --format json.")
    columns = ["table", "Delta version", "in Snowflake", "rows", "complete through", "published at (UTC)"]
    rows = []
    for t in found.tables:
        published = (t["published_at"] or "")[:19].replace("T", " ")
        versions = t["delta_version"], t["acknowledged_version"]
        rows.append([t["name"], *versions, f"{t['rows']:,}", t["complete_through"], published])
    console.print(table_of(columns, rows, "Tables"))


def _print_stage(console: Console, stage: HandoffStatus) -> None:
    oldest = f"; the oldest since {str(stage.stage_oldest)[:19]} UTC" if stage.stage_oldest else ""
    console.print(
        f"Stage: {stage.stage_files} files, {stage.stage_bytes:,} bytes, {stage.stage_loaded} loaded,"
        f" {stage.stage_pending} pending, {stage.stage_orphaned} orphaned{oldest}."
    )
    for i in stage.pending:
        said = f"{i.table}, for {round(i.age_seconds)} s, by {i.owner} (hand-off {i.handoff_id})"
        say(console, said, "Under way:", "yellow")


def _print_pending(console: Console, found: Pending) -> None:
    from lakehouse_assets.core.declarations.registry import SOURCES
    from lakehouse_assets.core.sources.progress import Reason

    for reason in found.damaged.values():
        say(console, reason, "Damaged:", "red")
    if found:
        console.print(
            f"Pending: {len(found.drops)} drops, {len(found.behind)} Delta tables, {len(found.handoffs)} Snowflake"
            " tables."
        )
    elif found.red:
        console.print(
            f"Nothing can be done now: {len(found.red)} batch date{'s wait' if len(found.red) > 1 else ' waits'} for a"
            " correction."
        )
    else:
        console.print("Nothing else is pending." if found.damaged else "Nothing is pending.")
    for name, reason in found.behind.items():
        if reason.reason is Reason.STALE:
            preview = f"; `lakehouse quarantine preview {name}` counts the rows that would enter or leave quarantine"
            say(
                console, f"is {reason}{preview if name in {s.table for s in SOURCES.values()} else ''}.", name, "yellow"
            )


def _print_drift(console: Console, drift: list[tuple[DropVerdict, str]]) -> None:
    """One line for all drops that differ alike."""
    alike: dict[str, list[str]] = {}
    for verdict, words in drift:
        alike.setdefault(words, []).append(verdict.path)
    for words, paths in alike.items():
        more = f" and {len(paths) - 1} more drop{'s' if len(paths) > 2 else ''}" if len(paths) > 1 else ""
        said = f"{paths[-1]}{more}: {words} (`lakehouse acknowledge {pasted(paths[-1])}` silences this)"
        say(console, said, "Other columns than its source:", "yellow")


def alerts(format: Format = "table", home: Home = None) -> None:
    """What is wrong now, as the sensor `watch` reports it. Exit 1 where anything is.

    Example: `lakehouse alerts`
    """
    context.one_of(format, ["table", "json"])
    settings = context.settings(home=home)
    from lakehouse_assets.areas import AREAS
    from lakehouse_assets.definitions import build_definitions, watched
    from lakehouse_assets.orchestration.automation.alerts import open_alerts

    lakehouse, _ = context.resources(settings)
    with context.instance(settings) as instance:
        found = open_alerts(instance, lakehouse, *watched(build_definitions(settings)), AREAS)
    if format == "json":
        print(json.dumps([{**asdict(a), "runbook": a.runbook} for a in found], indent=1, ensure_ascii=False))
    elif found:
        wide().print(table_of(["kind", "what is wrong", "what to do"], [[a.kind, a.summary, a.runbook] for a in found]))
    else:
        print("Nothing is wrong.")
    if found:
        raise typer.Exit(1)
