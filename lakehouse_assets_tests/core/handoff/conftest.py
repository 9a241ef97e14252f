"""An embedded account for the room, and a small lakehouse of one table with every type for each test."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pandera.polars as pa
import pyarrow as arrow
import pytest
from deltalake import DeltaTable, write_deltalake

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.contracts.types import Day, Euro, Flag, Moment, Money, Price, ShopClock, Text, Whole
from lakehouse_assets.core.delta.rs import DeltaRsStore
from lakehouse_assets.core.handoff import Handoff, HandoffResult, TargetNames
from lakehouse_assets.core.handoff.session import Session

FIRST_DAY = date(2010, 12, 1)


class Everything(pa.DataFrameModel):
    """A table with every type that travels."""

    id: Whole = pa.Field(description="key")
    day: Day = pa.Field(nullable=True, description="the slice, which may be missing")
    label: Text = pa.Field(nullable=True, description="it's text")
    flag: Flag = pa.Field(nullable=True)
    price: Price = pa.Field(nullable=True)
    amount: Money = pa.Field(nullable=True)
    euro: Euro = pa.Field(nullable=True)
    clock: ShopClock = pa.Field(nullable=True)
    moment: Moment = pa.Field(nullable=True)

    class Config:
        metadata = {"key": ["id"], "handoff": {"kind": "column", "column": "day"}}  # noqa: RUF012


class Hashed(Everything):
    """The same, sliced by the hash of its key."""

    class Config:
        metadata = {"key": ["id"], "handoff": {"kind": "hash", "buckets": 7}}  # noqa: RUF012


class Undivided(Everything):
    """The same, travelling whole."""

    class Config:
        metadata = {"key": ["id"], "handoff": {"kind": "whole"}}  # noqa: RUF012


def contract(model: type[pa.DataFrameModel] = Everything, name: str = "gold.things") -> Contract:
    return Contract(name, model)


STRINGS = [
    "",
    " ",
    "a",
    "ñandú",
    "😀",
    "|",
    "s1:a",
    "n",
    "null",
    "it's",
    'q"q',
    "back\\slash",
    "tab\tline\n",
    "e\u0301",
    "漢字" * 40,
    "\u00a0",
]


def any_row(rng: random.Random, key: int, day: date | None, digits: int = 38) -> dict[str, Any]:
    """A row with unusual values and nulls in every nullable column; decimals of at most so many digits."""

    def maybe(value: Any) -> Any:
        return None if rng.random() < 0.15 else value

    def decimal(precision: int, scale: int) -> Decimal:
        limit = 10 ** min(precision, digits) - 1
        return Decimal(
            rng.choice([0, 1, -1, limit, -limit, rng.randint(-limit, limit), rng.randint(-99_999, 99_999)])
        ).scaleb(-scale)

    micros = rng.choice(
        [0, -1, 1, rng.randrange(-62_135_596_800_000_000, 253_402_300_799_999_999), rng.randrange(10**15, 2 * 10**15)]
    )
    clock = datetime(1970, 1, 1) + timedelta(microseconds=micros)
    return {
        "id": key,
        "day": day,
        "label": maybe(rng.choice(STRINGS) + rng.choice(["", str(rng.random())])),
        "flag": maybe(rng.random() < 0.5),
        "price": maybe(decimal(12, 3)),
        "amount": maybe(decimal(18, 3)),
        "euro": maybe(decimal(24, 6)),
        "clock": maybe(clock),
        "moment": maybe(clock.replace(tzinfo=UTC)),
    }


@pytest.fixture(scope="session")
def account_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the embedded account of this test run keeps its files."""
    from lakehouse_assets.embedded_snowflake import stop

    home = tmp_path_factory.mktemp("account")
    yield home
    stop(home)


@pytest.fixture
def account(account_home: Path) -> dict[str, Any]:
    """How to connect to an embedded account of this test run's own; started anew if it went down idle while other tests
    ran.
    """
    from lakehouse_assets.embedded_snowflake import connection_arguments, ensure_running

    return connection_arguments(ensure_running(account_home))


