"""The row hash, computed in three ways: by the engine, by Snowflake, and by a plain reading of its definition here. One
row was written down by hand, as bytes with their digest.
"""

import hashlib
import random
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandera.polars as pa
import pyarrow as arrow
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from lakehouse_assets.core.contracts import CONTRACTS, Contract
from lakehouse_assets.core.contracts.types import TextList, Whole
from lakehouse_assets.core.frames import from_arrow
from lakehouse_assets.core.handoff import rowhash, slices
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.core.handoff.conftest import (
    FIRST_DAY,
    STRINGS,
    Everything,
    Hashed,
    Lakehouse,
    any_row,
    contract,
)
from lakehouse_assets_tests.pipeline.world import outside

ROWS = 12_000


def canonical(contract: Contract, row: dict[str, Any], columns: tuple[str, ...] | None = None) -> str:
    """The definition: every column with a closing bar."""
    parts = []
    for column in contract.columns if columns is None else [contract.column(c) for c in columns]:
        value = row[column.name]
        if value is None:
            text = "n"
        elif isinstance(value, str):
            text = f"s{len(value)}:{value}"
        elif isinstance(value, bool):
            text = "t" if value else "f"
        elif isinstance(value, datetime):
            text = str((value.replace(tzinfo=None) - datetime(1970, 1, 1)) // timedelta(microseconds=1))
        elif isinstance(value, date):
            text = str((value - date(1970, 1, 1)).days)
        elif isinstance(value, Decimal):
            text = str(int(value.scaleb(column.type.scale)))
        else:
            text = str(value)
        parts.append(text + "|")
    return "".join(parts)


def reference(text: str) -> int:
    return int.from_bytes(hashlib.md5(text.encode()).digest()[8:])


def generated() -> list[dict[str, Any]]:
    rng = random.Random(11)
    days = [None, date(1, 1, 1), date(1500, 3, 1), date(9999, 12, 31), date(1969, 12, 31), FIRST_DAY]
    rows = [
        any_row(rng, key, rng.choice([*days, FIRST_DAY + timedelta(days=rng.randrange(9000))])) for key in range(ROWS)
    ]
    for index, row in enumerate(rows[:200]):
        row["id"] = rng.choice([2**63 - 1 - index, -(2**63) + index])
    for row, label in zip(rows[200:], STRINGS, strict=False):
        row["label"] = label
    return rows


def test_engine_snowflake_and_definition_agree_on_every_row(lakehouse_of: Any, spark: Any, tmp_path: Path) -> None:
    """Otherwise a good hand-off is refused, or, where two sides err alike, a damaged one is published."""
    lakehouse: Lakehouse = lakehouse_of(Hashed)
    model, rows = lakehouse.contract, generated()
    file = tmp_path / "rows.parquet"
    pq.write_table(arrow.Table.from_pylist(rows, schema=model.arrow_schema), file, store_schema=False)
    expected = {
        r["id"]: (reference(canonical(model, r)), str(reference(canonical(model, r, model.key)) % 7)) for r in rows
    }

    upper, lower = rowhash.spark_halves("digest")
    frame = spark.read.parquet(str(file)).selectExpr(
        "id", f"md5({rowhash.spark_text(model)}) AS digest", f"{slices.spark_value(model)} AS bucket"
    )
    halves = (
        frame.selectExpr(
            "id", f"{upper} AS upper", f"{lower} AS lower", f"{slices.spark_name(model, 'bucket')} AS name"
        )
        .toArrow()
        .to_pylist()
    )
    assert {r["id"]: (rowhash.combine(r["upper"], r["lower"]), r["name"]) for r in halves} == expected

    names = lakehouse.names
    lakehouse.sql(f"PUT 'file://{file}' {names.directory(model, 'here')} AUTO_COMPRESS=FALSE")
    columns = ", ".join(f"$1:{c.name}::{c.type.snowflake} AS {c.name.upper()}" for c in model.columns)
    lakehouse.sql(
        f"CREATE VIEW {names.view('x')} AS SELECT {columns} FROM {names.directory(model, 'here')} (FILE_FORMAT =>"
        f" '{names.sql['file_format']}')"
    )
    lakehouse.sql(f"INSERT INTO {names.table(model)} SELECT * FROM {names.view('x')}")
    name = slices.snowflake_name(model, slices.snowflake_value(model))
    for source in (names.view("x"), names.table(model)):
        found = lakehouse.sql(
            f"SELECT ID, {rowhash.snowflake_hash(rowhash.snowflake_text(model))}, {name} FROM {source}"
        )
        assert {int(key): (int(digest), bucket) for key, digest, bucket in found} == expected
    by_day = contract(Everything)
    dates = lakehouse.sql(
        f"SELECT ID, {slices.snowflake_name(by_day, slices.snowflake_value(by_day))} FROM {names.table(model)}"
    )
    assert {int(k): n for k, n in dates} == {
        r["id"]: "null" if r["day"] is None else r["day"].isoformat() for r in rows
    }


WRITTEN: dict[str, Any] = {
    "id": 7,
    "day": date(2010, 12, 1),
    "label": "ñ|",
    "flag": True,
    "price": Decimal("12.345"),
    "amount": Decimal("-0.500"),
    "euro": None,
    "clock": datetime(2010, 12, 1, 8, 26, 0, 123456),
    "moment": datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
}
TEXT = b"7|14944|s2:\xc3\xb1||t|12345|-500|n|1291191960123456|-1|"
DIGEST = 0xE5A0950B7E5D86DF
"""Written down by hand, with the lower half of what `md5sum` says of these bytes."""


def test_a_row_has_the_text_and_the_hash_that_were_written_down(lakehouse_of: Any, spark: Any) -> None:
    """Else a new version sums otherwise than what it finds in Snowflake: every table is reported damaged."""
    lakehouse: Lakehouse = lakehouse_of()
    model = lakehouse.contract
    assert (canonical(model, WRITTEN).encode(), reference(TEXT.decode())) == (TEXT, DIGEST)

    row = arrow.Table.from_pylist([WRITTEN], schema=model.arrow_schema)
    upper, lower = rowhash.spark_halves("md5(text)")
    frame = from_arrow(spark, row).selectExpr(f"{rowhash.spark_text(model)} AS text")
    ((text, high, low),) = frame.selectExpr("text", upper, lower).collect()
    assert (text.encode(), rowhash.combine(high, low)) == (TEXT, DIGEST)

    write_deltalake(lakehouse.store.uri(model.name), row, mode="append")
    lakehouse.hand_off()
    text = rowhash.snowflake_text(model)
    found = lakehouse.sql(f"SELECT {text}, {rowhash.snowflake_hash(text)} FROM {lakehouse.names.table(model)}")
    assert [(said.encode(), int(digest)) for said, digest in found] == [(TEXT, DIGEST)]
    assert lakehouse.handoff.read_state().tables["THINGS"].hash == DIGEST


@pytest.mark.heavy
def test_apache_spark_agrees_with_the_definition(tmp_path: Path) -> None:
    """On a cluster another engine computes the hash; it must be the same number."""
    model, rows = contract(Hashed), generated()
    pq.write_table(
        arrow.Table.from_pylist(rows, schema=model.arrow_schema), tmp_path / "rows.parquet", store_schema=False
    )
    arguments = [
        sys.executable,
        "-m",
        "lakehouse_assets_tests.core.handoff.jvm_digests",
        str(tmp_path / "rows.parquet"),
        str(tmp_path / "out"),
    ]
    subprocess.run(arguments, env=outside(), check=True, capture_output=True, timeout=300)
    found = pq.read_table(tmp_path / "out").to_pylist()
    expected = {
        r["id"]: (reference(canonical(model, r)), str(reference(canonical(model, r, model.key)) % 7)) for r in rows
    }
    assert {r["id"]: (rowhash.combine(r["upper"], r["lower"]), r["name"]) for r in found} == expected


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns"])
def test_the_hash_does_not_depend_on_the_sessions_time_zone(spark: Any, tmp_path: Path, zone: str) -> None:
    """A cluster with another time zone would hand every table off again, or find it damaged."""
    model, file = contract(), tmp_path / "rows.parquet"
    pq.write_table(arrow.Table.from_pylist(generated()[:500], schema=model.arrow_schema), file, store_schema=False)

    def digests() -> list[Any]:
        return sorted(
            spark.read.parquet(str(file))
            .selectExpr(f"md5({rowhash.spark_text(model)}) AS d")
            .toArrow()["d"]
            .to_pylist()
        )

    utc = digests()
    before = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", zone)
    try:
        assert digests() == utc
    finally:
        spark.conf.set("spark.sql.session.timeZone", before)


class Two(pa.DataFrameModel):
    """Two texts."""

    a: str = pa.Field(nullable=True)
    b: str = pa.Field(nullable=True)


def test_canonical_texts_of_different_rows_differ(lakehouse_of: Any, spark: Any) -> None:
    """Else text that shifts between neighbouring columns, or null in place of an empty text, goes unseen."""
    model = Contract("gold.two", Two)
    values = [None, "", "n", "s0:", "|", "s1:n|", "n|n", "x", "y|sz", "x|sy", "z"]
    rows = [(a, b) for a in values for b in values]
    frame = from_arrow(spark, arrow.table(list(zip(*rows, strict=True)), names=["a", "b"]))
    engine = frame.selectExpr(f"{rowhash.spark_text(model)} AS text").toArrow()["text"].to_pylist()
    said = ", ".join("(" + ", ".join("NULL" if v is None else f"'{v}'" for v in row) + ")" for row in rows)
    pairs = f"SELECT column1 AS a, column2 AS b FROM VALUES {said}"
    account = lakehouse_of(deploy=False).sql(f"SELECT {rowhash.snowflake_text(model)} FROM ({pairs})")
    assert sorted(engine) == sorted(text for (text,) in account)
    assert len(set(engine)) == len(rows)


def test_a_type_without_canonical_text_is_refused_by_name() -> None:
    """A column left out of the hash would be a column nobody compares."""

    class Listed(pa.DataFrameModel):
        """Has a list."""

        id: Whole
        words: TextList

    with pytest.raises(LakehouseError, match=r"gold\.listed\.words"):
        rowhash.spark_text(Contract("gold.listed", Listed))


def test_every_served_contract_has_a_hash_and_a_slice() -> None:
    """A table that cannot travel is found out when definitions load, not in the night."""
    served = [c for c in CONTRACTS.values() if c.handoff]
    assert served
    for model in served:
        assert rowhash.spark_text(model)
        assert rowhash.snowflake_text(model)
        assert slices.spark_value(model)
