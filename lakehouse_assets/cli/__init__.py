"""The `lakehouse` command: here the application, its entry point and its exit; each group of commands has a module.

Belongs in this package: options, progress, printing. Does not belong here: any rule of the product. Modules that take
long to import (Dagster, the engine, the connector) are imported by the commands that need them.
"""

from __future__ import annotations

import atexit
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from dotenv import load_dotenv

from lakehouse_assets.cli import (
    account,
    bench,
    context,
    contracts,
    cost,
    deploy,
    doctor,
    drops,
    load,
    local,
    new,
    quarantine,
    sample,
    status,
    stream,
    verify,
)
from lakehouse_assets.disks import full_disk
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.shown import printable

_INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Carry curated lakehouse tables to Snowflake, exactly once and provably equal.",
)
for function in (
    load.run,
    load.rebuild,
    account.sql,
    status.status,
    cost.cost,
    verify.verify,
    verify.check,
    doctor.doctor,
    drops.withdraw,
    drops.land,
    drops.acknowledge,
    sample.generate,
    stream.stream,
    stream.generate_events,
    contracts.contracts,
):
    app.command()(function)
app.command(context_settings=bench.ANY_OPTION)(bench.bench)
for function in (deploy.plan, deploy.deploy, local.down, account.account, local.ui, status.alerts, local.reset):
    app.command()(function)
app.command()(new.init)
app.add_typer(new.new_app, name="new")
app.add_typer(sample.fetch_app, name="fetch")
app.add_typer(quarantine.quarantine_app, name="quarantine")


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
    context.verbose = verbose


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
        words = _words(arguments)
        _add_areas(words)
        # Without standalone mode an exit code that a command raises comes back as the result; commands give no other.
        code = int(app(words, standalone_mode=False) or 0)
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
        if context.verbose:
            traceback.print_exc()
        said = _sentence(error)
    print(printable(said), file=sys.stderr)
    return code


def _sentence(error: Exception) -> str:
    where = f" in {error.filename}" if isinstance(error, SyntaxError) else ""
    full = full_disk(error, context.written) if context.written else None
    # The errors of the command line name the option only so.
    plain = getattr(error, "format_message", error.__str__)()
    if isinstance(error, OSError) and error.filename and error.strerror:
        plain = f"{error.filename} cannot be used ({error.strerror}); correct that, and run the command again."
    return f"Error{where}: {full or ' '.join((plain or type(error).__name__).split())}"


def _add_areas(words: Sequence[str]) -> None:
    """Add the commands of areas: loading these takes a second, so it is done for a command that is not ours, and where
    the help of all commands is asked for and the areas are not those of the example.
    """
    first = next((word for word in words if not word.startswith("-")), "")
    ours = {c.name or c.callback.__name__.replace("_", "-") for c in app.registered_commands if c.callback}
    ours |= {group.name for group in app.registered_groups}
    # Not by the settings: help must be had also where one of them is wrong.
    if first in ours or (not first and "LAKEHOUSE_AREAS" not in os.environ):
        return
    try:
        from lakehouse_assets.areas import AREAS
    except LakehouseError as error:
        if first:
            raise
        print(f"The commands of areas are not listed: {error}", file=sys.stderr)
        return

    for area in AREAS:
        if area.commands:
            app.add_typer(area.commands(), name=area.name)


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
    for out in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads it any more
            out.flush()
    os._exit(code)
