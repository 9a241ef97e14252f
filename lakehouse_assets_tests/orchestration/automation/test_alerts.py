"""The watch, tick by tick, with a real receiver of webhooks."""

import json
import sys
from datetime import UTC, date, datetime
from typing import Any, get_args

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

from lakehouse_assets.definitions import build_definitions
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.automation.alerts import look
from lakehouse_assets.orchestration.automation.sinks import Alert, Kind, LogSink, ServicesSink, WebhookSink, sink, text
from lakehouse_assets.orchestration.instance.runs import job_origin
from lakehouse_assets.settings import Settings
from lakehouse_assets_tests.orchestration.automation.conftest import DAYS, Receiver, Ticker, orders
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import ROOT, World, rates_csv


@pytest.fixture(scope="module")
def loaded(make_world: NewWorld) -> World:
    """A day that has been loaded."""
    world = make_world()
    world.drop("fx/rates_2026-09-01.csv", rates_csv({"2026-09-01": "0.85"}))
    world.drop(f"orders/orders_{DAYS[0]}.csv", orders(DAYS[0]))
    world.run()
    return world


@pytest.fixture
def watch(loaded: World, receiver: Receiver) -> Ticker:
    ticker = Ticker(loaded, "watch", {"alert_sink": WebhookSink(url=receiver.url)})
    assert ticker.says() == "Wrong now: nothing."
    assert receiver.alerts() == []
    return ticker


def test_a_refused_drop_is_told_once_and_once_that_it_is_over(watch: Ticker, loaded: World, receiver: Receiver):
    """Otherwise a day's sales would be missing without anybody knowing, or everybody would learn to ignore the
    alerts.
    """
    loaded.drop(f"orders/orders_{DAYS[1]}.csv", orders(DAYS[1], quantity="many"))
    loaded.drop("orders/orders_2099-01-01.csv", orders(DAYS[1]))
    loaded.run()
    watch.tick()
    (message,) = receiver.taken
    told = dict((key.partition("@")[0], status) for status, key in receiver.alerts())
    assert told == {
        f"drop_refused:orders/orders_{DAYS[1]}.csv": "firing",
        "drop_not_taken_in:orders/orders_2099-01-01.csv": "firing",
    }  # and no failed run: that a run over a refused drop fails is no news
    assert "quantity.type" in message["text"]
    assert "docs/operations.md#drop-refused" in message["text"]
    watch.tick()
    assert receiver.alerts() == []

    (loaded.landing / "orders/orders_2099-01-01.csv").unlink()
    loaded.drop(f"orders/orders_{DAYS[1]}.csv", orders(DAYS[1]))
    loaded.run()
    watch.tick()
    assert sorted((status, key.partition("@")[0]) for status, key in receiver.alerts()) == [
        ("resolved", "drop_not_taken_in:orders/orders_2099-01-01.csv"),
        ("resolved", f"drop_refused:orders/orders_{DAYS[1]}.csv"),
    ]


def test_a_failed_run_is_told_until_it_is_made_good(watch: Ticker, loaded: World, receiver: Receiver):
    """Otherwise a load that failed overnight would be noticed by the people who read its tables."""

    class Broken(dg.ConfigurableIOManager):
        def handle_output(self, context: dg.OutputContext, obj: object) -> None:
            raise ConnectionError("the account cannot be reached")

        def load_input(self, context: dg.InputContext) -> Any: ...

    broken = build_definitions(loaded.settings, **{**loaded.resources, "snowflake_stage_io": Broken()})
    sensor = Ticker(loaded, "landing_sensor")
    loaded.drop(f"orders/orders_{DAYS[2]}.csv", orders(DAYS[2]))
    assert not sensor.execute(sensor.request(), broken).success
    watch.tick()
    (message,) = receiver.taken
    assert receiver.alerts() == [("firing", "run_failed:load_all")]
    assert "the account cannot be reached" in message["text"]

    loaded.run(select=["gold.daily_sales"], force=["gold.daily_sales"])  # a success, but of something else
    watch.tick()
    assert receiver.alerts() == []
    loaded.run()
    watch.tick()
    assert receiver.alerts() == [("resolved", "run_failed:load_all")]


def test_a_run_that_died_is_told_until_a_whole_load_succeeds(watch: Ticker, loaded: World, receiver: Receiver):
    """Otherwise a load that was killed, and so has no failed step, would go unnoticed, or be told for ever."""
    died = loaded.instance.create_run_for_job(
        loaded.definitions.resolve_job_def("lakehouse_only"),
        status=dg.DagsterRunStatus.FAILURE,
        remote_job_origin=job_origin(
            loaded.definitions, "lakehouse_only", "lakehouse_assets", "lakehouse_assets.definitions"
        ),
    )
    watch.tick()
    (message,) = receiver.taken
    assert receiver.alerts() == [("firing", "run_failed:lakehouse_only")]
    assert died.run_id[:8] in message["text"]
    loaded.run(force=["gold.daily_sales"])
    watch.tick()
    assert receiver.alerts() == [("resolved", "run_failed:lakehouse_only")]


