"""Dagster's event log, made cheap for runs over many partitions: what every database has in common, and SQLite.

What belongs here: how events reach their tables in batches, and the SQLite files. What does not: what the events are,
which tables they fill and how they are read. All that is inherited: the files are those of Dagster's own
`SqliteEventLogStorage`, and either class carries on where the other left off. PostgreSQL, whose driver is an extra,
is in `event_log_postgres.py`.

Two things cost the stock class its time in a run over hundreds of partitions. It builds a SQLAlchemy engine for every
event, so that every statement is compiled anew; here one engine a database is kept. And it writes every event in
transactions of its own; here `store_event_batch`, the hook that Dagster calls in processes that have
`DAGSTER_EVENT_BATCH_SIZE` in their environment, writes a batch in one transaction a database.
"""

import os
import sqlite3
import threading
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import sqlalchemy as db
from dagster import DagsterEventType, EventLogEntry, serialize_value
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.event import listen
from sqlalchemy.pool import NullPool, QueuePool

from lakehouse_assets.orchestration.internals.event_log import (
    INDEX_SHARD_NAME,
    SQLITE_BUSY_TIMEOUT_SECONDS,
    AssetCheckExecutionsTable,
    ConfigurableClassData,
    OpenEventLog,
    OpenSqliteEventLog,
    SqlEventLogStorageTable,
)
from lakehouse_assets.orchestration.internals.runs import AssetCheckExecutionRecordStatus

# The events that make a row in both databases, their tags, and the asset's record, and nothing else.
PLAIN_ASSET_EVENTS = frozenset(
    {
        DagsterEventType.ASSET_MATERIALIZATION,
        DagsterEventType.ASSET_OBSERVATION,
        DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    }
)

# What identifies the record of a check in a run, and what an evaluation says in it.
CHECK_OF_A_DAY = ("asset_key", "check_name", "run_id", "partition")
VERDICT = (
    "execution_status",
    "evaluation_event",
    "evaluation_event_timestamp",
    "evaluation_event_storage_id",
    "materialization_event_storage_id",
)


