"""A process may die at any point of a hand-off: readers see the state before or after it, and the next run finishes it.

The dying processes are real ones, killed with SIGKILL at the points of `core/handoff/faults.py`, and at three more
inside the connector: between two files of one PUT, and with COMMIT on its way. They are forked from a server that has
imported everything, for an import costs more than a hand-off. What readers see is asked meanwhile by a process of its
own.
"""

import http.client
import multiprocessing
import os
import random
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import psutil
import pytest

from lakehouse_assets.core.delta.rs import DeltaRsStore
from lakehouse_assets.core.handoff import Handoff, TargetNames, export, faults
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets_tests.core.handoff.conftest import FIRST_DAY, Everything, Lakehouse, contract, rows_seen
from lakehouse_assets_tests.core.handoff.test_handoff import assert_equal, assert_tidy
from lakehouse_assets_tests.given import present


def _after(point: str, *more: str) -> None:
    at = DEATHS.index(point) + 1
    DEATHS[at:at] = more


DEATHS: list[str] = list(faults.CRASH_POINTS)
"""Where a process dies, in the order in which it passes."""
_after("listed", "one file sent")
_after("acknowledged", "COMMIT sent", "COMMIT answered")

IN_DOUBT, PUBLISHED = DEATHS.index("COMMIT sent"), DEATHS.index("COMMIT answered")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_with_one_file_sent() -> None:
    """Let one file of a PUT arrive, and die while the others wait to be sent."""
    from snowflake.connector.gcs_storage_client import SnowflakeGCSRestClient as Client

    send, one = Client._upload_chunk, threading.Semaphore(1)

    def sending(self: Any, *arguments: Any) -> None:
        one.acquire()
        send(self, *arguments)
        _die()

    Client._upload_chunk = sending  # type: ignore[method-assign]


def die_with_commit(answered: bool) -> None:
    """Send COMMIT and die: at once, or when its answer is there and nobody has read it."""
    execute, answer, committing = Session._execute, http.client.HTTPConnection.getresponse, threading.Event()

    def executing(self: Session, statement: str, *rest: Any) -> Any:
        if statement == "COMMIT":
            committing.set()
        return execute(self, statement, *rest)

    def getting(self: http.client.HTTPConnection) -> Any:
        if committing.is_set():
            if answered:
                select.select([self.sock], [], [])
            _die()
        return answer(self)

    Session._execute = executing  # type: ignore[method-assign]
    http.client.HTTPConnection.getresponse = getting  # type: ignore[method-assign]


def hand_off_until(
    point: str, remote: str, arguments: dict[str, Any], tables: str, database: str, staging: str, row_group_rows: int
) -> None:
    """The body of a process that hands the table off and dies at a point on its way."""
    import snowflake.connector
    from pyspark.sql import SparkSession

    os.environ["LAKEHOUSE_KILL_AT"] = point
    if point == "one file sent":
        die_with_one_file_sent()
    if point.startswith("COMMIT"):
        die_with_commit(point.endswith("answered"))
    # A file for so many rows.
    export.ROW_GROUP_ROWS = row_group_rows
    store = DeltaRsStore(tables, f"{tables}-scratch")
    things = contract(Everything)
    spark = SparkSession.builder.remote(remote).getOrCreate()
    handoff = Handoff(
        lambda: snowflake.connector.connect(**arguments), store, TargetNames(database=database), staging, file_bytes=1
    )
    handoff.hand_off(spark, things, store.version(things.name))


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "snowflake.connector", "pyspark.sql.connect.session"])
    return context


@pytest.fixture(scope="module")
def remote() -> Iterator[str]:
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer(port=0)
    server.start(background=True)
    host, port = present(server.listening_address)
    yield f"sc://{host}:{port}"
    server.stop()


