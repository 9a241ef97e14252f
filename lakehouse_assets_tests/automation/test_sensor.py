"""The landing sensor, tick by tick on a real instance; its runs are real ones."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta

import dagster as dg
import pytest

from lakehouse_assets.automation.pending import Pending
from lakehouse_assets.automation.sensor import ATTEMPTS, MAX_DAYS, PAUSES, open_work
from lakehouse_assets.definitions import build_definitions
from lakehouse_assets.instance.processes import RunProcess
from lakehouse_assets.instance.runs import job_origin
from lakehouse_assets.resources.lakehouse import LakehouseResource
from lakehouse_assets.sources.landing import Drop
from lakehouse_assets_tests.automation.conftest import DAYS, Ticker, orders
from lakehouse_assets_tests.pipeline.world import World, against_oracle, rates_csv

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


# -- what is requested ------------------------------------------------------------------------------------------------------------------


def drop(day: date, name: str = "x") -> Drop:
    return Drop("orders", f"orders/{name}_{day}.csv", f"hash of {name} {day}", day, 0.0)


def found(days: Sequence[date], **more: object) -> Pending:
    return replace(Pending(drops=[drop(d) for d in days], dates=sorted(days)), **more)


def run_over(first: str, last: str, assets: Sequence[str] | None = None) -> dg.DagsterRun:
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return dg.DagsterRun("__ASSET_JOB", tags=tags, asset_selection=frozenset(dg.AssetKey(a.split(".")) for a in assets) if assets else None)


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
    behind = found([one, two], behind={"gold.daily_sales": "behind gold.sales_lines, which is at version 3"})
    assert len({mark, *(w.mark for f in (corrected, behind, found([one])) for w in open_work(f, []))}) == 4


def test_what_a_run_under_way_will_do_is_not_requested_again():
    """Otherwise a backfill and the sensor would take in the same drops, and the slower one would compute for nothing."""
    days = [date(2026, 9, 1), date(2026, 9, 15)]
    pending = found(days, behind={"gold.daily_sales": "not yet loaded"})
    assert [(w.first, w.last) for w in open_work(pending, [run_over("2026-09-01", "2026-09-05")])] == [(days[1], days[1])]
    assert open_work(pending, [run_over("2026-09-01", "2026-09-30")]) == []
    only_gold = run_over("2026-09-01", "2026-09-30", ["gold.daily_sales"])
    assert {d.batch_date for w in open_work(pending, [only_gold]) for d in w.drops} == set(days)


# -- tick by tick -----------------------------------------------------------------------------------------------------------------------


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

    follow_up = landing.request()  # at once: nothing has failed that another try could mend
    assert DAYS[2] not in span_of(follow_up)
    assert landing.execute(follow_up).success
    assert landing.says() == "1 refused drops wait for their correction."
    assert {str(r["invoice_date"]) for r in world.snowflake()["gold.daily_sales"].to_pylist()} == good

    world.drop(f"orders/orders_{DAYS[2]}.csv", orders(DAYS[2]))
    correction = landing.request()
    assert span_of(correction) == (DAYS[2], DAYS[2])
    assert landing.execute(correction).success
    assert landing.says() == "Nothing to do."
    assert world.materialized("silver.order_lines") == set(DAYS[:5])
    assert against_oracle(world) == ""


def test_failed_work_comes_again_with_pauses_and_not_for_ever(landing: Ticker, world: World, later: Later):
    """Otherwise an outage of the account would start a run at every tick, or a run that failed once would never come again."""
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
        world.instance.create_run_for_job(
            world.definitions.resolve_job_def("load_all"),
            status=dg.DagsterRunStatus.FAILURE,
            tags=request.tags,
            remote_job_origin=job_origin(world.definitions, "load_all", "lakehouse_assets", "lakehouse_assets.definitions"),
        )
        if attempt < ATTEMPTS:  # one run had failed before
            pause = 60 * PAUSES[min(attempt, len(PAUSES) - 1)]
            later(pause - 30)
            assert "the next one starts in" in landing.says()
            later(pause + 30)
    assert len(set(keys)) == ATTEMPTS
    assert f"tried {ATTEMPTS} times" in landing.says()
    later(100_000)
    assert f"tried {ATTEMPTS} times" in landing.says()

    world.drop(f"orders/mended_{DAYS[0]}.csv", orders(DAYS[0], lines=1, quantity=8))  # new work is tried again
    assert landing.execute(landing.request()).success
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
    world.instance.add_run_tags(run.run_id, RunProcess.current(run.run_id)._replace(pid=gone.pid).tags())
    assert span_of(landing.request()) == ("2026-09-01", "2026-09-01")
    assert [r.status for r in world.instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]


def test_a_tick_over_thousands_of_drops_starts_no_engine(world: World):
    """Otherwise every look at the landing zone would cost the seconds and the memory of an engine."""
    for n in range(3000):
        world.drop(f"orders/shop{n % 10}/orders_{DAYS[n % len(DAYS)]}_{n}.csv", f"{n}")
    world.drop("fx/rates_2026-09-02.csv", rates_csv({"2026-09-02": "0.86"}))
    code = """
import json, sys, time, dagster as dg
from lakehouse_assets.definitions import defs
from lakehouse_assets.resources import spark
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
"""
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
