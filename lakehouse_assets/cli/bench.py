"""The command `bench`. Does not belong here: what is measured (`benchmarks/` of a checkout)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from lakehouse_assets.errors import LakehouseError

ANY_OPTION = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""For the application: options are the benchmark's."""


def bench(
    context: typer.Context, name: Annotated[str | None, typer.Argument(help="Which; none lists them.")] = None
) -> None:
    """Measured runs beside the same work done by hand. Options go to the benchmark; `--help` after its name shows them.

    Example: `lakehouse bench year --landing drops --start 2010-11-15 --end 2011-12-08 --one-more-day 2011-12-09`
    """
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
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
