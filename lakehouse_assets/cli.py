"""The `lakehouse` command. Belongs here: options, progress, printing. Does not belong here: any rule of the product.

Modules that take long to import (Dagster, the engine, the connector) are imported by the commands that need them.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from dotenv import load_dotenv
from rich.console import Console

from lakehouse_assets.disks import full_disk
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.private import OURS
from lakehouse_assets.settings import Settings
from lakehouse_assets.shown import pasted, printable, say, wide
from lakehouse_assets.shown import table as table_of

if TYPE_CHECKING:
    from lakehouse_assets.core.declarations.source import Source
    from lakehouse_assets.core.delta.store import DeltaStore
    from lakehouse_assets.core.handoff import TargetNames
    from lakehouse_assets.core.sources.recover import Recovered
    from lakehouse_assets.orchestration.automation.pending import Pending
    from lakehouse_assets.orchestration.automation.runner import Runner
    from lakehouse_assets.orchestration.resources.handoff import HandoffResource, Plan
    from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource

_verbose = False
_written: list[Path] = []
"""The folders of this machine in which the command writes, once its settings are read."""
_INTERRUPTED = 130


app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Carry curated lakehouse tables to Snowflake, exactly once and provably equal.",
)
_INTERRUPTED = 130

Landing = Annotated[Path | None, typer.Option(help="The landing zone; default LAKEHOUSE_LANDING.")]
Home = Annotated[Path | None, typer.Option(help="Where local state lives; default LAKEHOUSE_HOME.")]
Start = Annotated[
    str | None,
    typer.Option(help="First batch date of new drops, YYYY-MM-DD; tables catch up with all that had landed."),
]
End = Annotated[
    str | None, typer.Option(help="Last batch date of new drops, YYYY-MM-DD; tables catch up with all that had landed.")
]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"lakehouse_assets {version('lakehouse_assets')}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show Dagster's log and tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""
    global _verbose
    _verbose = verbose


def main() -> None:
    """Entry point: runs the command that the arguments name, and ends the process."""
    # what Dagster's own commands do, too: SNOWFLAKE_* values are read from the environment alone
    load_dotenv(Path(".env"))
    _leave(command())


def command(arguments: Sequence[str] | None = None) -> int:
    """Run one command, default what the process was given, and return its exit code; one clear sentence on stderr when
    something is wrong.
    """
    try:
        # Without standalone mode an exit code that a command raises comes back as the result; commands give no other.
        code = int(app(_words(arguments), standalone_mode=False) or 0)
        sys.stdout.flush()
        if code == _INTERRUPTED:  # Typer makes an exit code of Ctrl-C
            print("Interrupted; run the command again to finish what is pending.", file=sys.stderr)
        return code
    except typer.Abort:
        said, code = "Interrupted.", 1
    except BrokenPipeError:
        return 1  # whoever read the output, as `head`, has seen enough
    except Exception as error:
        code = getattr(error, "exit_code", 1)
        if hasattr(error, "exit_code") and not str(error):
            return code  # Typer has shown the help of a command that was given nothing
        if _verbose:
            traceback.print_exc()
        where = f" in {error.filename}" if isinstance(error, SyntaxError) else ""
        full = full_disk(error, _written) if _written else None
        # The errors of the command line name the option only so.
        plain = getattr(error, "format_message", error.__str__)()
        said = f"Error{where}: {full or ' '.join((plain or type(error).__name__).split())}"
    print(printable(said), file=sys.stderr)
    return code


def _words(arguments: Sequence[str] | None) -> list[str]:
    """The arguments with `-v` first: it is an option of every command, and people type it where they are."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["bench"]:
        return words  # the options are the benchmark's
    verbose = {"-v", "--verbose"} & set(words)
    return ["-v", *(w for w in words if w not in verbose)] if verbose else words


