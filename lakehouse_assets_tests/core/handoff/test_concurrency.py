"""Several publishers of one table at once: one wins, the others plan again, and no row is lost or doubled."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from deltalake import DeltaTable

from lakehouse_assets.core.handoff import HandoffResult, faults, sql
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.core.handoff.conftest import FIRST_DAY, Lakehouse
from lakehouse_assets_tests.core.handoff.test_handoff import assert_equal, assert_tidy

D1, D2 = FIRST_DAY, FIRST_DAY + timedelta(days=1)


def race(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, meet_at: str, versions: list[int]
) -> list[HandoffResult]:
    """Publish each version from a session of its own; all wait for each other the first time they pass a point."""
    barrier = threading.Barrier(len(versions), timeout=60)
    passed = threading.local()

    def crash_point(name: str) -> None:
        if name == meet_at and not getattr(passed, "once", False):
            passed.once = True
            barrier.wait()

    def publish(version: int) -> HandoffResult:
        with lakehouse.publisher() as own:
            return own.hand_off(lakehouse.spark, lakehouse.contract, version)

    with monkeypatch.context() as patched, ThreadPoolExecutor(len(versions)) as threads:
        patched.setattr(faults, "crash_point", crash_point)
        return list(threads.map(publish, versions))


@pytest.mark.parametrize("meet_at", ["diffed", "viewed", "begun"])
@pytest.mark.parametrize("first", [True, False], ids=["first hand-off", "later hand-off"])
def test_the_newest_version_wins_whoever_is_first(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, meet_at: str, first: bool
) -> None:
    """Two runs at once must not publish an older snapshot over a newer one, nor the same rows twice."""
    old = lakehouse.add(D1, None)
    if not first:
        lakehouse.hand_off()
        old = lakehouse.add(D1)
    new = lakehouse.add(D2, D1)
    results = race(lakehouse, monkeypatch, meet_at, [old, new])
    assert results[1].outcome == "published"
    assert results[0].outcome in ("published", "unchanged")
    assert sum(r.attempts for r in results) >= 3, "nobody lost, so the test does not race"
    assert lakehouse.handoff.read_state().tables["THINGS"].version == new
    assert_equal(lakehouse)
    assert_tidy(lakehouse)


def test_many_publishers_of_one_version_publish_it_once(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sensor, a schedule and a person may start the same hand-off."""
    lakehouse.add(D1)
    lakehouse.hand_off()
    version = lakehouse.add(D1, D2)
    results = race(lakehouse, monkeypatch, "begun", [version] * 4)
    assert sorted(r.outcome for r in results) == ["published", "unchanged", "unchanged", "unchanged"]
    assert_equal(lakehouse)
    assert_tidy(lakehouse)


