"""What the product relies on inside Dagster, name by name, on Dagster's own classes: an upgrade that changes one of
them fails here, and says which.
"""

import ast
import os
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as db
import yaml
from dagster import DagsterEventType as Kind
from dagster._core.definitions.freshness import FreshnessStateChange
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.workspace.load import location_origins_from_yaml_paths
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

import lakehouse_assets.orchestration.internals
from lakehouse_assets.orchestration.instance.event_log import BatchingEventLog, BatchingSqliteEventLogStorage
from lakehouse_assets.orchestration.internals.event_log import (
    INDEX_SHARD_NAME,
    SQLITE_BUSY_TIMEOUT_SECONDS,
    AssetCheckExecutionsTable,
    ConfigurableClassData,
    OpenEventLog,
    OpenSqliteEventLog,
    SqlEventLogStorageTable,
    SqliteEventLogStorage,
)
from lakehouse_assets.orchestration.internals.runs import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    IN_PROC_CONFIG,
    MAX_RETRIES_TAG,
    PARTITION_NAME_TAG,
    PRIORITY_TAG,
    AssetCheckExecutionRecordStatus,
    DagsterEventBatchMetadata,
    ExecutionPlan,
    FreshnessState,
    InMemoryJob,
    InProcessExecutor,
    InstigatorType,
    JobFailureData,
    PlanOrchestrationContext,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
    RunFailureReason,
    SensorInstigatorData,
    SerializableErrorInfo,
    copy,
    create_execution_plan,
    execute_run_iterator,
    generate_event_batch_id,
    location_origin_from_module_name,
    make_new_run_id,
    not_none,
    snapshot_from_execution_plan,
)
from lakehouse_assets_tests.orchestration.instance.test_queue import Queue

DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-02-01")
TABLE = dg.AssetKey("table")
RANGE = {ASSET_PARTITION_RANGE_START_TAG: "2024-01-03", ASSET_PARTITION_RANGE_END_TAG: "2024-01-05"}
Body = Callable[[dg.AssetExecutionContext], object]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance of Dagster's own classes."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        yield made


def job_of(body: Body, executor: dg.ExecutorDefinition = dg.in_process_executor) -> dg.JobDefinition:
    """A job of one partitioned table, with one check of its days."""

    @dg.asset(
        name="table",
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[dg.AssetCheckSpec("complete", asset="table", partitions_def=DAYS)],
    )
    def table(context: dg.AssetExecutionContext):
        body(context)
        yield dg.MaterializeResult(tags={"toy": "yes"})
        yield dg.AssetCheckResult(passed=context.partition_keys[0] != "2024-01-04")

    jobs = [dg.define_asset_job("load", selection="*")]
    return dg.Definitions(assets=[table], jobs=jobs, executor=executor).resolve_job_def("load")


def events_of(
    instance: dg.DagsterInstance, body: Body = lambda _: None, tags: Mapping[str, str] = RANGE, **more: Any
) -> list[dg.DagsterEvent]:
    job = job_of(body, **more)
    return list(execute_run_iterator(InMemoryJob(job), instance.create_run_for_job(job, tags=dict(tags)), instance))


def only(events: Sequence[dg.DagsterEvent], kind: Kind) -> dg.DagsterEvent:
    (found,) = (event for event in events if event.event_type == kind)
    return found


# -- runs --------------------------------------------------------------------------------------------------------------


def test_every_name_has_a_test():
    """Else a name could be added that an upgrade breaks without a sign."""
    here = list(ast.walk(ast.parse(Path(__file__).read_text())))
    used = {node.id for node in here if isinstance(node, ast.Name)}
    used |= {node.attr for node in here if isinstance(node, ast.Attribute)}
    used |= {node.name for node in here if isinstance(node, ast.FunctionDef)}
    for module in Path(str(lakehouse_assets.orchestration.internals.__file__)).parent.glob("*.py"):
        tree = ast.parse(module.read_text())
        names = {
            a.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for a in node.names if a.asname
        }
        names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assert {name for name in names if not name.startswith("_")} <= used, module.name


def test_not_none_lets_none_through_nowhere():
    """Else a run that has vanished would be reported with a traceback from some later line."""
    assert not_none(0) == 0
    with pytest.raises(Exception, match="Expected non-None value"):
        not_none(None)


