"""The landing sensor, tick by tick on a real instance; its runs are real ones."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData

from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.sources.landing import Drop
from lakehouse_assets.definitions import build_definitions
from lakehouse_assets.orchestration.assets import bronze
from lakehouse_assets.orchestration.automation.alerts import reported_before
from lakehouse_assets.orchestration.automation.attempts import ATTEMPTS, PAUSES, History
from lakehouse_assets.orchestration.automation.pending import Pending
from lakehouse_assets.orchestration.automation.sensor import Memory
from lakehouse_assets.orchestration.automation.sinks import WebhookSink
from lakehouse_assets.orchestration.automation.work import MAX_DAYS, Work, open_work
from lakehouse_assets.orchestration.instance.processes import RunProcess
from lakehouse_assets.orchestration.instance.runs import job_origin
from lakehouse_assets.orchestration.resources.handoff_resource import HandoffResource
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource
from lakehouse_assets.orchestration.resources.snowflake import snowflake_resource
from lakehouse_assets.processes import ProcessIdentity
from lakehouse_assets_tests.orchestration.automation.conftest import DAYS, Receiver, Ticker, orders
from lakehouse_assets_tests.pipeline.world import World, against_oracle, differences, rates_csv

Later = Callable[[float], None]


def span_of(request: dg.RunRequest) -> tuple[str, str]:
    return request.tags["dagster/asset_partition_range_start"], request.tags["dagster/asset_partition_range_end"]


class BrokenDoor(dg.ConfigurableIOManager):
    """A hand-off to an account that cannot be reached."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        raise ConnectionError("the account cannot be reached")

    def load_input(self, context: dg.InputContext) -> object:
        raise ConnectionError("the account cannot be reached")


class NobodyAsks:
    """In place of the hand-off, where Snowflake must not be asked."""

    def open(self) -> None:
        raise AssertionError("Snowflake was asked although nothing has changed")


def remember(landing: Ticker) -> None:
    """Keep the sensor's cursor where the daemon does."""
    repository = job_origin(
        landing.world.definitions, "load_all", "lakehouse_assets", "lakehouse_assets.definitions"
    ).repository_origin
    state = InstigatorState(
        repository.get_instigator_origin(landing.name),
        InstigatorType.SENSOR,
        InstigatorStatus.RUNNING,
        SensorInstigatorData(cursor=landing.cursor),
    )
    known = landing.world.instance.get_instigator_state(state.instigator_origin_id, state.selector_id)
    (
        landing.world.instance.update_instigator_state(state)
        if known
        else landing.world.instance.add_instigator_state(state)
    )


# -- what is requested -----------------------------------------------------------------------------------------------


def drop(day: date, name: str = "x") -> Drop:
    return Drop("orders", f"orders/{name}_{day}.csv", f"hash of {name} {day}", day, 0.0)


def found(days: Sequence[date], **more: object) -> Pending:
    return replace(Pending(drops=[drop(d) for d in days], dates=sorted(days)), **more)


def run_over(first: str, last: str, assets: Sequence[str] | None = None) -> dg.DagsterRun:
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return dg.DagsterRun(
        "__ASSET_JOB",
        tags=tags,
        asset_selection=frozenset(dg.AssetKey(a.split(".")) for a in assets) if assets else None,
    )


def test_thousands_of_drops_become_few_bounded_ranges():
    """Otherwise a landing zone that is filled at once starts thousands of runs, or one that never ends."""
    days = [date(2010, 1, 1) + timedelta(days=n) for n in range(1000)]
    many = Pending(drops=[drop(d, str(n)) for d in days for n in range(5)], dates=days)
    work = open_work(many, [])
    assert [(w.last - w.first).days + 1 for w in work] == [MAX_DAYS, MAX_DAYS, 1000 - 2 * MAX_DAYS]
    assert sorted(d.path for w in work for d in w.drops) == sorted(d.path for d in many.drops)


