"""The watch: a sensor that closes runs whose process is gone, and tells a sink of troubles when they begin and when
they are over.

Belongs here: what counts as trouble, each read from where it shows: tables for drops, Dagster's records for runs,
checks and freshness. Does not belong here: how a message is delivered (`sinks.py`), curing anything.

The cursor holds the troubles that have been reported, so that each is reported once. It is written after the sink has
taken the news: trouble is reported twice rather than not at all.
"""

import json
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import date

import dagster as dg

from lakehouse_assets.core.contracts import CONTRACTS
from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.delta.check import check
from lakehouse_assets.core.quality.drops import remedy
from lakehouse_assets.core.sources.ingest import entries, new_drops
from lakehouse_assets.core.sources.journal import REFUSED, UNREADABLE
from lakehouse_assets.core.sources.pull import due
from lakehouse_assets.core.sources.verdicts import rejected_now
from lakehouse_assets.errors import LakehouseError, SourceUnavailableError
from lakehouse_assets.orchestration.area import Area
from lakehouse_assets.orchestration.automation.attempts import SENSOR
from lakehouse_assets.orchestration.automation.inflight import only_refused, span, step_failures
from lakehouse_assets.orchestration.automation.jobs import LOAD_ALL
from lakehouse_assets.orchestration.automation.sensor import Memory, cursor_object
from lakehouse_assets.orchestration.automation.sinks import Alert, AlertSink, Kind
from lakehouse_assets.orchestration.instance.sweep import sweep_dead_runs
from lakehouse_assets.orchestration.internals.runs import (
    AssetCheckExecutionRecordStatus,
    FreshnessState,
    InstigatorType,
    SensorInstigatorData,
)
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource
from lakehouse_assets.orchestration.resources.lakehouse_access import LakehouseAccess

WATCH = "watch"
_RECENT_FAILURES = 50


def failed_runs(instance: dg.DagsterInstance, waiting: Callable[[], Collection[date]]) -> list[Alert]:
    """Jobs whose last failure has not been made good: by the same job over at least the same assets, by a whole load,
    or by each failed table.

    waiting: the batch dates of drops that are not in bronze. Whatever comes later makes every table good up to the
    journal, but takes in the drops of its own dates only, so a failure is not made good while drops of its range wait.
    """
    found: dict[str, Alert] = {}
    for record in instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]), limit=_RECENT_FAILURES
    ):
        run = record.dagster_run
        key = f"run_failed:{run.job_name}"
        if key in found or only_refused(instance, run.run_id):
            continue
        failures = step_failures(instance, run.run_id)
        if _made_good(instance, record, failures, waiting):
            continue
        step, said = next(iter(failures.items()), ("", "its process ended, or it could not start"))
        where = f"step {step}: " if step else ""
        found[key] = Alert(
            key,
            "run_failed",
            f"Run {run.run_id[:8]} of {run.job_name} failed: {where}{said[:500]}",
            record.end_time or time.time(),
        )
    return list(found.values())


def _made_good(
    instance: dg.DagsterInstance,
    record: dg.RunRecord,
    failures: Mapping[str, str],
    waiting: Callable[[], Collection[date]],
) -> bool:
    run, days = record.dagster_run, span(record.dagster_run)
    later = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS], created_after=record.create_timestamp)
    good = False
    for success in instance.get_runs(later, limit=200):
        whole = success.asset_selection is None
        covers = whole or (
            run.asset_selection is not None and run.asset_selection <= (success.asset_selection or set())
        )
        if (success.job_name == run.job_name and covers) or (success.job_name == LOAD_ALL and whole):
            covered = span(success)
            if days is None or (covered is not None and covered[0] <= days[0] and days[1] <= covered[1]):
                return True
            good = True
    if not good:
        ended = record.end_time or 0.0
        events = [instance.get_latest_materialization_event(dg.AssetKey(step.split("__"))) for step in failures]
        good = bool(events) and all(event is not None and event.timestamp > ended for event in events)
    return good and not (days and any(days[0] <= day <= days[1] for day in waiting()))


def waiting_days(lakehouse: LakehouseAccess) -> set[date]:
    """The batch dates of drops that are not in bronze yet."""
    drops, _ = lakehouse.zone.scan()
    return {drop.batch_date for drop in new_drops(drops, entries(lakehouse.tables))}


def sensor_troubles(instance: dg.DagsterInstance) -> list[Alert]:
    """What the landing sensor, while it is on, could not do by itself: reach Snowflake, and load what it has given up.
    As its last tick said.
    """
    found = []
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
        if state.name != SENSOR or not state.is_running or not isinstance(state.instigator_data, SensorInstigatorData):
            continue
        memory = Memory(state.instigator_data.cursor)
        if memory.unreachable:
            found.append(Alert("account_unreachable:snowflake", "account_unreachable", memory.unreachable, time.time()))
        found += [Alert(f"given_up:{days}", "given_up", said, time.time()) for days, said in memory.given_up.items()]
    return found