class BatchingEventLog(OpenEventLog):
    """Stores many events of a kind by few statements; the rows are those that Dagster's own storage writes one by one.
    A mixin: the storage of a database says how rows get their ids (`_store_rows`), and in which transactions
    (`store_event_batch`).
    """

    _insert: Callable[[Any], Any]
    """INSERT in the dialect of the database, which knows ON CONFLICT."""
    _tables: set[str]
    """Tables that are known to exist."""

    def store_event(self, event: EventLogEntry) -> None:
        """Store one event: a batch of one."""
        self.store_event_batch([event])

    def _groups(self, events: Sequence[EventLogEntry]) -> Iterator[Callable[[], None]]:
        """The events in their order, cut where run or kind change: what stores each group."""
        for (run_id, store), group in groupby(events, key=lambda event: (event.run_id, self._many_of(event))):
            yield partial(store or self._store_one_by_one, run_id, list(group))

    def _store_one_by_one(self, run_id: str, events: Sequence[EventLogEntry]) -> None:
        """As the stock class does it."""
        for event in events:
            super().store_event(event)

    @abstractmethod
    def _store_rows(self, run_id: str, events: Sequence[EventLogEntry]) -> list[int]:
        """A row an event in the event log; returns the ids by which all else refers to the events."""

    def _many_of(self, event: EventLogEntry) -> Callable[[str, Sequence[EventLogEntry]], None] | None:
        """What stores many events of this kind at once; None where that is left to the stock class, one by one."""
        if event.dagster_event_type in PLAIN_ASSET_EVENTS:
            return self._store_asset_events
        if event.dagster_event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.get_dagster_event().asset_check_evaluation_data
            if evaluation.partition is not None and event.run_id:
                return self._store_check_evaluations
        return None

    def _store_asset_events(self, run_id: str, events: Sequence[EventLogEntry]) -> None:
        event_ids = self._store_rows(run_id, events)
        with self.index_connection() as connection:
            self.store_tags(connection, events, event_ids)
            for event, event_id in _last_of_each_kind(events, event_ids):
                self.store_on_asset(connection, event, event_id)

    def _store_check_evaluations(self, run_id: str, events: Sequence[EventLogEntry]) -> None:
        """Evaluations of single partitions: each takes the place of its planned row, or makes one."""
        rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        for event, event_id in zip(events, self._store_rows(run_id, events), strict=True):
            evaluation = event.get_dagster_event().asset_check_evaluation_data
            target = evaluation.target_materialization_data
            row = dict(
                asset_key=evaluation.asset_key.to_string(),
                check_name=evaluation.check_name,
                run_id=run_id,
                partition=evaluation.partition,
                execution_status=(
                    AssetCheckExecutionRecordStatus.SUCCEEDED
                    if evaluation.passed
                    else AssetCheckExecutionRecordStatus.FAILED
                ).value,
                evaluation_event=serialize_value(event),
                evaluation_event_timestamp=self.time_of(event),
                evaluation_event_storage_id=event_id,
                materialization_event_storage_id=target.storage_id if target else None,
            )
            # The last verdict on a day counts, and PostgreSQL updates no row twice in a statement.
            rows[tuple(row[name] for name in CHECK_OF_A_DAY)] = row
        upsert = self._insert(AssetCheckExecutionsTable)
        upsert = upsert.on_conflict_do_update(
            index_elements=CHECK_OF_A_DAY, set_={name: upsert.excluded[name] for name in VERDICT}
        )
        with self.index_connection() as connection:
            connection.execute(upsert, list(rows.values()))

    def store_planned_check(self, event: EventLogEntry, event_id: int | None) -> None:
        """One row a partition, as the stock class writes it, but by one statement executed many times. A single
        statement with a value for each column of each row is compiled anew every time, and with more than 4,095
        partitions it exceeds the number of values that SQLite takes by default.
        """
        planned: Any = event.get_dagster_event().event_specific_data
        partitions = planned.partitions_subset.get_partition_keys() if planned.partitions_subset else [None]
        row = dict(
            asset_key=planned.asset_key.to_string(),
            check_name=planned.check_name,
            run_id=event.run_id,
            execution_status=AssetCheckExecutionRecordStatus.PLANNED.value,
            evaluation_event=serialize_value(event),
            evaluation_event_timestamp=self.time_of(event),
            evaluation_event_storage_id=event_id,
        )
        with self.index_connection() as connection:
            connection.execute(
                AssetCheckExecutionsTable.insert(), [{**row, "partition": partition} for partition in partitions]
            )

    def has_table(self, table_name: str) -> bool:
        """Whether the index holds a table; asked for every check and every tag. A table found once is there for
        good.
        """
        if table_name not in self._tables:
            with self.index_connection() as connection:
                if not db.inspect(connection).has_table(table_name):
                    return False
            self._tables.add(table_name)
        return True


# A web server looks at any number of runs, each a file: it must not keep them all open.
MAX_OPEN_DATABASES = 16


class _Database(NamedTuple):
    engine: Engine
    inode: int | None