def test_the_same_work_has_the_same_mark_and_other_work_another():
    """Otherwise failed work would be tried for ever, or new work be taken for work that was given up."""
    one, two = date(2026, 9, 1), date(2026, 9, 2)
    (mark,) = (w.mark for w in open_work(found([one, two]), []))
    assert [w.mark for w in open_work(found([two, one]), [])] == [mark]
    corrected = found([one, two], drops=[drop(one), replace(drop(two), content_hash="new content")])
    behind = {"gold.daily_sales": "behind gold.sales_lines, which is at version 3"}
    catching_up = found([one, two], drops=[], behind=behind)
    others = (corrected, catching_up, replace(catching_up, behind={"gold.daily_sales": "not yet loaded"}), found([one]))
    assert len({mark, *(w.mark for f in others for w in open_work(f, []))}) == 5
    # Drops that cannot be taken in are the same work, whatever else has become of the tables.
    assert [w.mark for w in open_work(found([one, two], behind=behind), [])] == [mark]


def test_what_a_run_under_way_will_do_is_not_requested_again():
    """Otherwise a backfill and the sensor would take in the same drops, and the slower one would compute for
    nothing.
    """
    days = [date(2026, 9, 1), date(2026, 9, 15)]
    pending = found(days, behind={"gold.daily_sales": "not yet loaded"})
    assert [(w.first, w.last) for w in open_work(pending, [run_over("2026-09-01", "2026-09-05")])] == [
        (days[1], days[1])
    ]
    assert open_work(pending, [run_over("2026-09-01", "2026-09-30")]) == []
    only_gold = run_over("2026-09-01", "2026-09-30", ["gold.daily_sales"])
    assert {d.batch_date for w in open_work(pending, [only_gold]) for d in w.drops} == set(days)


def ended(world: World, status: dg.DagsterRunStatus, tags: Mapping[str, str]) -> None:
    """A run of the sensor that has come to its end."""
    world.instance.create_run_for_job(
        world.definitions.resolve_job_def("load_all"),
        status=status,
        tags=dict(tags),
        remote_job_origin=job_origin(world.definitions, "load_all", "lakehouse_assets", "lakehouse_assets.definitions"),
    )


def test_failures_are_counted_since_the_last_success(world: World):
    """Otherwise work that failed thrice last year, and has come through since, would be given up at its first
    failure.
    """
    work = Work.of(date(2026, 9, 1), date(2026, 9, 1), [drop(date(2026, 9, 1))])
    failed, succeeded = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS
    for status in (failed, failed, failed, succeeded, failed):
        ended(
            world,
            status,
            work.tags("landing_sensor") | {"lakehouse/attempt": str(History(world.instance).attempt(work))},
        )
    assert History(world.instance).failures(work) == 1
    assert History(world.instance).attempt(work) == 6  # a run key is never used twice
    assert History(world.instance).in_a_row == 1


# -- tick by tick ----------------------------------------------------------------------------------------------------


def test_what_lands_is_loaded_once_and_then_nothing_is_asked(landing: Ticker, world: World):
    """Otherwise drops would be loaded twice or not at all, and every tick of a quiet night would wake a warehouse."""
    settling = LakehouseResource.of(world.settings.model_copy(update={"drop_settle_seconds": 3600.0}))
    landing.resources["lakehouse"] = settling
    world.drop(f"orders/orders_{DAYS[0]}.csv", orders(DAYS[0]))
    assert landing.says() == "Nothing to do."  # the files are half written, as far as anybody knows
    del landing.resources["lakehouse"]

    world.drop(f"orders/orders_{DAYS[2]}.csv", orders(DAYS[2]))
    request = landing.request()
    assert span_of(request) == (DAYS[0], DAYS[2])
    assert request.tags["lakehouse/drops"] == "3"
    assert request.tags["lakehouse/sources"] == "fx,orders"
    assert int(request.tags["dagster/priority"]) > 0
    again = landing.request()
    assert again.run_key == request.run_key  # a tick that died after its request makes no second run

    waiting = world.instance.create_run_for_job(
        world.definitions.resolve_job_def("load_all"),
        status=dg.DagsterRunStatus.QUEUED,
        tags=request.tags,
        remote_job_origin=job_origin(world.definitions, "load_all", "lakehouse_assets", "lakehouse_assets.definitions"),
    )
    assert landing.says().startswith(f"Run {waiting.run_id[:8]} is loading")
    world.instance.delete_run(waiting.run_id)

    assert landing.execute(request).success
    assert landing.says() == "Nothing to do."
    landing.resources["handoff"] = NobodyAsks()
    assert landing.says() == "Nothing to do."
    assert against_oracle(world) == ""


