"""Several publishers of one table at once: one wins, the others plan again, and no row is lost or doubled."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.handoff import HandoffResult, handoff
from lakehouse_assets_tests.handoff.conftest import FIRST_DAY, Lakehouse
from lakehouse_assets_tests.handoff.test_handoff import assert_equal, assert_tidy

D1, D2 = FIRST_DAY, FIRST_DAY + timedelta(days=1)


def race(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, meet_at: str, versions: list[int]) -> list[HandoffResult]:
    """Publish each version from a session of its own; all wait for each other the first time they pass a point."""
    barrier = threading.Barrier(len(versions), timeout=60)
    passed = threading.local()

    def point(name: str) -> None:
        if name == meet_at and not getattr(passed, "once", False):
            passed.once = True
            barrier.wait()

    def publish(version: int) -> HandoffResult:
        with lakehouse.publisher() as own:
            return own.hand_off(lakehouse.spark, lakehouse.contract, version)

    with monkeypatch.context() as patched, ThreadPoolExecutor(len(versions)) as threads:
        patched.setattr(handoff, "point", point)
        return list(threads.map(publish, versions))


@pytest.mark.parametrize("meet_at", ["diffed", "viewed", "begun"])
@pytest.mark.parametrize("first", [True, False], ids=["first hand-off", "later hand-off"])
def test_the_newest_version_wins_whoever_is_first(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, meet_at: str, first: bool) -> None:
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


def test_two_first_hand_offs_without_a_registered_row_leave_one_truth(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(5))
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
