"""Sources of somebody else's package, pulled from databases beside the customers: the one in docs/your-own-source.md,
and one without a mark of deletion.
"""

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lakehouse_assets import areas
from lakehouse_assets.core.sources.pull import remembered
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.assets.bronze import DATABASE_ANSWERS
from lakehouse_assets.orchestration.automation.alerts import unavailable_sources
from lakehouse_assets_tests.core.sources.crm import sqlite_crm
from lakehouse_assets_tests.orchestration.assets.test_your_own_table import package
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import World

DOCUMENT = Path(__file__).parents[2] / "docs" / "your-own-source.md"
NOON = "2026-09-01 12:00:00+00:00"


def code() -> str:
    found = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder for packages of one's own; afterwards the areas are what they were."""
    before = list(areas.AREAS)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    areas.use(before)


class Table:
    """A table in a database file of its own, which a source is pulled from."""

    def __init__(self, folder: Path, name: str, key: str, monkeypatch: pytest.MonkeyPatch):
        self.file, self.name = folder / f"{name}.sqlite", name
        monkeypatch.setenv(f"LAKEHOUSE_{name.upper()}_DB", f"sqlite:///{self.file}")
        self.do(f'CREATE TABLE {name} ("{key}" INTEGER PRIMARY KEY, name, changed_at, closed)')

    def do(self, statement: str) -> None:
        with sqlite3.connect(self.file) as connection:
            connection.execute(statement)
        connection.close()

    def put(self, number: int, at: str, name: str) -> None:
        self.do(f"INSERT OR REPLACE INTO {self.name} VALUES ({number}, '{name}', '{at}', 0)")


def names(world: World, table: str, key: str) -> dict[int, tuple[str | None, bool]]:
    return {r[key]: (r["name"], r["closed"]) for r in world.delta(table).to_pylist()}


def answers(world: World) -> dict[str, bool]:
    """What the check of each database said last."""
    found = [e for e in world.evaluations() if e.check_name == DATABASE_ANSWERS]
    return {e.asset_key.path[-1]: e.passed for e in found}


def watermarks(world: World) -> dict[str, str]:
    heads = {name: world.lakehouse.store.head(f"bronze.{name}") for name in ("customers", "suppliers", "depots")}
    return {name: remembered(head)["watermark"][:10] for name, head in heads.items()}


def test_any_number_of_sources_is_pulled_each_by_itself(
    make_world: NewWorld, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise only customers could come from a database, or one database that fails would stop all others."""
    depots = code().replace("supplier", "depot").replace("Supplier", "Depot").replace(', deleted="closed"', "")
    package(own, "own_purchases", {"suppliers": code(), "depots": depots.replace("SUPPLIERS", "DEPOTS")})
    customers, purchases = areas.load(["lakehouse_assets.domains.customers", "own_purchases"])
    areas.use([replace(customers, tables=()), purchases])  # what is computed from them is not asked for here
    crm = sqlite_crm(tmp_path)
    monkeypatch.setenv("LAKEHOUSE_CUSTOMERS_DB", crm.url)
    suppliers = Table(tmp_path, "suppliers", "SUPPLIERNO", monkeypatch)
    depots_table = Table(tmp_path, "depots", "depot_id", monkeypatch)
    world = make_world()

    crm.put(1, NOON)
    for table, at in ((suppliers, "2026-08-01"), (depots_table, "2026-07-01")):
        table.put(1, at, "one")
        table.put(2, at, "two")
    world.drop("suppliers/suppliers_2026-07-01.csv", "SupplierNo,name,changed_at,closed\n3,three,2026-07-01 10:00,0\n")
    world.run()
    assert [r["name"] for r in world.delta("silver.customers").to_pylist()] == ["Ada"]
    both = {1: ("one", False), 2: ("two", False)}
    assert names(world, "silver.suppliers", "supplier_id") == {**both, 3: ("three", False)}
    assert names(world, "silver.depots", "depot_id") == both
    assert watermarks(world) == {"customers": "2026-09-01", "suppliers": "2026-08-01", "depots": "2026-07-01"}
    assert world.run().runs == 0

    # What is gone ends where that can be said; and one database is away meanwhile.
    for table in (suppliers, depots_table):
        table.do(f"DELETE FROM {table.name} WHERE name = 'one'")
        table.put(2, "2026-08-02", "two anew")
    (tmp_path / "crm.sqlite").rename(tmp_path / "away")
    runner = world.run()
    assert list(runner.found.unavailable) == ["customers"]
    assert answers(world) == {"customers": False, "suppliers": True, "depots": True}
    assert [a.key for a in unavailable_sources(world.resources["lakehouse"])] == ["source_unavailable:customers"]
    anew = {2: ("two anew", False)}
    assert names(world, "silver.suppliers", "supplier_id") == {1: (None, True), **anew, 3: ("three", False)}
    assert names(world, "silver.depots", "depot_id") == {**both, **anew}
    assert watermarks(world) == {"customers": "2026-09-01", "suppliers": "2026-08-02", "depots": "2026-08-02"}
    (tmp_path / "away").rename(tmp_path / "crm.sqlite")
    assert world.run().runs == 0
    assert unavailable_sources(world.resources["lakehouse"]) == []
    crm.do("CREATE VIEW doubled AS SELECT * FROM customers UNION ALL SELECT * FROM customers")
    with monkeypatch.context() as other:
        other.setenv("LAKEHOUSE_CUSTOMERS_DB_TABLE", "doubled")
        (alert,) = unavailable_sources(world.resources["lakehouse"])
    assert "1 of its 2 rows have no customer_id" in alert.summary

    assert {path.rpartition("_")[0] for path in world.delta("bronze.landings")["path"].to_pylist()} >= {
        "suppliers/_database/00000002",
        "depots/_database/00000002",
        "customers/_database/00000001",
    }


@pytest.mark.parametrize(
    ("pulled", "said"),
    [
        ('key="number", stamp="changed_at"', r"The source suppliers is pulled by 'number', which it does not land"),
        ('key="supplier_id", stamp="supplier_id"', r"The source suppliers is pulled by one column twice"),
    ],
)
def test_a_pull_by_columns_that_are_none_is_refused(own: Path, pulled: str, said: str) -> None:
    """Otherwise it would fail in the words of the database."""
    name = f"own_wrong_{len(pulled)}"
    changed = re.sub(r"Pulled\(.*\)", f"Pulled({pulled})", code().partition("pulled=")[2])
    package(own, name, {"suppliers": f"{code().partition('pulled=')[0]}pulled={changed}"})
    with pytest.raises(LakehouseError, match=said):
        areas.load([name])
