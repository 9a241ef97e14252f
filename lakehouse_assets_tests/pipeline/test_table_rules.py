"""The rules over whole tables, on tables that the pipeline has made."""

import pytest

from lakehouse_assets.core.contracts import CONTRACTS
from lakehouse_assets.core.declarations.registry import TABLES
from lakehouse_assets.core.frames import Inputs, Recomputed
from lakehouse_assets.core.quality.table_rules import broken_table_rules
from lakehouse_assets.orchestration.assets.step import audit
from lakehouse_assets_tests.pipeline.world import State, World


def test_a_loaded_lakehouse_keeps_the_rules_over_its_tables(loaded: tuple[World, State]) -> None:
    """Else a check is red for figures that are right, and soon nobody looks at it."""
    world, _ = loaded
    lakehouse = world.lakehouse
    for name in [name for name, contract in CONTRACTS.items() if contract.table_rules]:
        found = broken_table_rules(
            CONTRACTS[name], CONTRACTS, lambda table: lakehouse.store.frame(lakehouse.spark, table)
        )
        assert {rule for rule, broken in found.items() if broken.severity != "warn"} == set(), name


def test_every_table_with_such_rules_has_a_check_for_them(loaded: tuple[World, State]) -> None:
    """Else a contract promises what nobody checks."""
    world, _ = loaded
    keys = world.definitions.resolve_asset_graph().asset_check_keys
    checked = {".".join(key.asset_key.path) for key in keys if key.name == "whole_table_keeps_rules"}
    assert checked == {
        "gold.sales_lines", "gold.daily_sales", "gold.product_sales", "gold.customer_months", "gold.customer_value", "gold.dim_customers"  # noqa: E501
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", [name for name, contract in CONTRACTS.items() if any(rule.gate for rule in contract.table_rules)]
)
def test_a_transform_that_loses_a_row_is_stopped_in_its_step(name: str, loaded: tuple[World, State]) -> None:
    """Else gold publishes sums that its lines do not have, and a check that somebody has to run tells of it later."""
    world, _ = loaded
    built = TABLES[name]
    right = built.transform

    def losing(inputs: Inputs) -> Recomputed:
        recomputed = right(inputs)
        lost = recomputed.rows.where(
            " OR ".join(f"{rule.column} <> 0" for rule in CONTRACTS[name].table_rules if rule.gate)
        ).limit(1)
        return Recomputed(
            recomputed.rows.join(lost, list(CONTRACTS[name].key), "left_anti").select(*recomputed.rows.columns),
            recomputed.replaced,
        )

    for transform, blocked in ((right, False), (losing, True)):
        staged = world.lakehouse.stage(
            CONTRACTS[name], transform, built.upstreams, fingerprint=built.fingerprint, force=True
        )
        gates = audit(CONTRACTS[name], world.resources["lakehouse"], staged)
        assert gates.blocked == blocked
        assert {r.check_name for r in gates.results if not r.passed} == ({"valid"} if blocked else set())