def test_a_refused_drop_waits_and_holds_nothing_up(landing: Ticker, world: World):
    """Otherwise one bad file in the night would keep everybody's sales of the day out of Snowflake."""
    for n, day in enumerate(DAYS[:5]):
        world.drop(f"orders/orders_{day}.csv", orders(day, quantity="many" if n == 2 else 6))
    assert not landing.execute(landing.request()).success
    good = {*DAYS[:2], *DAYS[3:5]}
    assert world.materialized("silver.order_lines") == good

    follow_up = landing.request()  # at once: nothing has failed that another try could fix
    assert DAYS[2] not in span_of(follow_up)
    assert landing.execute(follow_up).success
    assert landing.says() == "1 drops that are refused or cannot be read wait for their correction."
    assert {str(r["invoice_date"]) for r in world.snowflake()["gold.daily_sales"].to_pylist()} == good

    world.drop(f"orders/orders_{DAYS[2]}.csv", orders(DAYS[2]))
    correction = landing.request()
    assert span_of(correction) == (DAYS[2], DAYS[2])
    assert landing.execute(correction).success
    assert landing.says() == "Nothing to do."
    assert world.materialized("silver.order_lines") == set(DAYS[:5])
    assert against_oracle(world) == ""


@pytest.mark.heavy
def test_failed_work_comes_again_with_pauses_and_not_for_ever(landing: Ticker, world: World, later: Later):
    """Otherwise an outage of the account would start a run at every tick, or a run that failed once would never come
    again.
    """
    broken = build_definitions(world.settings, **{**world.resources, "snowflake_stage_io": BrokenDoor()})
    world.drop(f"orders/orders_{DAYS[0]}.csv", orders(DAYS[0]))
    assert not landing.execute(landing.request(), broken).success
    assert "the next one starts in" in landing.says()
    later(60)
    request = landing.request()  # the lakehouse is loaded: what is left is other work
    assert request.tags["lakehouse/drops"] == "0"

    world.drop(f"orders/late_{DAYS[0]}.csv", orders(DAYS[0], lines=1, quantity=7))
    keys = []
    for attempt in range(1, ATTEMPTS + 1):
        request = landing.request()
        keys.append(request.run_key)
        ended(world, dg.DagsterRunStatus.FAILURE, request.tags)
        if attempt < ATTEMPTS:  # one run had failed before
            pause = 60 * PAUSES[min(attempt, len(PAUSES) - 1)]
            later(pause - 30)
            assert "the next one starts in" in landing.says()
            later(pause + 30)
    assert len(set(keys)) == ATTEMPTS
    catching_up = landing.request()  # what was given up holds nothing else up: the hand-off that the first run left
    assert catching_up.tags["lakehouse/drops"] == "0"
    assert landing.execute(catching_up).success
    assert f"tried {ATTEMPTS} times" in landing.says()
    later(100_000)
    assert f"tried {ATTEMPTS} times" in landing.says()

    world.drop(f"orders/mended_{DAYS[0]}.csv", orders(DAYS[0], lines=1, quantity=8))  # new work is tried again
    assert landing.execute(landing.request()).success
    assert landing.says() == "Nothing to do."
    assert against_oracle(world) == ""