@pytest.mark.parametrize(
    ("tags", "days"),
    [(RANGE, ["2024-01-03", "2024-01-04", "2024-01-05"]), ({PARTITION_NAME_TAG: "2024-01-07"}, ["2024-01-07"])],
)
def test_tags_say_which_partitions_a_run_is_over(instance: dg.DagsterInstance, tags: dict[str, str], days: list[str]):
    """Else a load would take in other days than those it was asked for."""
    seen = []
    events_of(instance, lambda context: seen.extend(context.partition_keys), tags)
    assert seen == days


def test_a_tag_keeps_the_daemon_from_retrying(tmp_path: Path):
    """Else the daemon would do once more what the sensor is already trying again."""
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"run_retries": {"enabled": True, "max_retries": 3}}))

    def fail(_: object) -> None:
        raise ValueError("told to")

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        for tags, retried in (({}, True), ({MAX_RETRIES_TAG: "0"}, False)):
            events_of(instance, fail, {**RANGE, **tags})
            run = instance.get_runs(limit=1)[0]
            assert auto_reexecution_should_retry_run(instance, run, RunFailureReason.STEP_FAILURE) is retried


def test_the_queue_lets_runs_of_higher_priority_go_first(tmp_path: Path):
    """Else what lands would wait behind a backfill of years."""
    queue = Queue("local", tmp_path)
    with queue.workspace, queue.daemon:
        for number in range(queue.places):
            queue.put(f"filler {number}", {})
        assert len(queue.under_way()) == queue.places
        queue.put("low", {PRIORITY_TAG: "1"})
        queue.put("high", {PRIORITY_TAG: "2"})
        queue.end("filler 0")
        assert queue.under_way() - {f"filler {n}" for n in range(queue.places)} == {"high"}
    queue.instance.dispose()


def test_a_plan_names_its_steps_and_their_assets_and_is_recorded(instance: dg.DagsterInstance):
    """Else progress could not be shown by table, and the UI could not show or re-execute the run."""
    job = job_of(lambda _: None)
    plan: ExecutionPlan = create_execution_plan(job, instance_ref=instance.get_ref(), tags=RANGE)
    assert isinstance(plan, ExecutionPlan)
    assert plan.step_keys_to_execute == ["table"]
    assert TABLE in [output.properties.asset_key for output in plan.get_step_by_key("table").step_outputs]
    snapshot = snapshot_from_execution_plan(plan, job.get_job_snapshot_id())
    run = instance.create_run_for_job(job, execution_plan=plan, tags=RANGE)
    recorded = instance.get_execution_plan_snapshot(not_none(run.execution_plan_snapshot_id))
    assert recorded == snapshot
    assert recorded.step_keys_to_execute == ["table"]


def test_run_ids_differ_and_are_taken(instance: dg.DagsterInstance):
    """Else two commands at once would write into one run."""
    ids = {make_new_run_id() for _ in range(100)}
    assert len(ids) == 100
    run = instance.create_run_for_job(job_of(lambda _: None), run_id=(mine := ids.pop()), tags=RANGE)
    assert run.run_id == mine == str(uuid.UUID(mine))


def test_a_closed_iterator_leaves_no_run_that_goes_on(instance: dg.DagsterInstance):
    """Else an error in drawing the progress would leave a run that is shown as running for ever."""
    job = job_of(lambda _: None)
    run = instance.create_run_for_job(job, tags=RANGE)
    events: Any = execute_run_iterator(InMemoryJob(job), run, instance)
    assert any(event.event_type == Kind.STEP_START for event in events)
    assert not_none(instance.get_run_by_id(run.run_id)).status == dg.DagsterRunStatus.STARTED
    events.close()
    assert not_none(instance.get_run_by_id(run.run_id)).status == dg.DagsterRunStatus.FAILURE


def test_an_interrupted_run_says_so(instance: dg.DagsterInstance):
    """Else after Ctrl-C a command would go on with its next run."""
    events = events_of(instance, lambda _: os.kill(os.getpid(), signal.SIGINT))
    data = only(events, Kind.RUN_FAILURE).job_failure_data
    assert data.failure_reason == RunFailureReason.UNEXPECTED_TERMINATION


def test_a_run_can_be_reported_failed_without_an_error(instance: dg.DagsterInstance):
    """Else the run of a process that was killed could not be closed."""
    run = instance.create_run_for_job(job_of(lambda _: None), tags=RANGE)
    reason = RunFailureReason.UNEXPECTED_TERMINATION
    instance.report_run_failed(run, "its process ended", JobFailureData(error=None, failure_reason=reason))
    assert not_none(instance.get_run_by_id(run.run_id)).status == dg.DagsterRunStatus.FAILURE
    (record,) = instance.get_records_for_run(run.run_id, of_type=Kind.RUN_FAILURE).records
    event = record.event_log_entry.get_dagster_event()
    assert event.job_failure_data.failure_reason == reason
    assert event.message == "its process ended"


