"""What commands share: common options, the settings, the resources and the instance.

Belongs here: what a command needs before it can work. Does not belong here: a command, printing of results.
"""

from __future__ import annotations

import atexit
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.settings import Settings, is_of_database
from lakehouse_assets.shown import pasted, printable

if TYPE_CHECKING:
    from lakehouse_assets.orchestration.resources.handoff_access import HandoffAccess
    from lakehouse_assets.orchestration.resources.lakehouse_access import LakehouseAccess

Landing = Annotated[Path | None, typer.Option(help="The landing zone; default LAKEHOUSE_LANDING.")]
Home = Annotated[Path | None, typer.Option(help="Where local state lives; default LAKEHOUSE_HOME.")]
Format = Annotated[str, typer.Option(help="table or json.")]

verbose = False
"""Whether Dagster's log and tracebacks are shown; `-v` sets it."""
written: list[Path] = []
"""The folders of this machine in which the command writes, once its settings are read."""


def settings(*, makes_home: bool = False, **given: Any) -> Settings:
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
        # Those of databases are judged where the sources are known.
        ours = name.startswith("LAKEHOUSE_") and name not in known and not is_of_database(name)
        if ours and (near := get_close_matches(name, known, 1, 0.9)):
            print(f"{name} is no setting; did you mean {near[0]}?", file=sys.stderr)
    read = Settings(**{k: v for k, v in given.items() if v is not None})
    places = [read.home, read.tables or "", read.staging or "", tempfile.gettempdir()]
    written[:] = [Path(place).expanduser().absolute() for place in places if place and "://" not in str(place)]
    return read


def one_of(format: str, formats: list[str]) -> None:
    """Refuse a format that there is not."""
    if format not in formats:
        raise LakehouseError(f"--format is {format!r}; choose {', '.join(formats[:-1])} or {formats[-1]}.")


def day(text: str | None, option: str) -> date | None:
    """The date that an option was given, if it was."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise LakehouseError(f"{option} is {text!r}, which is no date; write it as 2010-12-01.") from None


def access(settings: Settings) -> tuple[LakehouseAccess, HandoffAccess]:
    """The lakehouse and the hand-off. Loads the areas; starts no Dagster and no engine, and connects to nothing."""
    import lakehouse_assets.areas  # noqa: F401 -- fills the registry
    from lakehouse_assets.orchestration.graph import readers
    from lakehouse_assets.orchestration.resources.handoff_access import HandoffAccess
    from lakehouse_assets.orchestration.resources.lakehouse_access import LakehouseAccess
    from lakehouse_assets.orchestration.resources.snowflake_access import SnowflakeAccess

    lakehouse = LakehouseAccess.of(settings, readers())
    return lakehouse, HandoffAccess.of(settings, lakehouse, SnowflakeAccess.of(settings, query_tag="lakehouse_assets"))


def resources(settings: Settings) -> tuple[LakehouseAccess, HandoffAccess]:
    """The same; what the command reads is held until it ends."""
    lakehouse, handoff = access(settings)
    held = ExitStack()
    held.enter_context(lakehouse.holding())
    atexit.register(held.close)  # a command is one look at the tables, from its beginning to its end
    return lakehouse, handoff


@contextmanager
def at_work(settings: Settings) -> Iterator[None]:
    """Held by a command that works on a home, so that nobody takes it away meanwhile."""
    from lakehouse_assets.orchestration.instance.local import in_use

    # Where nothing can be written, nothing can be taken away either.
    with in_use(settings.home) if os.access(settings.home, os.W_OK) else nullcontext():
        yield


def sweep(settings: Settings) -> None:
    """Close the records of runs whose process is gone. Dagster is imported only where there may be any."""
    from lakehouse_assets.orchestration.instance.local import environment_of_command, may_hold_unfinished_runs

    ours = environment_of_command(settings.home, os.environ).get("DAGSTER_HOME")
    if ours is None or may_hold_unfinished_runs(Path(ours)):
        with instance(settings):
            pass


@contextmanager
def instance(settings: Settings) -> Iterator[Any]:
    """The local Dagster instance (or the one the user's DAGSTER_HOME names), cleared of runs whose process is gone."""
    from lakehouse_assets.orchestration.instance.local import (
        environment_of_command,
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
    with at_work(settings), opened as found:
        sweep_dead_runs(found)
        yield found