class BatchingSqliteEventLogStorage(BatchingEventLog, OpenSqliteEventLog):
    """`SqliteEventLogStorage` with one engine a database and events stored in batches. Named in `dagster.yaml` under
    `event_log_storage`.

    Any number of processes may share the files, as with the stock class, and one may be killed at any moment: a batch
    is in a database whole or not at all.
    """

    _insert = staticmethod(sqlite.insert)

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None):
        # Set before the stock constructor runs, for that one already connects.
        self._databases: OrderedDict[str, _Database] = OrderedDict()
        self._of_other_processes: list[OrderedDict[str, _Database]] = []
        self._pid = os.getpid()
        self._open: dict[str, Connection] = {}
        self._tables: set[str] = set()
        self._lock = threading.RLock()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "BatchingSqliteEventLogStorage":  # pyright: ignore[reportIncompatibleMethodOverride]
        """What Dagster builds from `dagster.yaml`; the stock method names its own class and would silently build that
        one.
        """
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def connection(self, shard: str) -> Iterator[Connection]:
        """A connection in a transaction on the database of a run, or on the index. Within an open one on the same
        database: that one, so that a batch may be stored by the stock class's own code in a single transaction.
        """
        with self._lock:
            if shard in self._open:
                yield self._open[shard]
                return
            with self._engine(shard).connect() as connection, connection.begin():
                self._open[shard] = connection
                try:
                    yield connection
                finally:
                    del self._open[shard]

    def _engine(self, shard: str) -> Engine:
        if self._pid != os.getpid():
            # SQLite connections must be neither used nor closed in a forked child, so the parent's stay referenced and
            # untouched.
            self._of_other_processes.append(self._databases)
            self._databases = OrderedDict()
            self._pid = os.getpid()

        known = self._databases.get(shard)
        if known and known.inode != self._inode(shard):
            # Another process has wiped the log: an open file would go on showing what has been deleted.
            self._forget(shard)
            self.unmake(shard)
        if not self.is_made(shard):
            self.make_tables(shard, self._create_engine(shard, poolclass=NullPool))
        if shard not in self._databases:
            engine = self._create_engine(shard, poolclass=QueuePool, pool_size=1, max_overflow=0)
            self._databases[shard] = _Database(engine, self._inode(shard))
            for oldest in [name for name in self._databases if name not in (INDEX_SHARD_NAME, shard)][
                :-MAX_OPEN_DATABASES
            ]:
                self._forget(oldest)
        self._databases.move_to_end(shard)
        return self._databases[shard].engine

    def _create_engine(self, shard: str, **pool: Any) -> Engine:
        engine = db.create_engine(
            self.conn_string_for_shard(shard), connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}, **pool
        )
        listen(engine, "connect", _sync_at_checkpoints)
        return engine

    def _inode(self, shard: str) -> int | None:
        try:
            return os.stat(self.path_for_shard(shard)).st_ino  # noqa: PTH116 -- called for every event
        except FileNotFoundError:
            return None

    def _forget(self, shard: str) -> None:
        self._databases.pop(shard).engine.dispose()

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events that belong together, in their order: one transaction in the database of each run and one in the
        index.

        The runs' databases commit first, as when the stock class stores a single event: a process killed between the
        commits leaves events that their run shows and that their asset does not.
        """
        run_ids = dict.fromkeys(event.run_id for event in events)
        with ExitStack() as transactions:
            for shard in (INDEX_SHARD_NAME, *run_ids):
                transactions.enter_context(self.connection(shard))
            for store in self._groups(events):
                store()
        for run_id in run_ids:
            self._announce(run_id)

    def _announce(self, run_id: str) -> None:
        """Whoever follows a run waits for a change of its file, which the stock class makes whenever it closes a
        connection. Here connections stay open and what they commit lies in the write-ahead log beside the file: without
        this, a run followed in the UI would seem to stand still.
        """
        with suppress(FileNotFoundError):  # wiped by another process in this moment
            os.utime(self.path_for_shard(run_id))

    def _store_rows(self, run_id: str, events: Sequence[EventLogEntry]) -> list[int]:
        """A row an event in both databases; returns the ids in the index, by which all else refers to the events."""
        rows = [self.row_of(event) for event in events]
        with self.run_connection(run_id) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
        with self.index_connection() as connection:
            insert = SqlEventLogStorageTable.insert().returning(
                SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
            )
            return list(connection.execute(insert, rows).scalars())

    def wipe(self) -> None:
        """Delete all events. The files of runs are removed, so they must not stay open here."""
        with self._lock:
            self._close()
            super().wipe()

    def dispose(self) -> None:
        """Close all files and stop watching."""
        with self._lock:
            self._close()
        super().dispose()

    def _close(self) -> None:
        for shard in list(self._databases):
            self._forget(shard)


def _sync_at_checkpoints(connection: sqlite3.Connection, _: Any) -> None:
    """In write-ahead mode the file then stays whole whatever happens, and a process that dies loses nothing. A machine
    that loses its power may lose the last events, which no table depends on; a commit no longer waits for the disk.
    Source: https://www.sqlite.org/pragma.html#pragma_synchronous.
    """
    connection.execute("PRAGMA synchronous=NORMAL")


def _last_of_each_kind(events: Sequence[EventLogEntry], event_ids: Sequence[int]) -> list[tuple[EventLogEntry, int]]:
    """The events that leave their mark on an asset's record: each kind of event sets its own columns, and a later one
    of the same kind and asset sets all of them.
    """
    last: dict[tuple[str, Any], tuple[EventLogEntry, int]] = {}
    for event, event_id in zip(events, event_ids, strict=True):
        asset_key = event.get_dagster_event().asset_key
        if asset_key:
            key = (asset_key.to_string(), event.dagster_event_type)
            last.pop(key, None)
            last[key] = (event, event_id)
    return list(last.values())