@pytest.mark.heavy
def test_a_poisonous_drop_is_isolated_and_told(
    landing: Ticker, world: World, later: Later, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    """Otherwise one drop that no run survives would keep the days around it out, and those that land later too; or be
    tried for ever, or without a word.
    """
    for day in DAYS[:4]:
        world.drop(f"orders/orders_{day}.csv", orders(day))
    stage = bronze.stage_bronze

    def poisoned(lakehouse: Any, source: Source, zone: Any, drops: list[Drop], *more: Any) -> Any:
        if any(d.path == f"orders/orders_{DAYS[2]}.csv" for d in drops):
            raise MemoryError("this drop kills whoever reads it")
        return stage(lakehouse, source, zone, drops, *more)

    monkeypatch.setattr(bronze, "stage_bronze", poisoned)
    outcomes = []
    while requests := landing.tick().run_requests:
        outcomes.append((span_of(requests[0]), landing.execute(requests[0]).success))
        assert len(outcomes) < 20, outcomes
        later(1e6 * len(outcomes))
    all_days, late = (DAYS[0], DAYS[3]), (DAYS[2], DAYS[3])
    assert outcomes[:2] == [(all_days, False)] * 2
    assert [span for span, success in outcomes if success] == [(DAYS[0], DAYS[1]), (DAYS[3], DAYS[3])]
    assert outcomes.count((late, False)) == 2
    assert outcomes.count(((DAYS[2], DAYS[2]), False)) == ATTEMPTS
    assert len(outcomes) == 2 + 2 + 2 + ATTEMPTS
    assert f"Batch dates {DAYS[2]} to {DAYS[2]}: tried {ATTEMPTS} times" in landing.says()

    watch = Ticker(world, "watch", {"alert_sink": WebhookSink(url=receiver.url)})
    remember(landing)
    watch.tick()
    assert ("firing", f"given_up:{DAYS[2]}/{DAYS[2]}") in receiver.alerts()

    world.drop(f"orders/orders_{DAYS[4]}.csv", orders(DAYS[4]))
    request = landing.request()
    assert span_of(request) == (DAYS[4], DAYS[4])
    assert landing.execute(request).success
    assert world.materialized("snowflake.daily_sales") == {*DAYS[:2], *DAYS[3:5]}

    monkeypatch.undo()
    world.run()  # somebody has fixed it
    assert landing.says() == "Nothing to do."
    remember(landing)
    watch.tick()
    assert ("resolved", f"given_up:{DAYS[2]}/{DAYS[2]}") in receiver.alerts()
    assert against_oracle(world) == ""


def test_where_every_run_fails_they_are_few(landing: Ticker, world: World, later: Later):
    """Otherwise an engine that is down for a night would start a thousand runs over ever smaller pieces."""
    for day in DAYS:
        world.drop(f"orders/orders_{day}.csv", orders(day))
    runs = 0
    while requests := landing.tick().run_requests:
        ended(world, dg.DagsterRunStatus.FAILURE, requests[0].tags)
        runs += 1
        later(1e6 * runs)
        assert runs < 100
    assert runs <= 12
    assert f"tried {ATTEMPTS} times" in landing.says()


def test_without_snowflake_the_lakehouse_is_loaded(landing: Ticker, world: World, later: Later, receiver: Receiver):
    """Otherwise an outage of Snowflake would keep everything that lands out of the lakehouse too, and nobody be
    told.
    """
    (world.root / "no folder").write_text("")
    reachable = world.resources["snowflake"]
    unreachable = snowflake_resource(mode="embedded", home=world.root / "no folder")
    landing.resources["handoff"] = HandoffResource.of(world.settings, world.resources["lakehouse"], unreachable)
    watch = Ticker(world, "watch", {"alert_sink": WebhookSink(url=receiver.url)})
    world.drop(f"orders/orders_{DAYS[0]}.csv", orders(DAYS[0]))
    request = landing.request()
    assert request.job_name == "lakehouse_only"
    assert landing.execute(request).success
    assert len(world.delta("gold.daily_sales")) == 1
    assert "The Snowflake account cannot be reached" in landing.says()
    remember(landing)
    watch.tick()
    assert receiver.alerts() == [("firing", "account_unreachable:snowflake")]

    landing.resources["handoff"] = NobodyAsks()
    assert "The Snowflake account cannot be reached" in landing.says()  # it is not asked at every tick
    del landing.resources["handoff"]
    later(60 * PAUSES[-1])
    assert world.resources["snowflake"] is reachable
    request = landing.request()
    assert (request.job_name, request.tags["lakehouse/drops"]) == ("load_all", "0")
    assert landing.execute(request).success
    assert landing.says() == "Nothing to do."
    remember(landing)
    watch.tick()
    assert receiver.alerts() == [("resolved", "account_unreachable:snowflake")]
    assert against_oracle(world) == ""


@pytest.mark.heavy
def test_a_withdrawn_drop_is_work(landing: Ticker, world: World):
    """Otherwise a drop that was taken back would stay in the figures until something else lands."""
    for day in DAYS[:2]:
        world.drop(f"orders/orders_{day}.csv", orders(day))
    assert landing.execute(landing.request()).success
    world.withdraw(f"orders/orders_{DAYS[0]}.csv")
    request = landing.request()
    assert span_of(request) == (DAYS[0], DAYS[0])
    assert landing.execute(request).success
    assert {str(r["invoice_date"]) for r in world.snowflake()["gold.daily_sales"].to_pylist()} == {DAYS[1]}
    assert landing.says() == "Nothing to do."


@pytest.mark.heavy
def test_wiping_an_asset_or_reporting_a_materialisation_changes_nothing(landing: Ticker, world: World):
    """Otherwise a click in the UI would load everything again, or take a batch for loaded that is not."""
    world.drop(f"orders/orders_{DAYS[0]}.csv", orders(DAYS[0]))
    assert landing.execute(landing.request()).success
    before = world.state(("bronze", "silver", "gold", "snowflake"))
    keys = [
        dg.AssetKey(["silver", "order_lines"]),
        dg.AssetKey(["gold", "daily_sales"]),
        dg.AssetKey(["snowflake", "sales_lines"]),
    ]
    world.instance.wipe_assets(keys)
    assert landing.says() == "Nothing to do."
    for key in (*keys, dg.AssetKey(["bronze", "landings"])):
        world.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=DAYS[1]))
    assert landing.says() == "Nothing to do."
    assert differences(before, world.state(("bronze", "silver", "gold", "snowflake"))) == ""
    world.drop(f"orders/orders_{DAYS[1]}.csv", orders(DAYS[1]))  # it was reported, and is loaded all the same
    request = landing.request()
    assert span_of(request) == (DAYS[1], DAYS[1])
    assert landing.execute(request).success
    assert landing.says() == "Nothing to do."
    assert against_oracle(world) == ""


