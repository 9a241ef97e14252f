"""Appended rows: the files that pyarrow writes and one commit names are read alike by everybody."""

from __future__ import annotations

import resource
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

import pandera.polars as pa
import pyarrow as arrow
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.contracts.types import Day, Flag, Text, Whole
from lakehouse_assets.core.delta import rs_append
from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.files import Span
from lakehouse_assets.core.delta.findings import DamagedTableError
from lakehouse_assets.core.delta.rs import DeltaRsStore
from lakehouse_assets.core.delta.slice_rules import OPERATION
from lakehouse_assets.errors import LakehouseError, StaleSliceError


class Divided(pa.DataFrameModel):
    """Rows that lie by a flag or a number."""

    id: Whole = pa.Field(description="the key")
    sold: Flag = pa.Field(nullable=True)
    year: Whole = pa.Field(nullable=True)


class ByText(pa.DataFrameModel):
    """Rows that lie by a text, which may be anything."""

    id: Whole = pa.Field(description="the key")
    place: Text = pa.Field(nullable=True, description="the partition")
    note: Text = pa.Field(nullable=True)
    day: Day = pa.Field(nullable=True)

    class Config:
        name = "gold.by_text"
        strict = True
        metadata: ClassVar = {"key": ["id"], "partition_by": ["place"]}


CONTRACT = Contract("gold.by_text", ByText)
PLACES = [None, "a/b", "50 %", "%2F", "ünï", "k=v", "a b", "x#y?z&", "'\"", "日本", "..", "-"]
Row = dict[str, Any]


@pytest.fixture
def store(tmp_path: Path) -> DeltaRsStore:
    made = DeltaRsStore(str(tmp_path / "tables"), str(tmp_path / "changes"))
    made.create(CONTRACT)
    return made


def append(store: DeltaRsStore, folder: Path, rows: list[Row], base: int = 0) -> int:
    folder.mkdir(exist_ok=True)
    schema = arrow.schema([*((f.name, f.type) for f in CONTRACT.arrow_schema), (OPERATION, arrow.string())])
    table = arrow.Table.from_pylist([{**row, OPERATION: "I"} for row in rows], schema=schema)
    pq.write_table(table, folder / "part-0.parquet", row_group_size=1000)
    return store.commit(CONTRACT, str(folder), base_version=base, consumed=Consumed(), append=True)


def files_of(store: DeltaRsStore) -> set[Path]:
    return set(Path(store.uri(CONTRACT.name)).rglob("*.parquet"))


def test_partitions_of_any_text_come_back(store: DeltaRsStore, spark: Any, tmp_path: Path):
    """A value that is quoted once too often, or not at all, is another one, or a file that nobody finds."""
    rows = [{"id": i, "place": p, "note": p, "day": date(2026, 1, 1)} for i, p in enumerate(PLACES * 3)]
    version = append(store, tmp_path / "slice", rows)
    assert sorted(store.read(CONTRACT.name).to_pylist(), key=lambda r: r["id"]) == rows
    frame = store.frame(spark, CONTRACT.name, version)
    assert sorted(frame.toArrow().to_pylist(), key=lambda r: r["id"]) == rows
    for place in PLACES[1:]:
        quoted = place.replace("\\", "\\\\").replace("'", "\\'")
        found = frame.where(f"place = '{quoted}'").toArrow()["id"].to_pylist()
        assert sorted(found) == [r["id"] for r in rows if r["place"] == place], place
    # what is read by the names of the log is there for a merge, too
    store.optimize(CONTRACT.name)
    assert sorted(store.read(CONTRACT.name).to_pylist(), key=lambda r: r["id"]) == rows


def test_the_log_says_of_a_file_what_is_in_it(store: DeltaRsStore, tmp_path: Path):
    """Readers pass files over by this, so a bound that is too narrow loses rows."""
    long = "z" * 200
    rows: list[Row] = [{"id": n, "place": "few", "note": None, "day": None} for n in range(5)]
    rows += [{"id": 10 + n, "place": "long", "note": note, "day": None} for n, note in enumerate(["a", long])]
    rows += [
        {"id": 10_000 + n, "place": "many", "note": f"{n:06}" if n % 7 else None, "day": date(2026, 1, 1 + n % 28)}
        for n in range(300_000)
    ]
    append(store, tmp_path / "slice", rows)
    actions = arrow.table(DeltaTable(store.uri(CONTRACT.name)).get_add_actions(flatten=True)).to_pylist()
    said = {a["partition.place"]: a for a in actions}
    assert {p: said[p]["num_records"] for p in said} == {"few": 5, "long": 2, "many": 300_000}
    assert (said["few"]["min.id"], said["few"]["max.id"]) == (0, 4)
    assert (said["few"]["null_count.note"], said["few"]["min.note"]) == (5, None)
    assert said["few"]["min.day"] is None
    assert (said["long"]["min.note"], said["long"]["max.note"]) == (None, None), "no bound is cut"
    assert said["many"]["null_count.note"] == 42_858
    assert (said["many"]["min.note"], said["many"]["max.note"]) == ("000001", "299998"), "299999 is a null"
    assert (said["many"]["min.day"], said["many"]["max.day"]) == (date(2026, 1, 1), date(2026, 1, 28))
    footer = pq.read_metadata(Path(store.uri(CONTRACT.name), said["many"]["path"]))
    assert footer.num_row_groups <= 3
    span = Span("day", date(2026, 1, 28), date(2026, 1, 28))
    assert [f.path for f in store.files(CONTRACT.name, within=span) if "place=many" in f.path]
    table = DeltaTable(store.uri(CONTRACT.name))
    counted = QueryBuilder().register("t", table).execute("SELECT count(*) AS n FROM t WHERE day = DATE '2026-01-28'")
    assert arrow.table(counted)["n"].to_pylist() == [sum(r["day"] == date(2026, 1, 28) for r in rows)]


