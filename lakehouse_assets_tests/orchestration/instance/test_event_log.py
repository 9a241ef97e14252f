"""The event log of the local instance: what it holds is what the stock class would hold, whatever happens to the
processes that write it.
"""

import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy
import sqlalchemy.event
from dagster import AssetKey, DagsterEventType, DagsterInstance
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite import sqlite_event_log as stock_module

from lakehouse_assets.orchestration.instance import event_log
from lakehouse_assets.orchestration.instance.check_events import log_check_evaluations
from lakehouse_assets.orchestration.instance.event_log import PLAIN_ASSET_EVENTS, BatchingSqliteEventLogStorage
from lakehouse_assets.orchestration.instance.runs import RunResult, execute_range
from lakehouse_assets_tests.orchestration.instance import toy
from lakehouse_assets_tests.orchestration.instance.conftest import TOY, wait_for

ORDERS, LINES, TOTALS = (AssetKey(key) for key in (["bronze", "orders"], ["silver", "lines"], ["gold", "totals"]))


def run_range(instance: DagsterInstance, first: str = "2024-01-03", last: str = "2024-01-22") -> RunResult:
    return execute_range(
        instance, job_name="load_all", asset_keys=None, start_key=first, end_key=last, defs=toy.defs, module=TOY
    )


def storage_of(instance: DagsterInstance) -> BatchingSqliteEventLogStorage:
    storage = instance.event_log_storage
    assert isinstance(storage, BatchingSqliteEventLogStorage)
    return storage


def replay(
    instance: DagsterInstance,
    storage_class: type[SqliteEventLogStorage],
    folder: Path,
    events: list[EventLogEntry],
    size: int | None,
) -> Path:
    """Store events in a fresh log, in batches of `size`, or one by one where that is None."""
    storage = storage_class(str(folder))
    storage.register_instance(instance)
    for start in range(0, len(events), size or 1):
        if size:
            storage.store_event_batch(events[start : start + size])
        else:
            storage.store_event(events[start])
    storage.dispose()
    return folder


def rows_of(folder: Path) -> dict[str, dict[str, list[dict[str, object]]]]:
    """All rows of all tables of all databases, but for the columns that hold the moment of writing."""
    found = {}
    for file in folder.glob("*.db"):
        with sqlite3.connect(file) as connection:
            connection.row_factory = sqlite3.Row
            tables = [
                row["name"]
                for row in connection.execute("select name from sqlite_master where type = 'table' order by name")
            ]
            found[file.stem] = {
                table: [
                    {
                        name: value
                        for name, value in dict(row).items()
                        if name not in ("create_timestamp", "migration_completed")
                    }
                    for row in connection.execute(f"select * from {table} order by 1")
                ]
                for table in tables
            }
    return found


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[EventLogEntry]]:
    """What reaches the storage, in the order and grouping in which Dagster hands it over."""
    seen: list[list[EventLogEntry]] = []
    original = BatchingSqliteEventLogStorage.store_event_batch

    def recording(self: BatchingSqliteEventLogStorage, events: list[EventLogEntry]) -> None:
        seen.append(list(events))
        original(self, events)

    monkeypatch.setattr(BatchingSqliteEventLogStorage, "store_event_batch", recording)
    return seen


def test_holds_the_rows_that_the_stock_class_would_hold(
    instance: DagsterInstance, batches: list[list[EventLogEntry]], tmp_path: Path
):
    """Otherwise partitions, checks or the history in the UI would silently be wrong, and going back to the stock class
    would lose them.
    """
    first = run_range(instance)
    again = run_range(instance, "2024-01-20", "2024-01-25")
    assert first.success
    assert again.success
    stored = {event.dagster_event_type for batch in batches for event in batch}
    assert {
        DagsterEventType.ASSET_MATERIALIZATION,
        DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
        DagsterEventType.ASSET_OBSERVATION,
        DagsterEventType.ASSET_CHECK_EVALUATION,
        DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
        DagsterEventType.RUN_SUCCESS,
    } <= stored

    events = [event for batch in batches for event in batch]
    expected = rows_of(replay(instance, SqliteEventLogStorage, tmp_path / "stock", events, size=None))
    assert set(expected) == {"index", first.run_id, again.run_id}
    assert all(tables["event_logs"] for tables in expected.values())
    assert expected["index"]["asset_event_tags"]
    assert expected["index"]["asset_check_executions"]
    assert len(expected["index"]["asset_keys"]) == 3
    assert rows_of(Path(storage_of(instance)._base_dir)) == expected


