"""A table follows its contract where its rows can, and says so where they cannot."""

from datetime import UTC, datetime

import pandera.polars as pa
import pytest

from lakehouse_assets.contracts import Contract
from lakehouse_assets.contracts.types import Moment, Text, Whole
from lakehouse_assets.delta.rs import DeltaRsStore
from lakehouse_assets.delta.staging import Lakehouse
from lakehouse_assets.delta.store import Consumed
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.transforms.frames import Recomputed


class Before(pa.DataFrameModel):
    """A table before it gains a column."""

    customer_id: Whole = pa.Field()
    name: Text = pa.Field(nullable=True)

    class Config:
        strict = True
        metadata = {"key": ["customer_id"]}  # noqa: RUF012


class After(Before):
    """The same with two columns more."""

    segment: Text = pa.Field(nullable=True)
    seen_at: Moment = pa.Field(nullable=True)


class Retyped(pa.DataFrameModel):
    """The same with another type."""

    customer_id: Text = pa.Field()
    name: Text = pa.Field(nullable=True)

    class Config:
        strict = True
        metadata = {"key": ["customer_id"]}  # noqa: RUF012


NAME = "gold.people"
BEFORE, AFTER, RETYPED = (Contract(NAME, m) for m in (Before, After, Retyped))


@pytest.fixture
def lakehouse(spark, tmp_path):
    return Lakehouse(DeltaRsStore(str(tmp_path / "tables"), str(tmp_path / "changes")), lambda: spark, str(tmp_path / "staging"))


def bring(lakehouse, contract, sql):
    head = lakehouse.head(contract)
    rows = lakehouse.spark.sql(sql)
    target = lakehouse.store.frame(lakehouse.spark, NAME, head.version)
    return lakehouse.publish(lakehouse.stage_difference(contract, head, Consumed(contract=contract.fingerprint), Recomputed(rows, target)))


def test_a_gained_column_is_added_and_old_rows_are_null_in_it(lakehouse):
    """Else a new column stops the load, or rewrites what is there."""
    bring(lakehouse, BEFORE, "SELECT 1L AS customer_id, 'Ann' AS name")
    since = lakehouse.store.version(NAME)
    seen = "TIMESTAMP '2026-01-02 03:04:05' AS seen_at"
    bring(
        lakehouse,
        AFTER,
        f"SELECT 2L AS customer_id, 'Bob' AS name, 'gift' AS segment, {seen} UNION ALL SELECT 1L, 'Ann', NULL, NULL",
    )
    found = sorted(lakehouse.store.read(NAME).to_pylist(), key=lambda r: r["customer_id"])
    assert found == [
        {"customer_id": 1, "name": "Ann", "segment": None, "seen_at": None},
        {"customer_id": 2, "name": "Bob", "segment": "gift", "seen_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)},
    ]
    changes = lakehouse.store.changes(lakehouse.spark, NAME, since, lakehouse.store.version(NAME)).collect()
    assert {(r["customer_id"], r["_change"]) for r in changes} == {(2, "insert")}


def test_readers_downstream_learn_of_a_gained_column_though_no_row_differs(lakehouse):
    """Else a hand-off reads a version that lacks the column."""
    bring(lakehouse, BEFORE, "SELECT 1L AS customer_id, 'Ann' AS name")
    before = lakehouse.head(BEFORE).data_version
    bring(lakehouse, AFTER, "SELECT 1L AS customer_id, 'Ann' AS name, CAST(NULL AS STRING) AS segment, CAST(NULL AS TIMESTAMP) AS seen_at")
    head = lakehouse.head(AFTER)
    assert head.data_version > before
    assert set(lakehouse.store.frame(lakehouse.spark, NAME, head.data_version).columns) == set(AFTER.names)


@pytest.mark.parametrize(("then", "named"), [(BEFORE, "segment"), (RETYPED, "customer_id bigint → string")])
def test_a_lost_or_retyped_column_is_refused_with_what_to_do(lakehouse, then, named):
    """Else rows are silently cut or cast."""
    bring(lakehouse, AFTER if then is BEFORE else BEFORE, _one_row(then is BEFORE))
    version = lakehouse.store.version(NAME)
    with pytest.raises(LakehouseError, match=named):
        lakehouse.head(then)
    assert lakehouse.store.version(NAME) == version


def _one_row(wide):
    more = ", CAST(NULL AS STRING) AS segment, CAST(NULL AS TIMESTAMP) AS seen_at" if wide else ""
    return f"SELECT 1L AS customer_id, 'Ann' AS name{more}"
