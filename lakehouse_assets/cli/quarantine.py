"""The commands `quarantine …`, on rejected rows. Does not belong here: reading and judging them (`core/sources/`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lakehouse_assets.cli import context
from lakehouse_assets.cli.context import Home
from lakehouse_assets.cli.running import conclude, effect_on_quarantine, open_runner
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.settings import Settings
from lakehouse_assets.shown import table as table_of
from lakehouse_assets.shown import wide

quarantine_app = typer.Typer(help="Look at, export and replay rejected rows.", no_args_is_help=True)

TableName = Annotated[
    str | None, typer.Option("--table", help="silver.order_lines, silver.customers or silver.fx_rates; default all.")
]
DropPath = Annotated[str | None, typer.Option("--drop", help="Only rows of this drop, a path below the landing zone.")]
RuleName = Annotated[str | None, typer.Option("--rule", help="Only rows that break this rule.")]


def _rejected(settings: Settings, *chosen: str | None) -> list[dict[str, Any]]:
    """Rejected rows; chosen: of which table, which drop and which rule."""
    from lakehouse_assets.core.sources.quarantine import rejected_rows

    return rejected_rows(context.resources(settings)[0].tables, *chosen)


@quarantine_app.command("list")
def quarantine_list(table: TableName = None, drop: DropPath = None, rule: RuleName = None, home: Home = None) -> None:
    """How many rows are rejected, by table, rule and drop.

    Example: `lakehouse quarantine list --table silver.order_lines`
    """
    counts: dict[tuple[str, str, str], int] = {}
    rows = _rejected(context.settings(home=home), table, drop, rule)
    for row in rows:
        for name in row["rules"]:
            counts[row["table"], name, row["path"]] = counts.get((row["table"], name, row["path"]), 0) + 1
    wide().print(table_of(["table", "rule", "drop", "rows"], [[*key, count] for key, count in sorted(counts.items())]))
    print(f"{len(rows)} rows are rejected.")


@quarantine_app.command("show")
def quarantine_show(
    table: TableName = None,
    drop: DropPath = None,
    rule: RuleName = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows.")] = 20,
    raw: Annotated[bool, typer.Option(help="Show the rows as landed; they may hold personal data.")] = False,
    home: Home = None,
) -> None:
    """Rejected rows with the rules they break.

    Example: `lakehouse quarantine show --rule quantity.type --raw`
    """
    columns = ["drop", "row", "rules", "what is wrong", *(["raw"] if raw else [])]
    rows = _rejected(context.settings(home=home), table, drop, rule)
    cells = [
        [r["path"], r["row_number"], ", ".join(r["rules"]), r["detail"], *([(r["raw"] or "")[:500]] if raw else [])]
        for r in rows[:limit]
    ]
    wide().print(table_of(columns, cells))
    if len(rows) > limit:
        print(f"{limit} of {len(rows)} rows; more with --limit.")


@quarantine_app.command("export")
def quarantine_export(
    out: Annotated[Path, typer.Option(help="The file to write: .csv, .json (lines) or .parquet.")],
    table: TableName = None,
    drop: DropPath = None,
    rule: RuleName = None,
    home: Home = None,
) -> None:
    """Write rejected rows to a file, as landed; it may hold personal data.

    Example: `lakehouse quarantine export --out rejected.csv --table silver.order_lines`
    """
    import polars as pl

    rows = _rejected(context.settings(home=home), table, drop, rule)
    frame = pl.DataFrame([{**r, "rules": ", ".join(r["rules"])} for r in rows], infer_schema_length=None)
    writers = {".csv": frame.write_csv, ".json": frame.write_ndjson, ".parquet": frame.write_parquet}
    if out.suffix not in writers:
        raise LakehouseError(
            f"{out} ends in {out.suffix or 'nothing'}; give the file the ending .csv, .json or .parquet."
        )
    writers[out.suffix](out)
    print(f"Wrote {len(rows)} rows to {out}.")


@quarantine_app.command("preview")
def quarantine_preview(
    table: Annotated[str, typer.Argument(help="The silver table of a source, as silver.order_lines.")],
    home: Home = None,
) -> None:
    """What judging everything again by today's contract would change: rows that would enter or leave quarantine. Writes
    nothing.

    Example: `lakehouse quarantine preview silver.order_lines`
    """
    from lakehouse_assets.core.sources.quarantine import judged

    settings = context.settings(home=home)
    effect = effect_on_quarantine(settings, table)
    if effect is None:
        judged(table)  # says which tables there are
    print(f"{table}: {effect}.")


@quarantine_app.command("replay")
def quarantine_replay(home: Home = None) -> None:
    """Judge everything that landed again and publish what has become good, as after a contract was fixed.

    Example: `lakehouse quarantine replay`
    """
    settings = context.settings(home=home)
    import lakehouse_assets.areas  # noqa: F401 -- fills the registry
    from lakehouse_assets.core.declarations.registry import SOURCES

    before = len(_rejected(settings))
    with open_runner(settings) as runner:
        runner.run(force=[source.table for source in SOURCES.values()])
    print(f"{before} rows were rejected before, {len(_rejected(settings))} are now.")
    conclude(runner.found, runner.damaged.values(), runner.unfinished)
