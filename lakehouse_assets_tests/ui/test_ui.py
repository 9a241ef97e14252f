"""What a person does in the UI, done in the UI."""

import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from lakehouse_assets_tests.orchestration.instance.conftest import wait_for
from lakehouse_assets_tests.ui.conftest import BATCHES, CANARIES, Site, day

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[[str], "Page"]
GOLD = "gold.daily_sales"


def test_the_run_of_the_command_is_shown_and_can_be_made_again(site: Site, open_page: Open):
    """Otherwise a load that the command made overnight could not be looked at, or taken up, where everybody looks."""
    page = open_page("/runs")
    page.get_by_text(site.first_run[:8]).first.wait_for()
    page = open_page(f"/runs/{site.first_run}")
    page.get_by_text("silver__order_lines").first.wait_for()
    before = site.run_ids()
    page.get_by_role("button", name=re.compile("Re-execute all")).click()
    again = site.new_run(before)
    assert site.ended(again) == dg.DagsterRunStatus.SUCCESS, site.log.read_text()
    assert site.run(again).parent_run_id == site.first_run
    assert site.run(again).tags["dagster/asset_partition_range_end"] == day(1)
    assert site.green(GOLD) == {day(0), day(1)}


def test_one_day_is_materialised_by_hand(site: Site, open_page: Open):
    """Otherwise the first thing that anybody does in the UI would fail."""
    page = open_page("/asset-groups")
    page.get_by_role("button", name=re.compile("Materialize all")).click()
    dialog = page.get_by_role("dialog")
    field = dialog.get_by_role("textbox").first
    field.fill(day(2))
    field.press("Enter")
    before = site.run_ids()
    dialog.get_by_role("button", name=re.compile("Launch")).click()
    made = site.new_run(before)
    assert site.ended(made) == dg.DagsterRunStatus.SUCCESS, site.log.read_text()
    assert site.green("snowflake.daily_sales") >= {day(2)}
    assert day(2) in site.python(
        "-m", "lakehouse_assets.cli", "sql", "SELECT DISTINCT invoice_date FROM ANALYTICS.DAILY_SALES"
    )


def test_a_backfill_of_thirty_days_is_one_run(site: Site, open_page: Open):
    """Otherwise a month would start thirty processes, each of which starts an engine."""
    before = site.run_ids()
    days = [day(n) for n in range(2, BATCHES)]
    backfill = site.backfill({"assetSelection": site.assets(), "partitionNames": days, "tags": []})
    made = site.new_run(before, **{"dagster/backfill": backfill})
    assert site.ended(made) == dg.DagsterRunStatus.SUCCESS, site.log.read_text()
    run = site.run(made)
    assert (run.tags["dagster/asset_partition_range_start"], run.tags["dagster/asset_partition_range_end"]) == (
        days[0],
        days[-1],
    )
    assert len(days) == 30
    assert site.run_ids() - before == {made}
    assert site.green("snowflake.daily_sales") == {day(n) for n in range(BATCHES)}
    assert "equal" in site.python("-m", "lakehouse_assets.cli", "verify")
    page = open_page(f"/runs/b/{backfill}")
    page.get_by_text("Completed").first.wait_for()


def test_a_year_is_backfilled_from_the_dialog_in_one_run(site: Site, open_page: Open):
    """Otherwise a new lakehouse would take a night to load its history, a process a day, or the UI would give up on so
    many days.
    """
    first, last = date(2025, 9, 1), date(2026, 8, 31)
    page = open_page("/asset-groups")
    page.get_by_role("button", name=re.compile("Materialize all")).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Show all partitions").click()
    field = dialog.get_by_role("textbox").first
    field.fill(f"[{first}...{last}]")
    field.press("Enter")
    dialog.get_by_text("365 partitions").first.wait_for()
    before = site.run_ids()
    dialog.get_by_role("button", name=re.compile("Launch backfill")).click()
    made = site.new_run(before)
    assert site.ended(made) == dg.DagsterRunStatus.SUCCESS, site.log.read_text()
    assert site.run_ids() - before == {made}
    days = {(first + timedelta(days=n)).isoformat() for n in range(365)}
    for asset in ("bronze.orders", GOLD, "snowflake.daily_sales"):
        assert site.green(asset) >= days, asset


