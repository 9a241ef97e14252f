"""What Snowflake says of the hand-offs done and under way: the state of each table, the intents, the published slices.

Belongs here: reading that record and judging whether the owner of an intent is alive. Does not belong here: publishing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

import psutil

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.handoff import sql
from lakehouse_assets.handoff.names import TargetNames
from lakehouse_assets.handoff.session import Session
from lakehouse_assets.handoff.sums import SliceSum, snowflake_sums


@dataclass(frozen=True)
class TableState:
    """What Snowflake has acknowledged of a table. `version` is -1 before the first hand-off; `published_at` is UTC without zone; `lakehouse_id` is
    whose table it is, empty while nobody has published it; `complete_through` the newest batch date up to which everything landed is in it."""

    table: str
    delta_table_id: str
    version: int
    fingerprint: str
    handoff_id: str
    through: int
    rows: int
    hash: int
    published_at: datetime | None
    lakehouse_id: str = ""
    complete_through: date | None = None


@dataclass(frozen=True)
class Intent:
    """A hand-off that was recorded and not yet tidied up after. `published`: its ledger row is there."""

    handoff_id: str
    table: str
    since: int
    until: int
    owner: str
    age_seconds: float
    published: bool

    def abandoned(self, after_seconds: float) -> bool:
        """Whether nobody works on it any more: its process on this host is gone, or it is older than `after_seconds`."""
        return owner_is_gone(self.owner) or self.age_seconds > after_seconds


@dataclass(frozen=True)
class State:
    """The record as one read found it. Tables by their Snowflake name without schema, in upper case."""

    tables: Mapping[str, TableState] = field(default_factory=dict)
    intents: tuple[Intent, ...] = ()


def read_state(session: Session, names: TargetNames) -> State:
    """The state of all tables and all intents; two statements."""
    # Ordered by version: were a table registered twice by two first hand-offs at once, the row that was published from wins.
    tables = {
        row[0]: TableState(
            row[0],
            row[1],
            int(row[2]),
            row[3],
            row[4],
            int(row[5]),
            int(row[6]),
            int(row[7]),
            row[8] if int(row[2]) >= 0 else None,
            row[9] or "",
            row[10],
        )
        for row in session.run(sql.statement("state", "read_state", **names.sql))
    }
    intents = tuple(
        Intent(row[0], row[1], int(row[2]), int(row[3]), row[4], float(row[5]), bool(row[6]))
        for row in session.run(sql.statement("state", "read_intents", **names.sql))
    )
    return State(tables, intents)


class Owner:
    """The lakehouse whose tables are handed off. It is known by its journal; where that was made anew, by gold tables that are still the same.

    journal: the id of the journal, empty while there is none. tables: the ids of the gold tables.
    """

    def __init__(self, journal: Callable[[], str] = str, tables: Callable[[], Collection[str]] = tuple):
        self._ask, self._tables, self._id = journal, tables, ""

    @property
    def id(self) -> str:
        self._id = self._id or self._ask()
        return self._id

    def another(self, found: Iterable[tuple[str | None, str]]) -> str:
        """Which other lakehouse is served, in a few words; empty where none is. found: lakehouse, empty for nobody's, and Delta table id of
        state rows."""
        others = {(owner, table) for owner, table in found if owner and owner != self.id}
        if others:
            tables = set(self._tables())
            others = {(owner, table) for owner, table in others if table not in tables}
        named = ", ".join(sorted({str(owner) for owner, _ in others}))
        return f"serves another lakehouse ({named}; this one is {self.id or 'without a journal'})" if named else ""


def refuse_another(names: TargetNames, said: str) -> None:
    """Raise `LakehouseError` where a database serves another lakehouse. said: what `Owner.another` says of it."""
    if said:
        raise LakehouseError(
            f"The database {names.database} {said}, so nothing was done; set LAKEHOUSE_DATABASE to a database of this one's own, or let it replace what "
            "the other serves by `lakehouse deploy --take-over`."
        )


def read_slices(session: Session, names: TargetNames, table: str) -> dict[str, SliceSum]:
    """Count and hash of every published slice of a table (Snowflake name without schema)."""
    return snowflake_sums(session, sql.statement("state", "read_slices", **names.sql), table)


def own_name() -> str:
    """Host, process id and start of this process: enough for another process on the host to tell whether it is still there."""
    return f"{socket.gethostname()}:{os.getpid()}:{int(psutil.Process().create_time())}"


def owner_is_gone(owner: str) -> bool:
    """Whether the process named by `own_name` has ended. False for processes of other hosts, of which this one knows nothing."""
    host, _, rest = owner.rpartition(":")
    host, _, pid = host.rpartition(":")
    if host != socket.gethostname():
        return False
    try:
        return int(psutil.Process(int(pid)).create_time()) != int(rest)
    except psutil.NoSuchProcess:
        return True
