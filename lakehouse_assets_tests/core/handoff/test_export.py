"""Files of a hand-off: the same rows give the same bytes, in files of the asked size, in the exact types."""

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.delta.rs import DeltaRsStore
from lakehouse_assets.core.handoff import export, slices, sums
from lakehouse_assets.core.handoff.manifest import Manifest, StagedFile
from lakehouse_assets_tests.core.handoff.conftest import FIRST_DAY, Everything, Hashed, Undivided, any_row, contract


@pytest.fixture(autouse=True)
def small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "ROW_GROUP_ROWS", 50)


def rows(number: int = 400) -> list[dict[str, Any]]:
    rng = random.Random(3)
    return [
        any_row(rng, key, rng.choice([None, FIRST_DAY + timedelta(days=rng.randrange(20))])) for key in range(number)
    ]


def write(
    spark: Any, things: Contract, data: list[dict[str, Any]], folder: Path, **options: int
) -> tuple[StagedFile, ...]:
    source = folder.parent / f"{folder.name}-source"
    source.mkdir(parents=True)
    for part in range(4):
        pq.write_table(
            arrow.Table.from_pylist(data[part::4], schema=things.arrow_schema),
            source / f"{part}.parquet",
            store_schema=False,
        )
    frame = spark.read.parquet(str(source))
    return export.write_files(
        lambda names: export.rows_of(frame, things, names),
        things,
        sums.spark_sums(frame, things),
        folder,
        **{"file_bytes": 1 << 30, "group_rows": 10_000, **options},
    )


@pytest.mark.parametrize("model", [Everything, Hashed])
def test_the_same_rows_give_the_same_files(spark: Any, tmp_path: Path, model: Any) -> None:
    """A repeated hand-off would otherwise send everything again, whatever lies on the stage."""
    things, data = contract(model), rows()
    shuffled = random.Random(9).sample(data, len(data))
    one = write(spark, things, data, tmp_path / "one", file_bytes=1)
    other = write(spark, things, shuffled, tmp_path / "other", file_bytes=1, group_rows=30)
    assert one == other
    assert len(one) == 8


def test_files_hold_all_rows_in_exact_types_and_names(spark: Any, tmp_path: Path) -> None:
    """A view reads by name and type; a name in another case reads as null without an error."""
    things, data = contract(Everything), rows()
    files = write(spark, things, data, tmp_path / "out", file_bytes=4000)
    assert len(files) > 1
    tables = [pq.read_table(tmp_path / "out" / f.name) for f in files]
    for table, file in zip(tables, files, strict=True):
        assert table.schema.equals(things.arrow_schema)
        assert (table.num_rows, (tmp_path / "out" / file.name).stat().st_size) == (file.rows, file.bytes)
        assert file.sha256[:16] in file.name
    found = arrow.concat_tables(tables).to_pylist()
    assert sorted(found, key=lambda r: r["id"]) == data
    order = [(r["day"] is not None, r["day"] or FIRST_DAY, r["id"]) for r in found]
    assert order == sorted(order)


class ByText(Everything):
    """The same, with a key that begins with a text which may be missing."""

    class Config:
        metadata = {"key": ["label", "id"], "handoff": {"kind": "column", "column": "day"}}  # noqa: RUF012


@pytest.mark.parametrize("model", [Everything, Undivided, Hashed, ByText])
@pytest.mark.parametrize("some", [True, False])
def test_what_is_read_from_the_files_is_what_the_engine_reads(
    spark: Any, tmp_path: Path, model: Any, some: bool
) -> None:
    """One engine's files would travel anew when another one hands off, or lack the rows without a day."""
    things = contract(model)
    store = DeltaRsStore(str(tmp_path / "tables"), str(tmp_path / "changes"))
    store.create(things)
    for part in range(3):
        table = arrow.Table.from_pylist(rows()[part::3], schema=things.arrow_schema)
        write_deltalake(store.uri(things.name), table, mode="append")
    version, frame = store.version(things.name), store.frame(spark, things.name)
    names = sorted(sums.spark_sums(frame, things))
    if some:
        names = names[::3] + (["null"] if "null" in names else [])
    found = export.read_rows(store, spark, things, version, names)
    assert found.equals(export.rows_of(frame, things, names))
    assert found.schema.equals(things.arrow_schema)
    if model is not Hashed:
        in_files = store.rows(things.name, version, things.names, slices.among(things, names))
        assert in_files is not None, "else the engine has been compared with itself"


@pytest.mark.heavy
def test_texts_of_more_than_two_gigabytes_travel(spark: Any, tmp_path: Path) -> None:
    """Arrow cannot sort them, and a slice is not cut: the hand-off of the table would fail for ever."""
    things = contract(Undivided)
    store = DeltaRsStore(str(tmp_path / "tables"), str(tmp_path / "changes"))
    store.create(things)
    number = 740_000
    for part in range(3):
        columns = {f.name: arrow.nulls(number, f.type) for f in things.arrow_schema}
        columns["id"] = arrow.array(range(part, 3 * number, 3), arrow.int64())
        columns["label"] = arrow.repeat(arrow.scalar("x" * 1000), number)
        write_deltalake(store.uri(things.name), arrow.table(columns), mode="append")
    found = export.read_rows(store, spark, things, store.version(things.name), ["all"])
    assert found.nbytes > 2**31
    assert found["id"].to_pylist() == list(range(3 * number))


def test_no_more_rows_are_fetched_at_a_time_than_asked(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first load of a large table would not fit into memory."""
    fetched: list[int] = []
    rows_of = export.rows_of

    def counting(*arguments: Any) -> arrow.Table:
        table = rows_of(*arguments)
        fetched.append(table.num_rows)
        return table

    monkeypatch.setattr(export, "rows_of", counting)
    write(spark, contract(Everything), [r for r in rows() if r["day"]], tmp_path / "out", group_rows=100)
    assert len(fetched) > 1
    assert max(fetched) <= 100


def test_a_directory_is_named_by_its_files_alone() -> None:
    """Another hand-off of the same rows must find the files of the first."""

    def manifest(handoff_id: str, files: Iterator[str]) -> Manifest:
        staged = tuple(StagedFile(f"{d}.parquet", d, 1, 1) for d in files)
        return Manifest(handoff_id, "gold.things", "id", 1, 2, 3, "f", False, {}, staged)

    one = manifest("a", iter(["x", "y"]))
    assert one.directory == manifest("b", iter(["y", "x"])).directory
    assert one.directory != manifest("a", iter(["x"])).directory
