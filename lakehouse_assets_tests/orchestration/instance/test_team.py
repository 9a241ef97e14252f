"""The instance of a team, on a real PostgreSQL: what its event log holds is what the stock class would hold, whatever
happens to the processes that write it.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from dagster import AssetKey, DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.events.log import EventLogEntry

from lakehouse_assets.orchestration.instance.processes import RunProcess
from lakehouse_assets.orchestration.instance.runs import RunResult, execute_range
from lakehouse_assets_tests import postgres_server
from lakehouse_assets_tests.orchestration.instance import toy
from lakehouse_assets_tests.orchestration.instance.conftest import ROOT, TOY, wait_for
from lakehouse_assets_tests.orchestration.instance.test_ui import Ui

ORDERS, LINES = AssetKey(["bronze", "orders"]), AssetKey(["silver", "lines"])
TABLES = ("event_logs", "asset_keys", "asset_event_tags", "asset_check_executions")
MOMENTS = ("create_timestamp", "creation_time")

Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def home(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The DAGSTER_HOME of a team's instance, in this process's environment too; takes the place of the local one, for
    `in_other_process` as well.
    """
    shutil.copy(ROOT / "deploy" / "dagster.team.yaml", tmp_path / "dagster.yaml")
    for name, value in {
        "DAGSTER_HOME": str(tmp_path),
        "DAGSTER_POSTGRES_URL": postgres,
        "DAGSTER_EVENT_BATCH_SIZE": "1000",
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def run_range(instance: DagsterInstance, first: str = "2024-01-03", last: str = "2024-01-22") -> RunResult:
    return execute_range(
        instance, job_name="load_all", asset_keys=None, start_key=first, end_key=last, defs=toy.defs, module=TOY
    )


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[EventLogEntry]]:
    """What reaches the storage, in the order and grouping in which Dagster hands it over."""
    from lakehouse_assets.orchestration.instance.event_log_postgres import BatchingPostgresEventLogStorage

    seen: list[list[EventLogEntry]] = []
    original = BatchingPostgresEventLogStorage.store_event_batch

    def recording(self: BatchingPostgresEventLogStorage, events: list[EventLogEntry]) -> None:
        seen.append(list(events))
        original(self, events)

    monkeypatch.setattr(BatchingPostgresEventLogStorage, "store_event_batch", recording)
    return seen


def rows_of(url: str) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """All rows of the tables of the event log in their order, without the moment of writing; where ids may have gaps,
    without those.
    """
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        return {
            table: [
                {
                    name: value
                    for name, value in row.items()
                    if name not in MOMENTS and (name != "id" or table == "event_logs")
                }
                for row in connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY id").mappings()
            ]
            for table in TABLES
        }


def replay(
    instance: DagsterInstance, server: str, ours: bool, events: Sequence[EventLogEntry], size: int | None
) -> Any:
    """The rows after storing events in a fresh log, in batches of `size`, or one by one where that is None."""
    from dagster_postgres import PostgresEventLogStorage

    from lakehouse_assets.orchestration.instance.event_log_postgres import BatchingPostgresEventLogStorage

    with postgres_server.database(server) as url:
        storage = (BatchingPostgresEventLogStorage if ours else PostgresEventLogStorage)(url)
        storage.register_instance(instance)
        for start in range(0, len(events), size or 1):
            if size:
                storage.store_event_batch(events[start : start + size])
            else:
                storage.store_event(events[start])
        storage.dispose()
        return rows_of(url)


def test_holds_the_rows_that_the_stock_class_would_hold(
    instance: DagsterInstance,
    postgres: str,
    postgres_url: str,
    batches: list[list[EventLogEntry]],
    capfd: pytest.CaptureFixture[str],
):
    """Otherwise partitions, checks or the history in the UI would silently be wrong, and going back to the stock class
    would lose them; or an upgrade of Dagster that hands over other batches, or none, would make a load of a year take
    ten times as long without a sign.
    """
    assert run_range(instance).success
    assert run_range(instance, "2024-01-20", "2024-01-25").success
    sizes = [len(b) for b in batches if b[0].dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION]
    assert sizes == [20, 20, 20, 6, 6, 6]
    days_of_checks = [
        len(b) for b in batches if b[0].dagster_event_type == DagsterEventType.ASSET_CHECK_EVALUATION and len(b) > 1
    ]
    assert days_of_checks == [21, 7]
    assert "Exception while storing event batch" not in capfd.readouterr().err

    events = [event for batch in batches for event in batch]
    expected = replay(instance, postgres_url, False, events, None)
    assert all(expected[table] for table in TABLES)
    assert len(expected["asset_keys"]) == 3
    assert rows_of(postgres) == expected
    for size in (7, len(events)):  # across kinds, assets and runs
        assert replay(instance, postgres_url, True, events, size) == expected, size


def test_what_was_stored_is_read_back(instance: DagsterInstance):
    """Otherwise the deployment that is documented for teams would not start, or show nothing."""
    run_id = run_range(instance).run_id
    assert len(instance.get_materialized_partitions(LINES)) == 20
    latest = instance.get_latest_materialization_event(ORDERS)
    assert latest is not None
    assert latest.asset_materialization is not None
    assert latest.asset_materialization.partition == "2024-01-22"
    assert (
        len([e for e in instance.all_logs(run_id) if e.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION])
        == 60
    )


