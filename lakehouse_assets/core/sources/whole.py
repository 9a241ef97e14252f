"""A table in a database of any kind that SQLAlchemy reaches, read whole by one statement, which is the snapshot.

Belongs here: what the database would be asked elsewhere (`snapshot.py`), computed from the values that its driver
gives. Does not belong here: SQL of one kind of database (`dialects.py`).

Nothing is taken for granted of the database: it need not know a hash, hold a snapshot over several statements, or agree
on how a time is written. The price is that every look reads the table, and that the clock is our own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import isfinite
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, column, literal_column, select, table

from lakehouse_assets.core.declarations.source import Source, pulled_by
from lakehouse_assets.core.sources.dialects import hash_of_row
from lakehouse_assets.core.sources.instants import INSTANT, instant
from lakehouse_assets.core.sources.snapshot import Text, as_table, columns_of, decoded, refuse_keys


class WholeSnapshot:
    """All rows of the table, as one statement gave them."""

    def __init__(self, connection: Connection, source: Source, name: str):
        self._by, self._values = pulled_by(source), source.format.values
        schema, _, short = name.rpartition(".")
        place = table(short, schema=schema or None)
        found = columns_of(
            source, list(connection.execute(select(literal_column("*")).select_from(place).where(_NEVER)).keys())
        )
        result = connection.execute(select(*(column(found[c]) for c in self._values if c in found)).select_from(place))
        at = {c: i for i, c in enumerate(c for c in self._values if c in found)}
        self._rows: list[list[Text]] = [
            [self._text(c, row[at[c]]) if c in at else None for c in self._values] for row in result
        ]
        self._key, self._stamp = (self._values.index(c) for c in (self._by.key, self._by.stamp))
        self._now = instant(datetime.now(UTC))

    def summary(self, since: str | None) -> dict[str, Any]:
        keys = {row[self._key] for row in self._rows} - {None}
        refuse_keys(len(self._rows), len(keys), self._by.key)
        return {
            "since": since,
            "rows": len(self._rows),
            "keys": _digest([[row[self._key], row[self._stamp]] for row in self._rows]),
            "recent": _digest(self._since(since)),
        }

    def clock(self) -> tuple[str, str | None]:
        times = (stamp for row in self._rows if (stamp := self._instant(row)) and stamp <= self._now)
        return self._now, max(times, default=None)

    def keys(self) -> pa.Table:
        return as_table([self._by.key, self._by.stamp], [[row[self._key], row[self._stamp]] for row in self._rows])

    def rows(self, since: str | None) -> pa.Table:
        return as_table(self._values, self._since(since))

    def _since(self, since: str | None) -> list[list[Text]]:
        return [row for row in self._rows if since is None or (self._instant(row) or since) >= since]

    def _instant(self, row: Sequence[Text]) -> str | None:
        """The time of a row, None where it is none."""
        stamp = row[self._stamp]
        return stamp[0] if stamp and re.fullmatch(INSTANT, stamp[0]) else None

    def _text(self, name: str, value: Any) -> Text:
        if name == self._by.stamp:
            return text(_as_time(value))
        found = text(value)
        if name == self._by.deleted and found:
            return _FLAGS.get(found[0], found[0]), found[1]
        return found


_NEVER = literal_column("1") == literal_column("0")
_FLAGS = {"0": "false", "1": "true", "\0": "false", "\1": "true"}
"""How databases have truth values that have none: as a number, or as a bit that comes as a byte."""


def text(value: Any) -> Text:
    """A value of a driver as the text that a database would write for it."""
    if value is None:
        return None
    if isinstance(value, bytes | bytearray | memoryview):
        return decoded(bytes(value))
    if isinstance(value, bool):
        return str(value).lower(), True
    if isinstance(value, Decimal):
        return f"{value:f}", True
    if isinstance(value, float) and isfinite(value):
        return f"{Decimal(repr(value)):f}", True
    return str(value), True


def _as_time(value: Any) -> Any:
    """A time of change, as this application writes it; what is none, as it is."""
    if isinstance(value, bytes | bytearray | memoryview):
        value, _ = decoded(bytes(value))
    try:
        if isinstance(value, str):
            return instant(datetime.fromisoformat(value.strip()))
        if isinstance(value, datetime):
            return instant(value)
        return instant(datetime.combine(value, time())) if isinstance(value, date) else value
    except (ValueError, OverflowError):
        return value


def _digest(rows: Sequence[Sequence[Text]]) -> str:
    """A text that differs for two different bags of rows."""
    return str(sum(map(hash_of_row, rows)))
