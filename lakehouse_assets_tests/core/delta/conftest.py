"""One workbench for each Delta store, so that one suite says what all of them must do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, cast
from uuid import uuid4

import pandera.polars as pa
import pyarrow as arrow
import pyarrow.parquet as pq
import pytest
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.contracts.types import Day, Euro, Flag, Moment, Price, ShopClock, Text, TextList, Whole
from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.rs import DeltaRsStore
from lakehouse_assets.core.delta.slice_rules import OPERATION
from lakehouse_assets.core.delta.spark import DeltaSparkStore, SharedDeltaSparkStore
from lakehouse_assets.core.delta.spark_named import NamedDeltaOptionsStore, NamedDeltaSparkStore
from lakehouse_assets.core.delta.spark_options import DeltaOptionsStore
from lakehouse_assets.core.delta.store import DeltaStore
from lakehouse_assets.orchestration.resources.spark import SparkEngine
from lakehouse_assets.orchestration.resources.spark_settings import SESSION_SETTINGS


class Things(pa.DataFrameModel):
    """A column of every type, some of which may be null."""

    id: Whole = pa.Field(description="the key's number")
    kind: Text = pa.Field(description="the key's text; it's quoted")
    month: Day = pa.Field(description="the partition")
    note: Text = pa.Field(nullable=True)
    price: Price = pa.Field(nullable=True)
    euro: Euro = pa.Field(nullable=True)
    seen_at: Moment = pa.Field(nullable=True)
    shown_at: ShopClock = pa.Field(nullable=True)
    flag: Flag = pa.Field(nullable=True)
    rules: TextList = pa.Field(nullable=True)

    class Config:
        strict = True
        metadata: ClassVar = {"key": ["id", "kind"], "partition_by": ["month"]}


class OrderedThings(Things):
    """The same, of which somebody looks up notes."""

    class Config(Things.Config):
        metadata: ClassVar = {**Things.Config.metadata, "z_order_by": ["note", "id"]}


THINGS = Contract("gold.things", Things)
ORDERED_THINGS = Contract("gold.things", OrderedThings)
JANUARY, FEBRUARY, MARCH = (date(2026, month, 1) for month in (1, 2, 3))

Row = dict[str, Any]


def thing(number: int, *, month: date = JANUARY, kind: str | None = "a", **values: Any) -> Row:
    """A row with every column, null but for the key and what is given."""
    return {**dict.fromkeys(THINGS.names), "id": number, "kind": kind, "month": month, **values}


FULL = thing(
    1,
    note="ünï\n'\"\\",
    price=Decimal("-999999999.999"),
    euro=Decimal("123456789012345678.654321"),
    seen_at=datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC),
    shown_at=datetime(2026, 3, 29, 2, 30, 0, 654321),
    flag=False,
    rules=["b", "a", ""],
)
"""A row in which everything has a value that is easily lost: sixteen digits and more, microseconds, an hour that clocks
skip.
"""


@dataclass
class Workbench:
    """A store with a session that computes for it, and slices at hand. `another` gives the store as a second publisher
    has it.
    """

    store: DeltaStore
    spark: Any
    folder: Path
    another: Callable[[], DeltaStore]
    commits_a_statement: int = 1
    """How many commits a statement makes that no data is written by."""

    @property
    def place(self) -> Path:
        """The folder of the table, also of one that only a catalogue knows."""
        uri = self.store.uri(THINGS.name)
        if uri.startswith("/"):
            return Path(uri)
        [row] = self.spark.sql(f"DESCRIBE DETAIL {self.store.sql_name(THINGS.name)}").select("location").collect()
        return Path(row[0].removeprefix("file:"))

    def stage(self, rows: Sequence[tuple[str, Row]], schema: arrow.Schema | None = None) -> str:
        """A slice of (operation, row), as a folder."""
        folder = self.folder / "staging" / uuid4().hex
        folder.mkdir(parents=True)
        fields = [arrow.field(f.name, f.type) for f in THINGS.arrow_schema]
        schema = schema or arrow.schema([*fields, arrow.field(OPERATION, arrow.string())])
        table = arrow.Table.from_pylist([{**row, OPERATION: operation} for operation, row in rows], schema=schema)
        pq.write_table(table, folder / "part-0.parquet")
        return str(folder)

    def commit(
        self, *rows: tuple[str, Row], base: int | None = None, consumed: Consumed | None = None, **options: Any
    ) -> int:
        """Publish a slice of (operation, row) on the current version, or on `base`."""
        version = self.store.version(THINGS.name) if base is None else base
        return self.store.commit(
            THINGS, self.stage(rows), base_version=version, consumed=consumed or Consumed(), **options
        )

    def rows(self, version: int | None = None) -> list[Row]:
        """What the table holds, as the store itself reads it, sorted by key."""
        return ordered(self.store.read(THINGS.name, version).to_pylist())

    def changes(self, since: int, until: int | None = None) -> list[Row]:
        """The rows that differ between two versions, with `_change`."""
        last = self.store.version(THINGS.name) if until is None else until
        frame = self.store.changes(self.spark, THINGS.name, since, last)
        return sorted(frame.toArrow().to_pylist(), key=lambda r: (r["id"], r["kind"], r["_change"]))


def ordered(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    return sorted(map(dict, rows), key=lambda r: (r["id"], r["kind"]))


def _rs(request: pytest.FixtureRequest, folder: Path) -> Workbench:
    def make() -> DeltaStore:
        return DeltaRsStore(str(folder / "tables"), str(folder / "changes"))

    return Workbench(make(), request.getfixturevalue("spark"), folder, make)


def _spark(request: pytest.FixtureRequest, folder: Path) -> Workbench:
    session = request.getfixturevalue("connect_spark")
    url = request.getfixturevalue("connect_url")

    def make(of: Any = session) -> DeltaStore:
        return DeltaSparkStore(str(folder / "tables"), str(folder / "changes"), lambda: of)

    def another() -> DeltaStore:
        other = SparkSession.builder.remote(url).create()
        request.addfinalizer(other.stop)
        return make(other)

    return Workbench(make(), session, folder, another)


class WithoutSettings:
    """A session that refuses settings, as serverless compute does; everything else is the real one's."""

    def __init__(self, session: Any):
        self._session = session
        self.conf = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def set(self, key: str, _: Any) -> None:
        raise AnalysisException(f"[CONFIG_NOT_AVAILABLE] Configuration {key} is not available.")

    def unset(self, key: str) -> None:
        self.set(key, None)


