"""Customers pulled from a real database end in silver as the database has them, whatever happens there and wherever a
run dies.
"""

import random
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from deltalake import DeltaTable
from pydantic import SecretStr

from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.delta.rs import DeltaRsStore
from lakehouse_assets.core.delta.spark import DeltaSparkStore
from lakehouse_assets.core.delta.staging import Lakehouse
from lakehouse_assets.core.sources import database as databases
from lakehouse_assets.core.sources.cleanse import cleanse
from lakehouse_assets.core.sources.database import SourceDatabase
from lakehouse_assets.core.sources.ingest import entries, land_again, stage_bronze, stage_journal, withdraw
from lakehouse_assets.core.sources.landing import LandingZone
from lakehouse_assets.core.sources.pull import due, folder, half_done, pull, remembered
from lakehouse_assets.core.sources.verdicts import refused_now
from lakehouse_assets.errors import SourceUnavailableError
from lakehouse_assets.settings import Settings
from lakehouse_assets_tests.core.sources.crm import Crm, sqlite_crm

TODAY = date(2026, 11, 25)
OVERLAP = timedelta(hours=1)
NOON = "2026-09-01 12:00:00+00:00"
CUSTOMERS = SOURCES["customers"].with_settings(Settings(email_key=SecretStr("key")))  # pyright: ignore[reportCallIssue]
FOLDER = folder(CUSTOMERS)


def database(url: str, table: str = "customers", overlap: timedelta = OVERLAP) -> SourceDatabase:
    return SourceDatabase(CUSTOMERS, url, table, overlap)


class House:
    """The bronze and silver tables of customers, loaded step by step as a run does, from a database alone."""

    def __init__(self, root: Path, crm: Crm, make: Callable[[Path], Lakehouse], overlap: timedelta = OVERLAP):
        self.root, self.crm = root, crm
        self.database = database(crm.url, overlap=overlap)
        self.lakehouse = make(root)
        (root / "landing" / "customers").mkdir(parents=True)
        self.zone = LandingZone(root / "landing", "UTC", date(2009, 11, 1), root / "cache.json")

    def due(self) -> Any:
        return due(self.lakehouse, self.database, entries(self.lakehouse), TODAY)

    def bronze(self) -> None:
        """What the asset bronze.customers does."""
        journal, drop = entries(self.lakehouse), self.due()
        head = self.lakehouse.head(_bronze())
        pulled = pull(self.lakehouse, self.database, head, journal, drop, TODAY) if drop else None
        drops = [d for d in self.zone.scan("customers")[0] if d.path not in {e.path for e in journal}]
        self.publish(stage_bronze(self.lakehouse, CUSTOMERS, self.zone, drops, pulled))

    def journal(self) -> None:
        journal = entries(self.lakehouse)
        drops = [d for d in self.zone.scan("customers")[0] if d.path not in {e.path for e in journal}]
        self.publish(stage_journal(self.lakehouse, self.zone, drops))

    def silver(self) -> None:
        if entries(self.lakehouse):
            cleansed = cleanse(self.lakehouse, CUSTOMERS, fingerprint="")
            self.publish(cleansed and cleansed.slice)

    def load(self) -> None:
        self.bronze()
        self.journal()
        self.silver()

    def publish(self, staged: Any) -> None:
        if staged:
            self.lakehouse.publish(staged)

    def head(self) -> Any:
        return self.lakehouse.store.head("bronze.customers")

    def rows(self, name: str) -> list[dict[str, Any]]:
        table = self.root / "tables" / name.replace(".", "/")
        return DeltaTable(str(table)).to_pyarrow_table().to_pylist() if table.exists() else []

    def customers(self) -> dict[int, tuple[Any, ...]]:
        """Those of silver that have not ended, by number."""
        rows = [r for r in self.rows("silver.customers") if not r["is_deleted"]]
        return {r["customer_id"]: (r["name"], r["city"], r["country"], r["segment"]) for r in rows}

    def versions(self) -> dict[str, int]:
        return {t: self.lakehouse.store.version(t) for t in ("bronze.customers", "bronze.landings", "silver.customers")}

    def assert_settled(self) -> None:
        """Silver says what the database says, and running again does nothing."""
        assert self.customers() == self.crm.customers()
        assert self.due() is None
        assert half_done(self.lakehouse, CUSTOMERS, entries(self.lakehouse)) is None
        before = self.versions()
        self.load()
        assert self.versions() == before


def _bronze() -> Any:
    from lakehouse_assets.core.contracts import contract

    return contract("bronze.customers")


