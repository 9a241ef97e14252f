"""A table of customers in a database (PostgreSQL or SQLite), read in one consistent snapshot.

Belongs here: connecting, and the few questions that are asked of the table, each one statement. Does not belong here: what has been read before and what is
new (`pull.py`), what a value means (`transforms/`).

Every value comes as a text, as if the CRM had sent the row as JSON, and `updated_at` in UTC with microseconds, so that its texts sort as the times do. A time
that is none comes as it stands. The address of the database holds a password: it stays out of every message.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import URL, Connection, CursorResult, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from lakehouse_assets.errors import SourceUnavailableError
from lakehouse_assets.sources.rows import BRONZE_VALUES

KEY, STAMP = "customer_id", "updated_at"
INSTANT: Final = r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{6}Z"
"""A time as this module writes it."""

_CONNECT_SECONDS = 10
_BATCH = 10_000


def instant(moment: datetime) -> str:
    """A moment as this module writes times; one without a zone is UTC."""
    utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return f"{utc.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


@dataclass(frozen=True)
class CustomersDatabase:
    """A table or view `table` (`name` or `schema.name`) with a unique `customer_id`, `updated_at`, and any of the other columns of `bronze.customers`.

    overlap: how much later than others a transaction may commit, so that its rows are still found by their time.
    """

    url: str = field(repr=False)
    table: str
    overlap: timedelta

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """One state of the table, whatever others commit meanwhile. Raises `SourceUnavailableError` where it cannot be read."""
        try:
            url = make_url(self.url)
        except ArgumentError:
            raise SourceUnavailableError(
                "LAKEHOUSE_CUSTOMERS_DB is no address of a database; write postgresql://user:password@host/name or sqlite:////path/to/file."
            ) from None
        if "@" in (url.host or ""):  # part of the password, which must not be shown
            raise SourceUnavailableError("LAKEHOUSE_CUSTOMERS_DB has more than one @; write those of user and password as %40.")
        dialect = _DIALECTS.get(url.get_backend_name())
        if dialect is None:
            raise SourceUnavailableError(
                f"LAKEHOUSE_CUSTOMERS_DB names a database of the kind {url.get_backend_name()}; customers are read from postgresql or sqlite."
            )
        try:
            with dialect.engine(url).connect() as connection:
                connection.execute(text(dialect.begin))
                yield Snapshot(connection, dialect, self.table)
        except (SQLAlchemyError, _Unfit) as error:
            said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0].rstrip(".")
            # Not chained: what a driver says may hold what it was given.
            raise SourceUnavailableError(
                f"Customers cannot be read from the table {self.table} of {_shown(url)} ({_without_password(said, url)}); mend that, or see "
                "LAKEHOUSE_CUSTOMERS_DB: everything else is loaded meanwhile."
            ) from None


class _Unfit(Exception):
    """The table is not one that customers can be read from."""


def _shown(url: URL) -> str:
    """Which database it is, for a message: neither user nor password nor options."""
    return f"{url.get_backend_name()}://{url.host or ''}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def _without_password(said: str, url: URL) -> str:
    secrets = [str(url.password)] if url.password else []
    secrets += [v for k, values in url.query.items() if "pass" in k for v in ([values] if isinstance(values, str) else values)]
    for secret in secrets:
        said = said.replace(secret, "***")
    return said


class Snapshot:
    """One state of the table. Every method is one statement."""

    def __init__(self, connection: Connection, dialect: _Dialect, table: str):
        self._connection, self._dialect = connection, dialect
        self._table = ".".join(_quoted(part) for part in table.split("."))
        found = set(self._select("*", "false").keys())
        if missing := [c for c in (KEY, STAMP) if c not in found]:
            raise _Unfit(f"it has no column {' and no column '.join(missing)}")
        self._columns = [c for c in BRONZE_VALUES["customers"] if c in found]

    def summary(self, since: str | None) -> dict[str, Any]:
        """What tells one state of the table from another: how many rows it has, a digest of all keys and their times, and one of whole rows that are not
        older than `since`. Raises where a key is none, or not unique."""
        recent = self._dialect.digest(", ".join(self._columns), self._dialect.since(STAMP) if since else "")
        keys = self._dialect.digest(f"{KEY}, {STAMP}")
        row = self._select(f"count(*), count(DISTINCT {KEY}), {keys}, {recent}", since=since).one()
        if row[0] != row[1]:
            raise _Unfit(f"{row[0] - row[1]} of its {row[0]} rows have no {KEY}, or one that another row has")
        return {"since": since, "rows": row[0], "keys": row[2], "recent": row[3]}

    def clock(self) -> tuple[str, str | None]:
        """What time it is there, and the greatest `updated_at` that is not in the future; None where there is none."""
        now, greatest = self._select(f"{self._dialect.now}, {self._dialect.greatest(STAMP)}").one()
        return now, greatest if greatest and re.fullmatch(INSTANT, greatest) else None

    def keys(self) -> pa.Table:
        """All keys with their times."""
        return self._texts([KEY, STAMP])

    def rows(self, since: str | None) -> pa.Table:
        """The rows that are not older than `since`, and those without a time; None for all. Columns that the table lacks are null."""
        return self._texts(list(BRONZE_VALUES["customers"]), since)

    def _texts(self, names: list[str], since: str | None = None) -> pa.Table:
        schema = pa.schema([pa.field(name, pa.string()) for name in names])
        columns = ", ".join(self._text(name) for name in names)
        result = self._select(columns, self._dialect.since(STAMP) if since else "", since=since, yield_per=_BATCH)
        batches = [pa.record_batch([pa.array(c, pa.string()) for c in zip(*part, strict=True)], schema) for part in result.partitions()]
        return pa.Table.from_batches(batches, schema)

    def _text(self, name: str) -> str:
        if name not in self._columns:
            return "NULL"
        if name == STAMP:
            return self._dialect.stamp(name)
        if name == "deleted":  # a truth value is a number where a database has none
            return "CASE CAST(deleted AS text) WHEN '1' THEN 'true' WHEN '0' THEN 'false' ELSE CAST(deleted AS text) END"
        return f"CAST({name} AS text)"

    def _select(self, what: str, where: str = "", *, since: str | None = None, **options: Any) -> CursorResult[Any]:
        statement = f"SELECT {what} FROM {self._table}" + (f" WHERE {where}" if where else "")
        return self._connection.execute(text(statement), {"since": since} if since else {}, execution_options=options)


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""').replace(":", "\\:")
    return f'"{doubled}"'


class _Dialect:
    """What the two databases say differently. `begin` is said first in each snapshot; `now` is its clock as text."""

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

    def digest(self, columns: str, condition: str = "") -> str:
        """A text by which two bags of rows are told apart."""
        raise NotImplementedError


class _PostgreSQL(_Dialect):
    begin = "SET LOCAL TIME ZONE 'UTC'"

    def __init__(self) -> None:
        self.now = self.stamp("now()")

    def engine(self, url: URL) -> Engine:
        given = {} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_SECONDS}
        try:
            engine = create_engine(url, poolclass=NullPool, connect_args=given, hide_parameters=True)
        except ModuleNotFoundError as error:
            raise _Unfit(f"the module {error.name} is not installed: install the extra `postgres`") from None
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def stamp(self, column: str) -> str:
        written = f"""to_char(CAST({column} AS timestamptz), 'YYYY-MM-DD"T"HH24\\:MI\\:SS.US"Z"')"""
        return f"coalesce({written}, CAST({column} AS text))"  # infinity is not written

    def greatest(self, column: str) -> str:
        return self.stamp(f"max({column}) FILTER (WHERE {column} <= now())")

    def since(self, column: str) -> str:
        return f"({column} IS NULL OR {column} >= CAST(:since AS timestamptz))"

    def digest(self, columns: str, condition: str = "") -> str:
        only = f" FILTER (WHERE {condition})" if condition else ""
        return f"CAST(coalesce(sum(hashtextextended(CAST(ROW({columns}) AS text), 0)){only}, 0) AS text)"


class _SQLite(_Dialect):
    begin = "PRAGMA query_only = ON"
    now = "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"

    def engine(self, url: URL) -> Engine:
        if not url.database or not Path(url.database).is_file():
            raise _Unfit("there is no such file")  # SQLite would make one
        engine = create_engine(url, poolclass=NullPool, hide_parameters=True)

        @event.listens_for(engine, "connect")
        def prepare(connection: Any, _: Any) -> None:
            connection.isolation_level = None  # else the driver says when a transaction begins, and never begins one for a SELECT
            connection.create_function("instant", 1, _instant_or_none, deterministic=True)
            connection.create_aggregate("digest", -1, _Digest)

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        return engine

    def stamp(self, column: str) -> str:
        return f"coalesce(instant({column}), CAST({column} AS text))"

    def greatest(self, column: str) -> str:
        return f"max(instant({column})) FILTER (WHERE instant({column}) <= {self.now})"

    def since(self, column: str) -> str:
        return f"coalesce(instant({column}) >= :since, 1)"

    def digest(self, columns: str, condition: str = "") -> str:
        only = f" FILTER (WHERE {condition})" if condition else ""
        return f"coalesce(digest({columns}){only}, '0')"  # of no rows it is null


class _Digest:
    """The sum of the hashes of rows, an aggregate for SQLite, which has no hash."""

    def __init__(self) -> None:
        self._sum = 0

    def step(self, *values: Any) -> None:
        self._sum += int.from_bytes(hashlib.blake2b(repr(values).encode(errors="replace"), digest_size=8).digest())

    def finalize(self) -> str:
        return str(self._sum)


def _instant_or_none(value: Any) -> str | None:
    """A text that SQLite holds for a time; other values are none."""
    try:
        return instant(datetime.fromisoformat(value.strip()))
    except (ValueError, AttributeError, OverflowError):
        return None


_DIALECTS: Final[Mapping[str, _Dialect]] = {"postgresql": _PostgreSQL(), "sqlite": _SQLite()}
