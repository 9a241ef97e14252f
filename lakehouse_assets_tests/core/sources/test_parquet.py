"""Parquet drops: values of every type, and files that are none."""

import io
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse_assets.core.format import Format, Landed
from lakehouse_assets.core.sources.kinds.parquet import Parquet
from lakehouse_assets.core.sources.parse import parse_drop

FORMAT = Format(Parquet(), (Landed("id", ""), Landed("value", "", ("Value", "Amount"))))


def drop(**columns: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("values", "type", "texts"),
    [
        ([1, None, -3], pa.int32(), ["1", None, "-3"]),
        ([Decimal("1.50"), Decimal("-0.05")], pa.decimal128(10, 2), ["1.50", "-0.05"]),
        ([1.5, 3.89], pa.float64(), ["1.5", "3.89"]),
        ([True, False], pa.bool_(), ["true", "false"]),
        ([date(2026, 9, 1)], pa.date32(), ["2026-09-01"]),
        ([time(1, 2, 3)], pa.time64("us"), ["01:02:03.000000"]),
        ([datetime(2026, 9, 1, 1, 2, 3, 5)], pa.timestamp("us"), ["2026-09-01T01:02:03.000005"]),
        ([datetime(2026, 9, 1, 1)], pa.timestamp("ms"), ["2026-09-01T01:00:00.000000"]),
        ([1_000], pa.timestamp("ns"), ["1970-01-01T00:00:00.000001"]),
        ([1], pa.timestamp("ns"), ["1970-01-01T00:00:00.000000001"]),
        # The moment, whatever the zone of the file.
        ([datetime(2026, 9, 1, 1, tzinfo=UTC)], pa.timestamp("us", "Europe/Berlin"), ["2026-09-01T01:00:00.000000Z"]),
        ([[1, 2], []], pa.list_(pa.int64()), ["[1, 2]", "[]"]),
        ([{"a": "b"}], pa.struct([("a", pa.string())]), ['{"a": "b"}']),
        ([b"x\0"], pa.binary(), ["base64:eAA="]),
        (["a", "", None], pa.string(), ["a", "", None]),
    ],
)
def test_a_value_lands_as_a_text_that_loses_nothing(values: list[Any], type: Any, texts: list[str | None]) -> None:
    """Else a moment shifts by hours, a price by a digit, or a value is null without a word."""
    table = parse_drop(FORMAT, drop(id=pa.array(range(len(values))), Amount=pa.array(values, type)))
    assert table["value"].to_pylist() == texts
    assert table["_malformed"].to_pylist() == [None] * len(values)
    assert table["row_number"].to_pylist() == list(range(1, len(values) + 1))


def test_columns_are_found_by_name_and_others_are_kept() -> None:
    """Else a column that somebody adds shifts the values of the others, or is lost."""
    table = parse_drop(FORMAT, drop(more=pa.array([7]), VALUE=pa.array([2]), id=pa.array(["x"])))
    assert (table["id"].to_pylist(), table["value"].to_pylist()) == (["x"], ["2"])
    assert table["_rescued"].to_pylist() == ['{"more":"7"}']
    assert "+ more" in table["_drift"].to_pylist()[0]


@pytest.mark.parametrize(
    ("content", "rule", "told"),
    [
        (b"", "drop.unreadable", "is empty"),
        (b"id,value\n1,2\n", "drop.unreadable", "is no Parquet file"),
        (b"PAR1", "drop.unreadable", "is damaged"),
        (drop(id=pa.array([1])), "drop.missing_column", "lacks Value or Amount"),
        (drop(id=pa.array([1]), Value=pa.array([1]), Amount=pa.array([1])), "drop.duplicate_column", "more than once"),
    ],
)
def test_a_drop_that_cannot_be_read_is_one_row_that_says_why(content: bytes, rule: str, told: str) -> None:
    """Else it is loaded as no rows, and nobody misses them."""
    (row,) = parse_drop(FORMAT, content).to_pylist()
    assert (row["row_number"], row["_malformed"]) == (0, rule)
    assert told in row["_detail"]


def test_a_drop_without_rows_has_none() -> None:
    """An empty export is no error."""
    assert parse_drop(FORMAT, drop(id=pa.array([], pa.int64()), value=pa.array([], pa.string()))).num_rows == 0


WHOLE = drop(id=pa.array(range(50)), value=pa.array([f"v{n}" for n in range(50)]))


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(0, len(WHOLE) - 1))
def test_a_file_that_breaks_off_is_never_taken_for_a_whole_one(cut: int) -> None:
    """Else rows are lost in silence, or a run dies of one drop."""
    rows = parse_drop(FORMAT, WHOLE[:cut]).to_pylist()
    assert [row["_malformed"] for row in rows] == ["drop.unreadable"]
