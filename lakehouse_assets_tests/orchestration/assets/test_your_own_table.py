"""The documented way to a table of one's own, run as it is in docs/your-own-table.md, from a package of its own."""

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from lakehouse_assets import areas
from lakehouse_assets.core.contracts import CONTRACTS
from lakehouse_assets.core.declarations.registry import register
from lakehouse_assets.core.frames import Inputs, Recomputed
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import World, line, order_csv, rates_csv

DOCUMENT = Path(__file__).parents[3] / "docs" / "your-own-table.md"
NAME = "gold.country_months"


def code() -> str:
    found = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


def package(folder: Path, name: str, modules: dict[str, str]) -> None:
    """A package with an area, as somebody else would write it."""
    (folder / name).mkdir()
    modules = {"__init__": "", "area": AREA.format(name=name), **modules}
    for module, text in modules.items():
        (folder / name / f"{module}.py").write_text(text)


AREA = "from lakehouse_assets.orchestration.area import Area\n\nAREA = Area.of({name!r})\n"


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder for packages of one's own; afterwards the areas are what they were."""
    before = list(areas.AREAS)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    areas.use(before)


@pytest.fixture
def world(make_world: NewWorld, own: Path) -> World:
    """A lakehouse with the table of the document in its graph."""
    package(own, "own_country_months", {"country_months": code()})
    areas.use(areas.load([*areas.PACKAGES, "own_country_months"]))
    return make_world()


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


def test_a_table_without_an_asset_cannot_be(own: Path) -> None:
    """A contract that is handed off and that nobody computes would never be loaded, and nobody would say so."""
    package(own, "own_contract_alone", {"country_months": code().partition("@table")[0]})
    areas.use(areas.load([*areas.PACKAGES, "own_contract_alone"]))
    assert NAME not in CONTRACTS


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("own_keyless", ('"key": ["month", "country"], ', ""), r"The contract of gold\.country_months names no key"),
        ("own_nameless", ('        name = "gold.country_months"\n', ""), r"names no table; write its name in Config"),
        (
            "own_twice",
            ("gold.country_months", "gold.daily_sales"),
            r"Two declarations name the table gold\.daily_sales",
        ),
        ("own_orphan", ('"gold.daily_sales"', '"gold.daily"'), r"upstreams are gold\.daily, which no area declares"),
        ("own_layer", ("gold.country_months", "top.country_months"), r"names no table; write its name in Config"),
    ],
)
def test_a_declaration_that_cannot_be_kept_is_refused(
    own: Path, name: str, changed: tuple[str, str], said: str
) -> None:
    """Else it fails later in the engine's words, or one table takes the place of another."""
    assert changed[0] in code()
    package(own, name, {"country_months": code().replace(*changed)})
    before = dict(CONTRACTS)
    with pytest.raises(LakehouseError, match=said):
        areas.use(areas.load([*areas.PACKAGES, name]))
    assert dict(CONTRACTS) == before


def test_an_area_that_is_not_there_is_named(own: Path) -> None:
    """Else a misspelt package is a traceback of the import system."""
    with pytest.raises(LakehouseError, match=r"LAKEHOUSE_AREAS names own_nothing, but there is no module"):
        areas.load(["own_nothing"])
    package(own, "own_without", {"area": ""})
    with pytest.raises(LakehouseError, match=r"own_without\.area has no AREA"):
        areas.load(["own_without"])


def test_areas_need_not_hold_the_example() -> None:
    """Else nobody can keep a lakehouse of their own beside it."""
    before = list(areas.AREAS)
    try:
        areas.use(areas.load(["lakehouse_assets.domains.rates"]))
        assert set(CONTRACTS) == {
            "bronze.fx_rates",
            "bronze.landings",
            "silver.fx_rates",
            "silver.fx_rates_quarantine",
            "silver.fx_rates_verdicts",
            "silver.intake",
        }
    finally:
        areas.use(before)


def test_no_sources_are_no_lakehouse_to_fail() -> None:
    """A new project has none yet."""
    before = list(areas.AREAS)
    try:
        register([], [])
        assert list(CONTRACTS) == ["bronze.landings"]
    finally:
        areas.use(before)


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
