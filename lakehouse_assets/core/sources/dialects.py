"""What PostgreSQL and SQLite say differently when customers are read from one of them.

Belongs here: connecting, and SQL that differs. Does not belong here: the questions that are asked (`database.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

INSTANT: Final = r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{6}Z"
"""A time as this module writes it, in UTC."""

_CONNECT_SECONDS = 10


class Unfit(Exception):
    """The table is not one that customers can be read from."""


def instant(moment: datetime) -> str:
    """A moment as this module writes times; one without a zone is UTC."""
    utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return f"{utc.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


class Dialect:
    """What the two databases say differently. `begin` is said first in each snapshot; `now` is its clock as text.
    Columns come quoted.
    """

    begin: str
    now: str

    def engine(self, url: URL) -> Engine:
        """Connections that only read, each transaction one snapshot."""
        raise NotImplementedError

    def stamp(self, column: str) -> str:
        """A time as text."""
        raise NotImplementedError

    def greatest(self, column: str) -> str:
        """The greatest time that is not in the future, as text."""
        raise NotImplementedError

    def since(self, column: str) -> str:
        """The condition that a time is not before `:since`, or is none."""
        raise NotImplementedError

    def digest(self, columns: Sequence[str], condition: str = "") -> str:
        """A text by which two bags of rows are told apart."""
        raise NotImplementedError

    def bytes(self, text: str) -> str:
        """The bytes of a text, in UTF-8 unless the database does not know its encoding: a driver gives up on what it
        cannot decode.
        """
        raise NotImplementedError


class _PostgreSQL(Dialect):
    begin = "SET LOCAL TIME ZONE 'UTC'"

    def __init__(self) -> None:
        self.now = self.stamp("now()")

    def engine(self, url: URL) -> Engine:
        given = {} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_SECONDS}
        try:
            engine = create_engine(url, poolclass=NullPool, connect_args=given, hide_parameters=True)
        except ModuleNotFoundError as error:
            raise Unfit(f"the module {error.name} is not installed: install the extra `postgres`") from None
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def stamp(self, column: str) -> str:
        written = f"""to_char(CAST({column} AS timestamptz), 'YYYY-MM-DD"T"HH24\\:MI\\:SS.US"Z"')"""
        # Infinity is not written, and a year before the first would be written as one after it.
        return f"coalesce(CASE WHEN {column} >= '0001-01-01' THEN {written} END, CAST({column} AS text))"

    def greatest(self, column: str) -> str:
        return self.stamp(f"max({column}) FILTER (WHERE {column} <= now())")

    def since(self, column: str) -> str:
        return f"({column} IS NULL OR {column} >= CAST(:since AS timestamptz))"

    def digest(self, columns: Sequence[str], condition: str = "") -> str:
        only = f" FILTER (WHERE {condition})" if condition else ""
        return f"CAST(coalesce(sum(hashtextextended(CAST(ROW({', '.join(columns)}) AS text), 0)){only}, 0) AS text)"

    def bytes(self, text: str) -> str:
        return f"convert_to({text}, CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)"


class _SQLite(Dialect):
    begin = "PRAGMA query_only = ON"
    now = "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"

    def engine(self, url: URL) -> Engine:
        if not url.database or not Path(url.database).is_file():
            raise Unfit("there is no such file")  # SQLite would make one
        engine = create_engine(url, poolclass=NullPool, hide_parameters=True)

        @event.listens_for(engine, "connect")
        def prepare(connection: Any, _: Any) -> None:
            # else the driver says when a transaction begins, and never begins one for a SELECT
            connection.isolation_level = None
            connection.create_function("instant", 1, _instant_or_none, deterministic=True)
            connection.create_aggregate("digest", -1, _Digest)

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        return engine

    def stamp(self, column: str) -> str:
        return f"coalesce({self._instant(column)}, CAST({column} AS text))"

    def _instant(self, column: str) -> str:
        # As bytes, for the driver gives no function a text that is not UTF-8. A value that is no text is no time.
        return f"instant(CASE typeof({column}) WHEN 'text' THEN CAST({column} AS blob) END)"

    def greatest(self, column: str) -> str:
        return f"max({self._instant(column)}) FILTER (WHERE {self._instant(column)} <= {self.now})"

    def since(self, column: str) -> str:
        return f"coalesce({self._instant(column)} >= :since, 1)"

    def digest(self, columns: Sequence[str], condition: str = "") -> str:
        only = f" FILTER (WHERE {condition})" if condition else ""
        values = ", ".join(f"typeof({c}), CAST({c} AS blob)" for c in columns)
        return f"coalesce(digest({values}){only}, '0')"  # of no rows it is null

    def bytes(self, text: str) -> str:
        return f"CAST({text} AS blob)"


class _Digest:
    """The sum of the hashes of rows, an aggregate for SQLite, which has no hash."""

    def __init__(self) -> None:
        self._sum = 0

    def step(self, *values: Any) -> None:
        self._sum += int.from_bytes(hashlib.blake2b(repr(values).encode(errors="replace"), digest_size=8).digest())

    def finalize(self) -> str:
        return str(self._sum)


def _instant_or_none(value: Any) -> str | None:
    """A text that SQLite holds for a time, given as bytes; other values are none."""
    try:
        return instant(datetime.fromisoformat(value.decode().strip()))
    except (ValueError, AttributeError, OverflowError):
        return None


DIALECTS: Final[Mapping[str, Dialect]] = {"postgresql": _PostgreSQL(), "sqlite": _SQLite()}