def _session_of_options(request: pytest.FixtureRequest) -> Any:
    """A session of one's own, whose server lets files be deleted at once: a session may not say so by itself."""
    session = SparkSession.builder.remote(request.getfixturevalue("connect_url")).create()
    request.addfinalizer(session.stop)
    for key, value in {**SESSION_SETTINGS, **DELETES_AT_ONCE}.items():
        session.conf.set(key, value)
    return session


def _options(request: pytest.FixtureRequest, folder: Path) -> Workbench:
    def make() -> DeltaStore:
        session = _session_of_options(request)
        return DeltaOptionsStore(
            str(folder / "tables"), str(folder / "changes"), lambda: cast(SparkSession, WithoutSettings(session))
        )

    request.getfixturevalue("spark")  # Sail's stays the active one
    return Workbench(make(), request.getfixturevalue("connect_spark"), folder, make, commits_a_statement=2)


def _named(request: pytest.FixtureRequest, folder: Path, of: type[DeltaSparkStore] = NamedDeltaSparkStore) -> Workbench:
    session = request.getfixturevalue("connect_spark")
    url = request.getfixturevalue("connect_url")

    def make(session: Any = session) -> DeltaStore:
        return of("spark_catalog", str(folder / "changes"), lambda: session)

    def another() -> DeltaStore:
        other = SparkSession.builder.remote(url).create()
        request.addfinalizer(other.stop)
        return make(other)

    bench = Workbench(make(), session, folder, another)
    drop = f"DROP TABLE IF EXISTS {bench.store.sql_name(THINGS.name)}"
    session.sql(drop)
    request.addfinalizer(lambda: session.sql(drop))
    return bench


def _named_by_options(request: pytest.FixtureRequest, folder: Path) -> Workbench:
    bench = _named(request, folder, NamedDeltaOptionsStore)

    def make() -> DeltaStore:
        session = _session_of_options(request)
        return NamedDeltaOptionsStore(
            "spark_catalog", str(folder / "changes"), lambda: cast(SparkSession, WithoutSettings(session))
        )

    return Workbench(make(), bench.spark, folder, make, commits_a_statement=2)


def _local(request: pytest.FixtureRequest, folder: Path) -> Workbench:
    session = SparkEngine(engine="local", log=str(folder / "spark.log")).session

    def make(of: Any = session) -> DeltaStore:
        return SharedDeltaSparkStore(str(folder / "tables"), str(folder / "changes"), lambda: of)

    return Workbench(make(), session, folder, lambda: make(session.newSession()))


STORES = {
    "delta-rs": _rs,
    "delta-spark": _spark,
    "local": _local,
    "options": _options,
    "named": _named,
    "named-options": _named_by_options,
}
DELETES_AT_ONCE = {
    "spark.databricks.delta.retentionDurationCheck.enabled": "false",
    "spark.databricks.delta.vacuum.logging.enabled": "true",
}
IN_PROCESS = "LAKEHOUSE_TEST_IN_PROCESS"
"""Set in a test process that computes on Apache Spark itself, and so on nothing else."""

_SPARK_OTHERWISE = [pytest.param(store, marks=pytest.mark.heavy) for store in ("options", "named", "named-options")]
_IN_PROCESS_ONLY = ["local"] if IN_PROCESS in os.environ else None

spark_is_slow = pytest.mark.parametrize(
    "bench",
    _IN_PROCESS_ONLY or ["delta-rs", pytest.param("delta-spark", marks=pytest.mark.heavy), *_SPARK_OTHERWISE],
    indirect=True,
)
"""For a test that takes Spark a minute, and whose Spark half is therefore for `make test-all` alone."""


@pytest.fixture(params=_IN_PROCESS_ONLY or ["delta-rs", "delta-spark", *_SPARK_OTHERWISE])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Workbench:
    """The workbench of each store in turn."""
    return STORES[request.param](request, tmp_path)


@pytest.fixture
def both(request: pytest.FixtureRequest, tmp_path: Path, connect_url: str) -> tuple[Workbench, Workbench]:
    """(delta-rs, delta-spark) on the same tables."""
    return _rs(request, tmp_path), _spark(request, tmp_path)