class Victims:
    """Starts processes that die."""

    def __init__(self, processes: ForkServerContext, remote: str, lakehouse: Lakehouse):
        self.processes, self.remote, self.lakehouse = processes, remote, lakehouse

    def die_at(self, point: str, row_group_rows: int = export.ROW_GROUP_ROWS) -> None:
        lakehouse = self.lakehouse
        tables = str(Path(lakehouse.store.uri("gold.things")).parent.parent)
        arguments = (
            point,
            self.remote,
            lakehouse.arguments,
            tables,
            lakehouse.names.database,
            str(lakehouse.staging),
            row_group_rows,
        )
        victim = self.processes.Process(target=hand_off_until, args=arguments)
        victim.start()
        victim.join(120)
        assert victim.exitcode == -signal.SIGKILL, f"nothing died at {point}: exit code {victim.exitcode}"


def look(arguments: dict[str, Any], database: str, seen: Any, stop: Any) -> None:
    """The body of a process that reads the served table again and again, and tells each time that it has changed."""
    import snowflake.connector

    session = Session(lambda: snowflake.connector.connect(**arguments))
    last = None
    while not stop.is_set():
        rows = rows_seen(session.run, contract(Everything), TargetNames(database=database))
        if rows != last:
            seen.put(rows)
        last = rows
    session.close()


class Reader:
    """A reader in a process apart, who looks all the time; `seen` is what was there, in order."""

    def __init__(self, queue: Any):
        self.queue, self.seen = queue, []

    def wait_for(self, rows: list[tuple]) -> None:
        """Return once these rows were seen last."""
        while not self.seen or self.seen[-1] != rows:
            self.seen.append(self.queue.get(timeout=60))


@contextmanager
def reading(processes: ForkServerContext, lakehouse: Lakehouse) -> Iterator[Reader]:
    queue, stop = processes.Queue(), processes.Event()
    process = processes.Process(target=look, args=(lakehouse.arguments, lakehouse.names.database, queue, stop))
    process.start()
    try:
        yield Reader(queue)
    finally:
        stop.set()
        process.join(60)
    assert process.exitcode == 0, f"the reader failed: exit code {process.exitcode}"


def change(lakehouse: Lakehouse, rng: random.Random) -> None:
    """Some days change, one may vanish, one may come."""
    days = [FIRST_DAY + timedelta(days=d) for d in range(6)]
    lakehouse.replace(rng.choice(days), rng.randint(1, 4))
    lakehouse.add(rng.choice([*days, None]), rng.choice(days))
    if rng.random() < 0.5:
        lakehouse.delete(f"day = '{rng.choice(days)}'")


def die_and_recover(victims: Victims, point: str, rng: random.Random, reader: Reader | None = None) -> None:
    lakehouse = victims.lakehouse
    at = DEATHS.index(point)
    before = lakehouse.snowflake_rows()
    change(lakehouse, rng)
    after = lakehouse.lakehouse_rows()
    if reader:
        reader.wait_for(before)
        reader.seen.clear()
    victims.die_at(point, *([1] if point == "one file sent" else []))
    found = lakehouse.snowflake_rows()
    # Whoever dies as soon as COMMIT is sent leaves open whether the server took it for one.
    assert found in ([before, after] if at == IN_DOUBT else [after] if at >= PUBLISHED else [before])
    result = lakehouse.hand_off()
    assert at == IN_DOUBT or result.outcome == ("unchanged" if at >= PUBLISHED else "published")
    if DEATHS.index("uploaded") <= at < IN_DOUBT:
        assert result.bytes_put == 0
    ledger = (
        f"SELECT COUNT(*) FROM {lakehouse.names.sql['ops']}.HANDOFF_LEDGER WHERE UNTIL_VERSION = {lakehouse.version}"
    )
    assert int(lakehouse.sql(ledger)[0][0]) == 1
    assert lakehouse.snowflake_rows() == after
    assert_tidy(lakehouse)
    if reader:
        reader.wait_for(after)
        assert reader.seen == [after], "a reader saw something else than the rows before and after"


