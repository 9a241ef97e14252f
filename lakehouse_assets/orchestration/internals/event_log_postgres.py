"""The inside of dagster-postgres's event log, under names of our own.

Belongs here: what is relied on in the stock class. Does not belong here: what any database has (`event_log.py`), how
events are stored in batches (`instance/event_log_postgres.py`).
"""

from abc import abstractmethod
from contextlib import AbstractContextManager

from dagster_postgres import PostgresEventLogStorage
from sqlalchemy.engine import Connection

from lakehouse_assets.orchestration.internals.event_log import OpenEventLog


class OpenPostgresEventLog(OpenEventLog, PostgresEventLogStorage):
    """The event log in PostgreSQL."""

    def _connect(self) -> AbstractContextManager[Connection]:
        # All statements of the stock class go through this, from its constructor on.
        return self.connection()

    @abstractmethod
    def connection(self) -> AbstractContextManager[Connection]:
        """A connection to the database."""

    def stock_connection(self) -> AbstractContextManager[Connection]:
        """A connection as the stock class opens it: each statement is committed by itself, and it is closed at the
        end.
        """
        return super()._connect()
