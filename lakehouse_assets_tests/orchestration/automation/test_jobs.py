"""What a load is made of: no step of it may cost more the longer the history is, and its hand-offs are shown as
checks.
"""

from typing import Any

import pytest

from lakehouse_assets_tests.orchestration.automation.conftest import DAYS, orders
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import World, rates_csv

LOADS = ("load_all", "lakehouse_only", "handoff_only", "replay_quarantine")
WHOLE_TABLE = {"equals_snapshot", "live_table_keeps_contract", "whole_table_keeps_rules", "volume_is_usual"}
SERVED = [
    "cohort_retention",
    "customer_value",
    "daily_sales",
    "dim_customers",
    "dim_products",
    "product_sales",
    "sales_lines",
    "stock_days",
]


@pytest.fixture(scope="module")
def loaded(make_world: NewWorld) -> World:
    """A day that has been loaded."""
    world = make_world()
    world.drop("fx/rates_2026-09-01.csv", rates_csv({"2026-09-01": "0.85"}))
    world.drop(f"orders/orders_{DAYS[0]}.csv", orders(DAYS[0]))
    world.run()
    return world


def steps(world: World, job: str) -> set[str]:
    return {*world.definitions.resolve_job_def(job).graph.node_dict}


def test_a_load_has_a_step_a_table_and_one_cheap_check_a_hand_off(loaded: World):
    """Otherwise every load would read whole tables, and a day would cost the more the longer the history is."""
    snowflake = {f"snowflake__{table}" for table in SERVED}
    published = {f"{step}_published_equals_sent" for step in snowflake}
    lakehouse = {name.replace(".", "__") for name in loaded.graph}
    assert steps(loaded, "load_all") == lakehouse | snowflake | published
    assert steps(loaded, "lakehouse_only") == lakehouse
    assert steps(loaded, "handoff_only") == snowflake | published
    for job in LOADS:
        keys = loaded.definitions.resolve_job_def(job).asset_layer.asset_graph.asset_check_keys
        assert not {key.name for key in keys} & WHOLE_TABLE, job


def test_the_checks_over_whole_tables_have_a_job_with_a_schedule(loaded: World):
    """Otherwise what the loads leave out would be looked at by nobody."""
    everywhere = loaded.definitions.resolve_asset_graph().asset_check_keys
    whole = {key for key in everywhere if key.name in WHOLE_TABLE}
    assert {*loaded.definitions.resolve_job_def("reconcile").asset_layer.asset_graph.asset_check_keys} == whole
    assert {key.name for key in whole} == set(WHOLE_TABLE)
    scheduled = {schedule.job_name for schedule in loaded.definitions.get_repository_def().schedule_defs}
    assert "reconcile" in scheduled


def test_the_command_runs_no_check_over_a_whole_table_either(loaded: World):
    """Otherwise `lakehouse run --select` and `lakehouse rebuild` would bring back what the jobs leave out: a selection
    brings all checks.
    """
    before = len(loaded.evaluations())
    loaded.run(select=["gold.daily_sales", "snowflake.daily_sales"], force=["gold.daily_sales"])
    checked = [(e.asset_key.path[0], e.check_name) for e in loaded.evaluations()[before:]]
    assert sorted(checked) == [
        ("gold", "complete"),
        ("gold", "unique"),
        ("gold", "valid"),
        ("snowflake", "published_equals_sent"),
    ]


def test_each_publish_is_shown_as_a_check_with_what_was_sent_and_what_arrived(loaded: World):
    """Otherwise nobody could see beside a table that what arrived in Snowflake is what was sent."""

    def last() -> dict[str, Any]:
        found = [
            e
            for e in loaded.evaluations()
            if e.check_name == "published_equals_sent" and e.asset_key.path[-1] == "daily_sales"
        ]
        assert found[-1].passed
        return {name: value.value for name, value in found[-1].metadata.items()}

    first = last()
    ledger = loaded.cursor_do(
        "SELECT HANDOFF_ID, SLICES, ROW_COUNT, ROW_HASH FROM {db}.OPS.HANDOFF_LEDGER WHERE TABLE_NAME = 'DAILY_SALES'"
    )
    assert (first["handoff_id"], first["slices"], first["rows_sent"], int(first["hash_sent"])) == tuple(ledger[-1])
    assert (first["rows_arrived"], first["hash_arrived"]) == (first["rows_sent"], first["hash_sent"])
    loaded.drop(f"orders/orders_{DAYS[1]}.csv", orders(DAYS[1]))
    loaded.run()
    second = last()
    assert second["handoff_id"] != first["handoff_id"]
    assert (second["slices"], second["rows_sent"]) == (1, 1)  # what was handed off, not what the table holds


def test_a_hand_off_whose_record_does_not_add_up_fails_its_check(loaded: World):
    """Otherwise the check would be green whatever it found."""
    loaded.cursor_do("UPDATE {db}.OPS.HANDOFF_SLICES SET ROW_HASH = ROW_HASH + 1 WHERE TABLE_NAME = 'DIM_PRODUCTS'")
    runs = loaded.definitions.resolve_job_def("handoff_only").execute_in_process(
        instance=loaded.instance, partition_key=DAYS[1], raise_on_error=False
    )
    red = {e.asset_key.path[-1] for e in runs.get_asset_check_evaluations() if not e.passed}
    loaded.cursor_do("UPDATE {db}.OPS.HANDOFF_SLICES SET ROW_HASH = ROW_HASH - 1 WHERE TABLE_NAME = 'DIM_PRODUCTS'")
    assert red == {"dim_products"}
