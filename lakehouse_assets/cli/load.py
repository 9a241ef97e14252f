"""Commands that load tables: `run` and `rebuild`. Does not belong here: what is pending, how a table is recovered."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lakehouse_assets.cli import context
from lakehouse_assets.cli.context import Home, Landing
from lakehouse_assets.cli.running import conclude, open_runner
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.settings import Settings
from lakehouse_assets.shown import pasted, printable, say, wide
from lakehouse_assets.shown import table as table_of

if TYPE_CHECKING:
    from lakehouse_assets.core.delta.store import DeltaStore
    from lakehouse_assets.core.sources.recover import Recovered
    from lakehouse_assets.orchestration.automation.look import Look
    from lakehouse_assets.orchestration.instance.runs import RunResult


def run(
    landing: Landing = None,
    start: Annotated[
        str | None,
        typer.Option(help="First batch date of new drops, YYYY-MM-DD; tables catch up with all that had landed."),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option(help="Last batch date of new drops, YYYY-MM-DD; tables catch up with all that had landed."),
    ] = None,
    select: Annotated[
        str | None, typer.Option(help="Assets to materialise, comma-separated, as gold.daily_sales.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Recompute every table although nothing is pending.")] = False,
    checksum: Annotated[
        bool, typer.Option("--checksum", help="Hash every drop, where sizes and times of files cannot be trusted.")
    ] = False,
    home: Home = None,
    quiet: Annotated[bool, typer.Option(help="Print no progress and no summary.")] = False,
) -> None:
    """Materialise what is pending: one Dagster run for each contiguous stretch of batch dates.

    Example: `lakehouse run --landing drops --start 2010-11-15 --end 2011-12-09`
    """
    settings = context.settings(makes_home=True, landing=landing, home=home, checksum=checksum or None)
    first, last = context.day(start, "--start"), context.day(end, "--end")
    if first and last and first > last:
        raise LakehouseError(f"--start {first} lies after --end {last}; exchange them.")
    began = time.perf_counter()
    with context.at_work(settings):
        lakehouse, handoff = context.access(settings)
        from lakehouse_assets.orchestration.automation.look import Look
        from lakehouse_assets.orchestration.automation.status import by_source
        from lakehouse_assets.orchestration.graph import graph

        nodes, chosen = graph(settings), selected(settings, select)
        look, store = Look.taken(lakehouse, handoff, nodes, first, last), lakehouse.tables.store
        before = by_source(store)
        if look.found or force:
            with open_runner(settings, first, last, chosen, quiet=quiet, look=look) as runner:
                runner.run(force=nodes if force else ())
            results, damaged, unfinished, look = runner.results, runner.damaged.values(), runner.unfinished, runner.look
        else:
            context.sweep(settings)
            say(Console(stderr=True, quiet=quiet), "Nothing to do.")
            results, damaged, unfinished = [], (), None
        if not quiet:
            print_summary(wide(), store, look, results, before, time.perf_counter() - began)
    conclude(look.found, damaged, unfinished)


def selected(settings: Settings, select: str | None) -> list[str] | None:
    """The assets of a selection as `layer.table`; None for all. Raises `LakehouseError` for one that there is not."""
    if select is None:
        return None
    from lakehouse_assets.orchestration.graph import graph, served

    names = [*graph(settings), *(f"snowflake.{table}" for table in served())]
    chosen = [s.strip().replace("/", ".") for s in select.split(",")]
    if unknown := [s for s in chosen if s not in names]:
        raise LakehouseError(f"There is no asset {', '.join(map(repr, unknown))}; choose among {', '.join(names)}.")
    return chosen


def print_summary(
    console: Console,
    store: DeltaStore,
    look: Look,
    results: Sequence[RunResult],
    before: dict[str, list[int]],
    seconds: float,
) -> None:
    """What is true now, and in brackets what this command has changed of it. results: the runs that it has made."""
    from lakehouse_assets.orchestration.automation.status import COUNTS, by_source
    from lakehouse_assets.orchestration.resources.spark import start_seconds

    if accounts := by_source(store):
        title = "Accounts: landed = published + quarantined + duplicates; in brackets what this run has changed"
        rows = []
        for source, now in sorted(accounts.items()):
            was = before.get(source, [0] * len(now))
            rows.append(
                [source, *(f"{n:,}" + (f" ({n - w:+,})" if n != w else "") for n, w in zip(now, was, strict=True))]
            )
        console.print(table_of(["source", "drops", *COUNTS], rows, title))
    sent: dict[str, list[int]] = {}
    for result in results:
        for key, said in result.materialized.items():
            if key.path[0] == "snowflake":
                table, counts = key.path[1].upper(), (said.get(f"run/{n}", 0) for n in ("rows", "slices", "bytes"))
                sent[table] = [a + b for a, b in zip(sent.get(table, [0, 0, 0]), counts, strict=True)]
    if look.state is not None:
        rows = [
            [state.table, f"{state.rows:,}", state.version, *(f"{n:,}" for n in sent.get(state.table, [0, 0, 0]))]
            for _, state in sorted(look.state.tables.items())
        ]
        columns = ["Snowflake table", "rows", "Delta version", "rows handed off", "slices", "bytes"]
        console.print(table_of(columns, rows, "In Snowflake; the last three columns: what this run sent"))
    started = "".join(f" The engine {engine} started in {took:.1f} s." for engine, took in start_seconds.items())
    console.print(f"{len(results)} run{'' if len(results) == 1 else 's'} in {seconds:.1f} s.{started}")


def rebuild(
    table: Annotated[str, typer.Argument(help="A Delta table, as gold.daily_sales.")], home: Home = None
) -> None:
    """Recompute a table from its upstreams; rows that come out the same are not written. A damaged table is made anew,
    bronze from the drops.

    Example: `lakehouse rebuild gold.daily_sales`
    """
    settings = context.settings(home=home)
    lakehouse, handoff = context.resources(settings)
    from lakehouse_assets.orchestration.graph import graph

    if table not in (nodes := graph(settings)):
        raise LakehouseError(f"There is no table {table}; choose one of {', '.join(nodes)}.")
    store = lakehouse.tables.store
    from lakehouse_assets.core.names import is_bronze
    from lakehouse_assets.orchestration.automation.recovery import make_way, recover
    from lakehouse_assets.orchestration.keys import asset_key

    if is_bronze(table):
        _print_recovered(recover(lakehouse, table))
        return
    if lacking := [name for name in nodes[table].upstreams if not store.exists(name)]:
        raise LakehouseError(
            f"{table} is computed from {', '.join(lacking)}, which has never been; run `lakehouse run`."
        )
    for sentence in make_way(lakehouse.tables, handoff, table):
        print(sentence)
    with open_runner(settings, select=[table]) as runner:
        runner.run(force=[table])
    said = [result.materialized.get(asset_key(table), {}) for result in runner.results]
    counts = (
        f"{sum(m.get(f'run/rows_{word}', 0) for m in said):,} {word}" for word in ("inserted", "updated", "deleted")
    )
    print(f"Recomputed {table}: rows {', '.join(counts)}.")
    conclude(runner.found, runner.damaged.values(), runner.unfinished)


def _print_recovered(found: Recovered) -> None:
    """What was done for a table of bronze. Exit 1 where a drop that counts is lost."""
    if found.aside:
        print(f"{found.table} is made anew; the damaged one lies in {found.aside}.")
    if found.table == "bronze.landings":
        print(
            f"{found.added} entries were added to the journal." if found.aside else "Nothing is wrong with the journal."
        )
        return
    kept = f"{found.kept} contents of drops were had back from its own files, " if found.aside else ""
    print(f"{kept}{found.landed} were landed again from the landing zone.")
    for path in found.superseded:
        print(f"  an earlier content of {printable(path)} is gone; it has been corrected since, so nothing rests on it")
    for path in found.lost:
        print(
            f"{printable(path)} is missing: put it back into the landing zone and run this again, or take it back by"
            f" `lakehouse withdraw {pasted(path)}`.",
            file=sys.stderr,
        )
    if found.lost:
        raise typer.Exit(1)
