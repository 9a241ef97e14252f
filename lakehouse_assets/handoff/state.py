"""What Snowflake says of the hand-offs done and under way: the state of each table, the intents, the published slices.

Belongs here: reading that record and judging whether the owner of an intent is alive. Does not belong here: publishing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import psutil

from lakehouse_assets.handoff import sql
from lakehouse_assets.handoff.names import TargetNames
from lakehouse_assets.handoff.session import Session
from lakehouse_assets.handoff.sums import SliceSum, snowflake_sums


@dataclass(frozen=True)
class TableState:
    """What Snowflake has acknowledged of a table. `version` is -1 before the first hand-off; `published_at` is UTC without zone."""

    table: str
    delta_table_id: str
    version: int
    fingerprint: str
    handoff_id: str
    through: int
    rows: int
    hash: int
    published_at: datetime | None


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
class Published:
    """The last hand-off of a table that moved rows, as its transaction left it. sent: the sum over its slices as the lakehouse computed it; arrived: as
    Snowflake counted it in the table. slices: how many were replaced; `version`: the Delta version that Snowflake has acknowledged."""

    handoff_id: str
    version: int
    slices: int
    sent: SliceSum
    arrived: SliceSum


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
            row[0], row[1], int(row[2]), row[3], row[4], int(row[5]), int(row[6]), int(row[7]), row[8] if int(row[2]) >= 0 else None
        )
        for row in session.run(sql.statement("state", "read_state", **names.sql))
    }
    intents = tuple(
        Intent(row[0], row[1], int(row[2]), int(row[3]), row[4], float(row[5]), bool(row[6]))
        for row in session.run(sql.statement("state", "read_intents", **names.sql))
    )
    return State(tables, intents)


def read_slices(session: Session, names: TargetNames, table: str) -> dict[str, SliceSum]:
    """Count and hash of every published slice of a table (Snowflake name without schema)."""
    return snowflake_sums(session, sql.statement("state", "read_slices", **names.sql), table)


def read_published(session: Session, names: TargetNames, table: str) -> Published | None:
    """The last hand-off of a table (Snowflake name without schema), None before the first; one statement over the slices of that hand-off."""
    found = session.run(sql.statement("publish", "published", **names.sql), table)
    if not found:
        return None
    handoff_id, version, slices, rows, digest, arrived_rows, arrived_digest = found[0]
    return Published(
        handoff_id, int(version), int(slices), SliceSum(int(rows), int(digest)), SliceSum(int(arrived_rows or 0), int(arrived_digest or 0))
    )


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
