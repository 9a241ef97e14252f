"""How databases are connected to, and what PostgreSQL, SQLite, MariaDB and MySQL say differently when a source is read
from one of them.

Belongs here: connecting, and SQL that differs. Does not belong here: the questions that are asked (`snapshot.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.pool import NullPool

from lakehouse_assets.core.sources.instants import instant

_CONNECT_SECONDS = 10


_EXTRAS: Final = {"psycopg2": "postgres", "pymysql": "mysql"}
"""Module of a driver → the extra that brings it."""


class Unfit(Exception):
    """The table is not one that a source can be read from."""


def open_engine(url: URL, **more: Any) -> Engine:
    """Connections to a database, each closed after its use. Raises `Unfit` where its driver is not installed."""
    try:
        return create_engine(url, poolclass=NullPool, hide_parameters=True, **more)
    except NoSuchModuleError:
        raise Unfit(
            f"nothing that is installed knows the kind {url.drivername}: correct it, or install the package that brings"
            " it to SQLAlchemy"
        ) from None
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "")
        what = f"install the extra `{extra}`" if extra else "install the package that brings it"
        raise Unfit(f"the module {error.name} is not installed: {what}") from None


class Dialect:
    """What the databases say differently that can tell by one statement whether anything is new. `begin` is said first
    in each snapshot; `now` is its clock as text. Columns come quoted.
    """

    begin: tuple[str, ...]
    now: str

    def engine(self, url: URL) -> Engine:
        """Connections that only read, each transaction one snapshot."""
        raise NotImplementedError

    def refuse(self, connection: Connection, table: str, stamp: object) -> None:
        """Raise `Unfit` where a table cannot keep what is promised. stamp: of which type the driver says its times
        are.
        """

    def quoted(self, name: str) -> str:
        """A name, for a statement with parameters."""
        doubled = name.replace('"', '""').replace(":", "\\:")
        return f'"{doubled}"'

    def text(self, column: str) -> str:
        """A value as text."""
        return f"CAST({column} AS text)"

    def flag(self, column: str) -> str:
        """A truth value as text; it is a number where a database has none."""
        return f"CASE {self.text(column)} WHEN '1' THEN 'true' WHEN '0' THEN 'false' ELSE {self.text(column)} END"

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
        """A text that differs for two different bags of rows."""
        raise NotImplementedError

    def bytes(self, text: str) -> str:
        """The bytes of a text, in UTF-8 unless the database does not know its encoding: a driver gives up on what it
        cannot decode.
        """
        raise NotImplementedError


class _PostgreSQL(Dialect):
    begin = ("SET LOCAL TIME ZONE 'UTC'",)

    def __init__(self) -> None:
        self.now = self.stamp("now()")

    def engine(self, url: URL) -> Engine:
        given = {} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_SECONDS}
        engine = open_engine(url, connect_args=given)
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def text(self, column: str) -> str:
        # Times with a zone and floating-point numbers as JSON has them: the database writes `+00` for the zone, and
        # small numbers with an exponent.
        types = ", ".join(f"CAST('{name}' AS regtype)" for name in ("timestamptz", "float4", "float8"))
        as_json = f"to_jsonb({column}) #>> '{{}}'"
        return f"CASE WHEN pg_typeof({column}) IN ({types}) THEN {as_json} ELSE CAST({column} AS text) END"

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
    begin = ("PRAGMA query_only = ON",)
    now = "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"

    def engine(self, url: URL) -> Engine:
        if not url.database or not Path(url.database).is_file():
            raise Unfit("there is no such file")  # SQLite would make one
        engine = open_engine(url)

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


class _MySQL(Dialect):
    """MariaDB, and MySQL, which speaks alike."""

    begin = ("SET time_zone = '+00:00'", "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    now = "DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ')"
    _TIMES: Final = (7, 10, 12)
    """What the protocol calls TIMESTAMP, DATE and DATETIME."""

    def engine(self, url: URL) -> Engine:
        if "+" not in url.drivername:
            url = url.set(drivername=f"{url.drivername}+pymysql")
        given = {"connect_timeout": _CONNECT_SECONDS, "charset": "utf8mb4"}
        engine = open_engine(url, connect_args={k: v for k, v in given.items() if k not in url.query})
        return engine.execution_options(isolation_level="REPEATABLE READ")

    def refuse(self, connection: Connection, table: str, stamp: object) -> None:
        if stamp not in self._TIMES:
            # From a text it would take what looks like a time, and pass over the zone.
            raise Unfit("its times are neither DATETIME nor TIMESTAMP nor DATE; make a view that casts them")
        schema, _, name = table.rpartition(".")
        found = connection.execute(
            text(
                "SELECT t.engine FROM information_schema.tables t JOIN information_schema.engines e ON e.engine ="
                " t.engine WHERE t.table_schema = coalesce(:schema, database()) AND t.table_name = :name AND"
                " e.transactions <> 'YES'"
            ),
            {"schema": schema or None, "name": name},
        ).scalar()
        if found:
            raise Unfit(f"the storage engine {found} has no transactions, so that no two questions see one state of it")

    def quoted(self, name: str) -> str:
        doubled = name.replace("`", "``").replace(":", "\\:")
        return f"`{doubled}`"

    def text(self, column: str) -> str:
        # What is said to be binary (numbers, times) has no other encoding; a text may have any.
        utf8 = f"CAST(CONVERT({column} USING utf8mb4) AS BINARY)"
        return f"CASE CHARSET({column}) WHEN 'binary' THEN CAST({column} AS BINARY) ELSE {utf8} END"

    def flag(self, column: str) -> str:
        # A BIT comes as the byte that it is.
        said = self.text(column)
        return f"CASE WHEN {said} IN ('1', x'01') THEN 'true' WHEN {said} IN ('0', x'00') THEN 'false' ELSE {said} END"

    def stamp(self, column: str) -> str:
        written = f"DATE_FORMAT({column}, '%Y-%m-%dT%H:%i:%s.%fZ')"
        return f"CASE WHEN {self._known(column)} THEN {written} ELSE {self.text(column)} END"

    def _known(self, column: str) -> str:
        """Whether it is a day of the calendar: zeros and the 31st of February can be stored, and be reckoned with
        nowhere.
        """
        return f"{column} + INTERVAL 0 SECOND IS NOT NULL"

    def greatest(self, column: str) -> str:
        past = f"{self._known(column)} AND {column} <= UTC_TIMESTAMP(6)"
        return self.stamp(f"max(CASE WHEN {past} THEN {column} END)")

    def since(self, column: str) -> str:
        since = "CAST(TRIM(TRAILING 'Z' FROM :since) AS DATETIME(6))"
        return f"({column} + INTERVAL 0 SECOND IS NULL OR {column} >= {since})"

    def digest(self, columns: Sequence[str], condition: str = "") -> str:
        # A hash of hashes, for a row may be longer than what the server takes for one text.
        hashes = ", ".join(f"coalesce(MD5({c}), '-')" for c in columns)
        number = f"CAST(CONV(LEFT(MD5(CONCAT({hashes})), 16), 16, 10) AS UNSIGNED)"
        counted = f"CASE WHEN {condition} THEN {number} END" if condition else number
        return f"CAST(coalesce(sum({counted}), 0) AS CHAR)"

    def bytes(self, text: str) -> str:
        return f"CAST({text} AS BINARY)"


def hash_of_row(values: Sequence[Any]) -> int:
    """A hash of the values of a row, 64 bits."""
    return int.from_bytes(hashlib.blake2b(repr(values).encode(errors="replace"), digest_size=8).digest())


class _Digest:
    """The sum of the hashes of rows, an aggregate for SQLite, which has no hash."""

    def __init__(self) -> None:
        self._sum = 0

    def step(self, *values: Any) -> None:
        self._sum += hash_of_row(values)

    def finalize(self) -> str:
        return str(self._sum)


def _instant_or_none(value: Any) -> str | None:
    """A text that SQLite holds for a time, given as bytes; other values are none."""
    try:
        return instant(datetime.fromisoformat(value.decode().strip()))
    except (ValueError, AttributeError, OverflowError):
        return None


_MYSQL: Final = _MySQL()
DIALECTS: Final[Mapping[str, Dialect]] = {
    "postgresql": _PostgreSQL(),
    "sqlite": _SQLite(),
    "mariadb": _MYSQL,
    "mysql": _MYSQL,
}
"""Kind of a database → what it says. Any other kind is read whole (`whole.py`)."""
