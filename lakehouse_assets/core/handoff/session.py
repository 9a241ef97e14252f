"""One Snowflake session: runs statements, counts them, keeps a transaction whole. Does not belong here: what the
statements mean.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as arrow
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.core.handoff import remedies
from lakehouse_assets.errors import AccountUnavailableError

logger = logging.getLogger(__name__)


class Session:
    """A lazily opened connection, for one thread at a time. `statements` counts what has been sent."""

    def __init__(self, connect: Callable[[], Any]):
        self._connect = connect
        self._connection: Any = None
        self.statements = 0
        self.labels: dict[str, str] = {}

    @property
    def connection(self) -> Any:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def run(self, statement: str, *values: Any) -> list[tuple]:
        """Execute one statement with its values bound by the connector; returns all rows."""
        return self._execute(statement, values, lambda cursor: cursor.fetchall())

    def count(self, statement: str, *values: Any) -> int:
        """Execute one statement; returns the number of rows it touched."""
        return self._execute(statement, values, lambda cursor: cursor.rowcount)

    def arrow(self, statement: str) -> Any:
        """Execute a query; returns a pyarrow table, also where it has no rows. Microseconds, for nanoseconds end in the
        year 2262.
        """
        return self._execute(
            statement,
            (),
            # The embedded account sends no schema with no rows, and the connector then has nothing to make a table of.
            lambda cursor: (
                cursor.fetch_arrow_all(force_return_table=True, force_microsecond_precision=True)
                if cursor.rowcount
                else arrow.table({column.name: arrow.nulls(0) for column in cursor.description})
            ),
        )

    def _execute(self, statement: str, values: Sequence[Any], read: Callable[[Any], Any]) -> Any:
        self.statements += 1
        logger.debug("%s", statement)
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(statement, values or None, **self._tagged())
                return read(cursor)
        except ProgrammingError as error:
            if said := remedies.remedy(error, remedies.WAREHOUSE):
                raise AccountUnavailableError(f"The Snowflake account executes no statement: {said}.") from error
            raise

    @contextmanager
    def labelled(self, **labels: str) -> Iterator[None]:
        """Inside, the query tag of each statement says what it is for, so that the account's history can be grouped by
        it.
        """
        before, self.labels = self.labels, {**self.labels, **labels}
        try:
            yield
        finally:
            self.labels = before

    def _tagged(self) -> dict[str, Any]:
        # The tag goes with the statement: to set it in the session would be a statement more.
        tag = json.dumps({"app": "lakehouse_assets", **self.labels})
        return {"_statement_params": {"QUERY_TAG": tag}} if self.labels else {}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN … COMMIT; ROLLBACK when anything is raised inside."""
        self.run("BEGIN")
        try:
            yield
            self.run("COMMIT")
        except BaseException as error:
            try:
                self.run("ROLLBACK")
            except Exception as second:
                # The session is gone, and its transaction with it; what went wrong first is the news. The next
                # statement opens another one.
                error.add_note(f"The rollback failed as well: {second}")
                self._connection = None
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
