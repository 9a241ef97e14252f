"""Faults around a hand-off that goes on living: answers that are lost, an account that dies, files that vanish; and
what readers see meanwhile.
"""

import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import snowflake.connector
from snowflake.connector.errors import OperationalError, ProgrammingError

from lakehouse_assets.core.handoff import Handoff, faults, view
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.core.handoff.state import own_name
from lakehouse_assets.errors import AccountStoppedError, LakehouseError
from lakehouse_assets_tests.core.handoff.conftest import FIRST_DAY, Lakehouse
from lakehouse_assets_tests.core.handoff.test_concurrency import race
from lakehouse_assets_tests.core.handoff.test_handoff import assert_equal, assert_tidy
from lakehouse_assets_tests.core.handoff.test_recovery import change


def at(monkeypatch: pytest.MonkeyPatch, point: str, fault: Callable[[], None]) -> None:
    """Let a fault happen once, when a hand-off passes that point."""
    once = iter([True])

    def passing(name: str) -> None:
        if name == point and next(once, False):
            fault()

    monkeypatch.setattr(faults, "crash_point", passing)


@contextmanager
def readers(lakehouse: Lakehouse, number: int = 2) -> Iterator[list[list[tuple]]]:
    """Readers of the served table who look again and again; gives the different contents they have seen."""
    seen: list[list[tuple]] = []
    errors: list[Exception] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            try:
                rows = lakehouse.snowflake_rows()
            except Exception as error:
                errors.append(error)
                return
            if rows not in seen:
                seen.append(rows)

    threads = [threading.Thread(target=look) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors


def test_readers_see_old_or_new_rows_and_never_a_mix(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dashboard that is refreshed in the middle of a hand-off must not show half a day."""
    days = [FIRST_DAY + timedelta(days=d) for d in range(4)]
    lakehouse.add(*days, None)
    lakehouse.hand_off()
    # Readers get their turn at every point, so that each state that can be seen is seen.
    monkeypatch.setattr(faults, "crash_point", lambda name: threading.Event().wait(0.05))
    for _ in range(3):
        before = lakehouse.snowflake_rows()
        change(lakehouse, lakehouse.rng)
        after = lakehouse.lakehouse_rows()
        with readers(lakehouse) as seen:
            lakehouse.hand_off()
            lakehouse.snowflake_rows()
        assert before in seen, "no reader looked, so the test shows nothing"
        assert all(rows in (before, after) for rows in seen)
    assert_equal(lakehouse)


@pytest.mark.parametrize(
    ("lost", "outcomes"),
    [
        ("INSERT", ("failed", "published")),  # of the intent, before the transaction
        ("BEGIN", ("published", "unchanged")),
        ("UPDATE", ("published", "unchanged")),
        ("COMMIT", ("unchanged", "unchanged")),  # it looks again, and finds that it has published
    ],
)
def test_a_statement_whose_answer_is_lost_is_neither_lost_nor_doubled(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, lost: str, outcomes: tuple[str, str]
) -> None:
    """A network that drops the answer leaves the client in doubt whether it was done; the worst one is COMMIT."""
    lakehouse.add(FIRST_DAY, FIRST_DAY + timedelta(days=1))
    lakehouse.hand_off()
    lakehouse.replace(FIRST_DAY)
    execute, once = Session._execute, iter([True])

    def dropped(self: Session, statement: str, values: Any, read: Any) -> Any:
        answer = execute(self, statement, values, read)
        if statement.startswith(lost) and next(once, False):
            raise OperationalError("the answer did not arrive")
        return answer

    monkeypatch.setattr(Session, "_execute", dropped)
    found = []
    for _ in outcomes:
        try:
            found.append(lakehouse.hand_off().outcome)
        except OperationalError:
            found.append("failed")
    assert tuple(found) == outcomes
    assert next(once, None) is None, f"no {lost} was sent"
    assert_equal(lakehouse)
    ledger = lakehouse.sql(
        f"SELECT COUNT(*) FROM {lakehouse.names.sql['ops']}.HANDOFF_LEDGER WHERE UNTIL_VERSION = {lakehouse.version}"
    )
    assert int(ledger[0][0]) == 1
    lakehouse.add(FIRST_DAY)
    lakehouse.hand_off()
    assert_equal(lakehouse)
    assert_tidy(lakehouse)


@pytest.mark.parametrize("point", ["uploaded", "viewed", "locked", "inserted", "acknowledged", "committed"])
def test_an_account_that_is_killed_during_a_hand_off_is_right_after_the_next(
    lakehouse_of: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, point: str
) -> None:
    """The server may die as well as the client; what it had not committed is gone, what it had is there."""
    from lakehouse_assets.embedded_snowflake import connection_arguments, ensure_running, stop

    home = tmp_path / "home"
    shared: Lakehouse = lakehouse_of(deploy=False)
    arguments = connection_arguments(ensure_running(home))
    own = Handoff(lambda: snowflake.connector.connect(**arguments), shared.store, shared.names, shared.staging)
    lakehouse = replace(shared, arguments=arguments, handoff=own)
    try:
        own.deploy([lakehouse.contract])
        lakehouse.add(FIRST_DAY, None)
        lakehouse.hand_off()
        before = lakehouse.snowflake_rows()
        lakehouse.replace(FIRST_DAY)

        def kill() -> None:
            server = psutil.Process(ensure_running(home).pid)
            server.kill()
            server.wait(10)

        at(monkeypatch, point, kill)
        if point == "committed":
            assert lakehouse.hand_off().outcome == "published"
        else:
            with pytest.raises(AccountStoppedError):
                lakehouse.hand_off()
        arguments.update(connection_arguments(ensure_running(home)))
        assert lakehouse.snowflake_rows() == (lakehouse.lakehouse_rows() if point == "committed" else before)
        lakehouse.handoff = Handoff(
            lambda: snowflake.connector.connect(**arguments), shared.store, shared.names, shared.staging
        )
        # Whoever saw its account die ends, in life: a living process's intent is left alone.
        lakehouse.sql(
            f"UPDATE {lakehouse.names.sql['ops']}.HANDOFF_PENDING SET OWNER = '{own_name().rpartition('=')[0]}=0'"
        )
        assert lakehouse.hand_off().outcome == ("unchanged" if point == "committed" else "published")
        assert_equal(lakehouse)
        assert_tidy(lakehouse)
    finally:
        lakehouse.handoff.close()
        stop(home)


@pytest.mark.parametrize("point", ["recorded", "exported", "uploaded"])
def test_a_deleted_staging_folder_costs_a_repetition(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Somebody clearing up the local disk meanwhile must cost time, not rows."""
    lakehouse.add(FIRST_DAY)
    lakehouse.hand_off()
    lakehouse.replace(FIRST_DAY)
    at(monkeypatch, point, lambda: shutil.rmtree(lakehouse.staging, ignore_errors=True))
    sending = (
        r"from .*staging/things/\w+ to the stage directory @.*/things/\w+/ failed: .*; see that the files are there"
    )
    with pytest.raises(LakehouseError, match=sending) if point == "exported" else nullcontext():
        lakehouse.hand_off()
    lakehouse.hand_off()
    assert_equal(lakehouse)
    assert_tidy(lakehouse)


def test_a_view_that_is_dropped_under_a_living_hand_off_costs_a_repetition(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody clearing up by hand, or another host that takes this one for dead, must cost time, not a red step with
    the wrong remedy.
    """
    lakehouse.add(FIRST_DAY)
    lakehouse.hand_off()
    lakehouse.add(FIRST_DAY)

    def drop() -> None:
        view.drop(lakehouse.handoff.context, lakehouse.handoff.read_state().intents[0].handoff_id)

    at(monkeypatch, "viewed", drop)
    result = lakehouse.hand_off()
    assert (result.outcome, result.attempts) == ("published", 2)
    assert_equal(lakehouse)
    assert_tidy(lakehouse)


@pytest.mark.parametrize("refused", ["DROP VIEW", "DELETE FROM {ops}.HANDOFF_PENDING"])
def test_published_is_published_although_nothing_can_be_cleared_up(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, refused: str
) -> None:
    """The rows are served; a red step would have the operator look for them."""
    lakehouse.add(FIRST_DAY)
    execute = Session._execute

    def refusing(self: Session, statement: str, values: Any, read: Any) -> Any:
        if statement.startswith(refused.format(**lakehouse.names.sql)):
            raise ProgrammingError(msg="Insufficient privileges", errno=3001)
        return execute(self, statement, values, read)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "_execute", refusing)
        assert lakehouse.hand_off().outcome == "published"
    assert "published, but could not clear up after hand-off" in caplog.text
    assert "Insufficient privileges" in caplog.text
    # Whoever could not clear up ends, in life: a living process's intent is left alone.
    lakehouse.sql(
        f"UPDATE {lakehouse.names.sql['ops']}.HANDOFF_PENDING SET OWNER = '{own_name().rpartition('=')[0]}=0'"
    )
    assert lakehouse.hand_off().outcome == "unchanged"
    assert_equal(lakehouse)
    assert_tidy(lakehouse)


def test_the_account_may_forget_what_it_loaded(lakehouse: Lakehouse) -> None:
    """Load histories end after 64 days; nothing here may rest on them, nor on files that a done hand-off left on the
    stage.
    """
    lakehouse.add(FIRST_DAY, None)
    lakehouse.hand_off()
    lakehouse.sql(f"REMOVE {lakehouse.names.stage_path}")
    lakehouse.sql(f"TRUNCATE TABLE {lakehouse.names.table(lakehouse.contract)}")
    lakehouse.handoff.repair(lakehouse.spark, lakehouse.contract)
    assert_equal(lakehouse)
    assert not [s for s in _statements() if "COPY INTO" in s.upper()]


def _statements() -> list[str]:
    from lakehouse_assets.core.handoff import sql

    folder = Path(sql.__file__).parent
    return [file.read_text(encoding="utf-8") for file in folder.glob("*.sql")]


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.heavy) for seed in range(3, 25))])
def test_two_publishers_at_once_wherever_they_meet(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Two runs that hand the same table off, of the same or of different versions, meeting anywhere before the lock.
    Else a run is green for rows that nobody has published, or they are published twice.
    """
    rng = random.Random(seed)
    lakehouse.add(FIRST_DAY, None)
    if rng.random() < 0.7:
        lakehouse.hand_off()
    versions = []
    for _ in range(2):
        change(lakehouse, rng)
        versions.append(lakehouse.version)
    if rng.random() < 0.3:
        versions[0] = versions[1]
    rng.shuffle(versions)
    before_the_lock = faults.CRASH_POINTS[: faults.CRASH_POINTS.index("begun") + 1]
    results = race(
        lakehouse,
        monkeypatch,
        rng.choice([p for p in before_the_lock if p not in ("writing", "exporting", "listed")]),
        versions,
    )
    ledger = lakehouse.sql(f"SELECT UNTIL_VERSION FROM {lakehouse.names.sql['ops']}.HANDOFF_LEDGER")
    entered = sorted(int(row[0]) for row in ledger if int(row[0]) in versions)
    assert entered in ([max(versions)], sorted(set(versions))), "the ledger has the newest version, and each once"
    assert sorted(r.version for r in results if r.outcome == "published") == entered
    assert all(r.outcome in ("published", "unchanged") for r in results)
    assert lakehouse.handoff.read_state().tables["THINGS"].version == max(versions)
    lakehouse.hand_off()
    assert_equal(lakehouse)
    assert_tidy(lakehouse)
