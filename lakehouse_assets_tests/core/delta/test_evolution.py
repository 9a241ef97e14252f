"""A table follows its contract where its rows can, and says so where they cannot."""

import json
import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pandera.engines.polars_engine as pe
import pandera.polars as pa
import pyarrow as arrow
import pytest

from lakehouse_assets.core.contracts import ColumnType, Contract
from lakehouse_assets.core.contracts.types import Day, Euro, Moment, Text, TextList, Whole
from lakehouse_assets.core.delta.change_feed import HistoryUnavailableError
from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.evolution import holds
from lakehouse_assets.core.delta.rs import DeltaRsStore
from lakehouse_assets.core.delta.slice_rules import OPERATION
from lakehouse_assets.core.delta.staging import Lakehouse
from lakehouse_assets.core.frames import Recomputed
from lakehouse_assets.errors import LakehouseError, StaleSliceError
from lakehouse_assets_tests.core.delta.conftest import (
    FEBRUARY,
    JANUARY,
    THINGS,
    Workbench,
    ordered,
    spark_is_slow,
    thing,
)


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
    return Lakehouse(
        DeltaRsStore(str(tmp_path / "tables"), str(tmp_path / "changes")), lambda: spark, str(tmp_path / "staging")
    )


def bring(lakehouse, contract, sql):
    head = lakehouse.head(contract)
    rows = lakehouse.spark.sql(sql)
    target = lakehouse.store.frame(lakehouse.spark, NAME, head.version)
    return lakehouse.publish(
        lakehouse.stage_difference(contract, head, Consumed(contract=contract.fingerprint), Recomputed(rows, target))
    )


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
    bring(
        lakehouse,
        AFTER,
        "SELECT 1L AS customer_id, 'Ann' AS name, CAST(NULL AS STRING) AS segment, CAST(NULL AS TIMESTAMP) AS seen_at",
    )
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


class Narrow(pa.DataFrameModel):
    """A column of every type, some of which may be null.

    As it was before two columns were widened and two were added.
    """

    id: Whole = pa.Field(description="the key's number")
    kind: Text = pa.Field()
    month: Day = pa.Field()
    note: Text = pa.Field(nullable=True)
    price: Annotated[pe.Decimal, 10, 2] = pa.Field(nullable=True)
    euro: Euro = pa.Field(nullable=True)
    shown_at: Day = pa.Field(nullable=True)
    rules: TextList = pa.Field(nullable=True)

    class Config:
        strict = True
        metadata: ClassVar = {"key": ["id", "kind"], "partition_by": ["month"]}


class Plain(pa.DataFrameModel):
    """A column of every type, some of which may be null.

    As it was when it had its key alone.
    """

    id: Whole = pa.Field()
    kind: Text = pa.Field()
    month: Day = pa.Field()

    class Config:
        strict = True
        metadata: ClassVar = {"key": ["id", "kind"], "partition_by": ["month"]}


NARROW = Contract(THINGS.name, Narrow)
CONSUMED = Consumed({"silver.lines": 7}, {"silver.lines": "an id"}, "c0ffee", "7ab1e", 3)
OLD: list[dict[str, Any]] = [
    {
        "id": 1,
        "kind": "a",
        "month": JANUARY,
        "note": "n",
        "price": Decimal("-12345678.90"),
        "shown_at": date(1600, 2, 29),
        "rules": ["x"],
    },
    {
        "id": 2,
        "kind": "a",
        "month": FEBRUARY,
        "note": None,
        "price": None,
        "euro": Decimal("123456789012345678.654321"),
        "shown_at": None,
    },
]
WIDENED = [
    thing(1, note="n", price=Decimal("-12345678.900"), shown_at=datetime(1600, 2, 29), rules=["x"]),
    thing(2, month=FEBRUARY, euro=Decimal("123456789012345678.654321")),
]


def narrow(bench: Workbench) -> int:
    """A table as it was before; returns its version."""
    bench.store.create(NARROW)
    fields = [arrow.field(f.name, f.type) for f in NARROW.arrow_schema]
    slice_uri = bench.stage(
        [("I", row) for row in OLD], arrow.schema([*fields, arrow.field(OPERATION, arrow.string())])
    )
    return bench.store.commit(NARROW, slice_uri, base_version=0, consumed=CONSUMED, append=True)