def test_a_failed_run_is_taken_up_from_its_failure(site: Site, open_page: Open):
    """Otherwise whoever has fixed a cause would have to load everything again, or to know which tables were left."""
    sent = next(site.landing.glob("orders/**/*.csv"))
    line = sent.read_text().splitlines()[1].replace("2026-", "2025-", 1)
    (site.landing / "orders" / f"orders_{day(5)}_more.csv").write_text(sent.read_text().splitlines()[0] + f"\n{line}\n")
    with site.account() as cursor:
        cursor.execute("ALTER TABLE ANALYTICS.DAILY_SALES RENAME COLUMN units TO pieces")  # somebody's hand
    before = site.run_ids()
    site.backfill({"assetSelection": site.assets(), "partitionNames": [day(5)], "tags": []})
    failing = site.new_run(before)
    assert site.ended(failing) == dg.DagsterRunStatus.FAILURE
    with site.account() as cursor:
        cursor.execute("ALTER TABLE ANALYTICS.DAILY_SALES RENAME COLUMN pieces TO units")
    page = open_page(f"/runs/{failing}")
    before = site.run_ids()
    # the menu beside it
    page.get_by_role("button", name=re.compile("Re-execute all")).locator("xpath=following::button[1]").click()
    page.get_by_role("menuitem").get_by_text("From failure", exact=True).click()
    again = site.new_run(before)
    assert site.ended(again) == dg.DagsterRunStatus.SUCCESS, site.log.read_text()
    assert site.run(again).parent_run_id == failing
    done = {event.step_key for event in site.instance.all_logs(again, of_type=dg.DagsterEventType.STEP_SUCCESS)}
    assert "snowflake__daily_sales" in done
    assert not {step for step in done if step and step.startswith(("bronze", "silver", "gold"))}
    assert "DIFFERS" not in site.python("-m", "lakehouse_assets.cli", "verify")


@pytest.mark.parametrize("step", ["silver__order_lines", "gold__sales_lines", "snowflake__sales_lines"])
def test_what_is_terminated_in_the_ui_is_finished_by_the_next_run(site: Site, open_page: Open, step: str):
    """Otherwise whoever stops a load that hinders others would leave half of it behind."""
    number = {"silver__order_lines": 6, "gold__sales_lines": 7, "snowflake__sales_lines": 8}[step]
    site.land_many(day(number), 60_000)
    before = site.run_ids()
    site.backfill({"assetSelection": site.assets(), "partitionNames": [day(number)], "tags": []})
    run = site.new_run(before)
    page = open_page(f"/runs/{run}")
    button = page.get_by_role("button").get_by_text("Terminate", exact=True)
    button.wait_for()
    begun = dg.DagsterEventType.STEP_START
    wait_for(lambda: step in {e.step_key for e in site.instance.all_logs(run, of_type=begun)}, f"{step} to start", 120)
    button.click()
    page.get_by_role("dialog").get_by_role("button", name=re.compile("Terminate")).click()
    assert site.ended(run) == dg.DagsterRunStatus.CANCELED
    assert not site.settled()
    site.python("-m", "lakehouse_assets.cli", "run", "--quiet")
    assert site.settled()