def test_an_error_is_kept_with_its_class_and_cause(instance: dg.DagsterInstance):
    """Else a failed step would be shown by what Dagster wraps around the error."""

    def fail(_: object) -> None:
        raise ValueError("told to")

    error = only(events_of(instance, fail), Kind.STEP_FAILURE).step_failure_data.error
    assert isinstance(error, SerializableErrorInfo)
    assert (error.cls_name or "").startswith("Dagster")
    cause = not_none(error.cause)
    assert (cause.cls_name, cause.message.strip()) == ("ValueError", "ValueError: told to")


def test_a_copy_of_a_run_leaves_the_run_alone(instance: dg.DagsterInstance):
    """Else the recorded run would get the settings of this execution, and so would its re-executions."""
    run = instance.create_run_for_job(job_of(lambda _: None), tags=RANGE)
    other = copy(run, run_config={"loggers": {}})
    assert (run.run_config, other.run_config) == ({}, {"loggers": {}})
    assert copy(other, run_config={}) == run


def test_an_origin_is_the_one_that_a_workspace_makes(instance: dg.DagsterInstance, tmp_path: Path):
    """Else no server would know the job of a run, and the UI could not execute it again."""
    location = location_origin_from_module_name("a.b", attribute=None, working_directory=None, location_name="here")
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text("load_from:\n- python_module: {module_name: a.b, location_name: here}\n")
    assert list(location_origins_from_yaml_paths([str(workspace)])) == [location]
    origin: RemoteJobOrigin = RemoteRepositoryOrigin(location, "all").get_job_origin("load")
    assert isinstance(origin, RemoteJobOrigin)
    run = instance.create_run_for_job(job_of(lambda _: None), remote_job_origin=origin, tags=RANGE)
    kept = not_none(not_none(instance.get_run_by_id(run.run_id)).remote_job_origin)
    assert kept == origin
    assert (kept.location_name, kept.repository_origin.repository_name, kept.job_name) == ("here", "all", "load")


def test_an_executor_of_our_own_knows_the_run_and_runs_it_here(instance: dg.DagsterInstance):
    """Else runs would not be tagged with their process, and a killed one would be shown as running for ever."""
    seen: list[object] = []

    class Tagging(InProcessExecutor):
        def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[Any]:
            assert isinstance(plan_context, PlanOrchestrationContext)
            plan_context.instance.add_run_tags(plan_context.run_id, {"by": "us"})
            yield from super().execute(plan_context, execution_plan)

    @dg.executor(name="in_process", config_schema=IN_PROC_CONFIG)
    def mine(context: dg.InitExecutorContext) -> dg.Executor:
        seen.append(context.executor_config["retries"])
        stock = not_none(dg.in_process_executor.executor_creation_fn)(context)
        assert isinstance(stock, InProcessExecutor)
        return Tagging(retries=stock.retries, step_dependency_config=stock.step_dependency_config)

    job = job_of(lambda _: seen.append(os.getpid()), executor=mine)
    retries = {"disabled": {}}
    run = instance.create_run_for_job(job, tags=RANGE, run_config={"execution": {"config": {"retries": retries}}})
    assert only(list(execute_run_iterator(InMemoryJob(job), run, instance)), Kind.STEP_SUCCESS).step_key == "table"
    assert seen == [retries, os.getpid()]
    assert not_none(instance.get_run_by_id(run.run_id)).tags["by"] == "us"


# -- what the records say ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [FreshnessState.WARN, FreshnessState.FAIL])
def test_the_state_of_freshness_is_kept(instance: dg.DagsterInstance, state: FreshnessState):
    """Else nobody would be told that a table is late."""
    before = FreshnessState.UNKNOWN
    change = FreshnessStateChange(key=TABLE, previous_state=before, new_state=state, state_change_timestamp=1.7e9)
    instance._report_runless_asset_event(asset_event=change)
    assert {key: r.freshness_state for key, r in instance.get_freshness_state_records([TABLE]).items()} == {
        TABLE: state
    }


