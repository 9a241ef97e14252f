"""The documented way to a table of one's own, run as it stands in docs/your-own-table.md."""

import importlib
import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from lakehouse_assets.assets import gold
from lakehouse_assets.contracts import CONTRACTS, Contract
from lakehouse_assets.definitions import build_definitions
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.transforms.frames import Inputs, Recomputed
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import World, line, order_csv, rates_csv

DOCUMENT = Path(__file__).parents[2] / "docs" / "your-own-table.md"
NAME = "gold.country_months"


def code(kind: str) -> str:
    found = re.search(rf"```python {kind}\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def world(make_world: NewWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """A lakehouse with the table of the document in its graph."""
    # The contract's block stands in `contracts/gold.py`, which has these imports. Both are modules, for fingerprints
    # and links ask for their source.
    imports = "import pandera.polars as pa\nfrom lakehouse_assets.contracts.types import Day, Money, Text, Whole\n"
    (tmp_path / "own_contract_example.py").write_text(imports + code("contract"))
    (tmp_path / "own_table_example.py").write_text(code("transform"))
    monkeypatch.syspath_prepend(tmp_path)
    model = importlib.import_module("own_contract_example").CountryMonths
    monkeypatch.setitem(CONTRACTS, NAME, Contract(NAME, model))
    monkeypatch.setattr(gold, "TABLES", [*gold.TABLES, importlib.import_module("own_table_example").country_months])
    return make_world()


def test_the_documented_table_is_at_most_15_lines_contract_aside() -> None:
    """Else what is said of the effort is not true."""
    lines = [line for line in code("transform").splitlines() if line.strip()]
    assert len(lines) + len(['"gold.country_months": gold.CountryMonths,', "TABLES"]) <= 15


def test_the_documented_table_is_computed_audited_published_and_served(world: World) -> None:
    """Else the first thing a user tries does not work."""
    world.drop("fx/rates_2026-01-02.csv", rates_csv({"2026-01-02": "0.85"}))
    for invoice, day in enumerate(("2026-01-03", "2026-01-09", "2026-02-01"), start=500001):
        world.drop(f"orders/orders_{day}.csv", order_csv([line(invoice, day, 2, "1.25")]))
    assert not world.run().found
    expected = [
        (date(2026, 1, 1), "United Kingdom", 2, Decimal("5.000")),
        (date(2026, 2, 1), "United Kingdom", 1, Decimal("2.500")),
    ]
    for held in (world.delta(NAME), world.snowflake()[NAME]):
        assert sorted((r["month"], r["country"], r["orders"], r["net_sales"]) for r in held.to_pylist()) == expected
    assert {c.check_name for c in world.evaluations() if c.asset_key.path == NAME.split(".") and c.passed} >= {
        "complete",
        "valid",
        "unique",
    }
    assert not world.run().runs


def test_a_contract_without_an_asset_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a table that one forgot to add to the graph is never loaded, and nobody says so."""
    monkeypatch.setattr(gold, "TABLES", gold.TABLES[:-1])
    with pytest.raises(LakehouseError, match=r"gold\.country_months has a contract that is handed off, but no asset"):
        build_definitions(world.settings)


def test_a_contract_without_a_key_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the first merge fails in the engine's words, which name no table."""
    monkeypatch.setattr(CONTRACTS[NAME], "key", ())
    with pytest.raises(LakehouseError, match=r"The contract of gold\.country_months names no key"):
        build_definitions(world.settings)


def test_a_transform_of_another_type_is_told_by_column_and_types(world: World) -> None:
    """Else a forgotten CAST is told in the engine's words, which name neither table nor remedy."""
    model = CONTRACTS[NAME]

    def wrong(inputs: Inputs) -> Recomputed:
        values = {c.name: f"CAST(NULL AS {c.type.spark})" for c in model.columns} | {
            "net_sales": "CAST(1.5 AS DECIMAL(29, 3))"
        }
        rows = inputs.snapshots["gold.sales_lines"].selectExpr(
            *(f"{value} AS {name}" for name, value in values.items())
        )
        return Recomputed(rows, inputs.target)

    world.drop("orders/orders_2026-01-03.csv", order_csv([line(500001, "2026-01-03", 2, "1.25")]))
    world.run()
    with pytest.raises(
        LakehouseError, match=r"country_months net_sales is decimal\(29,3\), not decimal\(18,3\); cast to the types"
    ):
        world.lakehouse.stage(model, wrong, ["gold.sales_lines"], fingerprint="wrong")