def test_death_at_any_point_loses_and_doubles_nothing(
    lakehouse: Lakehouse, processes: ForkServerContext, remote: str
) -> None:
    """A killed worker must not leave a table that readers see half changed, nor one that the next run cannot fix."""
    lakehouse.add(FIRST_DAY, FIRST_DAY + timedelta(days=1), None)
    lakehouse.hand_off()
    victims = Victims(processes, remote, lakehouse)
    with reading(processes, lakehouse) as reader:
        for point in DEATHS:
            die_and_recover(victims, point, lakehouse.rng, reader)
    assert_equal(lakehouse)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(1, 6))
def test_death_at_any_point_in_any_order(
    lakehouse: Lakehouse, processes: ForkServerContext, remote: str, seed: int
) -> None:
    """What one crash leaves must not trip the recovery of the next."""
    rng = random.Random(seed)
    lakehouse.add(FIRST_DAY, FIRST_DAY + timedelta(days=1), None)
    lakehouse.hand_off()
    victims = Victims(processes, remote, lakehouse)
    with reading(processes, lakehouse) as reader:
        for point in rng.sample(DEATHS, len(DEATHS)):
            for _ in range(rng.randint(0, 2)):
                change(lakehouse, rng)
                victims.die_at(rng.choice(DEATHS[:IN_DOUBT]))
            die_and_recover(victims, point, rng, reader)
    assert_equal(lakehouse)


@pytest.mark.parametrize("point", ["recorded", "uploaded", "compared", "committed"])
def test_death_in_the_first_hand_off(
    lakehouse: Lakehouse, processes: ForkServerContext, remote: str, point: str
) -> None:
    """There is no last good state to fall back on, so an empty table must stay empty until it is full."""
    lakehouse.add(FIRST_DAY, None)
    Victims(processes, remote, lakehouse).die_at(point)
    lakehouse.hand_off()
    assert_equal(lakehouse)
    assert_tidy(lakehouse)