def test_the_cursor_of_a_sensor_is_found(instance: dg.DagsterInstance):
    """Else the watch would not know what the landing sensor has given up."""
    location = location_origin_from_module_name("a.b", attribute=None, working_directory=None, location_name="here")
    repository = RemoteRepositoryOrigin(location, "all")
    for name, kind, data in (
        ("landing", InstigatorType.SENSOR, SensorInstigatorData(cursor="it says")),
        ("nightly", InstigatorType.SCHEDULE, ScheduleInstigatorData("0 1 * * *")),
    ):
        origin = repository.get_instigator_origin(name)
        instance.add_instigator_state(InstigatorState(origin, kind, InstigatorStatus.RUNNING, data))
    (state,) = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    assert (state.name, state.is_running) == ("landing", True)
    assert isinstance(state.instigator_data, SensorInstigatorData)
    assert state.instigator_data.cursor == "it says"


@pytest.mark.parametrize(("day", "word"), [("2024-01-03", "SUCCEEDED"), ("2024-01-04", "FAILED")])
def test_the_words_of_checks(instance: dg.DagsterInstance, day: str, word: str):
    """Else failed checks would not be told, and what we write could not be read by Dagster."""
    log, key = instance.event_log_storage, dg.AssetCheckKey(TABLE, "complete")
    assert isinstance(log, SqliteEventLogStorage)
    job = job_of(lambda _: None)
    run = instance.create_run_for_job(job, tags={PARTITION_NAME_TAG: day})

    def status() -> tuple[str, AssetCheckExecutionRecordStatus]:
        (record,) = log.get_asset_check_execution_history(key, limit=5)
        with log.index_connection() as connection:
            return connection.execute(
                db.select(AssetCheckExecutionsTable.c.execution_status)
            ).scalar_one(), record.status

    planned = AssetCheckExecutionRecordStatus.PLANNED
    assert status() == (planned.value, planned)
    list(execute_run_iterator(InMemoryJob(job), run, instance))
    said = AssetCheckExecutionRecordStatus[word]
    assert status() == (said.value, said)


def test_a_batch_is_stored_when_its_last_event_comes(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch):
    """Else each event of a year would be written by itself."""
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "10")
    batch = generate_event_batch_id()
    assert batch != generate_event_batch_id()
    stored: list[list[object]] = []

    def store(events: Sequence[dg.EventLogEntry]) -> None:
        if events[0].dagster_event_type == Kind.ASSET_CHECK_EVALUATION:
            stored.append([event.get_dagster_event().message for event in events])

    monkeypatch.setattr(instance.event_log_storage, "store_event_batch", store)

    def log(context: dg.AssetExecutionContext) -> None:
        for number in range(3):
            assert stored == []
            dg.DagsterEvent.from_step(
                Kind.ASSET_CHECK_EVALUATION,
                context.get_step_execution_context(),
                event_specific_data=dg.AssetCheckEvaluation(TABLE, "complete", True, {}, partition="2024-01-03"),
                message=str(number),
                batch_metadata=DagsterEventBatchMetadata(batch, number == 2),
            )
        assert stored == [["0", "1", "2"]]

    assert events_of(instance, log)[-1].event_type != Kind.RUN_FAILURE
    assert ["0", "1", "2"] in stored


# -- the event log -----------------------------------------------------------------------------------------------------


class Opened(OpenSqliteEventLog):
    """Dagster's own behaviour, through the names of ours, noted."""

    def __init__(self, *given: Any):
        self.connected: list[str] = []
        self.planned: list[int | None] = []
        super().__init__(*given)

    def connection(self, shard: str) -> AbstractContextManager[Connection]:
        self.connected.append(shard)
        return SqliteEventLogStorage._connect(self, shard)

    def store_planned_check(self, event: dg.EventLogEntry, event_id: int | None) -> None:
        self.planned.append(event_id)
        SqlEventLogStorage._store_asset_check_evaluation_planned(self, event, event_id)


def entries_of(instance: dg.DagsterInstance, kind: Kind) -> list[dg.EventLogEntry]:
    events_of(instance)
    run = instance.get_runs()[0]
    return [record.event_log_entry for record in instance.get_records_for_run(run.run_id, of_type=kind).records]


@pytest.fixture
def opened(instance: dg.DagsterInstance, tmp_path: Path) -> Opened:
    """An event log beside that of the instance."""
    log = Opened(str(tmp_path / "opened"))
    log.register_instance(instance)
    return log