def rejected_drops(lakehouse: LakehouseAccess) -> list[Alert]:
    """Drops that are refused or cannot be read and wait for their correction, and files that are not taken in."""
    now = time.time()
    house = lakehouse.tables
    rejected = [v for source in SOURCES.values() for v in rejected_now(house, source)]
    kinds: Mapping[str, Kind] = {REFUSED: "drop_refused", UNREADABLE: "drop_unreadable"}
    _, names = lakehouse.zone.scan()
    return [
        *(
            Alert(
                f"{kinds[v.verdict]}:{v.path}@{v.content_hash[:12]}", kinds[v.verdict], f"{v.reason} {remedy(v)}", now
            )
            for v in rejected
        ),
        *(Alert(f"drop_not_taken_in:{path}", "drop_not_taken_in", reason, now) for path, reason in names.items()),
    ]


def damaged_tables(lakehouse: LakehouseAccess) -> list[Alert]:
    """Tables whose log or files are not what was committed, as far as that shows without reading a file."""
    store = lakehouse.tables.store
    findings = [f for name in CONTRACTS for f in check(store, name, lakehouse.readers.get(name, ())).findings]
    return [
        Alert(f"table_damaged:{f.table}:{f.file}", "table_damaged", f"{f.sentence()}.", time.time()) for f in findings
    ]


def unavailable_sources(lakehouse: LakehouseAccess) -> list[Alert]:
    """The databases from which sources cannot be pulled: out of reach, without a key a row, or as if emptied."""
    databases = lakehouse.databases
    if not databases:
        return []  # and the journal, which may be what is damaged, need not be read
    found = []
    house, journal, today = lakehouse.tables, entries(lakehouse.tables), lakehouse.zone.today()
    for source, database in databases.items():
        try:
            due(house, database, journal, today)
        except SourceUnavailableError as error:
            found.append(Alert(f"source_unavailable:{source}", "source_unavailable", str(error), time.time()))
    return found


def failed_checks(instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]) -> list[Alert]:
    """Stand-alone checks that failed, and not merely warned, when they last came to a verdict."""
    judged = (AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED)
    found = []
    for key in keys:
        history = instance.event_log_storage.get_asset_check_execution_history(key, limit=5)
        last = next((r for r in history if r.status in judged), None)
        evaluation = last.evaluation if last and last.status == AssetCheckExecutionRecordStatus.FAILED else None
        if last is None or evaluation is None or evaluation.severity != dg.AssetCheckSeverity.ERROR:
            continue
        name = key.asset_key.to_user_string()
        if key.name == "equals_snapshot":
            said = f"{name} differs from the snapshot that the ledger names; `lakehouse verify` shows the rows."
            found.append(
                Alert(f"reconciliation_mismatch:{name}", "reconciliation_mismatch", said, last.create_timestamp)
            )
        else:
            said = f"{name} fails {key.name}: {evaluation.description or 'see the check in the UI'}"
            found.append(Alert(f"check_failed:{name}:{key.name}", "check_failed", said[:500], last.create_timestamp))
    return found


def not_fresh(instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey]) -> list[Alert]:
    """Tables that have not been brought up to date for longer than their freshness policy allows."""
    late = {FreshnessState.WARN: "late", FreshnessState.FAIL: "very late"}
    return [
        Alert(
            f"not_fresh:{key.to_user_string()}",
            "not_fresh",
            f"{key.to_user_string()} is {late[record.freshness_state]}: it was not materialised within the time its"
            " freshness policy allows.",
            record.updated_at.timestamp(),
        )
        for key, record in instance.get_freshness_state_records(keys).items()
        if record.freshness_state in late
    ]


def look(
    sources: Mapping[str, Callable[[], Sequence[Alert]]],
    reported: Mapping[str, Alert],
    complain: Callable[[str], object],
) -> dict[str, Alert]:
    """All troubles by key. A source that cannot be looked at is a trouble itself, and what it said last is kept: nobody
    knows that it is over.

    sources: name, with which the keys of its alerts begin (several, joined by commas) → what is wrong there. complain:
    takes a traceback.
    """
    found: dict[str, Alert] = {}
    for name, ask in sources.items():
        try:
            found |= {alert.key: alert for alert in ask()}
        except Exception as error:
            kinds = tuple(f"{kind}:" for kind in name.split(","))
            found |= {key: alert for key, alert in reported.items() if key.startswith(kinds)}
            complain(traceback.format_exc())
            said = (
                str(error)
                if isinstance(error, LakehouseError)
                else f"{type(error).__name__}, see the log of this sensor's tick."
            )
            found[f"cannot_look:{name}"] = Alert(
                f"cannot_look:{name}", "cannot_look", f"The watch cannot tell {name}: {said}", time.time()
            )
    return {key: reported.get(key, alert) for key, alert in found.items()}


