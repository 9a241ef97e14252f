"""A table of customers in a database (PostgreSQL or SQLite), read in one consistent snapshot.

Belongs here: connecting, and the few questions that are asked of the table, each one statement. Does not belong here:
what has been read before and what is new (`pull.py`), what a value means (`transforms/`).

Every value comes as a text, as if the CRM had sent the row as JSON, and `updated_at` in UTC with microseconds, so that
its texts sort as the times do. A time that is none comes as it stands. The address of the database holds a password: it
stays out of every message.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

import pyarrow as pa
from sqlalchemy import URL, Connection, CursorResult, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.errors import SourceUnavailableError

KEY, STAMP = "customer_id", "updated_at"
INSTANT: Final = r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{6}Z"
"""A time as this module writes it."""

_CONNECT_SECONDS = 10
_FEW = 10
"""So few rows may go at any time."""
_BATCH = 10_000


def _values() -> tuple[str, ...]:
    return SOURCES["customers"].format.values


def instant(moment: datetime) -> str:
    """A moment as this module writes times; one without a zone is UTC."""
    utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return f"{utc.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


@dataclass(frozen=True)
class CustomersDatabase:
    """A table or view `table` (`name` or `schema.name`) with a unique `customer_id`, `updated_at`, and any of the other
    columns of `bronze.customers`.

    overlap: how much later than others a transaction may commit, so that its rows are still found by their time.
    may_lose: which share of its rows the table may lose from one pull to the next; above it, it was probably emptied to
    be loaded anew.
    """

    url: str = field(repr=False)
    table: str
    overlap: timedelta
    may_lose: float = 0.5

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """One state of the table, whatever others commit meanwhile. Raises `SourceUnavailableError` where it cannot be
        read.
        """
        url = _address(self.url)
        dialect = _DIALECTS.get(url.get_backend_name())
        if dialect is None:
            raise SourceUnavailableError(
                f"LAKEHOUSE_CUSTOMERS_DB names a database of the kind {url.get_backend_name()}; customers are read from"
                " postgresql or sqlite."
            )
        try:
            with dialect.engine(url).connect() as connection:
                connection.execute(text(dialect.begin))
                yield Snapshot(connection, dialect, self.table)
        except (SQLAlchemyError, ValueError, ArithmeticError, _Unfit) as error:
            # A driver that cannot make sense of a value raises errors of Python's own, which may quote the value.
            ours = isinstance(error, (SQLAlchemyError, _Unfit))
            said = (
                str(getattr(error, "orig", None) or error).strip().partition("\n")[0].rstrip(".")
                if ours
                else type(error).__name__
            )
            # Not chained: what a driver says may hold what it was given.
            raise SourceUnavailableError(
                f"Customers cannot be read from the table {self.table} of {_shown(url)}"
                f" ({_without_password(said, url)}); fix that, or see LAKEHOUSE_CUSTOMERS_DB: everything else is loaded"
                " meanwhile."
            ) from None


def _address(written: str) -> URL:
    """The address of a database. Raises `SourceUnavailableError` for one that is none, or that can be read in two ways;
    no part of it is shown, for where it is cut wrongly each part may be one of the password.
    """
    place, _, _ = written.partition("?")
    if place.count("@") > 1:
        raise SourceUnavailableError(
            "LAKEHOUSE_CUSTOMERS_DB has more than one @; write those of user and password as %40."
        )
    try:
        url = make_url(written)
    except (ArgumentError, ValueError):
        url = None
    if url is None or (url.host and not re.fullmatch(r"[\w.:%-]+", url.host)):
        raise SourceUnavailableError(
            "LAKEHOUSE_CUSTOMERS_DB is no address of a database; write postgresql://user:password@host:5432/name or"
            " sqlite:////path/to/file, with the signs @ : / ? # % [ ] of user and password percent-encoded (@ as %40)."
        )
    return url


def refuse_emptied(database: CustomersDatabase, before: int, lost: int) -> None:
    """Raise `SourceUnavailableError` where the table has lost so many rows that to end these customers may be wrong.
    before: rows at the last pull.
    """
    if lost >= _FEW and lost > database.may_lose * before:
        raise SourceUnavailableError(
            f"The customers' table {database.table} has lost {lost} of its {before} rows since the last pull, so none"
            " was made: it looks emptied to be loaded anew. If these customers are to end, set"
            " LAKEHOUSE_CUSTOMERS_DB_MAY_LOSE=1 for one run."
        )


class _Unfit(Exception):
    """The table is not one that customers can be read from."""


def _shown(url: URL) -> str:
    """Which database it is, for a message: neither user nor password nor options."""
    return f"{url.get_backend_name()}://{url.host or ''}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def _without_password(said: str, url: URL) -> str:
    secrets = [str(url.password)] if url.password else []
    secrets += [
        v
        for k, values in url.query.items()
        if "pass" in k.lower()
        for v in ([values] if isinstance(values, str) else values)
    ]
    for secret in sorted(
        {form for s in secrets for form in (s, quote(s), quote_plus(s), repr(s)[1:-1])}, key=len, reverse=True
    ):
        said = said.replace(secret, "***")
    return said


class Snapshot:
    """One state of the table. Every method is one statement."""

    def __init__(self, connection: Connection, dialect: _Dialect, table: str):
        self._connection, self._dialect = connection, dialect
        self._table = ".".join(_quoted(part) for part in table.split("."))
        found = list(self._select("*", "false").keys())
        names: dict[str, list[str]] = {}
        for name in found:
            names.setdefault(name.lower(), []).append(name)
        if missing := [c for c in (KEY, STAMP) if c not in names]:
            raise _Unfit(f"it has no column {' and no column '.join(missing)}")
        known = [c for c in _values() if c in names]
        if twice := [c for c in known if len(names[c]) > 1]:
            raise _Unfit(f"it has several columns {twice[0]}, which differ in case alone")
        lacking = [c for c in _values() if c not in names and c != "deleted"]
        others = [name for name in found if name.lower() not in known]
        if lacking and others:
            # Nulls in place of a column that was renamed would take the attribute from every customer.
            raise _Unfit(
                f"it has no column {', '.join(lacking)}, but {', '.join(others[:5])}, which"
                f" {'are' if len(others) > 1 else 'is'} not known; make a view that names them so, and leaves out what"
                " customers are not to have"
            )
        self._names = {c: _quoted(names[c][0]) for c in known}

    def summary(self, since: str | None) -> dict[str, Any]:
        """What tells one state of the table from another: how many rows it has, a digest of all keys and their times,
        and one of whole rows that are not older than `since`. Raises where a key is none, or not unique.
        """
        key, stamp = self._names[KEY], self._names[STAMP]
        recent = self._dialect.digest(list(self._names.values()), self._dialect.since(stamp) if since else "")
        keys = self._dialect.digest([key, stamp])
        row = self._select(f"count(*), count(DISTINCT {key}), {keys}, {recent}", since=since).one()
        if row[0] != row[1]:
            raise _Unfit(f"{row[0] - row[1]} of its {row[0]} rows have no {KEY}, or one that another row has")
        return {"since": since, "rows": row[0], "keys": row[2], "recent": row[3]}

    def clock(self) -> tuple[str, str | None]:
        """What time it is there, and the greatest `updated_at` that is not in the future; None where there is none."""
        now, greatest = self._select(f"{self._dialect.now}, {self._dialect.greatest(self._names[STAMP])}").one()
        return now, greatest if greatest and re.fullmatch(INSTANT, greatest) else None

    def keys(self) -> pa.Table:
        """All keys with their times."""
        return self._texts([KEY, STAMP])

    def rows(self, since: str | None) -> pa.Table:
        """The rows that are not older than `since`, and those without a time; None for all. Columns that the table
        lacks are null.

        A row that holds a text which is not UTF-8 says so in `_malformed`, and has the bytes in question as \\xNN.
        """
        return self._texts(list(_values()), since)

    def _texts(self, names: list[str], since: str | None = None) -> pa.Table:
        schema = pa.schema([pa.field(name, pa.string()) for name in (*names, "_malformed")])
        columns = ", ".join(self._dialect.bytes(self._text(name)) for name in names)
        result = self._select(
            columns, self._dialect.since(self._names[STAMP]) if since else "", since=since, yield_per=_BATCH
        )
        batches = []
        for part in result.partitions():
            rows = [[None if value is None else _decoded(value) for value in row] for row in part]
            texts = [[value and value[0] for value in row] for row in rows]
            malformed = ["row.encoding" if any(value and not value[1] for value in row) else None for row in rows]
            arrays = [pa.array(c, pa.string()) for c in zip(*texts, strict=True)] if texts else []
            batches.append(pa.record_batch([*arrays, pa.array(malformed, pa.string())], schema))
        return pa.Table.from_batches(batches, schema)

    def _text(self, name: str) -> str:
        if name not in self._names:
            return "NULL"
        column = self._names[name]
        if name == STAMP:
            return self._dialect.stamp(column)
        if name == "deleted":  # a truth value is a number where a database has none
            return (
                f"CASE CAST({column} AS text) WHEN '1' THEN 'true' WHEN '0' THEN 'false' ELSE CAST({column} AS"
                " text) END"
            )
        return f"CAST({column} AS text)"

    def _select(self, what: str, where: str = "", *, since: str | None = None, **options: Any) -> CursorResult[Any]:
        statement = f"SELECT {what} FROM {self._table}" + (f" WHERE {where}" if where else "")
        return self._connection.execute(text(statement), {"since": since} if since else {}, execution_options=options)


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""').replace(":", "\\:")
    return f'"{doubled}"'


def _decoded(value: bytes | str) -> tuple[str, bool]:
    """A text of the database, and whether it is UTF-8."""
    if isinstance(value, str):
        return value, True
    try:
        return bytes(value).decode(), True
    except UnicodeDecodeError:
        return bytes(value).decode(errors="backslashreplace"), False


class _Dialect:
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


class _SQLite(_Dialect):
    begin = "PRAGMA query_only = ON"
    now = "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"

    def engine(self, url: URL) -> Engine:
        if not url.database or not Path(url.database).is_file():
            raise _Unfit("there is no such file")  # SQLite would make one
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


_DIALECTS: Final[Mapping[str, _Dialect]] = {"postgresql": _PostgreSQL(), "sqlite": _SQLite()}
