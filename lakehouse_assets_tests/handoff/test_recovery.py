"""A process may die at any point of a hand-off: readers see the state before or after it, and the next run finishes it.

The dying processes are real ones, killed with SIGKILL at the points of `handoff/faults.py`. They are forked from a server that has imported
everything, for an import costs more than a hand-off.
"""

import multiprocessing
import os
import random
import signal
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from lakehouse_assets.delta.rs import DeltaRsStore
from lakehouse_assets.handoff import Handoff, TargetNames, faults
from lakehouse_assets_tests.handoff.conftest import FIRST_DAY, Everything, Lakehouse, contract
from lakehouse_assets_tests.handoff.test_handoff import assert_equal, assert_tidy


def hand_off_until(point: str, remote: str, arguments: dict[str, Any], tables: str, database: str, staging: str, file_bytes: int) -> None:
    """The body of a process that hands the table off and dies at a point on its way."""
    import snowflake.connector
    from pyspark.sql import SparkSession

    os.environ["LAKEHOUSE_KILL_AT"] = point
    store = DeltaRsStore(tables, f"{tables}-scratch")
    said = contract(Everything)
    spark = SparkSession.builder.remote(remote).getOrCreate()
    handoff = Handoff(
        lambda: snowflake.connector.connect(**arguments), store, TargetNames(database=database), staging, file_bytes=file_bytes
    )
    handoff.hand_off(spark, said, store.version(said.name))


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
    host, port = server.listening_address
    yield f"sc://{host}:{port}"
    server.stop()


class Victims:
    """Starts processes that die."""

    def __init__(self, processes: ForkServerContext, remote: str, lakehouse: Lakehouse):
        self.processes, self.remote, self.lakehouse = processes, remote, lakehouse

    def die_at(self, point: str, file_bytes: int = 1 << 20) -> None:
        lakehouse = self.lakehouse
        tables = str(Path(lakehouse.store.uri("gold.things")).parent.parent)
        arguments = (point, self.remote, lakehouse.arguments, tables, lakehouse.names.database, str(lakehouse.staging), file_bytes)
        victim = self.processes.Process(target=hand_off_until, args=arguments)
        victim.start()
        victim.join(120)
        assert victim.exitcode == -signal.SIGKILL, f"nothing died at {point}: exit code {victim.exitcode}"


def change(lakehouse: Lakehouse, rng: random.Random) -> None:
    """Some days change, one may vanish, one may come."""
    days = [FIRST_DAY + timedelta(days=d) for d in range(6)]
    lakehouse.replace(rng.choice(days), rng.randint(1, 4))
    lakehouse.add(rng.choice([*days, None]), rng.choice(days))
    if rng.random() < 0.5:
        lakehouse.delete(f"day = '{rng.choice(days)}'")


def die_and_recover(victims: Victims, point: str, rng: random.Random) -> None:
    lakehouse = victims.lakehouse
    before = lakehouse.snowflake_rows()
    change(lakehouse, rng)
    after = lakehouse.lakehouse_rows()
    victims.die_at(point)
    published = faults.POINTS.index(point) >= faults.POINTS.index("committed")
    assert lakehouse.snowflake_rows() == (after if published else before)
    result = lakehouse.hand_off()
    assert result.outcome == ("unchanged" if published else "published")
    if faults.POINTS.index("uploaded") <= faults.POINTS.index(point) < faults.POINTS.index("committed"):
        assert result.bytes_put == 0
    ledger = f"SELECT COUNT(*) FROM {lakehouse.names.sql['ops']}.HANDOFF_LEDGER WHERE UNTIL_VERSION = {lakehouse.version}"
    assert int(lakehouse.sql(ledger)[0][0]) == 1
    assert lakehouse.snowflake_rows() == after
    assert_tidy(lakehouse)


def test_death_at_any_point_loses_and_doubles_nothing(lakehouse: Lakehouse, processes: ForkServerContext, remote: str) -> None:
    """A killed worker must not leave a table that readers see half changed, nor one that the next run cannot mend."""
    lakehouse.add(FIRST_DAY, FIRST_DAY + timedelta(days=1), None)
    lakehouse.hand_off()
    victims = Victims(processes, remote, lakehouse)
    for point in faults.POINTS:
        die_and_recover(victims, point, lakehouse.rng)
    assert_equal(lakehouse)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(5))
def test_death_at_any_point_in_any_order(lakehouse: Lakehouse, processes: ForkServerContext, remote: str, seed: int) -> None:
    """What one crash leaves must not trip the recovery of the next."""
    rng = random.Random(seed)
    lakehouse.add(FIRST_DAY, FIRST_DAY + timedelta(days=1), None)
    lakehouse.hand_off()
    victims = Victims(processes, remote, lakehouse)
    for point in rng.sample(faults.POINTS, len(faults.POINTS)):
        for _ in range(rng.randint(0, 2)):
            change(lakehouse, rng)
            victims.die_at(rng.choice(faults.POINTS[: faults.POINTS.index("committed")]))
        die_and_recover(victims, point, rng)
    assert_equal(lakehouse)


@pytest.mark.parametrize("point", ["recorded", "uploaded", "compared", "committed"])
def test_death_in_the_first_hand_off(lakehouse: Lakehouse, processes: ForkServerContext, remote: str, point: str) -> None:
    """There is no last good state to fall back on, so an empty table must stay empty until it is full."""
    lakehouse.add(FIRST_DAY, None)
    Victims(processes, remote, lakehouse).die_at(point)
    lakehouse.hand_off()
    assert_equal(lakehouse)
    assert_tidy(lakehouse)


def test_an_upload_of_which_only_some_files_arrived_is_completed(lakehouse_of: Any) -> None:
    """A directory with some of its files looks like a directory with all of them, to a view."""
    lakehouse: Lakehouse = lakehouse_of(file_bytes=1)
    import lakehouse_assets.handoff.export as export

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


def test_files_that_vanish_before_they_are_read_are_sent_again(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody clearing up the stage by hand must cost time, not rows."""
    from lakehouse_assets.handoff import handoff

    lakehouse.add(FIRST_DAY)
    clear = iter([True])

    def point(name: str) -> None:
        if name == "begun" and next(clear, False):
            lakehouse.sql(f"REMOVE {lakehouse.names.stage_path}/things/")

    monkeypatch.setattr(handoff, "point", point)
    assert lakehouse.hand_off().attempts == 2
    assert_equal(lakehouse)
    assert_tidy(lakehouse)


def test_the_intent_of_a_living_process_is_left_alone(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clearing up after a hand-off that is under way would pull its files from under it."""
    from lakehouse_assets.handoff import handoff

    lakehouse.add(FIRST_DAY)
    met: list[int] = []

    def point(name: str) -> None:
        if name == "viewed" and not met:
            with lakehouse.publisher() as other:
                met.append(other.sweep())
                assert len(other.read_state().intents) == 1
                assert other.status().stage_orphaned == 0

    monkeypatch.setattr(handoff, "point", point)
    assert lakehouse.hand_off().attempts == 1
    assert met == [0]
    assert_equal(lakehouse)


def test_the_hook_is_inert_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Production must not die of a test's variable that names another point."""
    monkeypatch.delenv("LAKEHOUSE_KILL_AT", raising=False)
    for name in faults.POINTS:
        faults.point(name)
    monkeypatch.setenv("LAKEHOUSE_KILL_AT", "elsewhere")
    for name in faults.POINTS:
        faults.point(name)