def test_holds_the_same_rows_however_events_are_grouped(
    instance: DagsterInstance, batches: list[list[EventLogEntry]], tmp_path: Path
):
    """Otherwise an upgrade of Dagster that hands over other batches would change what the UI shows."""
    run_range(instance, "2024-01-03", "2024-01-07")
    run_range(instance, "2024-01-06", "2024-01-09")
    events = [event for batch in batches for event in batch]
    for name, chosen in {
        "all": events,
        "assets": [event for event in events if event.dagster_event_type in PLAIN_ASSET_EVENTS],
    }.items():
        expected = rows_of(replay(instance, SqliteEventLogStorage, tmp_path / f"{name}-stock", chosen, size=None))
        for size in (7, len(chosen)):  # across kinds, assets and runs
            folder = replay(instance, BatchingSqliteEventLogStorage, tmp_path / f"{name}-{size}", chosen, size)
            assert rows_of(folder) == expected, folder.name


def test_is_read_alike_by_the_stock_class(instance: DagsterInstance):
    """Otherwise a user who returns to Dagster's own storage in dagster.yaml would find another history."""
    run_id = run_range(instance).run_id
    stock = SqliteEventLogStorage(storage_of(instance)._base_dir)
    stock.register_instance(instance)
    ours = storage_of(instance)
    assert stock.get_materialized_partitions(LINES) == ours.get_materialized_partitions(LINES)
    assert len(ours.get_materialized_partitions(LINES)) == 20
    assert [e.to_json() for e in stock.get_logs_for_run(run_id)] == [e.to_json() for e in ours.get_logs_for_run(run_id)]
    latest = instance.get_latest_materialization_event(ORDERS)
    assert latest is not None
    assert latest.asset_materialization is not None
    assert latest.asset_materialization.partition == "2024-01-22"
    assert latest.asset_materialization.metadata["dagster/partition_row_count"].value == 19


def test_a_range_arrives_as_one_batch_an_asset(
    instance: DagsterInstance, batches: list[list[EventLogEntry]], capfd: pytest.CaptureFixture[str]
):
    """Fails when an upgrade of Dagster stops calling the hook, or calls it in vain and falls back: a load of a year
    would take ten times as long, without a sign.
    """
    run_range(instance)
    sizes = [len(batch) for batch in batches if batch[0].dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION]
    assert sizes == [20, 20, 20]
    assert "Exception while storing event batch" not in capfd.readouterr().err


def test_a_run_opens_each_database_once(instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch):
    """Fails when an upgrade of Dagster connects past our override: every statement of every event would be compiled
    anew.
    """
    opened: list[str] = []
    original = BatchingSqliteEventLogStorage._create_engine
    monkeypatch.setattr(
        BatchingSqliteEventLogStorage,
        "_create_engine",
        lambda self, shard, **pool: (opened.append(shard), original(self, shard, **pool))[1],
    )
    monkeypatch.setattr(
        stock_module, "create_engine", lambda *_, **__: pytest.fail("the stock class has built an engine of its own")
    )
    run_id = run_range(instance).run_id
    assert opened.count(run_id) <= 2  # one to create the tables, one to keep
    assert opened.count("index") <= 2
    assert len(opened) <= 4


def test_no_commit_waits_for_the_disk(instance: DagsterInstance):
    """A run commits some hundred times, and each wait takes milliseconds. 1 is NORMAL: see the pragma's page."""
    run_range(instance)
    storage = storage_of(instance)
    (run,) = instance.get_runs()
    for shard in ("index", run.run_id):
        with storage.connection(shard) as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