@pytest.mark.heavy
def test_a_backfill_and_a_load_of_the_same_days_at_once_end_in_the_right_state(landing: Ticker, world: World):
    """Otherwise who backfills while the sensor loads would find rows missing or doubled."""
    for day in DAYS[:3]:
        world.drop(f"orders/orders_{day}.csv", orders(day))
    request = landing.request()
    with (world.root / "backfill.log").open("w") as log:
        backfill = subprocess.Popen(
            world.command_line("run", "--start", DAYS[0], "--end", DAYS[2]),
            env=world.process_environment(),
            cwd=world.root,
            stdout=log,
            stderr=log,
        )
        try:
            while not (world.root / "tables" / "bronze" / "orders").exists() and backfill.poll() is None:
                time.sleep(0.01)  # it is at work
            landing.execute(request)
            backfill.wait()
        finally:
            backfill.kill()
            backfill.wait()
    while requests := landing.tick().run_requests:  # what one of them left to the other, if anything
        assert landing.execute(requests[0]).success
    assert landing.says() == "Nothing to do."
    assert against_oracle(world) == ""


def test_a_run_whose_process_died_holds_nothing_up(landing: Ticker, world: World):
    """Otherwise a power cut in the night would end all loading until somebody looks."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    run = world.instance.create_run_for_job(
        world.definitions.resolve_job_def("load_all"),
        status=dg.DagsterRunStatus.STARTED,
        remote_job_origin=job_origin(world.definitions, "load_all", "lakehouse_assets", "lakehouse_assets.definitions"),
    )
    assert "is loading" in landing.says()
    world.instance.add_run_tags(
        run.run_id, RunProcess(run.run_id, ProcessIdentity.current()._replace(pid=gone.pid)).tags()
    )
    assert span_of(landing.request()) == ("2026-09-01", "2026-09-01")
    assert [r.status for r in world.instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]


def test_a_tick_over_thousands_of_drops_starts_no_engine(world: World):
    """Otherwise every look at the landing zone would cost the seconds and the memory of an engine."""
    for n in range(3000):
        world.drop(f"orders/shop{n % 10}/orders_{DAYS[n % len(DAYS)]}_{n}.csv", f"{n}")
    world.drop("fx/rates_2026-09-02.csv", rates_csv({"2026-09-02": "0.86"}))
    code = """
