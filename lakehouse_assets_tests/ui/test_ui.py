"""What a person does in the UI, done in the UI."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from lakehouse_assets_tests.instance.conftest import wait_for
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
    assert day(2) in site.python("-m", "lakehouse_assets.cli", "sql", "SELECT DISTINCT invoice_date FROM ANALYTICS.DAILY_SALES")


def test_a_backfill_of_thirty_days_is_one_run(site: Site, open_page: Open):
    """Otherwise a month would start thirty processes, each of which starts an engine."""
    before = site.run_ids()
    assets = [node["assetKey"] for node in site.ask("{ assetNodes { assetKey { path } } }")["assetNodes"]]
    mutation = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
        __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
    days = [day(n) for n in range(2, BATCHES)]
    params = {"assetSelection": assets, "partitionNames": days, "tags": []}
    launched = site.ask(mutation, params=params)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    made = site.new_run(before, **{"dagster/backfill": launched["backfillId"]})
    assert site.ended(made) == dg.DagsterRunStatus.SUCCESS, site.log.read_text()
    run = site.run(made)
    assert (run.tags["dagster/asset_partition_range_start"], run.tags["dagster/asset_partition_range_end"]) == (days[0], days[-1])
    assert len(days) == 30
    assert site.run_ids() - before == {made}
    assert site.green("snowflake.daily_sales") == {day(n) for n in range(BATCHES)}
    assert "equal" in site.python("-m", "lakehouse_assets.cli", "verify")
    page = open_page(f"/runs/b/{launched['backfillId']}")
    page.get_by_text("Completed").first.wait_for()


def test_checks_and_numbers_are_shown(site: Site, open_page: Open):
    """Otherwise nobody could see in the UI what was loaded and how good it is."""
    page = open_page("/assets/silver/order_lines?view=checks")
    for name in ("complete", "readable", "valid", "unique"):
        page.get_by_text(name, exact=True).first.wait_for()
    page.get_by_text("bad_share").first.wait_for()
    assert page.get_by_text("Skipped").count() == 0  # a day of the run without a verdict would make every check look skipped
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
    """Otherwise a restart of the machine would leave a run that never ends, and whatever it was loading would be lost."""
    sent = next(site.landing.glob("orders/**/*.csv"))
    (sent.parent / f"orders_{day(4)}_late.csv").write_bytes(sent.read_bytes())
    before = site.run_ids()
    dying = site.new_run(before)
    wait_for(lambda: site.run(dying).status == dg.DagsterRunStatus.STARTED, "the run to start", 120)
    site.kill()
    site.start()
    assert site.ended(dying) == dg.DagsterRunStatus.FAILURE  # the watch, or the sensor, has found that its process is gone
    made = site.new_run({*before, dying})
    assert site.ended(made) == dg.DagsterRunStatus.SUCCESS, site.log.read_text()
    assert "Nothing is pending." in site.python("-m", "lakehouse_assets.cli", "status")


def test_no_secret_is_seen_anywhere(site: Site):
    """Otherwise whoever may look at the UI, or at a copy of its storage, could log in to the warehouse."""
    everything = """{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name }
        allTopLevelResourceDetails { name configuredValues { key value type } configFields { name description defaultValueAsJson } } } } } }"""
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
        ... on PythonError { message } ... on RunConfigValidationInvalid { errors { message } } } }"""
    selector = {"repositoryLocationName": "real_account", "repositoryName": "__repository__", "jobName": "maintenance"}
    params = {"selector": selector, "runConfigData": {}, "mode": "default"}
    launched = site.ask(launch, p=params)["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id = launched["run"]["runId"]
    assert site.ended(run_id) == dg.DagsterRunStatus.FAILURE
    logs = """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { __typename ... on MessageEvent { message }
        ... on ExecutionStepFailureEvent { error { message stack causes { message stack } } } } } }
        runOrError(runId: $id) { ... on Run { runConfigYaml tags { key value } } } }"""
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
    query = """{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError { __typename } } } } }"""
    entries = {e["name"]: e for e in site.ask(query)["workspaceOrError"]["locationEntries"]}
    assert entries[location]["locationOrLoadError"]["__typename"] == "RepositoryLocation"
