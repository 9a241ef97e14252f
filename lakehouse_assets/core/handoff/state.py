"""What Snowflake records of the hand-offs done and under way: the state of each table, the intents, the published
slices.

Belongs here: reading that record, adding an intent (step 2, record), and judging whether the owner of an intent is
alive. Does not belong here: publishing.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.core.handoff import sql
from lakehouse_assets.core.handoff.names import TargetNames
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.core.handoff.sums import SliceSum, snowflake_sums
from lakehouse_assets.core.handoff.trouble import MISSING
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.processes import ProcessIdentity, has_ended


@dataclass(frozen=True)
class TableState:
    """What Snowflake has acknowledged of a table. `version` is -1 before the first hand-off; `delta_commit` is the
    digest of that version's commit (`DeltaStore.digest`); `published_at` is UTC without zone; `lakehouse_id` is whose
    table it is, empty while nobody has published it; `complete_through` the newest batch date up to which everything
    landed is in it.
    """

    table: str
    delta_table_id: str
    delta_commit: str
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
        """Whether nobody works on it any more: its process on this host is gone, or it is of another host and older
        than `after_seconds`.
        """
        alive = is_alive(self.owner)
        return self.age_seconds > after_seconds if alive is None else not alive


@dataclass(frozen=True)
class Published:
    """The last hand-off of a table that moved rows, as its transaction left it. sent: the sum over its slices as the
    lakehouse computed it; arrived: as Snowflake counted it in the table. slices: how many were replaced; `version`: the
    Delta version that Snowflake has acknowledged.
    """

    handoff_id: str
    version: int
    slices: int
    sent: SliceSum
    arrived: SliceSum


@dataclass(frozen=True)
class State:
    """The record as one statement found it. Tables by their Snowflake name without schema, in upper case; objects: the
    fingerprint of each deployed definition; counted: the rows of each served table, by its contract's name, where that
    statement looked at them and found every column and view.
    """

    tables: Mapping[str, TableState] = field(default_factory=dict)
    intents: tuple[Intent, ...] = ()
    objects: Mapping[str, str] = field(default_factory=dict)
    counted: Mapping[str, int] | None = None


def read_state(session: Session, names: TargetNames, looks: Collection[str] = ()) -> State:
    """The state of all tables, all intents, all fingerprints; one statement, without a time in it, so that it does not
    wake a warehouse while nothing has changed. looks: queries for names and counts that it asks as well
    (`altered.looks`); where one of them does not compile, it is asked again without.
    """
    asked = "".join(f"\n{sql.statement('state', 'look', look=look)}" for look in looks)
    try:
        rows = session.run(sql.statement("state", "read_state", looks=asked, **names.sql))
    except ProgrammingError as error:
        if not looks or error.errno not in MISSING:
            raise
        return read_state(session, names)
    return _state(rows, bool(looks))


def _state(rows: Iterable[tuple], looked: bool) -> State:
    tables: dict[str, TableState] = {}
    intents: list[Intent] = []
    objects: dict[str, str] = {}
    counted: dict[str, int] = {}
    now = datetime.now(UTC).replace(tzinfo=None)
    # Ordered by version: were a table registered twice by two first hand-offs at once, the row that was published from
    # wins.
    for kind, name, handoff_id, since, version, fingerprint, *of_table, owner, published in rows:
        table_id, commit, through, count, digest, stamp, lakehouse_id, complete_through = of_table
        if kind == "table":
            delta = (table_id, commit or "", int(version), fingerprint, handoff_id)
            sums = (int(through), int(count), int(digest))
            tables[name] = TableState(name, *delta, *sums, stamp, lakehouse_id or "", complete_through)
        elif kind == "intent":
            age = (now - stamp).total_seconds()
            intents.append(Intent(handoff_id, name, int(since), int(version), owner, age, bool(published)))
        elif kind == "counted":
            counted[name] = int(count)
        else:
            objects[name] = fingerprint
    return State(tables, tuple(intents), objects, counted if looked else None)


def record(session: Session, names: TargetNames, intent: Intent, registered: bool) -> None:
    """Step 2: add an intent, and before it the state row of its table where none is registered."""
    if not registered:
        session.run(sql.statement("state", "register", **names.sql), intent.table, intent.table)
    statement = sql.statement("state", "record", **names.sql)
    session.run(statement, intent.handoff_id, intent.table, intent.since, intent.until, intent.owner)


class Owner:
    """The lakehouse whose tables are handed off. It is known by its journal; where that was made anew, by gold tables
    that are still the same.

    journal: the id of the journal, empty while there is none. tables: the ids of the gold tables.
    """

    def __init__(self, journal: Callable[[], str] = str, tables: Callable[[], Collection[str]] = tuple):
        self._ask, self._tables, self._id = journal, tables, ""

    @property
    def id(self) -> str:
        self._id = self._id or self._ask()
        return self._id

    def another(self, found: Iterable[tuple[str | None, str]]) -> str:
        """Which other lakehouse is served, as the rest of a sentence; empty where none is. found: lakehouse, empty for
        nobody's, and Delta table id of state rows.
        """
        others = {(owner, table) for owner, table in found if owner and owner != self.id}
        if others:
            tables = set(self._tables())
            others = {(owner, table) for owner, table in others if table not in tables}
        named = ", ".join(sorted({str(owner) for owner, _ in others}))
        return f"serves another lakehouse ({named}; this one is {self.id or 'without a journal'})" if named else ""


def refuse_another(names: TargetNames, reason: str) -> None:
    """Raise `LakehouseError` where a database serves another lakehouse. reason: what `Owner.another` says of it."""
    if reason:
        raise LakehouseError(
            f"The database {names.database} {reason}, so nothing was done; set LAKEHOUSE_DATABASE to a database of this"
            " one's own, or let it replace what the other serves by `lakehouse deploy --take-over`."
        )


def read_slices(session: Session, names: TargetNames, table: str) -> dict[str, SliceSum]:
    """Count and hash of every published slice of a table (Snowflake name without schema)."""
    return snowflake_sums(session, sql.statement("state", "read_slices", **names.sql), table)


def read_published(session: Session, names: TargetNames, table: str) -> Published | None:
    """The last hand-off of a table (Snowflake name without schema), None before the first; one statement over the
    slices of that hand-off.
    """
    found = session.run(sql.statement("publish", "published", **names.sql), table)
    if not found:
        return None
    handoff_id, version, slices, rows, digest, arrived_rows, arrived_digest = found[0]
    return Published(
        handoff_id,
        int(version),
        int(slices),
        SliceSum(int(rows), int(digest)),
        SliceSum(int(arrived_rows or 0), int(arrived_digest or 0)),
    )


def own_name() -> str:
    """This process, so that another one on the host can tell whether it is still there."""
    return ProcessIdentity.current().text


def is_alive(owner: str) -> bool | None:
    """Whether the process named by `own_name` is still there; None for processes of other hosts, of which this one
    knows nothing.
    """
    try:
        gone = ProcessIdentity.parse(owner).is_gone()
    except (KeyError, ValueError):
        # Earlier versions wrote host:pid:seconds, and the seconds move when the clock is set: whoever has the id now is
        # taken for the process.
        host, pid, _ = owner.rsplit(":", 2)
        gone = has_ended(int(pid)) if host == socket.gethostname() else None
    return None if gone is None else not gone