def in_index(log: OpenEventLog, table: db.Table) -> list[dict[str, Any]]:
    with log.index_connection() as connection:
        return [dict(row) for row in connection.execute(db.select(table).order_by(table.c[0])).mappings()]


def test_a_row_is_what_the_stock_class_inserts(instance: dg.DagsterInstance, opened: Opened):
    """Else batches would hold other rows than Dagster writes and reads."""
    for event in (events := entries_of(instance, Kind.ASSET_MATERIALIZATION)):
        opened.store_event(event)
    assert events
    stored = [{n: v for n, v in row.items() if n != "id"} for row in in_index(opened, SqlEventLogStorageTable)]
    assert stored == [opened.row_of(event) for event in events]
    assert [row["timestamp"] for row in stored] == [opened.time_of(event) for event in events]
    assert stored[0]["asset_key"] == TABLE.to_string()


def test_ids_come_back_in_the_order_of_the_rows(instance: dg.DagsterInstance, opened: Opened):
    """Else tags, records and checks would refer to other events."""
    (event,) = entries_of(instance, Kind.STEP_START)
    rows = [{**opened.row_of(event), "step_key": f"step {n}"} for n in range(50)]
    insert = SqlEventLogStorageTable.insert().returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True)
    with opened.index_connection() as connection:
        ids = list(connection.execute(insert, rows).scalars())
    assert {row["id"]: row["step_key"] for row in in_index(opened, SqlEventLogStorageTable)} == {
        event_id: f"step {n}" for n, event_id in enumerate(ids)
    }


def test_tags_and_records_of_assets_are_found_by_dagster(instance: dg.DagsterInstance, opened: Opened):
    """Else an asset would be shown without its last materialisation, or as out of sync."""
    events = entries_of(instance, Kind.ASSET_MATERIALIZATION)
    insert = SqlEventLogStorageTable.insert().returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True)
    with opened.index_connection() as connection:
        ids = list(connection.execute(insert, [opened.row_of(event) for event in events]).scalars())
        opened.store_tags(connection, events, ids)
        opened.store_on_asset(connection, events[-1], ids[-1])
    tags = opened.get_event_tags_for_asset(TABLE)
    assert tags
    assert tags == instance.event_log_storage.get_event_tags_for_asset(TABLE)
    (record,) = opened.get_asset_records([TABLE])
    assert record.asset_entry.last_materialization_storage_id == ids[-1]
    assert opened.get_materialized_partitions(TABLE) == {"2024-01-03", "2024-01-04", "2024-01-05"}


def test_planned_checks_come_through_our_hook(instance: dg.DagsterInstance, opened: Opened):
    """Else checks of many days would again be planned by one statement that SQLite refuses."""
    (event,) = entries_of(instance, Kind.ASSET_CHECK_EVALUATION_PLANNED)
    opened.store_event(event)
    (stored,) = in_index(opened, SqlEventLogStorageTable)
    assert opened.planned == [stored["id"]]
    rows = in_index(opened, AssetCheckExecutionsTable)
    assert sorted(row["partition"] for row in rows) == ["2024-01-03", "2024-01-04", "2024-01-05"]
    assert opened.has_table("asset_check_executions")


def test_a_check_of_a_day_has_one_row_in_a_run(opened: Opened):
    """Else a verdict would not take the place of its planned row."""
    row = dict(asset_key="a", check_name="c", run_id="r", partition="2024-01-03", execution_status="PLANNED")
    with opened.index_connection() as connection:
        connection.execute(AssetCheckExecutionsTable.insert(), [row])
    with pytest.raises(IntegrityError), opened.index_connection() as connection:
        connection.execute(AssetCheckExecutionsTable.insert(), [row])
    upsert = sqlite.insert(AssetCheckExecutionsTable)
    keys = ("asset_key", "check_name", "run_id", "partition")
    upsert = upsert.on_conflict_do_update(
        index_elements=keys, set_={"execution_status": upsert.excluded.execution_status}
    )
    with opened.index_connection() as connection:
        connection.execute(upsert, [{**row, "execution_status": "SUCCEEDED"}])
    assert [found["execution_status"] for found in in_index(opened, AssetCheckExecutionsTable)] == ["SUCCEEDED"]


