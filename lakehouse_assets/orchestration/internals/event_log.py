"""The inside of Dagster's event log: its tables, and its private methods under names of our own.

Belongs here: what is relied on in the stock classes, each once. Does not belong here: how events are stored in batches
(`instance/event_log.py`), and PostgreSQL, whose driver is an extra (`event_log_postgres.py`).
"""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from dagster import EventLogEntry

# What any database has in common; below it is said what of it.
from dagster._core.storage.event_log import SqlEventLogStorage

# The table of events; all else refers to an event by its `id` in the index.
from dagster._core.storage.event_log import SqlEventLogStorageTable as SqlEventLogStorageTable

# The event log in files: one a run, at `path_for_shard`, and the index.
from dagster._core.storage.event_log import SqliteEventLogStorage as SqliteEventLogStorage

# A row for each check, run and partition, unique by these where there is a partition; read by the UI.
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as AssetCheckExecutionsTable

# The database that holds the events of all runs, which `path_for_shard` and `conn_string_for_shard` find by this name.
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME as INDEX_SHARD_NAME

# How long the stock class waits for a writer in another process.
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS as SQLITE_BUSY_TIMEOUT_SECONDS

# What `dagster.yaml` says of a storage: given to `from_config_value`, and passed on to the processes of a run.
from dagster._serdes import ConfigurableClassData as ConfigurableClassData
from sqlalchemy.engine import Connection, Engine


class OpenEventLog(SqlEventLogStorage):
    """The event log in any database. Reading it is inherited, by `run_connection` and `index_connection`."""

    def row_of(self, event: EventLogEntry) -> dict[str, Any]:
        """What the stock class inserts for an event into its table, without the id."""
        return self._event_to_row(event)

    def time_of(self, event: EventLogEntry) -> datetime:
        """The moment of an event as the stock class writes it, in the time zone that its readers take it for."""
        return self._event_insert_timestamp(event)

    def store_tags(self, connection: Connection, events: Sequence[EventLogEntry], event_ids: Sequence[int]) -> None:
        """Store the tags of events on assets, of all of them by one statement."""
        self._store_asset_event_tags(connection, events, event_ids)

    def store_on_asset(self, connection: Connection, event: EventLogEntry, event_id: int) -> None:
        """Leave the mark of an event on its asset's record; a later event of the same kind sets the same columns."""
        self._store_asset_event(connection, event, event_id)

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        # Called by the stock class alone, for every event that plans a check, after the event has been stored.
        self.store_planned_check(event, event_id)

    @abstractmethod
    def store_planned_check(self, event: EventLogEntry, event_id: int | None) -> None:
        """Store one row for each partition in which the event plans a check."""


class OpenSqliteEventLog(OpenEventLog, SqliteEventLogStorage):
    """The event log in SQLite files: one a run, and the index."""

    def _connect(self, shard: str) -> Any:  # the stock method is annotated by the class of its decorator
        # All statements of the stock class go through this, from its constructor on, but for `has_table`.
        return self.connection(shard)

    @abstractmethod
    def connection(self, shard: str) -> AbstractContextManager[Connection]:
        """A connection in a transaction on a database whose tables exist."""

    def is_made(self, shard: str) -> bool:
        """Whether this process has seen to it that the tables of a database exist. `wipe` and `upgrade` start over."""
        return shard in self._initialized_dbs

    def make_tables(self, shard: str, engine: Engine) -> None:
        """Make the tables of a database unless they exist, however many processes do so at once; in write-ahead mode,
        so that nobody who reads keeps anybody from writing.
        """
        self._initdb(engine)
        self._initialized_dbs.add(shard)

    def unmake(self, shard: str) -> None:
        """A database is gone: its tables are to be made anew."""
        self._initialized_dbs.discard(shard)
