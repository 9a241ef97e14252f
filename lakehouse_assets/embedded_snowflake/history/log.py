"""The files of the log of statements: `statements.jsonl`, and `statements.1.jsonl` with what came before.

What belongs here: the form of a row, writing and reading rows. What does not: what a statement is (`facts.py`).

A row holds no text of a statement and no value that was bound to it, only a keyed code of both.
"""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

import duckdb

from lakehouse_assets.embedded_snowflake.history.facts import Facts
from lakehouse_assets.embedded_snowflake.history.results import KEPT_SECONDS, TIME, Results, Views
from lakehouse_assets.private import opener

FILE, FILE_BEFORE = "statements.jsonl", "statements.1.jsonl"
MOST_BYTES = 4_000_000
"""Of one file: about ten thousand statements. Of these there are two."""
MOST_OF_A_TAG = 500

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One statement, or (kind UPLOAD) one file that came to a stage."""

    started: float
    """Seconds since 1970."""
    seconds: float = 0.0
    session: str = ""
    user: str = ""
    role: str = ""
    warehouse: str = ""
    kind: str = ""
    tables: tuple[str, ...] = ()
    """What it names, and what the views among them read; full names."""
    changes: tuple[str, ...] = ()
    """What it has changed, or made, or dropped."""
    rows: int = 0
    bytes: int = 0
    needs_warehouse: bool = False
    """Whether Snowflake runs such a statement in a warehouse, if no earlier result answers it."""
    cached: bool = False
    """Whether an earlier result would answer it."""
    tag: str = ""
    query: str = ""
    """The code of a query that an earlier result could answer."""
    error: int = 0
    """The number of the error it ended with."""


_NAMES = [field.name for field in fields(Row)]


class StatementLog:
    """Writes the log of one account. Whatever goes wrong with it is said in the server's log and disturbs nobody."""

    def __init__(self, directory: Path, secret: str, duck: duckdb.DuckDBPyConnection) -> None:
        self._path, self._before = directory / FILE, directory / FILE_BEFORE
        self._key = hashlib.sha256(secret.encode()).digest()
        self._lock = threading.Lock()
        self._results, self._views = Results(), Views(duck)
        for row in read_rows(directory, since=time.time() - KEPT_SECONDS):
            self._results.changed(row.changes, row.started + row.seconds)
            if row.query:
                self._results.asked(row.query, row.tables, row.started)
        self._file = self._opened()

    def query_code(self, content: dict[str, Any]) -> str:
        """The code of a statement with what was bound to it; it cannot be guessed at without the account's secret."""
        said = json.dumps([content["sqlText"], content.get("bindings")], default=str)
        return hashlib.blake2b(said.encode(), key=self._key, digest_size=10).hexdigest()

    def add(self, facts: Facts, query: str, started: float, **more: Any) -> None:
        """Add one statement. query: its code if an earlier result may answer it."""
        try:
            with self._lock:
                self._views.forget(facts.changes)
                self._results.changed(facts.changes, time.time())
                tables = self._views.behind(facts.tables) if query else facts.tables
                if TIME in tables:
                    tables, query = facts.tables, ""
                cached = bool(query) and self._results.asked(query, tables, started)
                self._write(
                    Row(
                        started=round(started, 3),
                        kind=facts.kind,
                        tables=tables,
                        changes=facts.changes,
                        needs_warehouse=facts.needs_warehouse,
                        cached=cached,
                        query=query,
                        **more,
                    )
                )
        except Exception:
            logger.exception("a statement is missing in %s", self._path)

    def _write(self, row: Row) -> None:
        line = json.dumps({name: value for name in _NAMES if (value := getattr(row, name))}, ensure_ascii=False)
        self._file.write(line.encode() + b"\n")
        if self._file.tell() > MOST_BYTES:
            self._file.close()
            self._path.replace(self._before)
            self._file = self._opened()

    def _opened(self) -> IO[bytes]:
        return open(self._path, "ab", buffering=0, opener=opener)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def has_rows(directory: Path) -> bool:
    """Whether the account of a directory has a log."""
    return (directory / FILE).is_file() or (directory / FILE_BEFORE).is_file()


def _row(said: dict[str, Any]) -> Row:
    return Row(**said)


def read_rows(directory: Path, since: float = 0.0, until: float = float("inf")) -> Iterator[Row]:
    """The statements of an account that began from `since` on and before `until`, in the order in which they ended.

    A line that a server which was killed left half written is passed over.
    """
    for file in (directory / FILE_BEFORE, directory / FILE):
        if not file.is_file():
            continue
        for line in file.read_bytes().splitlines():
            try:
                said = {name: value for name, value in json.loads(line).items() if name in _NAMES}
                row = _row({name: tuple(v) if isinstance(v, list) else v for name, v in said.items()})
            except (ValueError, AttributeError, TypeError):
                continue
            if since <= row.started < until:
                yield row
