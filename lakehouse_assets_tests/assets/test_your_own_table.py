"""The documented way to a table of one's own, run as it stands in docs/your-own-table.md."""

import importlib
import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import pandera.polars as pa
import pyarrow as arrow
import pyarrow.parquet as pq
import pytest

from lakehouse_assets.assets.snowflake import snowflake_assets
from lakehouse_assets.contracts import CONTRACTS, Contract, contract, types
from lakehouse_assets.delta.rs import DeltaRsStore
from lakehouse_assets.delta.staging import Lakehouse
from lakehouse_assets.delta.store import Consumed
from lakehouse_assets.partitions import daily
from lakehouse_assets.settings import Settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "your-own-table.md"
NAME = "gold.country_months"


def code(kind):
    return re.search(rf"```python {kind}\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)[1]


@pytest.fixture
def own_table(monkeypatch, tmp_path):
    """The table of the document, in the graph and with its contract registered."""
    words = {"pa": pa, **{n: getattr(types, n) for n in ("Day", "Text", "Whole", "Money")}}
    exec(code("contract"), words)
    monkeypatch.setitem(CONTRACTS, NAME, Contract(NAME, words["CountryMonths"]))
    # `fingerprint` reads the source of the transform's module, so it must be one.
    (tmp_path / "own_table_example.py").write_text(
        "from pyspark.sql import functions as F\n"
        "from lakehouse_assets.assets.table import table\n"
        "from lakehouse_assets.transforms.frames import Inputs, Recomputed\n" + code("transform")
    )
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("own_table_example").country_months


def test_the_documented_table_is_at_most_15_lines_contract_aside():
    """Else what is said of the effort is not true."""
    assert len(code("transform").strip().splitlines()) + len(['"gold.country_months": gold.CountryMonths,', "TABLES"]) <= 15


def test_the_documented_table_is_computed_audited_published_and_served(own_table, spark, tmp_path):
    """Else the first thing a user tries does not work."""
    lakehouse = Lakehouse(DeltaRsStore(str(tmp_path / "tables"), str(tmp_path / "changes")), lambda: spark, str(tmp_path / "staging"))
    daily_sales = contract("gold.daily_sales")
    values = {"date": None, "decimal": Decimal("2.500"), "bigint": 3, "string": "France"}
    row = {c.name: values[c.type.kind] for c in daily_sales.columns}
    days = [date(2026, 1, 3), date(2026, 1, 9), date(2026, 2, 1)]
    rows = [{**row, "invoice_date": d, "_op": "I"} for d in days]
    folder = tmp_path / "slice"
    folder.mkdir()
    fields = [arrow.field(f.name, f.type) for f in daily_sales.arrow_schema]
    pq.write_table(arrow.Table.from_pylist(rows, schema=arrow.schema([*fields, arrow.field("_op", arrow.string())])), folder / "a.parquet")
    head = lakehouse.head(daily_sales)
    lakehouse.store.commit(daily_sales, str(folder), base_version=head.version, consumed=Consumed(), append=True)

    settings = Settings(home=tmp_path)
    built = own_table.build(daily(settings))
    assert built.key.path == ["gold", "country_months"]
    assert {"complete", "valid", "unique"} == {s.name for s in built.check_specs}
    assert "country_months" in {a.key.path[-1] for a in snowflake_assets(settings, daily(settings))}

    def stage():
        return lakehouse.stage(contract(NAME), own_table.transform, own_table.upstreams, fingerprint=own_table.fingerprint)

    lakehouse.publish(stage())
    found = sorted(lakehouse.store.read(NAME).to_pylist(), key=lambda r: r["month"])
    assert [(r["month"], r["orders"], r["net_sales"]) for r in found] == [
        (date(2026, 1, 1), 6, Decimal("5.000")),
        (date(2026, 2, 1), 3, Decimal("2.500")),
    ]
    assert stage() is None
