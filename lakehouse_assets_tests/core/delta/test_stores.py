"""What every Delta store must do: one suite, run against each."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pytest
from deltalake import DeltaTable

from lakehouse_assets.core.delta import store as delta_store
from lakehouse_assets.core.delta.change_feed import HistoryUnavailableError
from lakehouse_assets.core.delta.commits import APPLICATION, TIDYING, Consumed
from lakehouse_assets.core.delta.slice_rules import OPERATION
from lakehouse_assets.core.delta.staging import Lakehouse, StagedSlice
from lakehouse_assets.core.frames import Recomputed
from lakehouse_assets.errors import LakehouseError, StaleSliceError
from lakehouse_assets_tests.core.delta.conftest import (
    FEBRUARY,
    FULL,
    JANUARY,
    MARCH,
    ORDERED_THINGS,
    THINGS,
    Row,
    Workbench,
    ordered,
    spark_is_slow,
    thing,
)

NAME = THINGS.name
CONSUMED = Consumed({"silver.lines": 7, "bronze.landings": 3}, {"silver.lines": "it's an id"}, "c0ffee", "7ab1e", 3)


WRONG_TYPES = [
    ("id", arrow.string(), "2"),
    ("note", arrow.int64(), 7),
    ("month", arrow.timestamp("us"), datetime(2026, 1, 1)),
    ("price", arrow.decimal128(18, 3), Decimal("1.5")),
    ("seen_at", arrow.timestamp("us"), datetime(2026, 1, 1)),
    ("shown_at", arrow.timestamp("us", "UTC"), datetime(2026, 1, 1)),
    ("rules", arrow.list_(arrow.int64()), [1]),
]
"""(column, another type, a value of it): each of them would go into the table by a cast."""


def log_of(bench: Workbench, version: int) -> dict[str, dict]:
    """The actions of one commit by kind, as they are in the log."""
    text = Path(bench.place, "_delta_log", f"{version:020d}.json").read_text()
    return {kind: action for line in text.splitlines() for kind, action in json.loads(line).items()}


def test_a_table_is_created_once_from_its_contract(bench: Workbench):
    """Else a second run loses the table of the first, or has columns that nobody promised."""
    assert not bench.store.exists(NAME)
    assert bench.store.version(NAME) == -1
    assert bench.store.head(NAME) is None
    with pytest.raises(LakehouseError, match=r"gold\.things does not exist"):
        bench.store.table_id(NAME)

    assert bench.store.create(THINGS) == 0
    identity = bench.store.table_id(NAME)
    assert bench.store.create(THINGS) == 0
    head = bench.store.head(NAME)
    assert head is not None
    assert (head.version, head.data_version, head.table_id, head.consumed) == (0, 0, identity, None)
    assert bench.store.count(NAME) == 0
    assert bench.store.columns(NAME) == {c.name: c.type.spark for c in THINGS.columns}
    assert bench.rows() == []
    assert bench.store.counts(NAME, "month", JANUARY, FEBRUARY) == bench.store.counts(NAME, "id", 0, 9) == {}


def test_inserts_updates_and_deletes_are_one_commit_and_values_come_back_as_they_were(bench: Workbench):
    """Else a reader sees half a run, or a value is rounded, shifted by a time zone or turned into another null."""
    bench.store.create(THINGS)
    kept = thing(2, month=FEBRUARY, note="kept")
    first = bench.commit(("I", FULL), ("I", kept), ("I", thing(3, note="old")), ("I", thing(4)), append=True)
    assert bench.rows() == ordered([FULL, kept, thing(3, note="old"), thing(4)])

    updated, added = {**thing(3, note=None, rules=[]), "price": Decimal("0.001")}, {**FULL, "id": 5, "month": FEBRUARY}
    second = bench.commit(
        ("U", updated), ("D", thing(4)), ("I", added), partitions=[JANUARY, FEBRUARY], consumed=CONSUMED
    )
    assert (first, second) == (1, 2)
    assert bench.rows() == ordered([FULL, kept, updated, added])
    assert ordered(r.asDict() for r in bench.store.frame(bench.spark, NAME).collect())[3]["price"] == FULL["price"]
    assert bench.store.count(NAME) == 4
    assert bench.store.counts(NAME, "month", JANUARY, FEBRUARY) == {JANUARY: 2, FEBRUARY: 2}
    assert bench.store.counts(NAME, "month", FEBRUARY, FEBRUARY) == {FEBRUARY: 2}
    assert bench.store.counts(NAME, "id", 2, 5) == {2: 1, 3: 1, 5: 1}
    # Time travel, and what came and went.
    assert [r["id"] for r in bench.rows(first)] == [1, 2, 3, 4]
    assert bench.store.frame(bench.spark, NAME, 0).count() == 0
    assert bench.changes(first) == [
        {**thing(3, note="old"), "_change": "delete"},
        {**updated, "_change": "insert"},
        {**thing(4), "_change": "delete"},
        {**added, "_change": "insert"},
    ]
    assert [c.version for c in bench.store.history(NAME)] == [2, 1, 0]
    assert bench.store.history(NAME, 1)[0].metadata["consumed"] == asdict(CONSUMED)
    assert abs(bench.store.history(NAME, 1)[0].timestamp_ms / 1000 - datetime.now().timestamp()) < 600


def test_a_slice_that_is_not_the_contracts_is_refused_whole(bench: Workbench):
    """Else a wrong transform loses a column, doubles a key or writes nulls where readers rely on none, and nobody hears
    of it.
    """
    bench.store.create(THINGS)
    before = bench.commit(("I", thing(1)), append=True)
    fields = [arrow.field(f.name, f.type) for f in THINGS.arrow_schema] + [arrow.field(OPERATION, arrow.string())]

    def refused(slice_uri: str, reason: str, **options: Any) -> None:
        with pytest.raises(LakehouseError, match=reason):
            bench.store.commit(THINGS, slice_uri, base_version=before, consumed=Consumed(), **options)

    refused(
        bench.stage([("I", thing(2))], arrow.schema([f for f in fields if f.name != "note"])), "lacks note", append=True
    )
    refused(
        bench.stage([("I", thing(2))], arrow.schema([*fields, arrow.field("more", arrow.int64())])), "also has more"
    )
    refused(bench.stage([("I", thing(2, kind=None)), ("I", thing(3))]), "1 in kind", append=True)
    for column, kind, value in WRONG_TYPES:
        schema = arrow.schema([arrow.field(f.name, kind) if f.name == column else f for f in fields])
        wanted = THINGS.column(column).type.spark.replace("(", r"\(").replace(")", r"\)")
        wrong = bench.stage([("I", thing(2, **{column: value}))], schema)
        refused(wrong, rf"In the slice for gold\.things {column} is .*, not {wanted};", append=column == "note")
    refused(bench.stage([("U", thing(1, note="b")), ("U", thing(1, note="c"))]), "more than once")
    refused(bench.stage([("I", thing(2, note="b")), ("I", thing(2, note="c"))]), "more than once")
    assert bench.store.version(NAME) == before
    assert bench.rows() == [thing(1)]


@spark_is_slow
def test_a_row_that_changes_its_partition_moves_there(bench: Workbench):
    """Else the merge, which looks at the partitions of a slice only, does not find the row where it was, and it is
    in both.
    """
    lakehouse = Lakehouse(bench.store, lambda: bench.spark, str(bench.folder / "staging"))

    def publish(*rows: Row) -> StagedSlice:
        head = lakehouse.head(THINGS)
        frame = bench.spark.read.parquet(bench.stage([("I", row) for row in rows])).drop(OPERATION)
        slice_ = lakehouse.stage_difference(
            THINGS, head, CONSUMED, Recomputed(frame, bench.store.frame(bench.spark, NAME))
        )
        lakehouse.publish(slice_)
        return slice_

    stays, moves, goes = thing(1, month=MARCH), thing(2, note="moves"), thing(3, month=MARCH)
    publish(stays, moves, goes)
    before = bench.store.version(NAME)
    moved, new = {**moves, "month": FEBRUARY}, thing(4)
    slice_ = publish(stays, moved, new, goes)
    assert (slice_.counts, slice_.partitions) == ({"I": 1, "U": 1}, [JANUARY, FEBRUARY])
    assert bench.rows() == [stays, moved, goes, new]
    assert bench.changes(before) == [
        {**moves, "_change": "delete"},
        {**moved, "_change": "insert"},
        {**new, "_change": "insert"},
    ]

    slice_ = publish(stays, moves, new)
    assert slice_.partitions == [JANUARY, FEBRUARY, MARCH]
    assert bench.rows() == [stays, moves, new]


def test_what_was_consumed_is_beside_the_commit_in_one_layout(bench: Workbench):
    """Else another engine takes a table for one that was never loaded, and computes it all again."""
    bench.store.create(THINGS)
    version = bench.commit(("I", thing(1)), append=True, consumed=CONSUMED, extra={"drops": 2})
    logged = log_of(bench, version)
    said = json.loads(logged["commitInfo"]["userMetadata"])
    said.pop("nonce", None)  # where only the history shows whose commit it is
    assert said == {"drops": 2, "consumed": asdict(CONSUMED)}
    assert (logged["txn"]["appId"], logged["txn"]["version"]) == (APPLICATION, version)
    head = bench.store.head(NAME)
    assert head is not None
    assert head.consumed == CONSUMED

    # No row changes: the version moves, what readers take for news does not.
    later = Consumed({"silver.lines": 8})
    assert bench.store.commit(THINGS, None, base_version=version, consumed=later) == version + 1
    assert bench.commit(consumed=later) == version + 2
    head = bench.store.head(NAME)
    assert head is not None
    assert (head.version, head.data_version, head.consumed) == (version + 2, version, later)
    assert bench.changes(version) == []


def test_a_slice_on_an_old_version_is_refused_and_one_that_is_done_is_not_repeated(bench: Workbench):
    """Else the slower of two runs undoes the faster one's work, or a retry writes everything twice."""
    bench.store.create(THINGS)
    base = bench.commit(("I", thing(1)), append=True, consumed=CONSUMED)
    bench.commit(("I", thing(2)), append=True, consumed=CONSUMED)
    ways: list[dict[str, Any]] = [{"append": True}, {}]
    for options in ways:
        with pytest.raises(StaleSliceError):
            bench.commit(("I", thing(3)), base=base, **options)
    with pytest.raises(StaleSliceError):
        bench.store.commit(THINGS, None, base_version=base, consumed=Consumed())

    lakehouse = Lakehouse(bench.store, lambda: bench.spark, str(bench.folder / "staging"))
    done = StagedSlice(THINGS, bench.store.version(NAME), CONSUMED)
    assert lakehouse.publish(done) == base + 1
    assert [r["id"] for r in bench.rows()] == [1, 2]