SERVERS = [pytest.param(name, marks=pytest.mark.server) for name in ("postgres", "mariadb", "whole")]


@pytest.fixture(params=["sqlite", *SERVERS])
def crm(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Crm:
    """In each database that is asked in its own words; and in one that is taken for a kind nobody knows."""
    if request.param == "sqlite":
        return sqlite_crm(tmp_path)
    if request.param == "whole":
        monkeypatch.setattr(databases, "DIALECTS", {})
        return Crm(request.getfixturevalue("mariadb").replace("mariadb:", "mariadb+pymysql:"))
    return Crm(request.getfixturevalue(request.param))


@pytest.fixture
def house(crm: Crm, tmp_path: Path, spark: Any) -> House:
    return House(
        tmp_path,
        crm,
        lambda root: Lakehouse(
            DeltaRsStore(str(root / "tables"), str(root / "changes")), lambda: spark, str(root / "staging")
        ),
    )


def test_what_is_new_is_pulled_and_nothing_else(house: House, crm: Crm):
    """Otherwise customers would be missing, or every tick would land the whole table again."""
    house.load()
    assert house.versions()["bronze.customers"] == 0  # an empty table is nothing new
    crm.put(1, NOON)
    crm.put(2, "2026-09-01 12:00:01.123456+00:00")
    house.load()
    house.assert_settled()
    crm.put(2, "2026-09-01 13:00:00+00:00", "Bea")
    house.load()
    house.assert_settled()
    (first, second) = sorted({r["path"] for r in house.rows("bronze.customers")})
    assert (first, second) == (f"{FOLDER}00000001_{TODAY}", f"{FOLDER}00000002_{TODAY}")
    (came,) = [r for r in house.rows("bronze.customers") if r["path"] == second]
    assert (came["customer_id"], came["updated_at"], came["deleted"], came["_rescued"]) == (
        "2",
        "2026-09-01T13:00:00.000000Z",
        "false",
        None,
    )
    assert (came["row_number"], came["batch_date"]) == (1, TODAY)


def test_equal_times_are_neither_lost_nor_doubled(house: House, crm: Crm):
    """Otherwise a second commit within the same moment would never come, or the first one's rows would land at every
    pull.
    """
    crm.put(1, NOON)
    crm.put(3, NOON)
    house.load()
    crm.put(2, NOON)
    crm.put(1, NOON, "Ada the second")
    house.load()
    house.assert_settled()
    assert len(house.rows("bronze.customers")) == 4
    crm.put(1, NOON, "Ada the third")  # and nothing else has changed, no key and no time
    house.load()
    house.assert_settled()
    assert len(house.rows("bronze.customers")) == 5


def test_a_commit_from_before_the_overlap_comes_too(house: House, crm: Crm):
    """Otherwise a transaction that took longer than anybody thought would be lost for good."""
    crm.put(1, NOON)
    house.load()
    crm.put(2, "2019-01-01 00:00:00+00:00")
    house.load()
    house.assert_settled()
    crm.put(1, "2018-01-01 00:00:00+00:00", "Ada set back")
    house.load()
    house.assert_settled()


def test_a_time_in_the_future_does_not_carry_the_watermark_away(house: House, crm: Crm):
    """Otherwise one wrong clock would have all later rows taken for old."""
    crm.put(1, NOON)
    crm.put(2, "2199-01-01 00:00:00+00:00")
    house.load()
    assert remembered(house.head())["watermark"] == "2026-09-01T12:00:00.000000Z"
    crm.put(1, NOON, "Ada within the overlap")
    house.load()
    house.assert_settled()


def test_keys_that_all_changed_are_refused_before_a_run_is_made_for_them(house: House, crm: Crm):
    """Otherwise the run takes nothing and says nothing, and another one follows at every tick."""
    for number in range(1, 21):
        crm.put(number, NOON)
    house.load()
    crm.do("UPDATE customers SET customer_id = customer_id + 1000")
    with pytest.raises(SourceUnavailableError, match="has lost 20 of its 20 rows since the last pull"):
        house.due()
    crm.do("UPDATE customers SET customer_id = customer_id - 1000")
    house.assert_settled()


def test_a_row_that_is_gone_ends_its_customer_and_one_that_is_back_brings_it_back(house: House, crm: Crm):
    """Otherwise who asked to be forgotten stays, or who came back with an old row stays away."""
    crm.put(1, NOON)
    crm.put(2, "2199-01-01 00:00:00+00:00")
    house.load()
    crm.delete(1)
    crm.delete(2)
    house.load()
    house.assert_settled()
    assert house.customers() == {}
    crm.put(1, NOON)
    house.load()
    house.assert_settled()
    crm.put(1, NOON, deleted=True)
    house.load()
    house.assert_settled()
    crm.do("UPDATE customers SET customer_id = 7, deleted = false")
    house.load()
    house.assert_settled()
    assert list(house.customers()) == [7]


def test_a_run_that_dies_between_bronze_and_journal_is_finished_by_the_next(house: House, crm: Crm):
    """Otherwise rows behind the watermark would never be published, or would land twice."""
    crm.put(1, NOON)
    house.bronze()
    assert entries(house.lakehouse) == []
    assert remembered(house.head())["watermark"] == "2026-09-01T12:00:00.000000Z"  # in the commit that brought the row
    found = half_done(house.lakehouse, CUSTOMERS, [])
    assert found is not None
    assert found.batch_date == TODAY
    crm.put(2, NOON)
    house.bronze()
    house.journal()
    assert [e.path for e in entries(house.lakehouse)] == [f"{FOLDER}0000000{n}_{TODAY}" for n in (1, 2)]
    house.silver()
    house.assert_settled()
    assert len(house.rows("bronze.customers")) == 2


def test_files_beside_pulls_keep_the_watermark_and_take_part(house: House, crm: Crm):
    """Otherwise a file would have the whole database pulled again, or the greatest time of change would no longer
    win.
    """
    crm.put(1, NOON)
    house.load()
    record = '{"customer_id": %d, "name": "%s", "updated_at": "%s"}\n'
    text = record % (1, "from the file", "2026-09-02T00:00:00Z") + record % (3, "from the file", "2026-09-02T00:00:00Z")
    (house.root / "landing/customers/crm_2026-09-02.jsonl").write_text(text)
    crm.put(2, NOON)
    house.load()
    assert {k: v[0] for k, v in house.customers().items()} == {1: "from the file", 2: "Ada", 3: "from the file"}
    assert house.due() is None
    (house.root / "landing/customers/crm_2026-09-03.jsonl").write_text(
        record % (4, "from the file", "2026-09-03T00:00:00Z")
    )
    house.load()
    assert house.due() is None
    assert len(entries(house.lakehouse)) == 4


def test_a_refused_pull_is_corrected_by_the_next(tmp_path: Path, spark: Any):
    """Otherwise a table that was wrong for an hour would keep its day red for ever, and its good rows out."""
    crm = sqlite_crm(tmp_path, key="text PRIMARY KEY")

    def make(root: Path) -> Lakehouse:
        return Lakehouse(
            DeltaRsStore(str(root / "tables"), str(root / "changes")), lambda: spark, str(root / "staging")
        )

    house = House(tmp_path, crm, make)
    for n in range(12):
        crm.put(f"'{n + 1}'" if n < 4 else f"'no {n}'", NOON)
    house.load()
    assert [v.path for v in refused_now(house.lakehouse, SOURCES["customers"])] == [f"{FOLDER}00000001_{TODAY}"]
    assert house.due() is None
    crm.do("UPDATE customers SET customer_id = 100 + substr(customer_id, 4) WHERE customer_id LIKE 'no %'")
    house.load()
    assert refused_now(house.lakehouse, SOURCES["customers"]) == []
    assert {e.path for e in entries(house.lakehouse)} == {f"{FOLDER}00000001_{TODAY}"}
    assert {str(k): v for k, v in house.customers().items()} == crm.customers()
    assert house.due() is None


def test_a_pull_is_withdrawn_and_landed_like_any_drop(house: House, crm: Crm):
    """Otherwise a wrong change in the database could only be taken back by another one."""
    crm.put(1, NOON)
    house.load()
    crm.put(1, "2026-09-01 13:00:00+00:00", "Wrong")
    house.load()
    path = f"{FOLDER}00000002_{TODAY}"
    withdraw(house.lakehouse, path)
    house.load()
    assert house.customers()[1][0] == "Ada"
    assert house.due() is None
    land_again(house.lakehouse, path)
    house.load()
    house.assert_settled()


def test_a_pull_reads_one_state_of_the_table(house: House, crm: Crm):
    """Otherwise a row moved between two questions would be taken for gone, or be passed over by the watermark."""
    crm.put(1, NOON)
    with house.database.snapshot() as snapshot:
        before = snapshot.summary(None)
        crm.put(2, NOON)
        assert snapshot.keys().num_rows == 1
        assert snapshot.summary(None) == before
        assert snapshot.rows(None).num_rows == 1
    assert house.database.overlap == OVERLAP
    if "pymysql" in crm.url:
        return  # what is not known cannot be kept from writing; it is asked one SELECT
    with pytest.raises(SourceUnavailableError, match=r"(?i)read.?only"), house.database.snapshot() as other:
        cast(Any, other)._connection.exec_driver_sql("DELETE FROM customers")


def test_without_memory_everything_is_compared_and_nothing_lands_twice(house: House, crm: Crm):
    """Otherwise a log that somebody else has cleaned up would double every customer."""
    crm.put(1, NOON)
    crm.put(2, NOON)
    house.load()
    table = DeltaTable(str(house.root / "tables/bronze/customers"))
    table.create_write_transaction([], "append", table.schema())
    for log in (house.root / "tables/bronze/customers/_delta_log").glob("*.json"):
        log.write_text(log.read_text().replace("userMetadata", "theirMetadata"))
    shutil.rmtree(house.root / "tables/bronze/customers/_sums")  # they cleaned up with their own tool, which keeps none
    house.lakehouse.store.forget("bronze.customers")
    assert remembered(house.head()) == {}
    crm.put(3, NOON)
    house.load()
    house.assert_settled()
    assert len(house.rows("bronze.customers")) == 3


@pytest.mark.parametrize(
    ("written", "landed"),
    [
        ("2026-09-01", "2026-09-01T00:00:00.000000Z"),
        ("2026-09-01T10:00:00.5Z", "2026-09-01T10:00:00.500000Z"),
        ("2026-09-01 10:00:00.1234+02:00", "2026-09-01T08:00:00.123400Z"),
        ("yesterday", "yesterday"),
    ],
)
def test_times_of_sqlite_are_texts_in_many_forms(tmp_path: Path, written: str, landed: str):
    """Otherwise a blank in place of a T would put a row behind the watermark."""
    crm = sqlite_crm(tmp_path)
    crm.put(1, written)
    with database(crm.url).snapshot() as snapshot:
        assert snapshot.keys()["updated_at"].to_pylist() == [landed]
        assert snapshot.rows(landed if landed.endswith("Z") else "2199-01-01T00:00:00.000000Z").num_rows == 1
        assert snapshot.clock()[1] == (landed if landed.endswith("Z") else None)


def test_a_server_in_another_zone_and_times_that_are_none(postgres: str):
    """Otherwise a server that lives in Tokyo, as this one does, would have every row nine hours late."""
    crm = Crm(postgres)
    crm.put(1, "2026-09-01 21:00:00")
    crm.put(2, "infinity")
    crm.do("INSERT INTO customers (customer_id) VALUES (3)")
    with database(crm.url, "public.customers").snapshot() as snapshot:
        assert sorted(map(str, snapshot.keys()["updated_at"].to_pylist())) == [
            "2026-09-01T12:00:00.000000Z",
            "None",
            "infinity",
        ]
        assert snapshot.rows("2026-09-01T12:00:00.000001Z").num_rows == 2
        assert snapshot.clock()[1] == "2026-09-01T12:00:00.000000Z"
        assert abs(datetime.fromisoformat(snapshot.clock()[0]) - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"url": "sqlite:////nowhere/crm.sqlite"}, "there is no such file"),
        (
            {"url": "oracel://root:hush@db/crm"},
            "nothing that is installed knows the kind oracel: correct it, or install",
        ),
        ({"url": "mssql+pymssql://root:hush@db/crm"}, "the module pymssql is not installed: install the package that"),
        ({"url": "mysql+mysqldb://root:hush@db/crm"}, "the module MySQLdb is not installed: install the package that"),
        ({"url": "mariadb://crm:hush@127.0.0.1:1/crm"}, "mariadb://127.0.0.1:1/crm (Can't connect to"),
        ({"url": "hush"}, "no address of a database"),
        ({"url": "postgresql://crm:hu@hush@db/crm"}, "%40"),
        ({"url": "postgresql://crm:hush@127.0.0.1:1/crm"}, "postgresql://127.0.0.1:1/crm"),
        ({"url": "postgresql://crm@127.0.0.1:1/crm?password=hush"}, "postgresql://127.0.0.1:1/crm"),
        ({"table": "clients"}, "no such table"),
        ({"table": "strange"}, "no column updated_at"),
        ({"table": "doubled"}, "1 of its 2 rows have no customer_id"),
    ],
)
def test_a_database_that_cannot_be_read_is_told_in_a_sentence(tmp_path: Path, change: dict[str, str], said: str):
    """Otherwise nobody would know what to fix, or everybody the password."""
    crm = sqlite_crm(tmp_path)
    crm.put(1, NOON)
    crm.do("CREATE VIEW strange AS SELECT customer_id FROM customers")
    crm.do("CREATE VIEW doubled AS SELECT * FROM customers UNION ALL SELECT * FROM customers")
    asked = database(change.get("url", crm.url), change.get("table", "customers"))
    with pytest.raises(SourceUnavailableError) as caught, asked.snapshot() as snapshot:
        snapshot.summary(None)
    assert said in str(caught.value)
    assert "hush" not in f"{caught.value} {asked!r}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_wrong_password_is_not_repeated(postgres: str):
    """Otherwise it would stand in the event log for all to read."""
    asked = database(postgres.replace("not-a-secret", "hush-hush"))
    with pytest.raises(SourceUnavailableError, match="password authentication failed") as caught, asked.snapshot():
        pass
    assert "hush" not in str(caught.value)


