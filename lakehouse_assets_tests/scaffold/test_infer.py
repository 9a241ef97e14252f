"""What a sample says of its columns."""

import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.scaffold.infer import infer


def sample(folder: Path, text: str, name: str = "sample.csv") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("values", "type"),
    [
        (["1", "22", "-3"], "Whole"),
        (["007", "122", "034"], "Text"),  # a code: its zeros would be lost
        (["1.5", "22.25", "3"], "Decimal"),
        (["1.5", "22.2599999", "3"], "Decimal"),
        (["true", "false", "TRUE"], "Flag"),
        (["2026-09-01", "2026-09-02", "1999-01-31"], "Day"),
        (["31/12/2026", "01/02/2026", "13/02/2026"], "Day"),
        (["2026-09-01 10:00:00", "2026-09-02T11:30:00", "2026-09-02 11:30:00.5"], "ShopClock"),
        (["1", "", "two"], "Text"),
        (["nan", "1.5", "2"], "Text"),
        (["1e3", "2", "3"], "Text"),
        (["99999999999999999999", "1", "2"], "Text"),
        (["", "", ""], "Text"),
        (["2026-02-30", "2026-02-28", "x"], "Text"),
    ],
)
def test_a_type_holds_every_value_of_the_sample(tmp_path: Path, values: list[str], type: str) -> None:
    """Else the first run of what was written rejects rows of its own sample."""
    rows = "\n".join(f"{at},{value}" for at, value in enumerate(values))
    found = infer(sample(tmp_path, f"id,value\n{rows}\n"))
    assert {c.name: c.type for c in found.columns}["value"] == type


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("Customer ID,Order", ["customer_id", "order_value"]),
        ("InvoiceNo,invoice_no", ["invoice_no", "invoice_no_2"]),
        ("2nd Column,Größe €", ["column_2nd_column", "gr_e"]),
        ("path,batch_date", ["path_value", "batch_date_value"]),
    ],
)
def test_names_are_such_as_all_platforms_take(tmp_path: Path, header: str, names: list[str]) -> None:
    """Else what was written is refused when it is loaded."""
    assert [c.name for c in infer(sample(tmp_path, f"{header}\na,b\nc,d\n")).columns] == names


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("name,customer_id\na,1\nb,2\n", ("customer_id",)),
        ("a,b\n1,1\n1,2\n2,1\n", ("a", "b")),
        ("a\n1\n1\n", ()),
        ("code,counted_on\nx,2026-09-01\ny,2026-09-01\n", ("code", "counted_on")),  # a snapshot
        ("id,x\n1,5\n,6\n", ("x",)),  # a key is never null
    ],
)
def test_the_fewest_columns_that_tell_rows_apart_are_the_key(tmp_path: Path, text: str, key: tuple[str, ...]) -> None:
    """Else rows of the next drop replace others, or none ever replaces what it corrects."""
    assert infer(sample(tmp_path, text)).key == key


def test_json_lines_and_parquet_say_the_same_as_csv(tmp_path: Path) -> None:
    """Else it matters in which form a sample was had."""
    rows = [
        {"id": n, "price": Decimal(f"{n}.25"), "day": date(2026, 9, n), "at": datetime(2026, 9, n, 10), "ok": n > 1}
        for n in (1, 2, 3)
    ]
    texts = [{name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in row.items()} for row in rows]  # fmt: skip  # noqa: E501
    csv = sample(tmp_path, "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in texts)]) + "\n")
    lines = sample(tmp_path, "\n".join(json.dumps(row, default=str) for row in rows) + "\n", "sample.jsonl")
    parquet = tmp_path / "sample.parquet"
    pq.write_table(pa.Table.from_pylist(rows), parquet)
    expected = [("id", "Whole"), ("price", "Decimal"), ("day", "Day"), ("at", "ShopClock"), ("ok", "Flag")]
    for file in (csv, parquet):
        assert [(c.name, c.type) for c in infer(file).columns] == expected, file.name
    # The decimal of JSON was written as a text.
    assert [(c.name, c.type) for c in infer(lines).columns] == [(n, "Text" if n == "price" else t) for n, t in expected]


@pytest.mark.parametrize("name", ["week[1].csv", "a*.csv", "it's.csv", 'a "b".csv', "? x.csv"])
def test_a_sample_of_any_name_is_read_and_no_other(tmp_path: Path, name: str) -> None:
    """Else brackets in a name are a pattern, and another file is looked at."""
    sample(tmp_path, "other\n1\n", "week1.csv")
    assert [c.name for c in infer(sample(tmp_path, "mine\n1\n", name)).columns] == ["mine"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("sample.txt", "a,b\n1,2\n", "says nothing of its kind"),
        ("sample.csv", "a;b\n1;2\n", "separates its columns by semicolons"),
        ("sample.csv", "", "empty"),
        ("sample.parquet", "PAR1 and no more", "cannot be read as parquet"),
        ("sample.jsonl", "[1, 2]\n", "cannot be"),
    ],
)
def test_a_sample_that_drops_could_not_be_is_refused(tmp_path: Path, name: str, content: str, told: str) -> None:
    """Else a source is written that can take nothing in."""
    with pytest.raises(LakehouseError, match=told):
        infer(sample(tmp_path, content, name))
