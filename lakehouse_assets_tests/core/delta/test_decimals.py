"""Long decimals come back as they were written."""

from datetime import date
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse_assets.core.contracts import contract
from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.rs import DeltaRsStore


@pytest.mark.parametrize("amount", ["-163163517147458.692", "999999999999999.999", "0.001"])
def test_the_one_decimal_of_a_file_is_read_to_its_last_digit(spark, tmp_path, amount):
    """Else an amount of more than 15 digits is silently another one."""
    store = DeltaRsStore(str(tmp_path / "tables"), str(tmp_path / "changes"))
    model = contract("gold.daily_sales")
    values = {"date": date(2026, 1, 1), "decimal": Decimal(amount), "bigint": 1, "string": "France"}
    row = {c.name: values[c.type.kind] for c in model.columns}
    (tmp_path / "slice").mkdir()
    schema = pa.schema([pa.field(f.name, f.type) for f in model.arrow_schema])
    rows = pa.Table.from_pylist([row, {**row, "country": "Spain"}], schema=schema)
    pq.write_table(rows.append_column("_op", pa.array(["I", "I"])), tmp_path / "slice" / "a.parquet")
    base = store.create(model)
    store.commit(model, str(tmp_path / "slice"), base_version=base, consumed=Consumed(), append=True)
    frame = store.frame(spark, model.name)
    assert {r["returns"] for r in frame.collect()} == {Decimal(amount)}
    assert frame.where(f"returns = CAST('{amount}' AS DECIMAL(18,3))").count() == 2