def test_a_failure_is_not_made_good_while_drops_of_its_days_wait(watch: Ticker, loaded: World, receiver: Receiver):
    """Otherwise a load of the whole month that failed would be taken for cured by the load of a later day."""
    path = f"orders/orders_{DAYS[4]}.csv"
    loaded.instance.create_run_for_job(
        loaded.definitions.resolve_job_def("load_all"),
        status=dg.DagsterRunStatus.FAILURE,
        tags={"dagster/asset_partition_range_start": DAYS[3], "dagster/asset_partition_range_end": DAYS[5]},
        remote_job_origin=job_origin(
            loaded.definitions, "load_all", "lakehouse_assets", "lakehouse_assets.definitions"
        ),
    )
    loaded.drop(path, orders(DAYS[4]))
    loaded.drop(f"orders/orders_{DAYS[8]}.csv", orders(DAYS[8]))
    later = date.fromisoformat(DAYS[8])
    assert loaded.run(start=later, end=later).runs
    watch.tick()
    assert receiver.alerts() == [("firing", "run_failed:load_all")]
    (loaded.landing / path).unlink()  # nothing of its days waits any more: the later load has made good what there was
    watch.tick()
    assert receiver.alerts() == [("resolved", "run_failed:load_all")]


def test_two_failing_checks_of_a_table_are_two_troubles(watch: Ticker, loaded: World, receiver: Receiver):
    """Otherwise the second would not be told, and the first not be resolved."""
    key = dg.AssetKey(["gold", "sales_lines"])

    def record(passed: bool, *names: str) -> None:
        for name in names:
            loaded.instance.report_runless_asset_event(dg.AssetCheckEvaluation(key, name, passed, {}))

    record(False, "live_table_keeps_contract", "whole_table_keeps_rules")
    watch.tick()
    keys = [
        f"check_failed:gold/sales_lines:{name}" for name in ("live_table_keeps_contract", "whole_table_keeps_rules")
    ]
    assert sorted(receiver.alerts()) == [("firing", key) for key in keys]
    record(True, "whole_table_keeps_rules")
    watch.tick()
    assert receiver.alerts() == [("resolved", keys[1])]
    record(True, "live_table_keeps_contract")
    watch.tick()
    assert receiver.alerts() == [("resolved", keys[0])]


def test_every_kind_of_alert_leads_to_a_section_of_the_runbook():
    """Otherwise who is woken at night would follow a link to nowhere."""
    alerts = (ROOT / "docs" / "operations.md").read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
    lines = alerts.splitlines()
    headings = {line.removeprefix("### ").lower().replace(" ", "-") for line in lines if line.startswith("### ")}
    anchors = {Alert("key", kind, "summary", 0.0).runbook.partition("#")[2] for kind in get_args(Kind)}
    assert anchors == headings


def test_a_difference_between_lakehouse_and_snowflake_is_told(watch: Ticker, loaded: World, receiver: Receiver):
    """Otherwise finance would report from rows that somebody changed in the warehouse."""

    def reconcile() -> None:
        job = loaded.definitions.resolve_job_def("reconcile")
        job.execute_in_process(instance=loaded.instance, raise_on_error=False)

    loaded.cursor_do("UPDATE {db}.ANALYTICS.DAILY_SALES SET ORDERS = ORDERS + 1")
    reconcile()
    watch.tick()
    assert receiver.alerts() == [("firing", "reconciliation_mismatch:snowflake/daily_sales")]
    assert loaded.command("verify", "--repair").returncode == 0
    watch.tick()
    assert receiver.alerts() == []  # nobody has proven it yet
    reconcile()
    watch.tick()
    assert receiver.alerts() == [("resolved", "reconciliation_mismatch:snowflake/daily_sales")]


def test_a_table_that_is_late_is_told(watch: Ticker, loaded: World, receiver: Receiver):
    """Otherwise a sensor that was switched off and forgotten would look like a quiet week."""
    key = dg.AssetKey(["snowflake", "daily_sales"])
    for state, told in ((FreshnessState.WARN, "firing"), (FreshnessState.PASS, "resolved")):
        change = FreshnessStateChange(
            key=key,
            previous_state=FreshnessState.UNKNOWN,
            new_state=state,
            state_change_timestamp=datetime.now(UTC).timestamp(),
        )
        loaded.instance._report_runless_asset_event(asset_event=change)
        watch.tick()
        assert receiver.alerts() == [(told, "not_fresh:snowflake/daily_sales")]


def test_what_users_read_has_a_freshness_policy_and_nothing_else(loaded: World):
    """Otherwise a table that is late would not be shown as late, or an intermediate table would ring at night."""
    assert {spec.key.path[0] for spec in loaded.definitions.resolve_all_asset_specs() if spec.freshness_policy} == {
        "snowflake"
    }


def test_news_that_could_not_be_delivered_comes_again(watch: Ticker, loaded: World, receiver: Receiver):
    """Otherwise a restart of the chat server would swallow the one message about a refused drop."""
    loaded.drop("orders/orders_2098-01-01.csv", orders(DAYS[1]))
    receiver.status = 503
    with pytest.raises(LakehouseError, match="answered 503") as caught:
        watch.tick()
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    receiver.status = 200
    watch.tick()
    assert receiver.alerts() == [("firing", "drop_not_taken_in:orders/orders_2098-01-01.csv")]
    (loaded.landing / "orders/orders_2098-01-01.csv").unlink()


