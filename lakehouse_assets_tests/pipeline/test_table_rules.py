"""The rules over whole tables, on tables that the pipeline has made."""

from lakehouse_assets.contracts import CONTRACTS
from lakehouse_assets.quality.table_rules import broken_table_rules
from lakehouse_assets_tests.pipeline.world import State, World


def test_a_loaded_lakehouse_keeps_the_rules_over_its_tables(loaded: tuple[World, State]) -> None:
    """Else a check is red for figures that are right, and soon nobody looks at it."""
    world, _ = loaded
    lakehouse = world.lakehouse
    for name in [name for name, contract in CONTRACTS.items() if contract.table_rules]:
        found = broken_table_rules(CONTRACTS[name], CONTRACTS, lambda table: lakehouse.store.frame(lakehouse.spark, table))
        assert {rule for rule, broken in found.items() if broken.severity != "warn"} == set(), name


def test_every_table_with_such_rules_has_a_check_for_them(loaded: tuple[World, State]) -> None:
    """Else a contract promises what nobody checks."""
    world, _ = loaded
    keys = world.definitions.resolve_asset_graph().asset_check_keys
    checked = {".".join(key.asset_key.path) for key in keys if key.name == "whole_table_keeps_rules"}
    assert checked == {"gold.sales_lines", "gold.daily_sales", "gold.product_sales", "gold.customer_value", "gold.dim_customers"}
