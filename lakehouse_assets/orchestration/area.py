"""An area: a domain or a capability, and everything that it brings to the application. `definitions.py` merges them.

Belongs here: the declaration of an area, and finding what a domain's folder declares. Does not belong here: any area
(`domains/`), the list of them (`areas.py`). Importing this starts neither Dagster nor an engine.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.declarations.table import Table

if TYPE_CHECKING:
    import dagster as dg
    import typer

    from lakehouse_assets.core.delta.staging import Lakehouse
    from lakehouse_assets.settings import Settings


@dataclass(frozen=True)
class Area:
    """What a domain or capability brings.

    sources, tables: from which bronze, silver, gold and Snowflake tables, their checks, jobs and commands follow.
    definitions: assets that are no Delta table, with other partitions or none, checks, jobs, schedules, sensors and
    resources of its own, from the settings. commands: makes a Typer app, which becomes `lakehouse <name> …`. pending:
    what is to be done in this area → why, in a few words; `lakehouse status` shows it. alerts: what somebody must look
    at → a sentence. None of these is called before it is asked for.
    """

    name: str
    sources: tuple[Source, ...] = ()
    tables: tuple[Table, ...] = ()
    definitions: Callable[[Settings], dg.Definitions] | None = None
    commands: Callable[[], typer.Typer] | None = None
    pending: Callable[[Lakehouse], Mapping[str, str]] | None = None
    alerts: Callable[[Lakehouse], Mapping[str, str]] | None = None

    @classmethod
    def of(cls, package: str, **more: Any) -> Area:
        """The area of a domain's package: every source and table that one of its modules declares, module by module in
        the order of their names, and `more`, as the fields of an area.
        """
        modules = [importlib.import_module(name) for name in _modules(package)]
        sources = tuple(v for m in modules for v in _declared(m, Source))
        tables = tuple(v for m in modules for v in _declared(m, Table))
        return cls(name=package.rpartition(".")[2], sources=sources, tables=tables, **more)


def _modules(package: str) -> Iterator[str]:
    folder = importlib.import_module(package).__path__
    for found in sorted(pkgutil.walk_packages(folder, f"{package}."), key=lambda f: f.name):
        if not found.name.endswith(".area"):  # which asks
            yield found.name


def _declared(module: ModuleType, kind: type[Source] | type[Table]) -> Iterator[Any]:
    """The declarations of a module in their order, but for those that it imports."""
    return (v for v in vars(module).values() if isinstance(v, kind) and v.code.__module__ == module.__name__)