@spark_is_slow
def test_a_wider_type_and_a_gained_column_are_one_commit_that_keeps_rows_and_properties(bench: Workbench) -> None:
    """Else a contract that promises more stops the load, loses rows, or costs the table its partitions and its change
    feed.
    """
    since = narrow(bench)
    before = metadata(bench, 0)
    assert [(p.kind, p.object, p.reason) for p in bench.store.plan(THINGS)] == [
        (
            "rebuild",
            THINGS.name,
            "widens price decimal(10,2) → decimal(12,3), widens shown_at date → timestamp_ntz, adds seen_at, flag",
        )
    ]
    bench.store.evolve(THINGS)
    assert bench.store.plan(THINGS) == []
    rewritten = bench.store.version(THINGS.name)
    assert bench.store.columns(THINGS.name) == {c.name: c.type.spark for c in THINGS.columns}
    assert bench.rows() == ordered(WIDENED)
    assert ordered(r.asDict() for r in bench.store.frame(bench.spark, THINGS.name).collect()) == ordered(WIDENED)
    after = metadata(bench, rewritten)
    assert {n: after.get(n) for n in ("name", "description", "partitionColumns")} == {
        n: before.get(n) for n in ("name", "description", "partitionColumns")
    }
    kept = ("delta.enableChangeDataFeed", "delta.enableDeletionVectors")
    assert [after["configuration"][n] for n in kept] == [before["configuration"][n] for n in kept]
    assert set(after["configuration"]["delta.dataSkippingStatsColumns"].split(",")) <= {"id", "kind", "note"}
    head = bench.store.head(THINGS.name)
    assert head is not None
    assert (head.data_version, head.consumed) == (rewritten, CONSUMED)

    bench.store.evolve(THINGS)
    assert bench.store.version(THINGS.name) == rewritten
    added = thing(3, price=Decimal("999999999.999"), shown_at=datetime(2026, 3, 29, 2, 30), flag=True)
    last = bench.commit(("I", added), ("D", WIDENED[1]), partitions=[JANUARY, FEBRUARY])
    assert bench.rows() == ordered([WIDENED[0], added])
    assert bench.changes(rewritten) == [{**WIDENED[1], "_change": "delete"}, {**added, "_change": "insert"}]
    for until in (rewritten, last):
        # The rows of both sides have no type in common: who is behind compares everything.
        with pytest.raises(HistoryUnavailableError):
            bench.changes(since, until)
    assert ordered(bench.store.read(THINGS.name, since).to_pylist())[0]["price"] == OLD[0]["price"]


def metadata(bench: Workbench, version: int) -> dict[str, Any]:
    log = Path(bench.place, "_delta_log", f"{version:020d}.json").read_text()
    return next(found for line in log.splitlines() if (found := json.loads(line).get("metaData")))


def test_a_gained_column_may_be_of_any_type(bench: Workbench) -> None:
    """Else a table whose first time without a zone comes later cannot have it: Delta keeps a list of what a reader must
    know.
    """
    plain = Contract(THINGS.name, Plain)
    bench.store.create(plain)
    bench.store.evolve(THINGS)
    assert bench.store.columns(THINGS.name) == {c.name: c.type.spark for c in THINGS.columns}
    bench.commit(("I", WIDENED[0]), append=True)
    assert bench.rows() == [WIDENED[0]]


@spark_is_slow
def test_a_table_rewritten_while_it_is_published_has_both(bench: Workbench) -> None:
    """Else rows that came meanwhile are lost, or are in files of the old types."""
    base = narrow(bench)
    fields = [arrow.field(f.name, f.type) for f in NARROW.arrow_schema]
    schema = arrow.schema([*fields, arrow.field(OPERATION, arrow.string())])
    slice_uri = bench.stage([("I", {**OLD[0], "id": 9})], schema)
    publisher, start = bench.another(), threading.Barrier(2)
    outcome: list[Any] = []

    def publish() -> None:
        start.wait()
        try:
            outcome.append(publisher.commit(NARROW, slice_uri, base_version=base, consumed=CONSUMED, append=True))
        except StaleSliceError as error:
            outcome.append(error)

    thread = threading.Thread(target=publish)
    thread.start()
    start.wait()
    bench.store.evolve(THINGS)
    thread.join()
    assert bench.store.plan(THINGS) == []
    more = [] if isinstance(outcome[0], StaleSliceError) else [{**WIDENED[0], "id": 9}]
    assert bench.rows() == ordered([*WIDENED, *more])


@pytest.mark.parametrize(
    ("was", "wanted", "lossless"),
    [
        ("decimal(10,2)", ColumnType("decimal", 12, 3), True),
        ("decimal(10,2)", ColumnType("decimal", 10, 3), False),
        ("decimal(10,2)", ColumnType("decimal", 12, 1), False),
        ("decimal(10,2)", ColumnType("decimal", 9, 2), False),
        ("date", ColumnType("timestamp_ntz"), True),
        ("date", ColumnType("timestamp"), False),
        ("timestamp_ntz", ColumnType("date"), False),
        ("bigint", ColumnType("string"), False),
        ("bigint", ColumnType("decimal", 18, 0), False),
    ],
)
def test_only_a_type_that_holds_every_value_is_wider(was: str, wanted: ColumnType, lossless: bool) -> None:
    """Else a value is rounded, shifted by a time zone or turned into null by a change of the contract."""
    assert holds(wanted, was) is lossless


def test_a_narrowed_column_is_refused_and_nothing_is_written(bench: Workbench) -> None:
    """Else digits are lost, and with a gained column beside it half of the change is made."""
    bench.store.create(THINGS)
    version = bench.commit(("I", thing(1, price=Decimal("1.234"))), append=True)
    kinds = {p.kind for p in bench.store.plan(NARROW)}
    assert kinds == {"breaking"}
    with pytest.raises(
        LakehouseError, match=r"drops seen_at and drops flag and changes price decimal\(12,3\) → decimal\(10,2\)"
    ):
        bench.store.evolve(NARROW)
    assert bench.store.version(THINGS.name) == version