def test_two_first_hand_offs_without_a_registered_row_leave_one_truth(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No unique key is enforced: both may register the table, and that must not count as two tables."""
    version = lakehouse.add(D1, D2)
    lakehouse.sql(f"DELETE FROM {lakehouse.names.sql['ops']}.HANDOFF_STATE")
    results = race(lakehouse, monkeypatch, "diffed", [version, version])
    assert sorted(r.outcome for r in results) == ["published", "unchanged"]
    assert_equal(lakehouse)
    fresh = lakehouse.sql(f"SELECT ACKNOWLEDGED_VERSION, ROW_COUNT FROM {lakehouse.names.sql['ops']}.FRESHNESS")
    assert [tuple(map(int, r)) for r in fresh] == [(version, 6)]
    lakehouse.add(D1)
    assert lakehouse.hand_off().outcome == "published"
    assert_equal(lakehouse)


def test_a_lock_that_is_never_released_is_reported_with_the_remedy(lakehouse: Lakehouse) -> None:
    """Waiting for ever would look like a slow run; the operator needs to know what to look at."""
    lakehouse.add(D1)
    holder = lakehouse.connect()
    cursor = holder.cursor()
    cursor.execute("BEGIN")
    cursor.execute(f"UPDATE {lakehouse.names.sql['ops']}.HANDOFF_STATE SET LOCKED_BY = 'x'")
    try:
        with lakehouse.publisher(attempts=2) as patient:
            patient.session.run("ALTER SESSION SET LOCK_TIMEOUT = 1")
            with pytest.raises(LakehouseError, match=r"lost the race with another publisher 2 times.*HANDOFF_PENDING"):
                patient.hand_off(lakehouse.spark, lakehouse.contract, lakehouse.version)
        assert lakehouse.snowflake_rows() == []
    finally:
        cursor.execute("ROLLBACK")
        holder.close()
    lakehouse.hand_off()
    assert_equal(lakehouse)


def test_a_repair_that_loses_the_race_leaves_the_newer_rows_and_fixes_them(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fixing what was acknowledged, while a newer version is published, would put the rows of the past over it."""
    lakehouse.add(D1)
    lakehouse.hand_off()
    new = lakehouse.add(D1, D2)
    lakehouse.sql(f"INSERT INTO {lakehouse.names.table(lakehouse.contract)} (ID, DAY) SELECT 99, '2031-01-01'::DATE")
    once = iter([True])

    def crash_point(name: str) -> None:
        if name == "begun" and next(once, False):
            with lakehouse.publisher() as other:
                assert other.hand_off(lakehouse.spark, lakehouse.contract, new).outcome == "published"

    monkeypatch.setattr(faults, "crash_point", crash_point)
    repaired = lakehouse.handoff.repair(lakehouse.spark, lakehouse.contract)
    assert (repaired.outcome, repaired.version, repaired.slices) == ("published", new, ("2031-01-01",))
    assert_equal(lakehouse)
    assert_tidy(lakehouse)


def test_what_is_asked_for_by_force_is_not_published_over_a_newer_version(lakehouse: Lakehouse) -> None:
    """A slice may be handed off again, never turned back."""
    old = lakehouse.add(D1)
    lakehouse.add(D1)
    lakehouse.hand_off()
    forced = lakehouse.handoff.hand_off(lakehouse.spark, lakehouse.contract, old, force=[D1.isoformat()])
    assert forced.outcome == "unchanged"
    assert lakehouse.hand_off(force=[D1.isoformat()]).slices == (D1.isoformat(),)
    assert_equal(lakehouse)


def tidied(lakehouse: Lakehouse) -> int:
    """A commit without other rows; returns its version."""
    table = DeltaTable(lakehouse.store.uri(lakehouse.contract.name))
    table.create_write_transaction([], "append", table.schema())
    return lakehouse.version


def test_an_acknowledgement_behind_a_lock_says_who_to_look_for(lakehouse: Lakehouse) -> None:
    """The update that acknowledges waits for the same lock as a publisher, and its error must say as much."""
    lakehouse.add(D1)
    lakehouse.hand_off()
    tidied(lakehouse)
    holder = lakehouse.connect()
    cursor = holder.cursor()
    cursor.execute("BEGIN")
    cursor.execute(sql.statement("publish", "lock", **lakehouse.names.sql), ("x", "THINGS"))
    try:
        with lakehouse.publisher(attempts=2) as patient:
            patient.session.run("ALTER SESSION SET LOCK_TIMEOUT = 0")
            with pytest.raises(LakehouseError, match=r"lost the race with another publisher 2 times.*HANDOFF_PENDING"):
                patient.hand_off(lakehouse.spark, lakehouse.contract, lakehouse.version)
    finally:
        cursor.execute("ROLLBACK")
        holder.close()
    assert lakehouse.hand_off().outcome == "acknowledged"


def test_an_acknowledgement_does_not_get_past_a_publisher(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock holds everybody, or a publisher fails at its last statement and blames the table's definition."""
    lakehouse.add(D1)
    lakehouse.hand_off()
    same = tidied(lakehouse)
    new = lakehouse.add(D2)
    refused: list[str] = []

    def crash_point(name: str) -> None:
        if name == "compared" and not refused:
            with lakehouse.publisher(attempts=1) as other:
                other.session.run("ALTER SESSION SET LOCK_TIMEOUT = 0")
                with pytest.raises(LakehouseError, match="lost the race") as error:
                    other.hand_off(lakehouse.spark, lakehouse.contract, same)
                refused.append(str(error.value))

    monkeypatch.setattr(faults, "crash_point", crash_point)
    result = lakehouse.handoff.hand_off(lakehouse.spark, lakehouse.contract, new)
    assert (result.outcome, result.attempts, len(refused)) == ("published", 1, 1)
    assert_equal(lakehouse)


def test_a_conflict_in_the_middle_of_the_transaction_is_a_lost_race(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes to the table beside the protocol costs a repetition, not a red step with the wrong remedy."""
    lakehouse.add(D1)
    lakehouse.hand_off()
    lakehouse.add(D1)
    other = lakehouse.connect()
    once = iter([True])

    def crash_point(name: str) -> None:
        if name == "locked" and next(once, False):
            other.cursor().execute("BEGIN")
            other.cursor().execute(f"DELETE FROM {lakehouse.names.table(lakehouse.contract)}")
        if name == "diffed":
            other.cursor().execute("ROLLBACK")

    monkeypatch.setattr(faults, "crash_point", crash_point)
    assert lakehouse.hand_off().attempts == 2
    other.close()
    assert_equal(lakehouse)
    assert_tidy(lakehouse)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.heavy) for seed in range(1, 5))])
def test_publishers_and_writers_at_once_end_in_the_last_version(lakehouse: Lakehouse, seed: int) -> None:
    """Whatever the interleaving, a last hand-off makes Snowflake equal to the lakehouse."""
    lakehouse.rng.seed(seed)
    lakehouse.add(D1, D2, None)
    stop = threading.Event()
    errors: list[Any] = []

    def publish() -> None:
        with lakehouse.publisher(attempts=20) as own:
            while not stop.is_set():
                try:
                    own.hand_off(lakehouse.spark, lakehouse.contract, lakehouse.version)
                except Exception as error:
                    errors.append(error)

    threads = [threading.Thread(target=publish) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        lakehouse.replace(FIRST_DAY + timedelta(days=lakehouse.rng.randrange(5)))
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
    lakehouse.hand_off()
    assert_equal(lakehouse)
    assert_tidy(lakehouse)
