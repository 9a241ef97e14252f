"""What is made from what: the Delta tables of the declarations, their upstreams and their readers.

Belongs here: what commands, sensors and assets alike ask of the graph. Does not belong here: the assets (`assets/`).
Importing this starts no Dagster.
"""

from __future__ import annotations

from dataclasses import dataclass

from lakehouse_assets.core.contracts import CONTRACTS, Contract
from lakehouse_assets.core.declarations.registry import SOURCES, TABLES
from lakehouse_assets.core.delta.findings import SIDES
from lakehouse_assets.core.delta.staging import JOURNAL
from lakehouse_assets.settings import Settings


@dataclass(frozen=True)
class TableNode:
    """A table of the graph, as far as pending needs to know it."""

    upstreams: tuple[str, ...]
    fingerprint: str


def graph(settings: Settings) -> dict[str, TableNode]:
    """What `pending` needs to know of every Delta table, in topological order."""
    landed = {name: TableNode((), "") for name in (*(source.bronze for source in SOURCES.values()), JOURNAL)}
    bound = [source.with_settings(settings) for source in SOURCES.values()]
    cleansed = {source.table: TableNode((JOURNAL,), source.fingerprint) for source in bound}
    computed = {table.name: TableNode(table.upstreams, table.fingerprint) for table in TABLES.values()}
    return landed | cleansed | computed


def readers() -> dict[str, tuple[str, ...]]:
    """Every table that others are computed from → those. The journal reads bronze: an entry says that its rows are
    there.
    """
    found: dict[str, list[str]] = {source.bronze: [JOURNAL] for source in SOURCES.values()}
    found[JOURNAL] = [source.table for source in SOURCES.values()]
    for table in TABLES.values():
        for upstream in table.upstreams:
            found.setdefault(upstream, []).append(table.name)
    return {table: tuple(of) for table, of in found.items()}


def kept_tables() -> list[str]:
    """Every Delta table, side tables too, upstreams first."""
    return [
        *(source.bronze for source in SOURCES.values()),
        JOURNAL,
        *(f"{source.table}{side}" for source in SOURCES.values() for side in SIDES),
        *(source.table for source in SOURCES.values()),
        *TABLES,
    ]


def served() -> dict[str, Contract]:
    """The tables that travel: Snowflake table name in lower case → contract."""
    return {c.table: c for c in CONTRACTS.values() if c.handoff}