class Walk:
    """What a CRM does in a day, at random: it also stands still, goes back, errs about the year, deletes and
    renames.
    """

    def __init__(self, crm: Crm, seed: int):
        self.crm, self.rng = crm, random.Random(seed)
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        self.gone: dict[int, str] = {}
        self.names = 0

    def step(self) -> None:
        ids = sorted(self.ids())
        number = self.rng.choice([*ids, self.rng.randint(1, 15)])
        at = {
            "later": lambda: self.tick(),
            "same": lambda: self.now,
            "late": lambda: self.now - timedelta(minutes=self.rng.randint(1, 50)),
            "very late": lambda: self.now - timedelta(days=self.rng.randint(1, 90)),
            "future": lambda: self.now + timedelta(days=36500 + self.rng.randint(0, 2)),
        }
        kind = self.rng.choice([*at, "later", "same", "delete", "back", "rename", "flag"])
        if kind in at:
            self.put(number, str(at[kind]()))
        elif kind == "delete" and ids:
            number = self.rng.choice(ids)
            self.gone[number] = self.time_of(number)
            self.crm.delete(number)
        elif kind == "back" and self.gone:
            number = self.rng.choice(sorted(self.gone))
            self.put(number, self.gone.pop(number))
        elif kind == "rename" and ids and number not in ids:
            self.crm.do(f"UPDATE customers SET customer_id = {number} WHERE customer_id = {self.rng.choice(ids)}")
        elif kind == "flag":
            self.crm.put(number, str(self.tick()), deleted=True)

    def tick(self) -> datetime:
        self.now += timedelta(minutes=self.rng.choice([0, 1, 45, 600]), microseconds=self.rng.randint(0, 1))
        return self.now

    def put(self, number: int, at: str) -> None:
        self.names += 1
        self.crm.put(number, at, f"Name {self.names}")

    def ids(self) -> list[int]:
        with self.crm.transaction() as cursor:
            cursor.execute("SELECT customer_id FROM customers")
            return [r[0] for r in cursor.fetchall()]

    def time_of(self, number: int) -> str:
        with self.crm.transaction() as cursor:
            cursor.execute(f"SELECT updated_at FROM customers WHERE customer_id = {number}")
            return str(cursor.fetchone()[0])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_happens_silver_ends_as_the_database(house: House, crm: Crm, seed: int):
    """Otherwise there is an order of events after which somebody is missing, doubled, or has a row of the past."""
    walk = Walk(crm, seed)
    for _ in range(9):
        for _ in range(walk.rng.randint(1, 6)):
            walk.step()
        # or the run dies before the next
        for step in (house.bronze, house.journal, house.silver)[: walk.rng.choice([1, 2, 3, 3])]:
            step()
    house.load()
    house.assert_settled()


@pytest.mark.heavy
def test_apache_spark_pulls_the_same(tmp_path: Path, connect_spark: Any):
    """Otherwise the watermark would hold on one engine alone."""
    crm = sqlite_crm(tmp_path)

    def make(root: Path) -> Lakehouse:
        return Lakehouse(
            DeltaSparkStore(str(root / "tables"), str(root / "changes"), lambda: connect_spark),
            lambda: connect_spark,
            str(root / "staging"),
        )

    house, walk = House(tmp_path, crm, make), Walk(crm, 5)
    for steps in (3, 1, 3):
        for _ in range(6):
            walk.step()
        for step in (house.bronze, house.journal, house.silver)[:steps]:
            step()
    house.load()
    house.assert_settled()
