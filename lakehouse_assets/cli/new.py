"""Commands that write what a user adds: `new source`, `new table`, `init`. Does not belong here: what is written
(`scaffold/`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lakehouse_assets.cli import context

new_app = typer.Typer(help="Write the file of a source or a table of your own.", no_args_is_help=True)

Domain = Annotated[
    str | None, typer.Option(help="The domain that has it; one that is not there is made. Default: your project's.")
]
Served = Annotated[bool, typer.Option("--served", help="Hand it off to Snowflake, too.")]


@new_app.callback()
def _new() -> None:
    """Write the file of a source or a table of your own."""


@new_app.command("source")
def new_source(
    name: Annotated[str, typer.Argument(help="Its name, which is its folder of the landing zone.")],
    sample: Annotated[Path, typer.Option(help="A file of the source: CSV, JSON lines or Parquet.")],
    kind: Annotated[str | None, typer.Option(help="csv, jsonl or parquet; default: by the ending.")] = None,
    domain: Domain = None,
    served: Served = False,
    pulled: Annotated[
        str | None,
        typer.Option(metavar="KEY:STAMP", help="Also pull it from a database, by its key and the time of change."),
    ] = None,
) -> None:
    """Write a source from a sample: its contract, its transform, its declaration and a test. It runs as it is; what is
    to be decided is marked DECIDE.

    Example: `lakehouse new source stock_levels --sample stock.csv --domain inventory --served`
    """
    context.settings()
    from lakehouse_assets.scaffold.home import home_of, loaded_packages
    from lakehouse_assets.scaffold.source import new_source as write

    home = home_of(domain, loaded_packages())
    for path in write(home, name, sample, kind, served, pulled):
        print(f"Wrote {_shown(path)}")
    if pulled:
        print(f"Set LAKEHOUSE_{name.upper()}_DB to the address of its database.")
    print(f"Put drops into the folder {name}/ of the landing zone, and `lakehouse run` loads them.")


@new_app.command("table")
def new_table(
    name: Annotated[str, typer.Argument(help="Its name, as stock_days.")],
    upstreams: Annotated[list[str], typer.Option("--from", help="A table that it is computed from; may be repeated.")],
    domain: Domain = None,
    served: Served = False,
) -> None:
    """Write a gold table that is computed from others. It runs as it is, as a copy of the first; what is to be decided
    is marked DECIDE.

    Example: `lakehouse new table stock_days --from silver.stock_levels --from gold.product_sales --served`
    """
    context.settings()
    from lakehouse_assets.scaffold.home import home_of, loaded_packages
    from lakehouse_assets.scaffold.table import new_table as write

    home = home_of(domain, loaded_packages())
    for path in write(home, name, upstreams, served):
        print(f"Wrote {_shown(path)}")
    print(f"`lakehouse run` computes gold.{name.removeprefix('gold.')}.")


def init(
    folder: Annotated[Path, typer.Argument(help="Where the project goes; it may be there already.")],
    package: Annotated[str | None, typer.Option(help="Name of its Python package; default: of the folder.")] = None,
) -> None:
    """Write a project of your own, without the example: a package for your sources and tables, settings, tests.

    Example: `lakehouse init my_lakehouse`
    """
    from lakehouse_assets.scaffold.project import new_project

    home = new_project(folder, package)
    print(f"Wrote a project in {_shown(folder)}; its sources and tables go into {_shown(home.folder)}.")
    print(f"Go on there: `cd {_shown(folder)}` and `lakehouse new source NAME --sample FILE --served`.")


def _shown(path: Path) -> str:
    """A path as people would type it from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
