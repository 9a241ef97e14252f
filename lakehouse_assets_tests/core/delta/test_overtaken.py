"""What Delta says to the second of two writers on Apache Spark, whatever both were about, is a stale slice: no broken
engine is reported.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.spark import DeltaSparkStore
from lakehouse_assets.errors import StaleSliceError
from lakehouse_assets_tests.core.delta.conftest import ORDERED_THINGS, THINGS, Workbench, thing

OVERTAKEN = (
    "[DELTA_CONCURRENT_APPEND.WITH_PARTITION_HINT] ConcurrentAppendException: files were added by a concurrent update."
)
RETYPED = (
    "[DELTA_METADATA_CHANGED] MetadataChangedException: the metadata of the table has been changed by a concurrent"
    " update."
)
OTHER = "[UNABLE_TO_ACQUIRE_MEMORY] 1 bytes were asked for, got 0."

WRITES: list[tuple[str, Callable[[DeltaSparkStore], Any]]] = [
    ("CREATE TABLE", lambda store: store.create(THINGS)),
    ("ALTER TABLE", lambda store: store.add_columns(THINGS, THINGS.columns[-1:])),
    ("CREATE OR REPLACE TABLE", lambda store: store.rewrite(THINGS)),
    ("MERGE", lambda store: store.commit(THINGS, None, base_version=3, consumed=Consumed())),
    ("OPTIMIZE", lambda store: store.optimize(THINGS.name)),
    ("OPTIMIZE", lambda store: store.z_order(cast(SparkSession, None), ORDERED_THINGS)),
    ("RESTORE", lambda store: store.restore(THINGS.name, 1)),
]
"""Every statement that commits, by how it begins."""

MEET = WRITES[2:4]
"""Those that are met by a real writer below. The others are tried on a session that says what Delta says: one that
creates a table cannot be made to meet another writer on demand, and the rest meet one too seldom for a test.
"""


class Table(DeltaSparkStore):
    """A table at version 3, unless it is said to be missing, on a session that answers each write by an error."""

    def __init__(self, says: str, *, there: bool):
        session = SimpleNamespace(sql=self._answer, conf=SimpleNamespace(set=lambda *_: None, unset=lambda _: None))
        super().__init__("/tables", "/changes", lambda: session)  # type: ignore[arg-type, return-value]
        self.says, self.there, self.asked = says, there, ""

    def _answer(self, statement: str) -> Any:
        if statement.startswith("DESCRIBE"):
            newest = {
                "version": 3,
                "at": 0,
                "operation": "MERGE",
                "userMetadata": "{}",
                "operationMetrics": {},
                "id": "an id",
                "name": THINGS.name,
            }
            rows = SimpleNamespace(collect=lambda: [newest] if self.there else [])
            return SimpleNamespace(selectExpr=lambda *_: rows)
        self.asked = statement
        raise PySparkException(self.says)

    def columns(self, name: str) -> dict[str, str]:
        return {c.name: c.type.spark for c in THINGS.columns}


class Beset(DeltaSparkStore):
    """The real store, on a table into which another writer, delta-rs, commits all the while that one statement runs.
    Only the moment is arranged: what Delta says to that is its own.
    """

    statement = ""
    """How the statement begins."""

    def _sql(self, statement: str) -> Any:
        if not self.statement or not statement.startswith(self.statement):
            return super()._sql(statement)
        done = threading.Event()

        def write() -> None:
            number = 0
            while not done.is_set():
                table = DeltaTable(self.uri(THINGS.name))
                with suppress(CommitFailedError):  # Spark was first
                    table.alter.set_table_properties({"written": str(number)}, raise_if_not_exists=False)
                number += 1

        other = threading.Thread(target=write)
        other.start()
        try:
            return super()._sql(statement)
        finally:
            done.set()
            other.join()


@pytest.mark.heavy
@pytest.mark.parametrize(("statement", "write"), MEET)
def test_who_is_really_overtaken_hears_of_a_stale_slice(
    both: tuple[Workbench, Workbench], statement: str, write: Callable[[DeltaSparkStore], Any]
):
    """Else a run, an evolution or the nightly upkeep fails by an engine's error, where beginning again is all that is
    to be done.
    """
    _, bench = both
    bench.store.create(THINGS)
    for number in range(1, 4):
        bench.commit(("I", thing(number)), append=True)
    store = Beset(bench.store.root, str(bench.folder / "changes"), lambda: bench.spark)
    before = bench.rows()
    store.statement = statement
    with pytest.raises(StaleSliceError, match=r"gold.things was published by somebody else at the same time: .*DELTA_"):
        write(store)
    assert bench.rows() == before


@pytest.mark.parametrize(("statement", "write"), WRITES)
@pytest.mark.parametrize("said", [OVERTAKEN, RETYPED])
def test_whoever_is_overtaken_hears_of_a_stale_slice(
    statement: str, write: Callable[[DeltaSparkStore], Any], said: str
):
    """Else a run, an evolution or the nightly upkeep fails by an engine's error, where beginning again is all that is
    to be done.
    """
    table = Table(said, there=statement != "CREATE TABLE")
    with pytest.raises(StaleSliceError, match=r"gold.things was published by somebody else at the same time: \[DELTA_"):
        write(table)
    assert table.asked.startswith(statement)


@pytest.mark.parametrize(("statement", "write"), WRITES)
def test_any_other_error_of_the_engine_stays_what_it_is(statement: str, write: Callable[[DeltaSparkStore], Any]):
    """Else a broken engine is asked again and again, and other publishers are reported to its user."""
    with pytest.raises(PySparkException, match="UNABLE_TO_ACQUIRE_MEMORY"):
        write(Table(OTHER, there=True))


def test_a_table_that_another_process_made_first_is_there():
    """Else the first run of two at once fails where both wanted the same."""
    assert Table(OVERTAKEN, there=True).create(THINGS) == 3
