"""Commands on what runs and lies on this machine: `ui`, `down` and `reset`. Does not belong here: how it is made."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Annotated

import typer

from lakehouse_assets.cli import context
from lakehouse_assets.cli.context import Home
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.private import OURS


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port, on this machine alone.")] = 3000,
    home: Home = None,
) -> None:
    """Dagster's web server and daemon on 127.0.0.1, with the runs that the command made.

    Example: `lakehouse ui --port 3001`
    """
    from lakehouse_assets.orchestration.instance.local import environment_of_command

    settings = context.settings(makes_home=True, home=home)
    os.environ.update({"LAKEHOUSE_HOME": str(settings.home), **environment_of_command(settings.home, os.environ)})
    options = ["-h", "127.0.0.1", "-p", str(port), "-m", "lakehouse_assets.definitions"]
    os.execv(sys.executable, [sys.executable, "-m", "dagster", "dev", *options])


def down(home: Home = None) -> None:
    """Stop the embedded Snowflake account.

    Example: `lakehouse down`
    """
    from lakehouse_assets.embedded_snowflake import stop

    print("Stopped." if stop(context.settings(home=home).home) else "The embedded account was not running.")


def reset(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, home: Home = None) -> None:
    """Delete local state: Dagster's storage, Delta tables, staged slices, the embedded account. Never objects of a real
    account.

    Example: `lakehouse reset --yes`
    """
    from lakehouse_assets.embedded_snowflake import stop
    from lakehouse_assets.orchestration.instance.local import alone, working_on

    folder = context.settings(home=home).home
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