@pytest.mark.parametrize("append", [True, False], ids=["appends", "merges"])
def test_of_two_publishers_at_once_on_one_version_the_protocol_refuses_one(bench: Workbench, append: bool):
    """They never touch the same row, so without a transaction of ours both would pass and the slices of both would
    stay.
    """
    bench.store.create(THINGS)
    partitions = {"0": JANUARY, "1": FEBRUARY}
    olds = [thing(number, kind=kind, month=month) for kind, month in partitions.items() for number in range(50)]
    base = 0 if append else bench.commit(*(("I", old) for old in olds), append=True)
    publishers = [bench.store, bench.another()]
    slices = [
        bench.stage([("I" if append else "U", {**r, "note": "new"}) for r in olds if r["kind"] == kind])
        for kind in partitions
    ]
    start, outcomes = threading.Barrier(2), {}

    def publish(number: int) -> None:
        start.wait()
        merged: dict[str, Any] = {"append": True} if append else {"partitions": [partitions[str(number)]]}
        try:
            outcomes[number] = publishers[number].commit(
                THINGS, slices[number], base_version=base, consumed=Consumed(), **merged
            )
        except StaleSliceError:
            outcomes[number] = None

    threads = [threading.Thread(target=publish, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes.values(), key=str) == [base + 1, None]
    winner = next(str(number) for number, version in outcomes.items() if version)
    assert {r["kind"] for r in bench.rows() if r["note"]} == {winner}
    assert len(bench.rows()) == (50 if append else 100)
    assert bench.store.version(NAME) == base + 1


def test_changes_between_versions_are_netted(bench: Workbench):
    """Else what came and went between two looks is worked on downstream, or counted twice."""
    bench.store.create(THINGS)
    since = bench.commit(("I", thing(1, note="a")), ("I", thing(2)), ("I", thing(3)), append=True)
    bench.commit(("U", thing(1, note="b")), ("D", thing(2)), ("I", thing(4)))
    bench.commit(("U", thing(1, note="c")), ("I", thing(2)), ("D", thing(4)))
    assert bench.changes(since) == [
        {**thing(1, note="a"), "_change": "delete"},
        {**thing(1, note="c"), "_change": "insert"},
    ]
    assert bench.changes(since, since) == []


@spark_is_slow
def test_what_has_changed_is_z_ordered_and_no_row_changes(bench: Workbench):
    """Else every night writes whole tables anew, a look for one note reads every file, or everything downstream works
    again.
    """
    store, model = bench.store, ORDERED_THINGS
    store.create(THINGS)
    for number in (1, 2):
        rows = (thing(number + 10 * month.month, month=month, note=str(number)) for month in (JANUARY, FEBRUARY))
        bench.commit(*(("I", row) for row in rows), append=True, consumed=CONSUMED)
    rows, head = bench.rows(), store.head(NAME)
    assert head is not None
    assert store.z_order(bench.spark, model) == 4
    assert bench.rows() == rows
    assert store.z_order(bench.spark, model) == 0
    after = store.head(NAME)
    assert after is not None
    made = bench.commits_a_statement
    assert (after.version, after.data_version, after.consumed) == (head.version + made, head.data_version, CONSUMED)
    assert store.history(NAME, made)[-1].operation in TIDYING
    assert bench.changes(head.version) == []

    bench.commit(("U", thing(21, month=FEBRUARY, note="x")), partitions=[FEBRUARY])
    rows, january, february = bench.rows(), files_of(bench, JANUARY), files_of(bench, FEBRUARY)
    assert store.z_order(bench.spark, model) == len(february)
    assert bench.rows() == rows
    assert files_of(bench, JANUARY) == january
    assert not files_of(bench, FEBRUARY) & february
    assert store.z_order(bench.spark, model) == 0


@pytest.mark.heavy
def test_where_it_cannot_be_told_what_is_in_order_everything_is_z_ordered(bench: Workbench):
    """Else what a restore has brought back, or what came before a vacuum, lies in no order for ever."""
    store, model = bench.store, ORDERED_THINGS
    store.create(THINGS)
    first = bench.commit(("I", thing(11, month=JANUARY)), ("I", thing(21, month=FEBRUARY)), append=True)
    assert store.z_order(bench.spark, model) == 2
    store.restore(NAME, first)  # no row differs
    assert store.z_order(bench.spark, model) == 2
    for number in (32, 33):
        bench.commit(("I", thing(number, month=JANUARY)), append=True)
    store.optimize(NAME)
    store.vacuum(NAME, 0)
    everything = files_of(bench, JANUARY) | files_of(bench, FEBRUARY)
    assert store.z_order(bench.spark, model) == len(everything)


@pytest.mark.heavy
def test_what_is_published_while_files_are_z_ordered_has_its_turn_next(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
):
    """Else those rows lie in no order until others of their partition change."""
    store, model = bench.store, ORDERED_THINGS
    store.create(THINGS)
    bench.commit(("I", thing(11, month=JANUARY)), ("I", thing(21, month=FEBRUARY)), append=True)
    store.z_order(bench.spark, model)
    bench.commit(("I", thing(12, month=JANUARY)), append=True)
    looked = delta_store.not_in_order

    def published_meanwhile(*given: Any) -> list[Any] | None:
        found = looked(*given)
        bench.commit(("I", thing(22, month=FEBRUARY)), append=True)
        return found

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(delta_store, "not_in_order", published_meanwhile)
        store.z_order(bench.spark, model)
    before = files_of(bench, FEBRUARY)
    assert store.z_order(bench.spark, model) > 0
    assert not files_of(bench, FEBRUARY) & before
    assert [r["id"] for r in bench.rows()] == [11, 12, 21, 22]


def files_of(bench: Workbench, month: date) -> set[str]:
    return {uri for uri in DeltaTable(bench.place).file_uris() if f"month={month}" in uri}


@spark_is_slow
def test_upkeep_changes_no_row_and_restore_brings_rows_and_what_they_consumed(bench: Workbench):
    """Else tidying up makes everything downstream work again, or a restored table says that it has what it lacks."""
    bench.store.create(THINGS)
    first = bench.commit(("I", thing(1)), append=True, consumed=CONSUMED)
    for number in (2, 3, 4):
        bench.commit(("I", thing(number)), append=True, consumed=Consumed({"silver.lines": number}))
    rows, head = bench.rows(), bench.store.head(NAME)
    assert head is not None
    assert bench.store.optimize(NAME) == 4
    assert bench.store.optimize(NAME) == 0
    assert bench.changes(head.version) == []
    assert bench.rows() == rows

    bench.store.restore(NAME, first)
    restored = bench.store.head(NAME)
    assert restored is not None
    assert bench.rows() == [thing(1)]
    assert restored.consumed == CONSUMED
    assert restored.data_version == restored.version
    assert [(r["id"], r["_change"]) for r in bench.changes(head.version)] == [
        (2, "delete"),
        (3, "delete"),
        (4, "delete"),
    ]

    files = len(list(bench.place.rglob("*.parquet")))
    assert bench.store.vacuum(NAME, 0) > 0
    assert len(list(bench.place.rglob("*.parquet"))) < files
    after = bench.store.head(NAME)
    assert after is not None
    assert (after.data_version, after.consumed, after.table_id) == (restored.data_version, CONSUMED, restored.table_id)
    assert bench.rows() == [thing(1)]
    # The files that said what came with these versions are gone.
    with pytest.raises(HistoryUnavailableError):
        bench.changes(first, first + 2)


@spark_is_slow
def test_a_restored_table_whose_version_does_not_say_what_it_had_consumed_has_consumed_nothing(bench: Workbench):
    """Else its rows are those of earlier and it says that it is up to date: no run ever brings back what it lacks."""
    bench.store.create(THINGS)
    bench.commit(("I", thing(1)), append=True, consumed=CONSUMED)
    for restore in (lambda: bench.store.restore(NAME, 0), lambda: DeltaTable(bench.place).restore(1)):
        restore()
        bench.store.optimize(NAME)
        head = bench.store.head(NAME)
        assert head is not None
        assert head.consumed is None
        bench.commit(("I", thing(3)), append=True, consumed=CONSUMED)
        assert (after := bench.store.head(NAME)) is not None
        assert after.consumed == CONSUMED


@spark_is_slow
def test_versions_before_a_checkpoint_are_read_and_nothing_is_asked_of_one_that_is_gone(bench: Workbench):
    """Else a lakehouse works until its hundredth commit, and then no table that has an upstream without news."""
    bench.store.create(THINGS)
    first = bench.commit(("I", FULL), append=True)
    second = bench.commit(("I", thing(2, month=FEBRUARY)), ("D", FULL))
    bench.commit(("I", thing(3)), append=True)
    DeltaTable(bench.place).create_checkpoint()
    for version, rows in ((0, []), (first, [FULL]), (second, [thing(2, month=FEBRUARY)])):
        frame = bench.store.frame(bench.spark, NAME, version)
        assert [(f.name, f.dataType) for f in frame.schema] == [
            (f.name, f.dataType) for f in bench.store.frame(bench.spark, NAME).schema
        ]
        assert ordered(frame.toArrow().to_pylist()) == rows
    for version in range(second + 1):
        Path(bench.place, "_delta_log", f"{version:020d}.json").unlink()
    assert bench.changes(second, second) == []


def test_a_commit_is_known_by_its_digest_in_every_store(both: tuple[Workbench, Workbench]):
    """Else a table that was restored from a copy counts as the one that was handed off, or changing the engine compares
    every table anew.
    """
    one, other = both
    one.store.create(THINGS)
    one.commit(("I", thing(1)))
    digests = [one.store.digest(NAME, version) for version in range(3)]
    assert [other.store.digest(NAME, version) for version in range(3)] == digests
    assert len({*digests}) == 3
    assert digests[2] == "", "there is no version 2"


@pytest.mark.parametrize("bench", ["delta-rs", pytest.param("delta-spark", marks=pytest.mark.heavy)], indirect=True)
def test_a_snapshot_is_gone_when_a_file_of_it_is_and_for_no_other_trouble(bench: Workbench):
    """Else trouble of the storage passes for a vacuum, and a proof leaves the snapshot out without a word."""

    def trouble(version: int) -> bool:
        with pytest.raises(Exception) as raised:  # noqa: PT011 - each engine has its own
            bench.store.frame(bench.spark, NAME, version).toArrow()
        return bench.store.is_gone(NAME, version, raised.value)

    bench.store.create(THINGS)
    first = bench.commit(("I", thing(1)))
    [file] = (f for f in bench.place.rglob("*.parquet") if "_change_data" not in f.parts)
    bench.commit(("D", thing(1)))
    content = file.read_bytes()
    file.write_bytes(b"no Parquet")
    assert not trouble(first)
    file.unlink()
    assert trouble(first)
    file.write_bytes(content)
    assert trouble(first + 7), "there is no such version"
