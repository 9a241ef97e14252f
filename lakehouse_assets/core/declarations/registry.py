"""What this lakehouse holds: every source and table, as the areas declare them.

`register` fills it once, when the areas are loaded (`lakehouse_assets/areas.py`); everything else reads it. Does not
belong here: any declaration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from lakehouse_assets.core.contracts.bronze import landings_model
from lakehouse_assets.core.contracts.contract import Contract
from lakehouse_assets.core.contracts.registry import CONTRACTS, Registered
from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.declarations.table import Table
from lakehouse_assets.errors import LakehouseError

SOURCES: Final[Registered[Source]] = Registered()
"""Name, which is the folder of the landing zone → source, in the order of the areas."""

TABLES: Final[Registered[Table]] = Registered()
"""Name → table that is computed from others, upstreams first."""


def pulled_sources() -> list[Source]:
    """The sources that can be pulled from a database."""
    return [source for source in SOURCES.values() if source.pulled]


def streamed_sources() -> list[Source]:
    """The sources whose messages come by a topic."""
    return [source for source in SOURCES.values() if source.topic]


def register(sources: Sequence[Source], tables: Sequence[Table]) -> None:
    """Make these the sources and tables of this process, with the journal that follows from them.

    Raises `LakehouseError` where two share a name, a contract names no key, or an upstream is made by nobody.
    """
    contracts = [c for s in sources for c in s.contracts] + [Contract.of(landings_model([s.name for s in sources]))]
    contracts += [t.contract for t in tables]
    _refuse_twice("source", [s.name for s in sources])
    _refuse_twice("table", [c.name for c in contracts])
    if keyless := [c.name for c in contracts if not c.key]:
        raise LakehouseError(
            f"The contract of {', '.join(keyless)} names no key; name the columns that tell its rows apart."
        )
    ordered = _upstreams_first(tables, {c.name for c in contracts} - {t.name for t in tables})
    SOURCES.put({s.name: s for s in sources})
    TABLES.put({t.name: t for t in ordered})
    by_layer = sorted(contracts, key=lambda c: ("bronze", "silver", "gold").index(c.layer))
    CONTRACTS.put({c.name: c for c in by_layer})


def _refuse_twice(what: str, names: Sequence[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise LakehouseError(f"Two declarations name the {what} {', '.join(twice)}; give each a name of its own.")


def _upstreams_first(tables: Iterable[Table], known: set[str]) -> list[Table]:
    """The tables, each after those that it is computed from; within that silver before gold, as they were declared."""
    waiting = sorted(tables, key=lambda t: t.contract.layer != "silver")
    ordered: list[Table] = []
    while waiting:
        ready = next((t for t in waiting if set(t.upstreams) <= known), None)
        if ready is None:
            lacking = sorted({u for t in waiting for u in t.upstreams} - known - {t.name for t in waiting})
            what = f"{', '.join(lacking)}, which no area declares" if lacking else "each other"
            raise LakehouseError(
                f"{', '.join(t.name for t in waiting)} cannot be computed, for upstreams are {what}; name tables of"
                " silver or gold that are declared."
            )
        waiting.remove(ready)
        ordered.append(ready)
        known.add(ready.name)
    return ordered
