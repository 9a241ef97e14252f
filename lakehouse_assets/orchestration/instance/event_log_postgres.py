"""Dagster's PostgreSQL event log, made cheap for runs over many partitions.

What belongs here: how events reach PostgreSQL. What does not: what a batch is and which rows it makes (`event_log.py`),
and what the tables are and how they are read, which is inherited: they are those of dagster-postgres's own class, and
either carries on where the other left off.

The stock class opens a connection for every statement, and takes batches of materialisations and observations only.
Here a batch is written over one connection in one transaction, and what is planned or found for the single days of a
range counts among them.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dagster import EventLogEntry
from dagster_postgres.utils import get_token_provider_from_config, pg_url_from_config
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection

from lakehouse_assets.orchestration.instance.event_log import BatchingEventLog
from lakehouse_assets.orchestration.internals.event_log import ConfigurableClassData, SqlEventLogStorageTable
from lakehouse_assets.orchestration.internals.event_log_postgres import OpenPostgresEventLog


class BatchingPostgresEventLogStorage(BatchingEventLog, OpenPostgresEventLog):
    """`PostgresEventLogStorage` with events stored in batches. Named in `dagster.yaml` under `event_log_storage`.

    Any number of processes and threads may write at once, and one may be killed at any moment: events of one run and
    kind that come together are there whole, with all that follows from them, or not at all. No connection is kept open,
    as in the stock class. As there, a batch sends no NOTIFY, which nothing of this Dagster listens to: whoever follows
    a run looks again and again.
    """

    _insert = staticmethod(postgresql.insert)

    def __init__(self, *arguments: Any, **named: Any):
        # Set before the stock constructor runs, for that one already connects.
        self._tables: set[str] = set()
        self._open = threading.local()
        super().__init__(*arguments, **named)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "BatchingPostgresEventLogStorage":
        """What Dagster builds from `dagster.yaml`; the stock method names its own class and would silently build that
        one.
        """
        return cls(
            inst_data=inst_data,
            postgres_url=pg_url_from_config(config_value),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            token_provider=get_token_provider_from_config(config_value),
        )

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection; within a transaction of this thread its own, so that a batch may be stored by the stock class's
        code in that transaction.
        """
        if connection := getattr(self._open, "connection", None):
            yield connection
            return
        with self.stock_connection() as connection:
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All that this thread does inside is done at once, at the end."""
        with (
            self.stock_connection() as connection,
            connection.execution_options(isolation_level="READ COMMITTED").begin(),
        ):
            self._open.connection = connection
            try:
                yield
            finally:
                del self._open.connection

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events in their order, those of one run and kind that follow each other in one transaction.

        Not all of them in a single one: two runs that touch the records of the same assets in different orders would
        wait for each other.
        """
        for store in self._groups(events):
            with self._transaction():
                store()

    def _store_rows(self, run_id: str, events: Sequence[EventLogEntry]) -> list[int]:
        insert = SqlEventLogStorageTable.insert().returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True)
        with self.connection() as connection:
            return list(connection.execute(insert, [self.row_of(event) for event in events]).scalars())