@pytest.mark.parametrize("moment", ["while_writing", "before_commit"])
def test_a_process_killed_within_a_batch_leaves_nothing_of_it(
    moment: str, instance: DagsterInstance, in_other_process: Start
):
    """Otherwise one power cut would leave days that their run shows and their asset does not."""
    code = """
from lakehouse_assets.orchestration.instance.event_log_postgres import BatchingPostgresEventLogStorage as Log
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
method = '_store_rows' if MOMENT == 'while_writing' else '_store_asset_events'
original = getattr(Log, method)
def store(self, run_id, events):
    done = original(self, run_id, events)
    if len(events) == 20:
        die()
    return done
setattr(Log, method, store)
run_range('2024-01-03', '2024-01-22')
"""
    killed = in_other_process(f"MOMENT = {moment!r}\n{code}")
    assert killed.wait() == -signal.SIGKILL, killed.communicate()[1]

    (run,) = instance.get_runs()
    assert not [
        e for e in instance.all_logs(run.run_id) if e.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION
    ]
    assert instance.get_materialized_partitions(ORDERS) == set()
    assert instance.get_latest_materialization_event(ORDERS) is None
    assert run_range(instance).success
    assert len(instance.get_materialized_partitions(ORDERS)) == 20


def test_processes_write_at_once_and_a_run_is_followed_meanwhile(instance: DagsterInstance, in_other_process: Start):
    """Otherwise runs on two machines would block each other, and the run page of the UI would stand still until the run
    has ended.
    """
    ranges = [("2024-01-01", "2024-01-31"), ("2024-01-21", "2024-02-20")]
    seen: list[str] = []
    instance.report_engine_event("before", job_name="load_all", run_id="followed")
    instance.watch_event_logs("followed", None, lambda event, _: seen.append(event.message))
    tick = "[instance.report_engine_event('tick', job_name='load_all', run_id='followed') for _ in range(5)]; "
    writers = [in_other_process(f"{tick}assert run_range({first!r}, {last!r}).success") for first, last in ranges]
    wait_for(lambda: seen.count("tick") == 10, "the events of the other processes")
    assert [writer.wait() for writer in writers] == [0, 0], [writer.communicate()[1] for writer in writers]
    assert len(instance.get_materialized_partitions(LINES)) == 51
    assert len(instance.fetch_materializations(ORDERS, limit=1000).records) == 62


def test_no_connection_is_kept_open(instance: DagsterInstance, postgres: str):
    """Otherwise a team's servers and runs would use up the connections that the database has."""
    assert run_range(instance).success
    engine = sqlalchemy.create_engine(postgres, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        count_ = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        wait_for(lambda: connection.exec_driver_sql(count_).scalar() == 0, "connections to close", seconds=30)
    assert os.environ["DAGSTER_POSTGRES_URL"] == postgres


LAUNCH = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) { __typename ... on LaunchRunSuccess { run { runId status } }
    ... on PythonError { message } ... on RunConfigValidationInvalid { errors { message } } } }"""  # noqa: E501


@pytest.mark.heavy
def test_web_server_and_daemon_run_what_is_launched_and_notice_what_dies(home: Path, tmp_path: Path):
    """Otherwise what is documented for a team would have been tried by nobody."""
    (tmp_path / "servers").mkdir()
    names = ("DAGSTER_HOME", "DAGSTER_POSTGRES_URL", "DAGSTER_EVENT_BATCH_SIZE")
    servers = Ui(
        tmp_path / "servers",
        {name: os.environ[name] for name in names},
        ["dagster_webserver"],
        ["dagster._daemon", "run"],
    )
    try:
        tags = {"dagster/asset_partition_range_start": "2024-01-03", "dagster/asset_partition_range_end": "2024-01-22"}
        selector = {
            "repositoryLocationName": "lakehouse_assets",
            "repositoryName": "__repository__",
            "jobName": "load_all",
        }
        metadata = {"tags": [{"key": key, "value": value} for key, value in tags.items()]}

        def launch() -> str:
            params = {"selector": selector, "runConfigData": {}, "mode": "default", "executionMetadata": metadata}
            launched = servers.ask(LAUNCH, p=params)["launchRun"]
            assert launched["__typename"] == "LaunchRunSuccess", launched
            return launched["run"]["runId"]

        loaded = launch()
        wait_for(lambda: servers.run(loaded).is_finished, "the run to end", 300)
        assert servers.run(loaded).status == DagsterRunStatus.SUCCESS, servers.log.read_text()
        kinds = [event.dagster_event_type for event in servers.instance.all_logs(loaded)]
        assert kinds.index(DagsterEventType.PIPELINE_ENQUEUED) < kinds.index(DagsterEventType.PIPELINE_STARTING)
        assert len(servers.instance.get_materialized_partitions(LINES)) == 20

        servers.signal.write_text("hang")
        dying = launch()
        wait_for(servers.signal.with_suffix(".hanging").exists, "the step to hang", 300)
        servers.signal.unlink()
        process = RunProcess.of_run(dying, servers.run(dying).tags)
        assert process is not None
        os.kill(process.process.pid, signal.SIGKILL)
        wait_for(lambda: servers.run(dying).is_finished, "the death to be noticed", 300)
        assert servers.run(dying).status == DagsterRunStatus.FAILURE

        # A run whose process was lost is retried.
        wait_for(lambda: servers.instance.get_runs(RunsFilter(tags={"dagster/parent_run_id": dying})), "the retry", 300)
        (again,) = servers.instance.get_runs(RunsFilter(tags={"dagster/parent_run_id": dying}))
        wait_for(lambda: servers.run(again.run_id).is_finished, "the retry to end", 300)
        assert servers.run(again.run_id).status == DagsterRunStatus.SUCCESS, servers.log.read_text()
    finally:
        servers.kill()
        servers.instance.dispose()
