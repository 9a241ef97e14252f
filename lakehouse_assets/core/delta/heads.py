"""Where a table is: its version, the version of its rows, what it has consumed.

Belongs here: reading that from the history. Does not belong here: whether a table is behind (`staging.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lakehouse_assets.core.delta.commits import RESTORE, TIDYING, Commit, Consumed


@dataclass(frozen=True)
class TableRef:
    """A snapshot: a table at a version. What travels between assets."""

    name: str
    version: int


@dataclass(frozen=True)
class Head:
    """Where a table is. `data_version` is the newest version whose rows differ from the one before; later commits only
    tidied up or recorded what was consumed. `consumed` is None for a table without a commit of ours, and for one that
    `was_restored`.
    """

    name: str
    version: int
    data_version: int
    table_id: str
    consumed: Consumed | None
    title: str | None = None
    """The name under which the table was created; None where none was written."""
    was_restored: bool = False
    """Somebody has made an earlier version the current one by Delta's RESTORE, and no commit of ours has followed."""


def head_of(name: str, history: Callable[[int | None], list[Commit]], identity: tuple[str, str | None]) -> Head:
    """Where a table is, from its history, which is read no further back than to the newest commit of ours. history:
    gives so many commits, newest first; None: all.
    """
    commits, said = history(1), None
    for limit in (1, 20, None):
        commits = history(limit)
        said = next((c for c in commits if c.consumed or c.operation == RESTORE), None)
        if said is not None:
            break
    table_id, title = identity
    version = commits[0].version
    if said is None or said.consumed is None:
        return Head(name, version, version, table_id, None, title, was_restored=said is not None)
    foreign = max((c.version for c in commits if c.version > said.version and c.operation not in TIDYING), default=-1)
    data_version = max(foreign, said.metadata.get("data_version", said.version))
    return Head(name, version, data_version, table_id, said.consumed, title)