def test_files_have_a_proof(store: DeltaRsStore, tmp_path: Path):
    append(store, tmp_path / "slice", [{"id": 1, "place": "a/b", "note": "n", "day": None}])
    (file,) = files_of(store)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    fresh = DeltaRsStore(store.root, store.scratch)
    with pytest.raises(DamagedTableError, match=file.name):
        fresh.prove(CONTRACT.name)


@pytest.mark.parametrize("where", ["writing", "describing", "committing"])
def test_what_fails_leaves_no_file(store: DeltaRsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str):
    """Nothing would ever remove it: a vacuum knows the files that the log has named."""
    rows = [{"id": n, "place": "p", "note": "n", "day": None} for n in range(10)]

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    if where == "writing":
        given = rs_append.slice_rows

        def some(*args: Any, **more: Any) -> arrow.RecordBatchReader:
            reader = given(*args, **more)

            def batches():  # type: ignore[no-untyped-def]
                yield from reader
                fail()

            return arrow.RecordBatchReader.from_batches(reader.schema, batches())

        monkeypatch.setattr(rs_append, "slice_rows", some)
    elif where == "describing":
        monkeypatch.setattr(rs_append, "_added", fail)
    else:
        monkeypatch.setattr(DeltaTable, "create_write_transaction", fail)
    with pytest.raises(OSError, match="No space left"):
        append(store, tmp_path / "slice", rows)
    assert not files_of(store)
    monkeypatch.undo()
    assert append(store, tmp_path / "slice", rows) == 1
    assert store.count(CONTRACT.name) == 10


def test_the_second_of_two_publishers_leaves_no_file(
    store: DeltaRsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The protocol refuses it, when its files are there already."""
    rows = [{"id": 1, "place": "p", "note": "n", "day": None}]
    other = DeltaRsStore(store.root, store.scratch)
    describe = rs_append._added

    def meanwhile(*args: Any) -> Any:
        monkeypatch.setattr(rs_append, "_added", describe)
        append(other, tmp_path / "other", rows)
        return describe(*args)

    monkeypatch.setattr(rs_append, "_added", meanwhile)
    with pytest.raises(StaleSliceError):
        append(store, tmp_path / "slice", rows)
    assert len(files_of(store)) == 1
    assert store.count(CONTRACT.name) == 1


def test_no_more_files_are_open_than_a_process_may_have(store: DeltaRsStore, tmp_path: Path):
    """A first load of some years has a partition a day, each with a file, and their rows may come in any order."""
    rows = [{"id": n, "place": f"p{n % 700}", "note": "n", "day": None} for n in range(2100)]
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len([*Path("/dev/fd").iterdir()]) + 350, allowed[1]))
    try:
        append(store, tmp_path / "slice", rows)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, allowed)
    assert sorted(store.read(CONTRACT.name).to_pylist(), key=lambda r: r["id"]) == rows


def test_a_value_whose_file_was_ended_gets_another_one(
    store: DeltaRsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Rows of a file that is written anew would be lost."""
    monkeypatch.setattr(rs_append, "_MOST_OPEN", 2)
    monkeypatch.setattr(rs_append, "_GROUP_ROWS", 10)
    monkeypatch.setattr(rs_append, "_MOST_WAITING", 15)
    rows = [{"id": n, "place": f"p{n * 7 % 5}", "note": "n", "day": None} for n in range(4000)]
    append(store, tmp_path / "slice", rows)
    assert sorted(store.read(CONTRACT.name).to_pylist(), key=lambda r: r["id"]) == rows
    assert len(files_of(store)) > 5


@pytest.mark.parametrize("place", ["", "__HIVE_DEFAULT_PARTITION__"])
def test_a_text_that_delta_takes_for_null_is_refused(store: DeltaRsStore, tmp_path: Path, place: str):
    """It would come back as null, without a word."""
    with pytest.raises(LakehouseError, match="1 rows have an empty text, or __HIVE_DEFAULT_PARTITION__, in place"):
        append(store, tmp_path / "slice", [{"id": 1, "place": place, "note": "n", "day": None}])
    assert not files_of(store)


def test_flags_and_numbers_divide_a_table_too(tmp_path: Path):
    """Delta writes a flag in lower case, and another reader takes `True` for nothing."""
    for column, values in (("sold", [True, False, None]), ("year", [2026, -1, None])):
        model = type(
            "Divided",
            (Divided,),
            {"Config": type("Config", (), {"metadata": {"key": ["id"], "partition_by": [column]}})},
        )
        contract = Contract("gold.divided", model)
        made = DeltaRsStore(str(tmp_path / column), str(tmp_path / "changes"))
        made.create(contract)
        rows = [{"id": n, "sold": None, "year": None, column: value} for n, value in enumerate(values)]
        folder = tmp_path / f"{column}-slice"
        folder.mkdir()
        schema = arrow.schema([*((f.name, f.type) for f in contract.arrow_schema), (OPERATION, arrow.string())])
        table = arrow.Table.from_pylist([{**row, OPERATION: "I"} for row in rows], schema=schema)
        pq.write_table(table, folder / "part-0.parquet")
        made.commit(contract, str(folder), base_version=0, consumed=Consumed(), append=True)
        assert sorted(made.read(contract.name).to_pylist(), key=lambda r: r["id"]) == rows
        log = Path(made.uri(contract.name), "_delta_log", f"{1:020}.json").read_text()
        assert f'"{column}":"{str(values[0]).lower()}"' in log.replace(" ", "")