@dataclass
class Lakehouse:
    """One Delta table, one Snowflake database, and how to change and compare them."""

    contract: Contract
    store: DeltaRsStore
    names: TargetNames
    staging: Path
    arguments: dict[str, Any]
    spark: Any
    handoff: Handoff
    rng: random.Random = field(default_factory=lambda: random.Random(5))
    keys: Iterator[int] = field(default_factory=count)

    def connect(self) -> Any:
        import snowflake.connector

        return snowflake.connector.connect(**self.arguments)

    def publisher(self, **options: Any) -> Handoff:
        """A hand-off with a session of its own."""
        return Handoff(self.connect, self.store, self.names, self.staging, **options)

    def rows(self, day: date | None, number: int = 3) -> arrow.Table:
        # 15 digits, for Sail reads a column with one value in a file from the file's statistics, where decimals are
        # floats.
        rows = [any_row(self.rng, next(self.keys), day, digits=15) for _ in range(number)]
        return arrow.Table.from_pylist(rows, schema=self.contract.arrow_schema)

    def add(self, *days: date | None, number: int = 3) -> int:
        """Append rows to days in one commit; returns the version."""
        data = arrow.concat_tables([self.rows(day, number) for day in days])
        write_deltalake(self.store.uri(self.contract.name), data, mode="append")
        return self.version

    def replace(self, day: date, number: int = 3) -> int:
        write_deltalake(
            self.store.uri(self.contract.name), self.rows(day, number), mode="overwrite", predicate=f"day = '{day}'"
        )
        return self.version

    def delete(self, predicate: str | None = None) -> int:
        DeltaTable(self.store.uri(self.contract.name)).delete(predicate)
        return self.version

    @property
    def version(self) -> int:
        return self.store.version(self.contract.name)

    def hand_off(self, **arguments: Any) -> HandoffResult:
        return self.handoff.hand_off(self.spark, self.contract, self.version, **arguments)

    def arrow(self) -> arrow.Table:
        table = DeltaTable(self.store.uri(self.contract.name)).to_pyarrow_table(columns=list(self.contract.names))
        return table.cast(self.contract.arrow_schema)

    def lakehouse_rows(self) -> list[tuple]:
        return sorted(map(_comparable, self.arrow().to_pylist()))

    def snowflake_rows(self) -> list[tuple]:
        """What a reader sees."""
        return rows_seen(self.sql, self.contract, self.names)

    def sql(self, statement: str) -> list[tuple]:
        session = Session(self.connect)
        try:
            return session.run(statement)
        finally:
            session.close()


def rows_seen(run: Callable[[str], list[tuple]], contract: Contract, names: TargetNames) -> list[tuple]:
    """The rows of a served table. Timestamps as microseconds, for fetched ones depend on the client."""
    columns = [
        f"DATE_PART(EPOCH_MICROSECOND, {c.name.upper()})" if c.type.kind.startswith("timestamp") else c.name.upper()
        for c in contract.columns
    ]
    rows = run(f"SELECT {', '.join(columns)} FROM {names.table(contract)}")
    return sorted(_comparable(dict(zip(contract.names, row, strict=True))) for row in rows)


def _comparable(row: dict[str, Any]) -> tuple:
    def plain(value: Any) -> str:
        if isinstance(value, datetime):
            value = (value.replace(tzinfo=None) - datetime(1970, 1, 1)) // timedelta(microseconds=1)
        return "" if value is None else f"={value}"

    return tuple(plain(v) for v in row.values())


_databases = count(1)


@pytest.fixture
def lakehouse_of(account: dict[str, Any], spark: Any, tmp_path: Path) -> Iterator[Callable[..., Lakehouse]]:
    """Makes a `Lakehouse` for a model: its Delta table created, its Snowflake database deployed."""
    made: list[Lakehouse] = []

    def make(model: type[pa.DataFrameModel] = Everything, *, deploy: bool = True, **options: Any) -> Lakehouse:
        import snowflake.connector

        number = next(_databases)
        tables = tmp_path / f"tables{number}"
        store = DeltaRsStore(str(tables), f"{tables}-scratch")
        names = TargetNames(database=f"LAKEHOUSE_{number}")
        staging = tmp_path / "staging"
        handoff = Handoff(lambda: snowflake.connector.connect(**account), store, names, staging, **options)
        lakehouse = Lakehouse(contract(model), store, names, staging, account, spark, handoff)
        store.create(lakehouse.contract)
        if deploy:
            handoff.deploy([lakehouse.contract])
        made.append(lakehouse)
        return lakehouse

    yield make
    for lakehouse in made:
        lakehouse.sql(f"DROP DATABASE IF EXISTS {lakehouse.names.database}")
        lakehouse.handoff.close()


@pytest.fixture
def lakehouse(lakehouse_of: Callable[..., Lakehouse]) -> Lakehouse:
    """A `Lakehouse` sliced by day."""
    return lakehouse_of()