def test_statements_go_through_our_connection(instance: dg.DagsterInstance, opened: Opened):
    """Else every statement would be compiled anew, and a batch would not be in one transaction."""
    assert INDEX_SHARD_NAME in opened.connected  # by the constructor
    (event,) = entries_of(instance, Kind.STEP_START)
    opened.connected.clear()
    opened.store_event(event)
    opened.get_logs_for_run(event.run_id)
    assert opened.connected == [event.run_id] * len(opened.connected)
    opened.connected.clear()
    opened.get_materialized_partitions(TABLE)
    assert set(opened.connected) == {INDEX_SHARD_NAME}
    assert Path(opened.path_for_shard(INDEX_SHARD_NAME)).is_file()


def test_tables_are_made_once_and_anew_after_a_wipe(opened: Opened):
    """Else a log that was wiped would fail for want of its tables, or be slow for making them each time."""
    engine = db.create_engine(opened.conn_string_for_shard("a-run"))
    assert not opened.is_made("a-run")
    for _ in range(2):
        opened.make_tables("a-run", engine)
        assert opened.is_made("a-run")
    assert {"event_logs"} <= set(db.inspect(engine).get_table_names())
    with engine.connect() as connection:
        assert connection.exec_driver_sql("pragma journal_mode").scalar() == "wal"
    opened.unmake("a-run")
    assert not opened.is_made("a-run")
    opened.make_tables("a-run", engine)
    opened.wipe()
    assert not opened.is_made("a-run")
    engine.dispose()


def test_a_writer_waits_as_long_as_the_stock_class(opened: Opened, tmp_path: Path):
    """Else one of two processes that write at once would fail of a locked database."""
    stock = SqliteEventLogStorage(str(tmp_path / "stock"))
    ours = BatchingSqliteEventLogStorage(str(tmp_path / "ours"))
    for log in (stock, ours):
        with log.index_connection() as connection:
            waits = connection.exec_driver_sql("pragma busy_timeout").scalar()
        assert waits == SQLITE_BUSY_TIMEOUT_SECONDS * 1000


def test_a_storage_is_built_from_dagster_yaml_and_saved(tmp_path: Path):
    """Else Dagster would build its own class in the processes it starts."""
    where = {"module": BatchingSqliteEventLogStorage.__module__, "class": BatchingSqliteEventLogStorage.__name__}
    said = {"event_log_storage": {**where, "config": {"base_dir": str(tmp_path / "log")}}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(said))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        log = instance.event_log_storage
        assert isinstance(log, SqliteEventLogStorage)
        data = log.inst_data
        assert isinstance(data, ConfigurableClassData)
        assert (data.module_name, data.class_name) == (where["module"], where["class"])
        reference = instance.get_ref()
    with dg.DagsterInstance.from_ref(reference) as again:
        assert type(again.event_log_storage) is BatchingSqliteEventLogStorage


def test_no_private_name_of_ours_is_one_of_dagsters(opened: Opened):
    """Else we would override, or overwrite, what Dagster has for itself."""
    stock = set(dir(SqliteEventLogStorage(opened._base_dir)))
    ours = [BatchingEventLog, BatchingSqliteEventLogStorage]
    names = {name for kind in ours for name in vars(kind) if name.startswith("_") and not name.startswith("__")}
    names |= {
        name
        for name in vars(BatchingSqliteEventLogStorage(opened._base_dir))
        if name not in vars(SqliteEventLogStorage(opened._base_dir))
    }
    assert {"_store_rows", "_databases", "_open"} <= names
    assert not (names - {"_abc_impl"}) & stock


def test_the_log_in_postgresql(postgres: str):
    """Else a batch in PostgreSQL would not be in one transaction, or other statements would wait for a commit."""
    from lakehouse_assets.orchestration.internals.event_log_postgres import OpenPostgresEventLog

    connected: list[int] = []

    class OpenedPostgres(OpenPostgresEventLog):
        @contextmanager
        def connection(self) -> Iterator[Connection]:
            connected.append(1)
            with self.stock_connection() as connection:
                yield connection

        def store_planned_check(self, event: dg.EventLogEntry, event_id: int | None) -> None: ...

    log = OpenedPostgres(postgres, should_autocreate_tables=True)
    assert connected  # by the constructor
    row = {"run_id": "r", "event": "{}", "step_key": "s"}
    with log.stock_connection() as first, log.index_connection() as second:
        first.execute(SqlEventLogStorageTable.insert(), [row])
        assert second.execute(db.select(SqlEventLogStorageTable.c.step_key)).scalars().all() == ["s"]
    assert first.closed
    connected.clear()
    log.get_logs_for_run("nobody")
    log.has_table("event_logs")
    assert len(connected) >= 2
    log.dispose()
