"""A table of a database from which a source is pulled, read in one consistent snapshot.

Belongs here: reaching the database, and saying what is wrong with it. Does not belong here: the questions that are
asked (`snapshot.py`), what databases say differently (`dialects.py`), what has been read before and what is new
(`pull.py`), what a value means (the source's transform).

The address of the database holds a password: it stays out of every message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.sources.dialects import DIALECTS, Unfit, open_engine
from lakehouse_assets.core.sources.snapshot import AskedSnapshot, Snapshot
from lakehouse_assets.core.sources.whole import WholeSnapshot
from lakehouse_assets.errors import SourceUnavailableError

_FEW = 10
"""So few rows may go at any time."""

_LONG = 4
"""Options as long as that are not repeated, whatever they are called."""


@dataclass(frozen=True)
class SourceDatabase:
    """A table or view `table` (`name` or `schema.name`) with a unique key, a time of change, and any of the other
    columns of the source.

    overlap: how much later than others a transaction may commit, so that its rows are still found by their time.
    may_lose: which share of its rows the table may lose from one pull to the next; above it, it was probably emptied to
    be loaded anew.
    """

    source: Source = field(repr=False)
    url: str = field(repr=False)
    table: str
    overlap: timedelta
    may_lose: float = 0.5

    @property
    def setting(self) -> str:
        """The variable that names it."""
        return f"LAKEHOUSE_{self.source.name.upper()}_DB"

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """One state of the table, whatever others commit meanwhile. Raises `SourceUnavailableError` where it cannot be
        read.
        """
        url = _address(self.url, self.setting)
        dialect = DIALECTS.get(url.get_backend_name())
        try:
            connected = (dialect.engine(url) if dialect else open_engine(url)).connect()
        except Exception as error:  # a driver raises what it likes, as for an option that it does not know
            raise self._unavailable(error, url) from None
        try:
            with connected as connection:
                if dialect is None:
                    yield WholeSnapshot(connection, self.source, self.table)
                    return
                for statement in dialect.begin:
                    connection.execute(text(statement))
                yield AskedSnapshot(connection, dialect, self.source, self.table)
        except (SQLAlchemyError, ValueError, ArithmeticError, RuntimeError, OSError, Unfit) as error:
            raise self._unavailable(error, url) from None

    def _unavailable(self, error: Exception, url: URL) -> SourceUnavailableError:
        """What is said of an error. It is not chained: what a driver says may hold what it was given."""
        return SourceUnavailableError(
            f"The source {self.source.name} cannot be read from the table {self.table} of {_shown(url)}"
            f" ({_without_secrets(_said(error), url)}); fix that, or see {self.setting}: everything else is loaded"
            " meanwhile."
        )

    def refuse_emptied(self, before: int, lost: int) -> None:
        """Raise `SourceUnavailableError` where the table has lost so many rows that to end them may be wrong. before:
        rows at the last pull.
        """
        if lost >= _FEW and lost > self.may_lose * before:
            raise SourceUnavailableError(
                f"The table {self.table} of the source {self.source.name} has lost {lost} of its {before} rows since"
                " the last pull, so none was made: it looks emptied to be loaded anew. If these rows are to end, set"
                f" {self.setting}_MAY_LOSE=1 for one run."
            )


def _address(written: str, setting: str) -> URL:
    """The address of a database. Raises `SourceUnavailableError` for one that is none, or that can be read in two ways;
    no part of it is shown, for where it is cut wrongly each part may be one of the password.
    """
    place, _, _ = written.partition("?")
    if place.count("@") > 1:
        raise SourceUnavailableError(f"{setting} has more than one @; write those of user and password as %40.")
    try:
        url = make_url(written)
    except (ArgumentError, ValueError):
        url = None
    if url is None or (url.host and not re.fullmatch(r"[\w.:%-]+", url.host)):
        raise SourceUnavailableError(
            f"{setting} is no address of a database; write postgresql://user:password@host:5432/name,"
            " mariadb://user:password@host:3306/name or sqlite:////path/to/file, with the signs @ : / ? # % [ ] of user"
            " and password percent-encoded (@ as %40)."
        )
    return url


def _said(error: Exception) -> str:
    """What is wrong, in a line. A driver that cannot make sense of a value raises errors of Python's own, which may
    quote the value.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if not isinstance(error, SQLAlchemyError | Unfit | TypeError | ImportError):
        return type(error).__name__
    cause = getattr(error, "orig", None) or error
    number, *rest = cause.args or ("",)
    said = rest[0] if isinstance(number, int) and rest else cause  # drivers of MySQL give a number and a sentence
    return str(said).strip().partition("\n")[0].rstrip(".")


def _shown(url: URL) -> str:
    """Which database it is, for a message: neither user nor password nor options."""
    return f"{url.get_backend_name()}://{url.host or ''}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def _without_secrets(said: str, url: URL) -> str:
    """What was said, without the password and whatever is long enough to be one among the options."""
    secrets = [str(url.password)] if url.password else []
    for key, values in url.query.items():
        for value in (values,) if isinstance(values, str) else values:
            # An option may hold a whole address, as ODBC has it: DRIVER=…;UID=…;PWD=…
            parts = [value, *(piece.partition("=")[2] for piece in value.split(";"))]
            secrets += [part for part in parts if part and ("pass" in key.lower() or len(part) >= _LONG)]
    for secret in sorted(
        {form for s in secrets for form in (s, quote(s), quote_plus(s), repr(s)[1:-1])}, key=len, reverse=True
    ):
        said = said.replace(secret, "***")
    return said