def test_an_unreachable_webhook_does_not_tell_its_address():
    """Otherwise whoever reads the log of a tick could post to the channel."""
    for url in ("http://127.0.0.1:9/hooks/s3cret", "no address/s3cret"):
        with pytest.raises(LakehouseError) as caught:
            WebhookSink(url=url).tell(None, [Alert("k", "run_failed", "x", 0.0)], [])
        assert "s3cret" not in str(caught.value)


NEWS = [Alert("run_failed:load_all", "run_failed", "It failed: *all* of <it>.", 0.0)]


def test_services_of_apprise_are_sent_what_began_and_what_is_over(receiver: Receiver):
    """A team that lives in a chat or is called by a pager would read the log of a sensor."""
    address = receiver.url.replace("http://", "json://")
    ServicesSink(urls=f"{address}?x=1  {address}?x=2").tell(None, NEWS, [])
    assert [(m["title"], m["message"]) for m in receiver.taken] == [("Lakehouse alerts", text(NEWS, []))] * 2
    ServicesSink(urls=address).tell(None, [], NEWS)
    assert receiver.taken[-1]["title"] == "Lakehouse: resolved"


def test_a_service_that_fails_is_named_without_its_address(receiver: Receiver, caplog: pytest.LogCaptureFixture):
    """What is not delivered is sent again; whoever reads of it may not learn where it goes."""
    receiver.status = 500
    address = receiver.url.replace("http://", "json://mark:s3cret@")
    with pytest.raises(
        LakehouseError, match=r"address 1 is none that Apprise knows; JSON \(address 2\) did not take"
    ) as caught:
        ServicesSink(urls=f"slakc://s3cret {address}").tell(None, NEWS, [])
    assert "s3cret" not in f"{caught.value} {caplog.text}"


def test_without_the_package_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    """An extra that is missing is no traceback."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(LakehouseError, match=r"pip install 'lakehouse_assets\[alerts\]'"):
        ServicesSink(urls="json://localhost").tell(None, NEWS, [])


def test_alerts_go_to_one_place():
    """Two places would each be told again whenever the other fails."""
    assert isinstance(sink(Settings(alert_services="json://localhost")), ServicesSink)
    with pytest.raises(LakehouseError, match="both set; keep one"):
        sink(Settings(alert_services="json://localhost", alert_webhook="http://localhost"))


def test_where_it_cannot_look_nothing_is_taken_for_cured():
    """Otherwise a lakehouse that cannot be read would resolve every alert about it."""
    told = {
        "drop_refused:a": Alert("drop_refused:a", "drop_refused", "a", 1.0),
        "not_fresh:b": Alert("not_fresh:b", "not_fresh", "b", 1.0),
    }
    complaints: list[str] = []

    def unreadable() -> list[Alert]:
        raise OSError("disk")

    found = look({"drop_refused,drop_not_taken_in": unreadable, "not_fresh": list}, told, complaints.append)
    assert set(found) == {"drop_refused:a", "cannot_look:drop_refused,drop_not_taken_in"}
    assert "disk" in complaints[0]


def test_many_troubles_make_one_message_of_bounded_length():
    """Otherwise a bad delivery of a thousand files would flood the channel, or be cut off by it."""
    many = [Alert(f"drop_refused:{n}", "drop_refused", f"Drop {n} is refused.", 0.0) for n in range(1000)]
    assert len(text(many, []).splitlines()) == 21
    assert text(many, []).endswith("And 980 more.")


def test_without_a_webhook_alerts_go_to_the_log(loaded: World):
    """Otherwise who has set up nothing would be told nothing."""
    said: list[str] = []
    log = type("Log", (), {"warning": staticmethod(said.append)})
    LogSink().tell(log, [Alert("run_failed:load_all", "run_failed", "It failed.", 0.0)], [])
    assert said == [f"ALERT run_failed: It failed. See {Alert('', 'run_failed', '', 0.0).runbook}."]
    assert isinstance(loaded.resources["alert_sink"], LogSink)


def test_the_cursor_survives_as_text(watch: Ticker, loaded: World, receiver: Receiver):
    """Otherwise a restart of the daemon would tell everything again, and never say that it is over."""
    path, key = "orders/orders_2097-01-01.csv", "drop_not_taken_in:orders/orders_2097-01-01.csv"
    loaded.drop(path, orders(DAYS[1]))
    watch.tick()
    assert receiver.alerts() == [("firing", key)]
    held = json.loads(watch.cursor or "")
    assert list(held) == [key]
    assert (held[key]["key"], held[key]["kind"]) == (key, "drop_not_taken_in")
    restarted = Ticker(loaded, "watch", watch.resources, watch.cursor)
    restarted.tick()
    assert receiver.alerts() == []
    (loaded.landing / path).unlink()
    restarted.tick()
    assert receiver.alerts() == [("resolved", key)]
    assert json.loads(restarted.cursor or "") == {}
