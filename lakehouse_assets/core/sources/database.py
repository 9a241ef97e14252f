"""A table of customers in a database (PostgreSQL or SQLite), read in one consistent snapshot.

Belongs here: the few questions that are asked of the table, each one statement. Does not belong here: what the two
databases say differently (`dialects.py`), what has been read before and what is new (`pull.py`), what a value means
(the source's transform).

Every value comes as a text, as if the CRM had sent the row as JSON, and `updated_at` in UTC with microseconds, so that
its texts sort as the times do. A time that is none comes as it stands. The address of the database holds a password: it
stays out of every message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import quote, quote_plus

import pyarrow as pa
from sqlalchemy import URL, Connection, CursorResult, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.sources.dialects import DIALECTS, INSTANT, Dialect, Unfit
from lakehouse_assets.errors import SourceUnavailableError

KEY, STAMP = "customer_id", "updated_at"

_FEW = 10
"""So few rows may go at any time."""

_BATCH = 10_000


def _values() -> tuple[str, ...]:
    return SOURCES["customers"].format.values


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
        dialect = DIALECTS.get(url.get_backend_name())
        if dialect is None:
            raise SourceUnavailableError(
                f"LAKEHOUSE_CUSTOMERS_DB names a database of the kind {url.get_backend_name()}; customers are read from"
                " postgresql or sqlite."
            )
        try:
            with dialect.engine(url).connect() as connection:
                connection.execute(text(dialect.begin))
                yield Snapshot(connection, dialect, self.table)
        except (SQLAlchemyError, ValueError, ArithmeticError, Unfit) as error:
            # A driver that cannot make sense of a value raises errors of Python's own, which may quote the value.
            ours = isinstance(error, (SQLAlchemyError, Unfit))
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

    def __init__(self, connection: Connection, dialect: Dialect, table: str):
        self._connection, self._dialect = connection, dialect
        self._table = ".".join(_quoted(part) for part in table.split("."))
        found = list(self._select("*", "false").keys())
        names: dict[str, list[str]] = {}
        for name in found:
            names.setdefault(name.lower(), []).append(name)
        if missing := [c for c in (KEY, STAMP) if c not in names]:
            raise Unfit(f"it has no column {' and no column '.join(missing)}")
        known = [c for c in _values() if c in names]
        if twice := [c for c in known if len(names[c]) > 1]:
            raise Unfit(f"it has several columns {twice[0]}, which differ in case alone")
        lacking = [c for c in _values() if c not in names and c != "deleted"]
        others = [name for name in found if name.lower() not in known]
        if lacking and others:
            # Nulls in place of a column that was renamed would take the attribute from every customer.
            raise Unfit(
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
            raise Unfit(f"{row[0] - row[1]} of its {row[0]} rows have no {KEY}, or one that another row has")
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