def test_an_upload_that_dies_between_two_files_is_completed(
    lakehouse: Lakehouse, processes: ForkServerContext, remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gigabytes that arrived before the death must not travel twice, and those that did not must not be missing."""
    monkeypatch.setattr(export, "ROW_GROUP_ROWS", 2)
    lakehouse.add(FIRST_DAY, number=10)
    Victims(processes, remote, lakehouse).die_at("one file sent", row_group_rows=2)
    arrived = [row[0].rpartition("/")[2] for row in lakehouse.sql(f"LIST {lakehouse.names.stage_path}")]
    written = {path.name: path.stat().st_size for path in lakehouse.staging.rglob("*.parquet")}
    assert (len(arrived), len(written)) == (1, 5)
    with lakehouse.publisher(file_bytes=1) as own:
        result = own.hand_off(lakehouse.spark, lakehouse.contract, lakehouse.version)
    assert (result.files, result.bytes_put) == (5, sum(written.values()) - written[arrived[0]])
    assert_equal(lakehouse)
    assert_tidy(lakehouse)


def test_a_file_that_was_half_written_is_not_taken_for_a_whole_one(
    lakehouse: Lakehouse, processes: ForkServerContext, remote: str
) -> None:
    """What a death leaves of a file on the local disk must never travel."""
    lakehouse.add(FIRST_DAY, number=10)
    Victims(processes, remote, lakehouse).die_at("writing:2", row_group_rows=4)
    left = {path.name for path in lakehouse.staging.rglob("*") if path.is_file()}
    assert "open.tmp" in left
    assert len(left) == 2
    assert not lakehouse.sql(f"LIST {lakehouse.names.stage_path}")
    assert lakehouse.hand_off().outcome == "published"
    assert_equal(lakehouse)
    assert_tidy(lakehouse)


def test_an_upload_of_which_only_some_files_arrived_is_completed(lakehouse_of: Any) -> None:
    """A directory with some of its files looks like a directory with all of them, to a view."""
    lakehouse: Lakehouse = lakehouse_of(file_bytes=1)
    import lakehouse_assets.core.handoff.export as export

    rows, export.ROW_GROUP_ROWS = export.ROW_GROUP_ROWS, 5
    try:
        lakehouse.add(FIRST_DAY, FIRST_DAY + timedelta(days=1), number=8)
        first = lakehouse.hand_off()
        assert first.files > 2
        listed = lakehouse.sql(f"LIST {lakehouse.names.stage_path}")
        lakehouse.sql(f"REMOVE {lakehouse.names.stage_path}/{listed[1][0].partition('/')[2]}")
        lakehouse.sql(f"UPDATE {lakehouse.names.sql['ops']}.HANDOFF_STATE SET ACKNOWLEDGED_VERSION = -1")
        again = lakehouse.hand_off()
    finally:
        export.ROW_GROUP_ROWS = rows
    assert 0 < again.bytes_put < first.bytes_put
    assert_equal(lakehouse)


def test_files_that_vanish_before_they_are_read_are_sent_again(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody clearing up the stage by hand must cost time, not rows."""
    lakehouse.add(FIRST_DAY)
    clear = iter([True])

    def crash_point(name: str) -> None:
        if name == "begun" and next(clear, False):
            lakehouse.sql(f"REMOVE {lakehouse.names.stage_path}/things/")

    monkeypatch.setattr(faults, "crash_point", crash_point)
    assert lakehouse.hand_off().attempts == 2
    assert_equal(lakehouse)
    assert_tidy(lakehouse)


@pytest.mark.parametrize("hours", [0, -5, 5], ids=lambda h: f"clock set by {h} h meanwhile")
def test_the_intent_of_a_living_process_is_left_alone(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, hours: float
) -> None:
    """Clearing up after a hand-off that is under way would pull its files from under it."""
    lakehouse.add(FIRST_DAY)
    met: list[int] = []
    started = psutil.Process.create_time

    def crash_point(name: str) -> None:
        if name == "viewed" and not met:
            monkeypatch.setattr(psutil.Process, "create_time", lambda self: started(self) + hours * 3600)
            # Also one that has been at work for longer than another host's would count as alive.
            with lakehouse.publisher(abandoned_hours=-1) as other:
                met.append(other.sweep())
                assert len(other.read_state().intents) == 1
                assert other.status().stage_orphaned == 0

    monkeypatch.setattr(faults, "crash_point", crash_point)
    assert lakehouse.hand_off().attempts == 1
    assert met == [0]
    assert_equal(lakehouse)


@pytest.mark.parametrize("at", ["recorded", "uploaded", "viewed", "begun"])
def test_a_living_hand_off_that_is_taken_for_dead_costs_time_not_rows(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Of another host only an age is known, and a clock that is set makes everything old: a hand-off that is cleared up
    after must begin again.
    """
    lakehouse.add(FIRST_DAY)
    met: list[int] = []

    def crash_point(name: str) -> None:
        if name == at and not met:
            lakehouse.sql(
                f"UPDATE {lakehouse.names.sql['ops']}.HANDOFF_PENDING SET OWNER = 'host=elsewhere realm=other/pid pid=1"
                " started=1'"
            )
            with lakehouse.publisher(abandoned_hours=-1) as other:
                met.append(other.sweep())
                assert not other.read_state().intents

    monkeypatch.setattr(faults, "crash_point", crash_point)
    lakehouse.hand_off()
    assert met
    assert_equal(lakehouse)
    lakehouse.hand_off()
    assert_tidy(lakehouse)


def test_the_hook_is_inert_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Production must not die of a test's variable that names another point."""
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *said: killed.append(said))
    monkeypatch.setattr(faults, "_passed", {})
    monkeypatch.delenv("LAKEHOUSE_KILL_AT", raising=False)
    for name in faults.CRASH_POINTS:
        faults.crash_point(name)
    monkeypatch.setenv("LAKEHOUSE_KILL_AT", "elsewhere")
    for name in faults.CRASH_POINTS:
        faults.crash_point(name)
    assert killed == []
    monkeypatch.setenv("LAKEHOUSE_KILL_AT", "diffed")
    faults.crash_point("diffed")
    assert killed == [(os.getpid(), signal.SIGKILL)]