def test_a_backfill_that_is_cancelled_is_resumed_by_the_next_one(site: Site, open_page: Open):
    """Otherwise a backfill that came at the wrong hour could not be stopped, or could not be had later."""
    site.land_many(day(9), 300_000)
    params = {"assetSelection": site.assets(), "partitionNames": [day(n) for n in range(BATCHES)], "tags": []}
    before = site.run_ids()
    backfill = site.backfill(params)
    page = open_page(f"/runs/b/{backfill}")
    page.get_by_text("bronze / orders").first.wait_for()
    run = site.new_run(before)
    wait_for(lambda: site.run(run).status == dg.DagsterRunStatus.STARTED, "the run to start", 120)
    page.get_by_role("button").last.click()  # the menu of the backfill
    page.get_by_role("menuitem").get_by_text("Cancel backfill").click()
    page.get_by_role("dialog").get_by_role("button").get_by_text("Cancel backfill").click()
    # The daemon cancels runs at its next tick; one that is through by then has done no harm either.
    assert site.ended(run) in (dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.SUCCESS)
    wait_for(lambda: site.backfill_status(backfill) not in ("REQUESTED", "CANCELING"), "the end of the backfill", 120)
    assert site.backfill_status(backfill) == "CANCELED"
    before = site.run_ids()
    site.backfill(params)
    assert site.ended(site.new_run(before)) == dg.DagsterRunStatus.SUCCESS, site.log.read_text()
    assert site.settled()


def test_wiping_and_reporting_harm_nothing(site: Site, open_page: Open):
    """Otherwise a click that only tidies up in Dagster would lose rows, or make the next load believe that they are
    there.
    """
    wipe = "mutation($r: [PartitionsByAssetSelector!]!) { wipeAssets(assetPartitionRanges: $r) { __typename } }"
    assert (
        site.ask(wipe, r=[{"assetKey": {"path": ["gold", "daily_sales"]}}])["wipeAssets"]["__typename"]
        == "AssetWipeSuccess"
    )
    assert site.green(GOLD) == set()
    assert site.settled()
    (site.landing / "orders" / f"orders_{day(10)}_more.csv").write_text(
        next(site.landing.glob("orders/**/*.csv")).read_text()
    )
    report = (
        "mutation($p: ReportRunlessAssetEventsParams!) { reportRunlessAssetEvents(eventParams: $p) { __typename } }"
    )
    keys = [asset["path"] for asset in site.assets()]
    for path in keys:
        event = {"eventType": "ASSET_MATERIALIZATION", "assetKey": {"path": path}, "partitionKeys": [day(10)]}
        assert site.ask(report, p=event)["reportRunlessAssetEvents"]["__typename"] == "ReportRunlessAssetEventsSuccess"
    assert not site.settled()  # the drop is pending, whatever was reported
    site.python("-m", "lakehouse_assets.cli", "run", "--quiet")
    assert site.settled()


def test_checks_and_numbers_are_shown(site: Site, open_page: Open):
    """Otherwise nobody could see in the UI what was loaded and how good it is."""
    page = open_page("/assets/silver/order_lines?view=checks")
    for name in ("complete", "readable", "valid", "unique"):
        page.get_by_text(name, exact=True).first.wait_for()
    page.get_by_text("bad_share").first.wait_for()
    # a day of the run without a verdict would make every check look skipped
    assert page.get_by_text("Skipped").count() == 0
    page = open_page("/assets/gold/daily_sales")
    for said in ("gross_sales", "run/rows_inserted", "delta_version"):
        page.get_by_text(said, exact=True).first.wait_for()
    page = open_page("/assets/snowflake/daily_sales")
    for said in ("run/bytes", "run/handoff_id"):
        page.get_by_text(said, exact=True).first.wait_for()


def test_the_sensor_loads_what_lands(site: Site):
    """Otherwise a night's drops would wait for somebody to come to work."""
    before = site.run_ids()
    site.switch_on("landing_sensor")
    sent = next(site.landing.glob("orders/**/*.csv"))
    (sent.parent / f"orders_{day(3)}_late.csv").write_bytes(sent.read_bytes())  # a re-delivery, late
    made = site.new_run(before, **{"lakehouse/trigger": "landing_sensor"})
    assert site.ended(made) == dg.DagsterRunStatus.SUCCESS, site.log.read_text()
    assert site.run(made).tags["lakehouse/span"] == f"{day(3)}/{day(3)}"
    assert "Nothing is pending." in site.python("-m", "lakehouse_assets.cli", "status")


