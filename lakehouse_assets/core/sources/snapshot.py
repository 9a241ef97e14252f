"""One state of the table that a source is pulled from, and the few questions that are asked of it, each one statement.

Belongs here: the questions, and which column of the table is which of the source. Does not belong here: what databases
say differently (`dialects.py`), how the answers are put together (`pull.py`).

Every value comes as a text, as if the source had sent the row as JSON, and times of change in UTC with microseconds, so
that the texts sort as the times do. A time that is none comes as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

import pyarrow as pa
from sqlalchemy import Connection, CursorResult, text

from lakehouse_assets.core.declarations.source import Source, pulled_by
from lakehouse_assets.core.sources.dialects import Dialect, Unfit
from lakehouse_assets.core.sources.instants import INSTANT

_BATCH = 10_000


class Snapshot(Protocol):
    """One state of a table, whatever others commit meanwhile."""

    def summary(self, since: str | None) -> dict[str, Any]:
        """What tells one state of the table from another: how many rows it has, a digest of all keys and their times,
        and one of whole rows that are not older than `since`. Raises `Unfit` where a key is none, or not unique.
        """
        ...

    def clock(self) -> tuple[str, str | None]:
        """What time it is, and the greatest time of change that is not in the future; None where there is none."""
        ...

    def keys(self) -> pa.Table:
        """All keys with their times."""
        ...

    def rows(self, since: str | None) -> pa.Table:
        """The rows that are not older than `since`, and those without a time; None for all. Columns that the table
        lacks are null.

        A row that holds a text which is not UTF-8 says so in `_malformed`, and has the bytes in question as \\xNN.
        """
        ...


def columns_of(source: Source, found: Sequence[str]) -> dict[str, str]:
    """Column of the source → how the table writes it, for those that it has. found: the columns of the table.

    Raises `Unfit` where that is not known, or where a column seems to have been renamed.
    """
    by = pulled_by(source)
    lower: dict[str, list[str]] = {}
    for name in found:
        lower.setdefault(name.lower(), []).append(name)
    written = {
        column.name: [
            name for way in dict.fromkeys((column.name, *column.written)) for name in lower.get(way.lower(), [])
        ]
        for column in source.columns
    }
    names = {column: list(dict.fromkeys(ways)) for column, ways in written.items() if ways}
    if missing := [c for c in (by.key, by.stamp) if c not in names]:
        raise Unfit(f"it has no column {' and no column '.join(missing)}")
    if twice := [c for c in names if len(names[c]) > 1]:
        raise Unfit(f"it has several columns for {twice[0]}: {', '.join(names[twice[0]])}")
    lacking = [c.name for c in source.columns if c.name not in names and c.name != by.deleted]
    others = [name for name in found if [name] not in names.values()]
    if lacking and others:
        # Nulls in place of a column that was renamed would take the value from every row.
        raise Unfit(
            f"it has no column {', '.join(lacking)}, but {', '.join(others[:5])}, which"
            f" {'are' if len(others) > 1 else 'is'} not known; make a view that names them so, and leaves out what is"
            " not to be taken"
        )
    return {column: ways[0] for column, ways in names.items()}


def refuse_keys(rows: int, keys: int, key: str) -> None:
    """Raise `Unfit` where not each row has a key of its own."""
    if rows != keys:
        raise Unfit(f"{rows - keys} of its {rows} rows have no {key}, or one that another row has")


Text = tuple[str, bool] | None
"""A text, and whether it is UTF-8."""


def decoded(value: bytes | str) -> tuple[str, bool]:
    """A text of the database."""
    if isinstance(value, str):
        return value, True
    try:
        return bytes(value).decode(), True
    except UnicodeDecodeError:
        return bytes(value).decode(errors="backslashreplace"), False


def as_table(names: Sequence[str], rows: Sequence[Sequence[Text]]) -> pa.Table:
    """Rows of texts; what is wrong with a row is in `_malformed`."""
    columns = [[text and text[0] for text in column] for column in zip(*rows, strict=True)] or [[] for _ in names]
    malformed = ["row.encoding" if any(text and not text[1] for text in row) else None for row in rows]
    schema = pa.schema([pa.field(name, pa.string()) for name in (*names, "_malformed")])
    return pa.table([pa.array(column, pa.string()) for column in (*columns, malformed)], schema=schema)


class AskedSnapshot:
    """A snapshot that the database holds. Every method is one statement."""

    def __init__(self, connection: Connection, dialect: Dialect, source: Source, table: str):
        self._connection, self._dialect, self._by = connection, dialect, pulled_by(source)
        self._table = ".".join(dialect.quoted(part) for part in table.split("."))
        self._values = source.format.values
        result = self._select("*", "false")
        types = {name: code for name, code, *_ in result.cursor.description} if result.cursor else {}
        found = columns_of(source, list(result.keys()))
        result.close()
        dialect.refuse(connection, table, types.get(found[self._by.stamp]))
        self._names = {column: dialect.quoted(name) for column, name in found.items()}

    def summary(self, since: str | None) -> dict[str, Any]:
        key, stamp = self._names[self._by.key], self._names[self._by.stamp]
        recent = self._dialect.digest(list(self._names.values()), self._dialect.since(stamp) if since else "")
        keys = self._dialect.digest([key, stamp])
        row = self._select(f"count(*), count(DISTINCT {key}), {keys}, {recent}", since=since).one()
        refuse_keys(row[0], row[1], self._by.key)
        return {"since": since, "rows": row[0], "keys": row[2], "recent": row[3]}

    def clock(self) -> tuple[str, str | None]:
        greatest = self._dialect.greatest(self._names[self._by.stamp])
        now, found = (value and decoded(value)[0] for value in self._select(f"{self._dialect.now}, {greatest}").one())
        return now, found if found and re.fullmatch(INSTANT, found) else None

    def keys(self) -> pa.Table:
        return self._texts([self._by.key, self._by.stamp])

    def rows(self, since: str | None) -> pa.Table:
        return self._texts(list(self._values), since)

    def _texts(self, names: list[str], since: str | None = None) -> pa.Table:
        columns = ", ".join(self._dialect.bytes(self._text(name)) for name in names)
        where = self._dialect.since(self._names[self._by.stamp]) if since else ""
        result = self._select(columns, where, since=since, yield_per=_BATCH)
        parts = [
            as_table(names, [[None if value is None else decoded(value) for value in row] for row in part])
            for part in result.partitions()
        ]
        return pa.concat_tables(parts) if parts else as_table(names, [])

    def _text(self, name: str) -> str:
        if name not in self._names:
            return "NULL"
        column = self._names[name]
        if name == self._by.stamp:
            return self._dialect.stamp(column)
        return self._dialect.flag(column) if name == self._by.deleted else self._dialect.text(column)

    def _select(self, what: str, where: str = "", *, since: str | None = None, **options: Any) -> CursorResult[Any]:
        statement = f"SELECT {what} FROM {self._table}" + (f" WHERE {where}" if where else "")
        return self._connection.execute(text(statement), {"since": since} if since else {}, execution_options=options)