def reported_before(cursor: str | None, complain: Callable[[str], object]) -> dict[str, Alert]:
    """The troubles in a cursor of the watch; none, with a complaint, where it holds something else."""
    held, lost = cursor_object(cursor)
    try:
        reported = {key: Alert(**said) for key, said in held.items()}
        usable = all(
            isinstance(a.key, str) and isinstance(a.summary, str) and isinstance(a.since, (int, float))
            for a in reported.values()
        )
    except TypeError:
        reported, usable = {}, False
    if lost or not usable:
        complain(lost or "The cursor holds something else than alerts; it is started over.")
    return reported if usable else {}


def area_alerts(lakehouse: LakehouseAccess, areas: Sequence[Area]) -> list[Alert]:
    """What the areas themselves report. One that cannot be asked is an alert of its own, and the others are asked."""
    found, now = [], time.time()
    for area in areas:
        try:
            said = area.alerts(lakehouse.tables) if area.alerts else {}
        except Exception as error:
            said = {"alerts": f"The area {area.name} cannot be asked for its alerts ({error}); fix its code."}
        found += [Alert(f"area/{area.name}/{what}", "area", sentence, now) for what, sentence in said.items()]
    return found


def _places(
    instance: dg.DagsterInstance,
    lakehouse: LakehouseAccess,
    fresh: Sequence[dg.AssetKey],
    checks: Sequence[dg.AssetCheckKey],
    areas: Sequence[Area],
) -> dict[str, Callable[[], Sequence[Alert]]]:
    """Where it is looked: kinds of alerts, joined by commas → what is wrong there."""
    return {
        "run_failed": lambda: failed_runs(instance, lambda: waiting_days(lakehouse)),
        "account_unreachable,given_up": lambda: sensor_troubles(instance),
        "drop_refused,drop_unreadable,drop_not_taken_in": lambda: rejected_drops(lakehouse),
        "source_unavailable": lambda: unavailable_sources(lakehouse),
        "table_damaged": lambda: damaged_tables(lakehouse),
        "reconciliation_mismatch,check_failed": lambda: failed_checks(instance, checks),
        "not_fresh": lambda: not_fresh(instance, fresh),
        "area": lambda: area_alerts(lakehouse, areas),
    }


def open_alerts(
    instance: dg.DagsterInstance,
    lakehouse: LakehouseAccess,
    fresh: Sequence[dg.AssetKey],
    checks: Sequence[dg.AssetCheckKey],
    areas: Sequence[Area] = (),
) -> list[Alert]:
    """All that is wrong now, by kind. fresh, checks, areas: as of `watch_sensor`."""
    found = look(_places(instance, lakehouse, fresh, checks, areas), {}, lambda _: None)
    return sorted(found.values(), key=lambda a: (a.kind, a.key))


def watch_sensor(
    fresh: Sequence[dg.AssetKey], checks: Sequence[dg.AssetCheckKey], areas: Sequence[Area] = ()
) -> dg.SensorDefinition:
    """The watch. fresh: assets with a freshness policy; checks: the stand-alone checks; areas: which have alerts of
    their own.
    """

    @dg.sensor(
        name=WATCH,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Closes runs whose process is gone, and tells of failed runs, work given up, an account out of reach,"
            " refused drops, mismatches and tables that are late: once when it begins, once when it is over."
        ),
    )
    def watch(
        context: dg.SensorEvaluationContext, lakehouse: LakehouseResource, alert_sink: dg.ResourceParam[AlertSink]
    ) -> dg.SensorResult:
        instance = context.instance
        sweep_dead_runs(instance)
        reported = reported_before(context.cursor, context.log.warning)
        troubles = look(_places(instance, lakehouse, fresh, checks, areas), reported, context.log.error)
        began = [alert for key, alert in troubles.items() if key not in reported]
        over = [alert for key, alert in reported.items() if key not in troubles]
        if began or over:
            alert_sink.tell(context.log, began, over)
        said = "; ".join(sorted(troubles)[:20]) or "nothing"
        return dg.SensorResult(
            cursor=json.dumps({k: asdict(a) for k, a in troubles.items()}), skip_reason=f"Wrong now: {said}."
        )

    return watch