@pytest.mark.parametrize("moment", ["while_writing", "between_commits"])
def test_a_process_killed_within_a_batch_leaves_a_log_that_can_be_read_and_continued(
    moment: str, instance: DagsterInstance, in_other_process: Callable[[str], subprocess.Popen[str]]
):
    """Otherwise one power cut would make the UI, and every later run, fail on a broken event log."""
    code = """
import sqlalchemy
import sqlalchemy.event
from lakehouse_assets.orchestration.instance.event_log import BatchingSqliteEventLogStorage as Log
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
original = Log._store_asset_events
def store(self, run_id, events):
    original(self, run_id, events)
    if len(events) == 20 and MOMENT == 'while_writing':
        die()
    if len(events) == 20:
        sqlalchemy.event.listen(self._databases['index'].engine, 'commit', die)
Log._store_asset_events = store
run_range('2024-01-03', '2024-01-22')
"""
    killed = in_other_process(f"MOMENT = {moment!r}\n{code}")
    assert killed.wait() == -signal.SIGKILL

    run = instance.get_runs()[0]
    in_log = [
        e for e in instance.all_logs(run.run_id) if e.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION
    ]
    assert len(in_log) == (20 if moment == "between_commits" else 0)
    assert instance.get_materialized_partitions(ORDERS) == set()
    for database in ("index", run.run_id):
        with sqlite3.connect(storage_of(instance).path_for_shard(database)) as connection:
            assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    assert run_range(instance).success
    assert len(instance.get_materialized_partitions(ORDERS)) == 20


def test_processes_write_and_read_at_once(
    instance: DagsterInstance, in_other_process: Callable[[str], subprocess.Popen[str]]
):
    """Otherwise a command beside the daemon and the UI would die of a locked database, or lose events."""
    ranges = [("2024-01-01", "2024-01-31"), ("2024-01-21", "2024-02-20")]
    writers = [in_other_process(f"assert run_range({first!r}, {last!r}).success") for first, last in ranges]
    while any(writer.poll() is None for writer in writers):
        for run in instance.get_runs():
            instance.all_logs(run.run_id)
        instance.get_materialized_partitions(LINES)
    assert [writer.wait() for writer in writers] == [0, 0], [writer.communicate()[1] for writer in writers]
    assert len(instance.get_materialized_partitions(LINES)) == 51
    records = instance.fetch_materializations(ORDERS, limit=1000).records
    assert len(records) == 31 + 31


def test_a_run_is_followed_from_another_process_while_it_goes_on(
    instance: DagsterInstance, in_other_process: Callable[[str], subprocess.Popen[str]]
):
    """Otherwise the run page of the UI would stand still until the run has ended."""
    seen: list[str] = []
    instance.report_engine_event("before", job_name="load_all", run_id="followed")
    instance.watch_event_logs("followed", None, lambda event, _: seen.append(event.message))
    writer = in_other_process(
        "for tick in range(5): instance.report_engine_event('tick', job_name='load_all', run_id='followed');"
        " time.sleep(0.2)\ntime.sleep(600)"
    )
    wait_for(lambda: seen.count("tick") == 5, "the events of the other process", seconds=60)
    assert writer.poll() is None


def test_what_another_process_has_wiped_is_gone(instance: DagsterInstance):
    """Otherwise an open UI would go on showing runs that have been deleted, and lose those that come after."""
    run_id = run_range(instance).run_id
    assert instance.all_logs(run_id)
    other = SqliteEventLogStorage(storage_of(instance)._base_dir)
    other.wipe()
    assert instance.all_logs(run_id) == []
    assert run_range(instance, "2024-02-01", "2024-02-03").success
    assert len(instance.get_materialized_partitions(ORDERS)) == 3


def test_looking_at_many_runs_keeps_few_files_open(instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch):
    """Otherwise a web server would run out of file descriptors."""
    monkeypatch.setattr(event_log, "MAX_OPEN_DATABASES", 3)
    storage = storage_of(instance)
    for number in range(12):
        storage.get_logs_for_run(f"run-{number}")
    assert list(storage._databases)[-1] == "run-11"
    assert len([run for run in storage._databases if run.startswith("run-")]) <= 4