@pytest.mark.heavy
def test_a_run_survives_the_death_of_all_servers(site: Site):
    """Otherwise a restart of the machine would leave a run that never ends, and whatever it was loading would be
    lost.
    """
    sent = next(site.landing.glob("orders/**/*.csv"))
    (sent.parent / f"orders_{day(4)}_late.csv").write_bytes(sent.read_bytes())
    before = site.run_ids()
    dying = site.new_run(before)
    wait_for(lambda: site.run(dying).status == dg.DagsterRunStatus.STARTED, "the run to start", 120)
    site.kill()
    site.start()
    # the watch, or the sensor, has found that its process is gone
    assert site.ended(dying) == dg.DagsterRunStatus.FAILURE
    made = site.new_run({*before, dying})
    assert site.ended(made) == dg.DagsterRunStatus.SUCCESS, site.log.read_text()
    assert "Nothing is pending." in site.python("-m", "lakehouse_assets.cli", "status")


def test_no_secret_is_seen_anywhere(site: Site):
    """Otherwise whoever may look at the UI, or at a copy of its storage, could log in to the warehouse."""
    everything = """{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name }
        allTopLevelResourceDetails { name configuredValues { key value type } configFields { name description defaultValueAsJson } } } } } }"""  # noqa: E501
    nodes = site.ask(everything)["repositoriesOrError"]["nodes"]
    assert {n["location"]["name"] for n in nodes} == {"lakehouse_assets", "real_account"}
    shown = {
        v["key"]: v
        for n in nodes
        if n["location"]["name"] == "real_account"
        for r in n["allTopLevelResourceDetails"]
        for v in r["configuredValues"]
    }
    assert shown["password"]["type"] == "ENV_VAR"
    assert shown["password"]["value"] == "SNOWFLAKE_PASSWORD"
    seen = [str(nodes)]

    launch = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) { __typename ... on LaunchRunSuccess { run { runId } }
        ... on PythonError { message } ... on RunConfigValidationInvalid { errors { message } } } }"""  # noqa: E501
    selector = {"repositoryLocationName": "real_account", "repositoryName": "__repository__", "jobName": "maintenance"}
    params = {"selector": selector, "runConfigData": {}, "mode": "default"}
    launched = site.ask(launch, p=params)["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id = launched["run"]["runId"]
    assert site.ended(run_id) == dg.DagsterRunStatus.FAILURE
    logs = """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { __typename ... on MessageEvent { message }
        ... on ExecutionStepFailureEvent { error { message stack causes { message stack } } } } } }
        runOrError(runId: $id) { ... on Run { runConfigYaml tags { key value } } } }"""  # noqa: E501
    said = str(site.ask(logs, id=run_id))
    assert "private key" in said.lower() or "SNOWFLAKE" in said  # it failed at the login
    seen.append(said)

    found = [f"GraphQL: {name}" for name, secret in CANARIES.items() for text in seen if secret in text]
    files = [f for f in site.folder.rglob("*") if f.is_file() and f.name != ".env"]
    assert any(f.name == "index.db" for f in files)
    found += [f"{f}: {name}" for f in files for name, secret in CANARIES.items() if secret.encode() in f.read_bytes()]
    assert found == []


@pytest.mark.parametrize("location", ["lakehouse_assets", "real_account"])
def test_the_code_location_loads_without_a_word(site: Site, location: str):
    """Otherwise the UI would open on an error."""
    query = """{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError { __typename } } } } }"""  # noqa: E501
    entries = {e["name"]: e for e in site.ask(query)["workspaceOrError"]["locationEntries"]}
    assert entries[location]["locationOrLoadError"]["__typename"] == "RepositoryLocation"