import json, sys, time, dagster as dg
from lakehouse_assets.definitions import defs as load

defs = load()
from lakehouse_assets.orchestration.resources import spark
repository = defs.get_repository_def()
sensor = repository.get_sensor_def("landing_sensor")
given = {n: defs.resources[n] for n in ("lakehouse", "handoff")}
seconds = []
for _ in range(2):
    began = time.process_time()
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance, resources=given) as context:
        result = sensor(context)
    seconds.append(time.process_time() - began)
tags = result.run_requests[0].tags
print(json.dumps({"engines": len(spark._sessions), "sail": "pysail" in sys.modules, "drops": tags["lakehouse/drops"], "seconds": seconds}))
"""  # noqa: E501
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=world.process_environment(LAKEHOUSE_DROP_SETTLE_SECONDS="0"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    print(said)
    assert (said["engines"], said["sail"], said["drops"]) == (0, False, "3002")


def test_the_sensor_is_off_until_somebody_switches_it_on(world: World):
    """Otherwise opening the UI on a laptop would start loading."""
    repository = world.definitions.get_repository_def()
    assert repository.get_sensor_def("landing_sensor").default_status == dg.DefaultSensorStatus.STOPPED
    assert {s.default_status for s in repository.schedule_defs} == {dg.DefaultScheduleStatus.STOPPED}


@pytest.mark.parametrize("job", ["lakehouse_only", "handoff_only", "replay_quarantine", "load_all"])
def test_jobs_span_days_in_one_run(job: str, world: World):
    """Otherwise a backfill of a year would start 365 processes."""
    layer = world.definitions.resolve_job_def(job).asset_layer
    policies = {layer.get(key).backfill_policy for key in layer.selected_asset_keys}
    assert policies == {dg.BackfillPolicy.single_run()}


@pytest.mark.parametrize(
    "cursor",
    [
        "{not json",
        "[1, 2]",
        "null",
        '"text"',
        "3",
        '{"seen": null, "asked": "x"}',
        '{"given_up": []}',
        '{"asked": true, "in_vain": {}}',
        "[" * 100_000,
    ],
)
def test_a_cursor_of_any_shape_starts_over_with_a_reason(cursor: str):
    """A cursor that somebody set by hand stopped the sensor at every tick."""
    memory = Memory(cursor)
    assert memory.lost
    assert memory.lost.endswith("it is started over.")
    assert Memory(memory.text()).lost is None
    complaints: list[str] = []
    assert reported_before(cursor, complaints.append) == {}
    assert complaints


def test_a_cursor_of_its_own_is_read_as_it_was_written():
    """Otherwise the sensor would forget at every tick what it has given up."""
    memory = Memory(None)
    assert memory.lost is None
    memory.given_up, memory.asked, memory.unreachable = {"2026-09-01/2026-09-01": "tried"}, 5.0, "no network"
    assert vars(Memory(memory.text())) == vars(memory)