def test_a_forked_child_leaves_its_parents_connections_alone(instance: DagsterInstance):
    """Otherwise a library that forks could corrupt the log of the run it is called from."""
    run_id = run_range(instance).run_id
    before = len(instance.all_logs(run_id))
    parents = storage_of(instance)._databases[run_id].engine
    child = os.fork()
    if child == 0:
        try:
            instance.report_engine_event("from the child", job_name="load_all", run_id=run_id)
            os._exit(storage_of(instance)._databases[run_id].engine is parents)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    instance.report_engine_event("from the parent", job_name="load_all", run_id=run_id)
    assert len(instance.all_logs(run_id)) == before + 2


def test_checks_may_be_planned_over_any_number_of_partitions(instance: DagsterInstance, request: pytest.FixtureRequest):
    """Otherwise a rebuild over more than eleven years would die before its first step, of a statement with more values
    than SQLite takes by default.
    """

    def limit(connection: sqlite3.Connection, _: object) -> None:
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", limit)
    request.addfinalizer(lambda: sqlalchemy.event.remove(sqlalchemy.Engine, "connect", limit))
    storage_of(instance).dispose()  # connections from before know no limit
    many = dg.DailyPartitionsDefinition("2009-11-01", end_date="2024-01-01")
    spec = dg.AssetCheckSpec("complete", asset="table", partitions_def=many)

    @dg.asset(partitions_def=many, backfill_policy=dg.BackfillPolicy.single_run(), check_specs=[spec])
    def table(): ...

    job = dg.Definitions(assets=[table], jobs=[dg.define_asset_job("load", selection="*")]).resolve_job_def("load")
    tags = {"dagster/asset_partition_range_start": "2009-11-01", "dagster/asset_partition_range_end": "2023-12-31"}
    run = instance.create_run_for_job(job, tags=tags)
    with storage_of(instance).index_connection() as connection:
        planned = connection.exec_driver_sql(
            "select count(*) from asset_check_executions where run_id = ?", (run.run_id,)
        ).scalar()
    assert planned == len(many.get_partition_keys())


@pytest.mark.parametrize("batch_size", ["1000", "7", "0"])
def test_checks_of_single_days_are_recorded_alike_in_batches_and_one_by_one(
    batch_size: str, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    """Otherwise the days of a range would show checks as skipped that have been made."""
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", batch_size)
    days = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-02-01")
    specs = [
        dg.AssetCheckSpec("complete", asset="table", partitions_def=days),
        dg.AssetCheckSpec("unpartitioned", asset="table"),
    ]

    @dg.asset(partitions_def=days, backfill_policy=dg.BackfillPolicy.single_run(), check_specs=specs)
    def table(context: dg.AssetExecutionContext):
        evaluations = [
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey("table"), check_name="complete", passed=day != "2024-01-05", partition=day
            )
            for day in context.partition_keys
        ]
        log_check_evaluations(context, evaluations)
        for spec in specs:
            yield dg.AssetCheckResult(check_name=spec.name, passed=True)
        yield dg.MaterializeResult()

    defs = dg.Definitions(assets=[table], jobs=[dg.define_asset_job("load", selection="*")])
    result = execute_range(
        instance,
        job_name="load",
        asset_keys=None,
        start_key="2024-01-01",
        end_key="2024-01-10",
        defs=defs,
        module=TOY,
        location_name="toy",
    )
    assert result.success
    with storage_of(instance).index_connection() as connection:
        rows = connection.exec_driver_sql(
            "select partition, execution_status, evaluation_event_storage_id is not null from asset_check_executions"
            " where check_name = 'complete'"
        ).fetchall()
    per_day = {partition: (status, stored) for partition, status, stored in rows if partition}
    assert per_day == {f"2024-01-{d:02}": ("FAILED" if d == 5 else "SUCCEEDED", 1) for d in range(1, 11)}