def _leave(code: int) -> NoReturn:
    """End the process after everything that has asked to be told of it, but without taking the interpreter down.

    Threads of Arrow and delta-rs outlive the reads that they were started for. One that calls Python while the
    interpreter is taken down is ended by it, and with it the whole process, by an abort (exit code 134).
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def _settings(*, makes_home: bool = False, **given: Any) -> Settings:
    """The settings, with options over the environment. makes_home: whether a `--home` that is not there is made; else
    it is a typing mistake.
    """
    home: Path | None = given.get("home")
    if home and not Path(home).expanduser().exists():
        if not makes_home:
            raise LakehouseError(
                f"There is no lakehouse in {home}; `lakehouse run --home {pasted(str(home))}` makes one."
            )
        print(f"A new lakehouse in {printable(str(home))}.", file=sys.stderr)
    known = [f"LAKEHOUSE_{name.upper()}" for name in Settings.model_fields]
    for name in os.environ:
        if name.startswith("LAKEHOUSE_") and name not in known and (near := get_close_matches(name, known, 1, 0.9)):
            print(f"{name} is no setting; did you mean {near[0]}?", file=sys.stderr)
    settings = Settings(**{k: v for k, v in given.items() if v is not None})
    places = [settings.home, settings.tables or "", settings.staging or "", tempfile.gettempdir()]
    _written[:] = [Path(place).expanduser().absolute() for place in places if place and "://" not in str(place)]
    return settings


def _one_of(format: str, formats: list[str]) -> None:
    if format not in formats:
        raise LakehouseError(f"--format is {format!r}; choose {', '.join(formats[:-1])} or {formats[-1]}.")


def _day(text: str | None, option: str) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise LakehouseError(f"{option} is {text!r}, which is no date; write it as 2010-12-01.") from None


def _resources(settings: Settings) -> tuple[LakehouseResource, HandoffResource]:
    from lakehouse_assets.definitions import resources

    built = resources(settings)
    held = ExitStack()
    held.enter_context(built["lakehouse"].holding())
    atexit.register(held.close)  # a command is one look at the tables, from its beginning to its end
    return built["lakehouse"], built["handoff"]


@contextmanager
def _instance(settings: Settings) -> Iterator[Any]:
    """The local Dagster instance (or the one the user's DAGSTER_HOME names), cleared of runs whose process is gone."""
    from lakehouse_assets.orchestration.instance.local import (
        environment_of_command,
        in_use,
        one_at_a_time,
        refuse_broken_storage,
    )

    os.environ.update(environment_of_command(settings.home, os.environ))
    from dagster import DagsterInstance

    from lakehouse_assets.orchestration.instance.sweep import sweep_dead_runs

    with ExitStack() as opening:
        if home := os.environ.get("DAGSTER_HOME"):
            if os.access(home, os.W_OK):  # else nothing is made there
                opening.enter_context(one_at_a_time(Path(home)))
            refuse_broken_storage(Path(home))
        opened = DagsterInstance.get()
    # Where nothing can be written, nothing can be taken away either.
    holding = in_use(settings.home) if os.access(settings.home, os.W_OK) else nullcontext()
    with holding, opened as instance:
        sweep_dead_runs(instance)
        yield instance


# -- run -------------------------------------------------------------------------------------------------------------


@app.command()
def run(
    landing: Landing = None,
    start: Start = None,
    end: End = None,
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
    settings = _settings(makes_home=True, landing=landing, home=home, checksum=checksum or None)
    first, last = _day(start, "--start"), _day(end, "--end")
    if first and last and first > last:
        raise LakehouseError(f"--start {first} lies after --end {last}; exchange them.")
    chosen = _chosen(settings, select)
    began = time.perf_counter()
    with os.fdopen(os.dup(2), "w") as terminal:
        console = Console(file=terminal, quiet=quiet)
        with _instance(settings) as instance:
            runner = _runner(settings, instance, console, first, last, chosen)
            before = _accounts(runner)
            runner.run(force=runner.graph if force else ())
        if not quiet:
            _print_summary(wide(), runner, before, time.perf_counter() - began)
    _conclude(runner)


def _chosen(settings: Settings, select: str | None) -> list[str] | None:
    """The assets of a selection as `layer.table`; None for all. Raises `LakehouseError` for one that there is not."""
    if select is None:
        return None
    from lakehouse_assets.definitions import graph
    from lakehouse_assets.orchestration.resources.handoff import served

    names = [*graph(settings), *(f"snowflake.{table}" for table in served())]
    chosen = [s.strip().replace("/", ".") for s in select.split(",")]
    if unknown := [s for s in chosen if s not in names]:
        raise LakehouseError(f"There is no asset {', '.join(map(repr, unknown))}; choose among {', '.join(names)}.")
    return chosen


def _conclude(runner: Runner) -> None:
    """Say on stderr what waits for somebody and what was left undone; exit with 1 where anything is wrong."""
    found = runner.found
    damaged = dict.fromkeys([*found.damaged.values(), *runner.damaged.values()])
    wrong = [*damaged, *_rejected(found), *filter(None, [found.unavailable, runner.unfinished])]
    for reason in (*wrong, *found.refused_names.values()):
        print(printable(reason), file=sys.stderr)
    if wrong:
        raise typer.Exit(1)


def _rejected(found: Pending) -> list[str]:
    """Why drops wait for somebody, and what to do about each, a sentence or two a drop."""
    from lakehouse_assets.core.quality.audit import remedy

    return [f"{v.reason} {remedy(v)}" for v in (*found.refused, *found.unreadable)]


def _runner(
    settings: Settings, instance: Any, console: Console, first: date | None, last: date | None, select: list[str] | None
) -> Runner:
    from lakehouse_assets.definitions import build_definitions, graph, resources
    from lakehouse_assets.orchestration.automation.runner import Runner
    from lakehouse_assets.orchestration.resources.handoff import served

    total, done = len(select) if select else len(graph(settings)) + len(served()), 0

    def observe(step: Any) -> None:
        nonlocal done
        if step.kind in _MARKS:
            for key in step.asset_keys[:1]:
                done = done % total + 1
                seconds = f"{step.seconds:6.2f} s" if step.seconds is not None else step.kind
                mark, style = _MARKS[step.kind]
                say(console, f"{done:2} of {total} {'.'.join(key.path):32} {seconds}", f"  {mark}", style)

    built = resources(settings)
    return Runner(
        instance=instance,
        definitions=build_definitions(settings, **built),
        graph=graph(settings),
        lakehouse=built["lakehouse"],
        handoff=built["handoff"],
        start=first,
        end=last,
        select=[s.split(".") for s in select] if select else None,
        say=lambda text: say(console, text),
        effect=lambda table: _effect_on_quarantine(settings, table),
        observer=observe,
        echo=_verbose,
    )


_MARKS = {"success": ("✓", "green"), "failure": ("✗", "red"), "skipped": ("-", "yellow")}


_COUNTS = ("landed", "published", "quarantined", "duplicates")


def _accounts(runner: Runner) -> dict[str, list[int]]:
    """Drops that count, and what became of their rows, by source."""
    store = runner.lakehouse.lakehouse.store
    sums: dict[str, list[int]] = {}
    for row in _intake(store):
        mine = sums.setdefault(row["source"], [0] * (1 + len(_COUNTS)))
        if row["standing"] in ("live", "refused", "unreadable"):
            sums[row["source"]] = [a + b for a, b in zip(mine, (1, *(row[n] for n in _COUNTS)), strict=True)]
    return sums


def _intake(store: DeltaStore) -> list[dict[str, Any]]:
    """The accounts of all drops; none where their table is not there, or damaged, which is said elsewhere."""
    from lakehouse_assets.core.delta.findings import DamagedTableError

    try:
        return store.read("silver.intake").to_pylist() if store.exists("silver.intake") else []
    except DamagedTableError:
        return []


def _print_summary(console: Console, runner: Runner, before: dict[str, list[int]], seconds: float) -> None:
    """What stands now, and in brackets what this command has changed of it."""
    if accounts := _accounts(runner):
        title = "Accounts: landed = published + quarantined + duplicates; in brackets what this run has changed"
        rows = []
        for source, now in sorted(accounts.items()):
            was = before.get(source, [0] * len(now))
            rows.append(
                [source, *(f"{n:,}" + (f" ({n - w:+,})" if n != w else "") for n, w in zip(now, was, strict=True))]
            )
        console.print(table_of(["source", "drops", *_COUNTS], rows, title))
    sent: dict[str, list[int]] = {}
    for result in runner.results:
        for key, said in result.materialized.items():
            if key.path[0] == "snowflake":
                mine = sent.setdefault(key.path[1].upper(), [0, 0, 0])
                sent[key.path[1].upper()] = [
                    a + said.get(n, 0) for a, n in zip(mine, ("run/rows", "run/slices", "run/bytes"), strict=True)
                ]
    if runner.state is not None:
        rows = [
            [state.table, f"{state.rows:,}", state.version, *(f"{n:,}" for n in sent.get(state.table, [0, 0, 0]))]
            for _, state in sorted(runner.state.tables.items())
        ]
        columns = ["Snowflake table", "rows", "Delta version", "rows handed off", "slices", "bytes"]
        console.print(table_of(columns, rows, "In Snowflake; the last three columns: what this run sent"))
    from lakehouse_assets.orchestration.resources.spark import start_seconds

    started = "".join(f" The engine {engine} started in {took:.1f} s." for engine, took in start_seconds.items())
    console.print(f"{runner.runs} run{'' if runner.runs == 1 else 's'} in {seconds:.1f} s.{started}")


@app.command()
def rebuild(
    table: Annotated[str, typer.Argument(help="A Delta table, as gold.daily_sales.")], home: Home = None
) -> None:
    """Recompute a table from its upstreams; rows that come out the same are not written. A damaged table is made anew,
    bronze from the drops.

    Example: `lakehouse rebuild gold.daily_sales`
    """
    settings = _settings(home=home)
    import dagster as dg

    from lakehouse_assets.definitions import graph

    if table not in (nodes := graph(settings)):
        raise LakehouseError(f"There is no table {table}; choose one of {', '.join(nodes)}.")
    lakehouse, handoff = _resources(settings)
    store = lakehouse.lakehouse.store
    from lakehouse_assets.orchestration.automation.recovery import make_way, recover

    if table.startswith("bronze."):
        _print_recovered(recover(lakehouse, table))
        return
    if lacking := [name for name in nodes[table].upstreams if not store.exists(name)]:
        raise LakehouseError(
            f"{table} is computed from {', '.join(lacking)}, which has never been; run `lakehouse run`."
        )
    for sentence in make_way(lakehouse.lakehouse, handoff, table):
        print(sentence)
    with os.fdopen(os.dup(2), "w") as terminal, _instance(settings) as instance:
        runner = _runner(settings, instance, Console(file=terminal), None, None, [table])
        runner.run(force=[table])
    said = [result.materialized.get(dg.AssetKey(table.split(".")), {}) for result in runner.results]
    counts = (
        f"{sum(m.get(f'run/rows_{word}', 0) for m in said):,} {word}" for word in ("inserted", "updated", "deleted")
    )
    print(f"Recomputed {table}: rows {', '.join(counts)}.")
    _conclude(runner)


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


# -- look ------------------------------------------------------------------------------------------------------------


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SQL statement.")],
    format: Annotated[str, typer.Option(help="table, csv or json.")] = "table",
    write: Annotated[bool, typer.Option("--write", help="Allow a statement that changes something.")] = False,
    home: Home = None,
) -> None:
    """Query the serving account; names without a schema are those of the served tables.

    Example: `lakehouse sql "SELECT SUM(gross_sales) FROM DAILY_SALES" --format json`
    """
    _one_of(format, ["table", "csv", "json"])
    if not query.strip():
        raise LakehouseError("The query is empty; give one SQL statement.")
    if not write and not _reads(query):
        raise LakehouseError("The statement may change something; say --write if it is to.")
    settings = _settings(home=home)
    from lakehouse_assets.orchestration.resources.snowflake import snowflake_resource

    account = snowflake_resource(
        mode=settings.snowflake,
        home=settings.home,
        database=settings.database,
        schema=settings.analytics_schema,
        query_tag="lakehouse sql",
        idle_seconds=settings.account_idle_seconds,
    )
    with account.get_connection() as connection, connection.cursor() as cursor:
        cursor.execute(query)
        names = [c[0] for c in cursor.description]
        rows = cursor.fetchall()
    if format == "json":
        print(_json_rows([n.lower() for n in names], rows))
    elif format == "csv":
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([n.lower() for n in names])
        writer.writerows([["" if v is None else v for v in row] for row in rows])
    else:
        wide().print(table_of([n.lower() for n in names], rows))


_NO_CODE = re.compile(
    r"""--[^\n]*|//[^\n]*|/\*.*?\*/|'(?:[^'\\]|\\.)*'|"[^"]*"|\$\$.*?\$\$""",
    re.DOTALL,
)
"""Comments, texts and quoted names."""
_READS = re.compile(r"[\s(]*(select|with|values|show|describe|desc|explain|list|ls)\b", re.IGNORECASE)
"""How a statement begins that changes nothing."""
_WRITES = re.compile(r"\b(delete|update|into)\b", re.IGNORECASE)
"""What one holds that begins so and changes something all the same, as `WITH … DELETE`; these words are reserved."""


def _reads(query: str) -> bool:
    """Whether a statement changes nothing."""
    code = _NO_CODE.sub(" ", query)
    return bool(_READS.match(code)) and not _WRITES.search(code)


def _json_rows(names: list[str], rows: list[Any]) -> str:
    """A list of objects; decimals are written as numbers with all their digits, which json.dumps cannot do."""

    def text(value: Any) -> str:
        if isinstance(value, Decimal):
            return format(value, "f")
        if isinstance(value, (date, datetime)):
            return json.dumps(value.isoformat())
        return json.dumps(value, default=str, ensure_ascii=False)

    objects = (
        "{" + ", ".join(f"{json.dumps(n)}: {text(v)}" for n, v in zip(names, row, strict=True)) + "}" for row in rows
    )
    return "[" + ",\n ".join(objects) + "]"


@app.command()
def status(
    format: Annotated[str, typer.Option(help="table or json.")] = "table", landing: Landing = None, home: Home = None
) -> None:
    """What is loaded and what is pending.

    Example: `lakehouse status --format json`
    """
    _one_of(format, ["table", "json"])
    settings = _settings(landing=landing, home=home)
    from lakehouse_assets.core.declarations.registry import SOURCES
    from lakehouse_assets.core.delta.staging import JOURNAL
    from lakehouse_assets.core.sources.verdicts import drifted_now
    from lakehouse_assets.definitions import graph
    from lakehouse_assets.orchestration.automation.pending import pending

    lakehouse, handoff = _resources(settings)
    store = lakehouse.lakehouse.store
    with handoff.open() as open_handoff:
        deployed = handoff.state(open_handoff)
        short = {table: f"{finding.sentence()}." for table, finding in handoff.short(deployed).items()}
        behind = handoff.behind(open_handoff, deployed)
        found = pending(
            lakehouse.lakehouse, lakehouse.zone, graph(settings), behind, lakehouse.customers, damaged=short
        )
        known = deployed.tables if deployed else {}
        stage = open_handoff.status() if deployed else None
    sound = [
        s for s in SOURCES.values() if not {s.table, s.verdicts.name, s.quarantine.name, JOURNAL} & set(found.damaged)
    ]
    found_drift = (d for source in sound for d in drifted_now(lakehouse.lakehouse, source))
    drifted = sorted(found_drift, key=lambda d: (d[0].batch_date, d[0].path))
    batches: dict[tuple[date, str], dict[str, Any]] = {}
    for row in _intake(store):
        if row["standing"] not in ("live", "refused", "unreadable"):
            continue
        batch = batches.setdefault(
            (row["batch_date"], row["source"]),
            {
                "batch_date": row["batch_date"].isoformat(),
                "source": row["source"],
                "drops": 0,
                "landed": 0,
                "published": 0,
                "quarantined": 0,
                "duplicates": 0,
            },
        )
        batch["drops"] += 1
        for name in ("landed", "published", "quarantined", "duplicates"):
            batch[name] += row[name]
    tables = []
    for name in graph(settings):
        head = store.head(name) if name not in found.damaged else None
        if head is None:
            continue
        state = known.get(name.split(".")[1].upper()) if name.startswith("gold.") else None
        tables.append(
            {
                "name": name,
                "delta_version": head.version,
                "acknowledged_version": state.version if state else None,
                "rows": store.count(name),
                "published_at": state.published_at.isoformat() if state and state.published_at else None,
                "complete_through": state.complete_through.isoformat() if state and state.complete_through else None,
            }
        )
    said = {
        "batches": [batches[k] for k in sorted(batches)],
        "tables": tables,
        "drift": [{"path": v.path, "batch_date": v.batch_date.isoformat(), "columns": words} for v, words in drifted],
        "stage": {
            "files": stage.stage_files if stage else 0,
            "bytes": stage.stage_bytes if stage else 0,
            "loaded": stage.stage_loaded if stage else 0,
            "pending": stage.stage_pending if stage else 0,
            "orphaned": stage.stage_orphaned if stage else 0,
            "oldest_at": stage.stage_oldest.isoformat() if stage and stage.stage_oldest else None,
        },
        "pending": {
            "drops": [d.path for d in found.drops],
            "tables": found.behind,
            "snowflake": found.handoffs,
            "under_way": [
                {"table": i.table, "handoff_id": i.handoff_id, "owner": i.owner, "age_seconds": round(i.age_seconds)}
                for i in (stage.pending if stage else ())
            ],
            "refused": [
                {"path": v.path, "batch_date": v.batch_date.isoformat(), "reason": v.reason} for v in found.refused
            ],
            "unreadable": [
                {"path": v.path, "batch_date": v.batch_date.isoformat(), "reason": v.reason} for v in found.unreadable
            ],
            "refused_names": found.refused_names,
            "damaged": found.damaged,
            "unavailable": found.unavailable,
        },
    }
    if format == "json":
        print(json.dumps(said, indent=1, ensure_ascii=False))
        return
    console = wide()
    columns = ["batch date", "source", "drops", "landed", "published", "quarantined", "duplicates"]
    console.print(table_of(columns, [list(b.values()) for b in said["batches"][-20:]], "Batches"))
    if len(said["batches"]) > 20:
        console.print(f"The last 20 of {len(said['batches'])} batches; all with --format json.")
    columns = ["table", "Delta version", "in Snowflake", "rows", "complete through", "published at (UTC)"]
    rows = [
        [
            t["name"],
            t["delta_version"],
            t["acknowledged_version"],
            f"{t['rows']:,}",
            t["complete_through"],
            (t["published_at"] or "")[:19].replace("T", " "),
        ]
        for t in tables
    ]
    console.print(table_of(columns, rows, "Tables"))
    at = said["stage"]
    oldest = f"; the oldest since {at['oldest_at'][:19].replace('T', ' ')} UTC" if at["oldest_at"] else ""
    console.print(
        f"Stage: {at['files']} files, {at['bytes']:,} bytes, {at['loaded']} loaded, {at['pending']} pending,"
        f" {at['orphaned']} orphaned{oldest}."
    )
    for i in said["pending"]["under_way"]:
        say(
            console,
            f"{i['table']}, for {i['age_seconds']} s, by {i['owner']} (hand-off {i['handoff_id']})",
            "Under way:",
            "yellow",
        )
    for reason in found.damaged.values():
        say(console, reason, "Damaged:", "red")
    if not found and found.red:
        console.print(
            f"Nothing can be done now: {len(found.red)} batch date{'s wait' if len(found.red) > 1 else ' waits'} for a"
            " correction."
        )
    elif not found:
        console.print("Nothing else is pending." if found.damaged else "Nothing is pending.")
    else:
        console.print(
            f"Pending: {len(found.drops)} drops, {len(found.behind)} Delta tables, {len(found.handoffs)} Snowflake"
            " tables."
        )
    for name, reason in found.behind.items():
        if reason.startswith("stale"):
            preview = (
                f"; `lakehouse quarantine preview {name}` counts the rows that would enter or leave quarantine"
                if name in _judged()
                else ""
            )
            say(console, f"is {reason}{preview}.", name, "yellow")
    alike: dict[str, list[str]] = {}
    for verdict, words in drifted:
        alike.setdefault(words, []).append(verdict.path)
    for words, paths in alike.items():
        more = f" and {len(paths) - 1} more drop{'s' if len(paths) > 2 else ''}" if len(paths) > 1 else ""
        drift = f"{paths[-1]}{more}: {words} (`lakehouse acknowledge {pasted(paths[-1])}` silences this)"
        say(console, drift, "Other columns than its source:", "yellow")
    for reason in _rejected(found):
        say(console, reason, "Waits for a correction:", "red")
    for reason in found.refused_names.values():
        say(console, reason, "Not taken in:", "yellow")
    if found.unavailable:
        say(console, found.unavailable, "Cannot be asked:", "red")


@app.command()
def verify(
    repair: Annotated[bool, typer.Option(help="Hand the differing slices off again.")] = False,
    tables: Annotated[str | None, typer.Option(help="Snowflake tables, comma-separated; default all.")] = None,
    slices: Annotated[
        str | None,
        typer.Option(
            help="Only these hand-off slices, as 2010-12-01..2010-12-31 (dates), 0..3 (buckets); needs --tables."
        ),
    ] = None,
    home: Home = None,
) -> None:
    """Prove every Snowflake table equal to the snapshot that the ledger names. Exit 1 and the differing rows if any.

    Example: `lakehouse verify --tables sales_lines --slices 2010-12-01..2010-12-31 --repair`
    """
    settings = _settings(home=home)
    from snowflake.connector.errors import ProgrammingError

    from lakehouse_assets.core.delta.findings import DamagedTableError
    from lakehouse_assets.core.handoff.deploy import MISSING
    from lakehouse_assets.core.handoff.slices import between
    from lakehouse_assets.orchestration.resources.handoff import served

    lakehouse, handoff = _resources(settings)
    chosen = {t.strip().lower() for t in tables.split(",")} if tables else set(served())
    if unknown := chosen - set(served()):
        raise LakehouseError(
            f"There is no Snowflake table {', '.join(sorted(unknown))}; choose among {', '.join(served())}."
        )
    if slices and not tables:
        raise LakehouseError(
            "--slices says nothing without --tables, for each table has slices of its own; name the tables, too."
        )
    compared = {name: between(served()[name], slices) if slices else None for name in chosen}
    different = False
    with handoff.open() as open_handoff:
        state = handoff.state(open_handoff)
        if state is None:
            raise LakehouseError("Nothing has been handed off to this account yet; run `lakehouse run` first.")
        altered = handoff.altered(open_handoff, state)
        if repair and altered:
            handoff.ready(open_handoff)
        different |= bool(altered) and not repair
        for name in sorted(altered.keys() - chosen):
            print(f"{name.upper():20} {altered[name]}; {'made anew' if repair else '`lakehouse run` restores it'}")
        for name in sorted(chosen):
            if name in altered:
                print(f"{name.upper():20} {altered[name]}; {'made anew' if repair else '`lakehouse run` restores it'}")
            try:
                result = open_handoff.verify(lakehouse.lakehouse.spark, served()[name], slices=compared[name])
                if result.version < 0 and repair and name in altered:
                    sent = handoff.hand_off_whole(open_handoff, served()[name])
                    result = open_handoff.verify(lakehouse.lakehouse.spark, served()[name])
                    print(
                        f"{name.upper():20} restored: {sent.rows} rows; now"
                        f" {'equal' if result.equal else 'still DIFFERENT'}"
                    )
                    different |= not result.equal
                    continue
            except ProgrammingError as error:
                if name not in altered or error.errno not in MISSING:
                    raise
                continue
            except DamagedTableError as error:
                # Nothing is compared with it, and nothing is repaired from it.
                print(f"{name.upper():20} DAMAGED  {error}")
                different = True
                continue
            if result.version < 0:
                print(f"{name.upper():20} not handed off; `lakehouse run` does that")
                different = True
                continue
            print(
                f"{name.upper():20} {'equal' if result.equal else 'DIFFERS':8} {result.rows:>10,} rows at Delta version"
                f" {result.version}"
            )
            for slice_ in result.slices:
                print(f"  slice {slice_.slice}: {slice_.snowflake} in Snowflake, {slice_.ledger} in the ledger")
            for row in result.row_differences:
                print(f"  {printable(str(row))}")
            if not result.equal and repair:
                repaired = open_handoff.repair(lakehouse.lakehouse.spark, served()[name], compared[name])
                again = open_handoff.verify(lakehouse.lakehouse.spark, served()[name], slices=compared[name])
                print(
                    f"  repaired: {repaired.rows} rows in {len(repaired.slices)} slices; now"
                    f" {'equal' if again.equal else 'still DIFFERENT'}"
                )
                different |= not again.equal
            else:
                different |= not result.equal
    if different:
        raise typer.Exit(1)


@app.command()
def check(
    table: Annotated[str | None, typer.Argument(help="One Delta table, as gold.daily_sales; default all.")] = None,
    full: Annotated[bool, typer.Option(help="Also compare the content of every file.")] = False,
    home: Home = None,
) -> None:
    """Prove that what the lakehouse keeps is as it was committed. Exit 1 and a line for each file that is not, with its
    remedy.

    Example: `lakehouse check --full`
    """
    settings = _settings(home=home)
    from lakehouse_assets.definitions import kept_tables
    from lakehouse_assets.orchestration.automation.recovery import check_tables

    if table is not None and table not in kept_tables():
        raise LakehouseError(f"There is no table {table}; choose one of {', '.join(kept_tables())}.")
    lakehouse, handoff = _resources(settings)
    wrong = files = 0
    for checked in check_tables(lakehouse.lakehouse, handoff, [table] if table else kept_tables(), full=full):
        files += checked.files
        for finding in (*checked.findings, *checked.notes):
            print(f"{finding.sentence()}.")
            wrong += 1
        if checked.unproven:
            print(
                f"{checked.table}: {checked.unproven} of {checked.files} files have no proof; the job `maintenance`"
                " gives them one."
            )
        elif checked.unproven is None:
            print(f"{checked.table}: lies where no proofs are kept; the object store keeps sums of its own.")
    how = "content, size and log" if full else "size and log; content by --full"
    said = f"{wrong} finding{'s' if wrong > 1 else ''}" if wrong else "nothing is wrong"
    print(f"{files:,} files compared ({how}): {said}.")
    if wrong:
        raise typer.Exit(1)


# -- landing zone ----------------------------------------------------------------------------------------------------


@app.command()
def withdraw(
    path: Annotated[str, typer.Argument(help="A drop, as its path below the landing zone.")],
    landing: Landing = None,
    home: Home = None,
) -> None:
    """Take a drop back: the next run removes the lines that no other drop supports.

    Example: `lakehouse withdraw orders/orders_2010-12-01.csv.gz`
    """
    settings = _settings(landing=landing, home=home)
    from lakehouse_assets.core.declarations.registry import SOURCES
    from lakehouse_assets.core.sources.cleanse import supported_elsewhere
    from lakehouse_assets.core.sources.ingest import withdraw as take_back

    lakehouse, _ = _resources(settings)
    entry = take_back(lakehouse.lakehouse, path)
    source = SOURCES[entry.source].with_settings(settings)
    print(
        f"Withdrawn: {printable(path)}, batch {entry.batch_date}. Run `lakehouse run` to publish this;"
        f" `lakehouse land {pasted(path)}` undoes it."
    )
    for other, rows in supported_elsewhere(lakehouse.lakehouse, source, entry):
        print(f"  {rows} of its rows also stand in {printable(other)}")


@app.command()
def land(
    path: Annotated[str, typer.Argument(help="A withdrawn drop, as its path below the landing zone.")],
    landing: Landing = None,
    home: Home = None,
) -> None:
    """Undo a withdrawal.

    Example: `lakehouse land orders/orders_2010-12-01.csv.gz`
    """
    from lakehouse_assets.core.sources.ingest import land_again

    lakehouse, _ = _resources(_settings(landing=landing, home=home))
    entry = land_again(lakehouse.lakehouse, path)
    print(f"Landed again: {printable(path)}, batch {entry.batch_date}. Run `lakehouse run` to publish this.")


@app.command()
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

    lakehouse, _ = _resources(_settings(landing=landing, home=home))
    entry = journal(lakehouse.lakehouse, path)
    print(
        f"Acknowledged: {printable(path)}, batch {entry.batch_date}. What is published stays as it is; the next"
        " `lakehouse run` clears its batch date."
    )


@app.command()
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
    day = _day(start, "--start")
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
app.add_typer(fetch_app, name="fetch")


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


# -- quality ---------------------------------------------------------------------------------------------------------

quarantine_app = typer.Typer(help="Look at, export and replay rejected rows.", no_args_is_help=True)
app.add_typer(quarantine_app, name="quarantine")


def _judged() -> dict[str, Source]:
    """Silver table → the source that feeds it, whose rejected rows are in quarantine."""
    from lakehouse_assets.core.declarations.registry import SOURCES

    return {source.table: source for source in SOURCES.values()}


def _quarantined(settings: Settings, table: str | None, drop: str | None, rule: str | None) -> list[dict[str, Any]]:
    """Rejected rows, each with the table it was kept out of."""
    if table is not None and table not in _judged():
        raise LakehouseError(f"{table} has no quarantine; choose one of {', '.join(_judged())}.")
    lakehouse = _resources(settings)[0].lakehouse
    if drop is not None:
        from lakehouse_assets.core.sources.ingest import entries, never_landed

        if all(e.path != drop for e in entries(lakehouse)):
            raise never_landed(drop)
    store, rows = lakehouse.store, []
    for name in [table] if table else _judged():
        if store.exists(f"{name}_quarantine"):
            rows += [{"table": name, **r} for r in store.read(f"{name}_quarantine").to_pylist()]
    found = [r for r in rows if (drop is None or r["path"] == drop) and (rule is None or rule in r["rules"])]
    return sorted(found, key=lambda r: (r["table"], r["path"], r["row_number"]))


TableName = Annotated[
    str | None, typer.Option("--table", help="silver.order_lines, silver.customers or silver.fx_rates; default all.")
]
DropPath = Annotated[str | None, typer.Option("--drop", help="Only rows of this drop, a path below the landing zone.")]
RuleName = Annotated[str | None, typer.Option("--rule", help="Only rows that break this rule.")]


@quarantine_app.command("list")
def quarantine_list(table: TableName = None, drop: DropPath = None, rule: RuleName = None, home: Home = None) -> None:
    """How many rows are rejected, by table, rule and drop.

    Example: `lakehouse quarantine list --table silver.order_lines`
    """
    counts: dict[tuple[str, str, str], int] = {}
    rows = _quarantined(_settings(home=home), table, drop, rule)
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
    rows = _quarantined(_settings(home=home), table, drop, rule)
    cells = [
        [
            row["path"],
            row["row_number"],
            ", ".join(row["rules"]),
            row["detail"],
            *([(row["raw"] or "")[:500]] if raw else []),
        ]
        for row in rows[:limit]
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

    rows = _quarantined(_settings(home=home), table, drop, rule)
    frame = pl.DataFrame([{**r, "rules": ", ".join(r["rules"])} for r in rows], infer_schema_length=None)
    writers = {".csv": frame.write_csv, ".json": frame.write_ndjson, ".parquet": frame.write_parquet}
    if out.suffix not in writers:
        raise LakehouseError(
            f"{out} ends in {out.suffix or 'nothing'}; give the file the ending .csv, .json or .parquet."
        )
    writers[out.suffix](out)
    print(f"Wrote {len(rows)} rows to {out}.")


def _effect_on_quarantine(settings: Settings, table: str) -> str | None:
    """What judging everything again would change; None for a table without quarantine."""
    from lakehouse_assets.core.sources.quarantine import preview

    source = _judged().get(table)
    if source is None:
        return None
    entering, leaving = preview(_resources(settings)[0].lakehouse, source.with_settings(settings))
    return f"{entering} rows would enter quarantine, {leaving} would leave it"


@quarantine_app.command("preview")
def quarantine_preview(
    table: Annotated[str, typer.Argument(help="silver.order_lines, silver.customers or silver.fx_rates.")],
    home: Home = None,
) -> None:
    """What judging everything again by today's contract would change: rows that would enter or leave quarantine. Writes
    nothing.

    Example: `lakehouse quarantine preview silver.order_lines`
    """
    effect = _effect_on_quarantine(_settings(home=home), table)
    if effect is None:
        raise LakehouseError(f"{table} has no quarantine; choose one of {', '.join(_judged())}.")
    print(f"{table}: {effect}.")


@quarantine_app.command("replay")
def quarantine_replay(home: Home = None) -> None:
    """Judge everything that landed again and publish what has become good, as after a contract was mended.

    Example: `lakehouse quarantine replay`
    """
    settings = _settings(home=home)
    before = len(_quarantined(settings, None, None, None))
    with os.fdopen(os.dup(2), "w") as terminal, _instance(settings) as instance:
        runner = _runner(settings, instance, Console(file=terminal), None, None, None)
        runner.run(force=tuple(_judged()))
    print(f"{before} rows were rejected before, {len(_quarantined(settings, None, None, None))} are now.")
    _conclude(runner)


@app.command()
def contracts(
    table: Annotated[str | None, typer.Argument(help="One table, as gold.daily_sales; default all.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write Markdown to this file instead.")] = None,
) -> None:
    """Print or export what each table promises.

    Example: `lakehouse contracts gold.daily_sales`
    """
    from rich.markdown import Markdown

    import lakehouse_assets.areas  # noqa: F401 -- fills the registry
    from lakehouse_assets.core.contracts import CONTRACTS, contract
    from lakehouse_assets.core.contracts.describe import markdown, page

    text = markdown(contract(table)) if table else page(CONTRACTS)
    if export:
        export.write_text(text, encoding="utf-8")
        print(f"Wrote {export}.")
    else:
        Console().print(Markdown(text))


# -- measuring -------------------------------------------------------------------------------------------------------


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def bench(
    context: typer.Context, name: Annotated[str | None, typer.Argument(help="Which; none lists them.")] = None
) -> None:
    """Measured runs beside the same work done by hand. Options go to the benchmark; `--help` after its name shows them.

    Example: `lakehouse bench year --landing drops --start 2010-11-15 --end 2011-12-08 --one-more-day 2011-12-09`
    """
    folder = Path(__file__).resolve().parent.parent / "benchmarks"
    found = {file.stem: file for file in sorted(folder.glob("*.py"))}
    if name in (None, "--help"):
        print(context.get_help())
        print("Benchmarks: " + ", ".join(found))
        return
    if name not in found:
        raise LakehouseError(
            f"There is no benchmark {name!r} in {folder}; choose one of"
            f" {', '.join(found) or 'none: it needs a checkout'}."
        )
    if done := subprocess.run([sys.executable, str(found[name]), *context.args], check=False).returncode:
        raise typer.Exit(done)


# -- account and state -----------------------------------------------------------------------------------------------


@app.command()
def plan(home: Home = None) -> None:
    """Pending DDL on both sides and its class, before anything runs. Exit 1 if any of it is breaking.

    Example: `lakehouse plan`
    """
    settings = _settings(home=home)
    from lakehouse_assets.core.handoff.deploy import refuse_foreign

    _, handoff = _resources(settings)
    with handoff.open() as open_handoff:
        planned = handoff.plan(open_handoff)
    _print_plan(settings, planned)
    if breaking := planned.of("breaking"):
        print(f"Breaking: {breaking}. Nothing is deployed while that is so; `lakehouse deploy` says what to do.")
        raise typer.Exit(1)
    refuse_foreign(open_handoff.names, planned.snowflake)
    pending = planned.of("safe") + planned.of("rebuild")
    print(
        "Nothing is breaking. `lakehouse deploy` does this, and so does the next run."
        if pending
        else "Nothing to deploy."
    )


def _print_plan(settings: Settings, planned: Plan) -> None:
    """Statements as they are executed, each under its class, object and reason; what is left to a person as a
    comment.
    """
    for side, title in (
        (planned.delta, "Delta tables"),
        (planned.snowflake, f"Snowflake database {settings.database}"),
    ):
        if side:
            print(f"-- {title}: {len(side)} pending\n")
        for p in side:
            statement = p.sql and f"{p.sql.strip()};\n"
            if p.kind == "left":
                statement = statement and f"-- {statement}"
            print(f"-- {p.kind}: {p.object}: {p.reason}\n{statement}")


@app.command()
def deploy(
    allow_breaking: Annotated[
        bool, typer.Option(help="Also do what takes something away from readers of Snowflake.")
    ] = False,
    take_over: Annotated[bool, typer.Option(help="Also take the database from the lakehouse that it serves.")] = False,
    roles: Annotated[bool, typer.Option(help="Print the script of the least-privilege roles instead.")] = False,
    render: Annotated[
        Path | None,
        typer.Option(
            help="Write the DDL for an account that has nothing yet, and the roles, into this folder instead."
        ),
    ] = None,
    external: Annotated[
        str | None, typer.Option(help="Print the lane over an external stage at this URL instead; needs --integration.")
    ] = None,
    integration: Annotated[str | None, typer.Option(help="The storage integration of --external.")] = None,
    home: Home = None,
) -> None:
    """Apply pending DDL on both sides: Delta tables; Snowflake database, schemas, stage, file format, tables, views.
    Where anything is breaking nothing is done.

    Example: `lakehouse deploy`
    """
    settings = _settings(makes_home=True, home=home)
    _, handoff = _resources(settings)
    with handoff.open() as open_handoff:
        if roles or render or external:
            # No account is asked for these.
            _render(open_handoff.names, roles, render, external, integration)
            return
        planned = handoff.plan(open_handoff)
        if planned.of("breaking"):
            _print_plan(settings, planned)
        done = handoff.deploy(open_handoff, allow_breaking=allow_breaking, take_over=take_over)
    counts = ((len(done.delta), "change", " of Delta tables"), (len(done.snowflake), "statement", " in Snowflake"))
    said = [f"{n} {word}{'' if n == 1 else 's'}{where}" for n, word, where in counts if n]
    print(f"Deployed {' and '.join(said)}." if said else "Nothing to deploy.")


def _render(
    names: TargetNames, roles: bool, folder: Path | None, external: str | None, integration: str | None
) -> None:
    """Scripts for an administrator or for CI/CD, from the contracts and the settings alone."""
    from lakehouse_assets.core.handoff import external_lane_script, roles_script
    from lakehouse_assets.core.handoff.deploy import script
    from lakehouse_assets.orchestration.resources.handoff import served

    if roles:
        print(roles_script(names))
    if external:
        if not integration:
            raise LakehouseError(
                "--external needs the storage integration that may read the URL; name it with --integration."
            )
        print(external_lane_script(names, list(served().values()), external, integration))
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in (("deploy.sql", script(names, list(served().values()))), ("roles.sql", roles_script(names))):
            (folder / file).write_text(text, encoding="utf-8")
            print(f"Wrote {folder / file}.")


@app.command()
def down(home: Home = None) -> None:
    """Stop the embedded Snowflake account.

    Example: `lakehouse down`
    """
    from lakehouse_assets.embedded_snowflake import stop

    print("Stopped." if stop(_settings(home=home).home) else "The embedded account was not running.")


@app.command()
def account(
    show_secret: Annotated[
        bool, typer.Option("--show-secret", help="Print the password of the embedded account, too.")
    ] = False,
    home: Home = None,
) -> None:
    """How to connect a client (Python, DBeaver, dbt) to the Snowflake account. Starts the embedded one if it does not
    run.

    Example: `lakehouse account --show-secret`
    """
    from lakehouse_assets.orchestration.resources.clients import how_to_connect

    print(how_to_connect(_settings(home=home), show_secret))


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port, on this machine alone.")] = 3000,
    home: Home = None,
) -> None:
    """Dagster's web server and daemon on 127.0.0.1, with the runs that the command made.

    Example: `lakehouse ui --port 3001`
    """
    from lakehouse_assets.orchestration.instance.local import environment_of_command

    settings = _settings(makes_home=True, home=home)
    os.environ.update({"LAKEHOUSE_HOME": str(settings.home), **environment_of_command(settings.home, os.environ)})
    os.execv(
        sys.executable,
        [
            sys.executable,
            "-m",
            "dagster",
            "dev",
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-m",
            "lakehouse_assets.definitions",
        ],
    )


@app.command()
def alerts(format: Annotated[str, typer.Option(help="table or json.")] = "table", home: Home = None) -> None:
    """What is wrong now, as the sensor `watch` reports it. Exit 1 where anything is.

    Example: `lakehouse alerts`
    """
    _one_of(format, ["table", "json"])
    settings = _settings(home=home)
    from lakehouse_assets.definitions import build_definitions, watched
    from lakehouse_assets.orchestration.automation.alerts import open_alerts

    lakehouse, _ = _resources(settings)
    with _instance(settings) as instance:
        found = open_alerts(instance, lakehouse, *watched(build_definitions(settings)))
    if format == "json":
        print(json.dumps([{**asdict(a), "runbook": a.runbook} for a in found], indent=1, ensure_ascii=False))
    elif found:
        wide().print(table_of(["kind", "what is wrong", "what to do"], [[a.kind, a.summary, a.runbook] for a in found]))
    else:
        print("Nothing is wrong.")
    if found:
        raise typer.Exit(1)


@app.command()
def reset(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, home: Home = None) -> None:
    """Delete local state: Dagster's storage, Delta tables, staged slices, the embedded account. Never objects of a real
    account.

    Example: `lakehouse reset --yes`
    """
    from lakehouse_assets.embedded_snowflake import stop
    from lakehouse_assets.orchestration.instance.local import alone, working_on

    folder = _settings(home=home).home
    if processes := working_on(folder):
        raise LakehouseError(
            f"Dagster works on {folder} (process {', '.join(map(str, processes))}); stop it first, for it would go on"
            " with files that are gone."
        )
    if not yes and not typer.confirm(f"Delete everything below {folder}?"):
        raise typer.Exit(1)
    with alone(folder):
        stop(folder)
        if folder.exists() and not {p.name for p in folder.iterdir()} <= OURS:
            raise LakehouseError(
                f"{folder} does not look like a state folder of this application, so it was left alone; delete it by"
                " hand."
            )
        shutil.rmtree(folder, ignore_errors=False) if folder.exists() else None
    print(f"Deleted {folder}.")


if __name__ == "__main__":
    main()
