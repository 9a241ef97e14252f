"""What each kind of database gives for a row, and what tells its states apart: one answer, whether it is asked in its
own words or read whole.
"""

import random
import sqlite3
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.sources import database as databases
from lakehouse_assets.core.sources.database import SourceDatabase
from lakehouse_assets.errors import SourceUnavailableError
from lakehouse_assets_tests import mariadb_server

NOON = "2026-09-01T12:00:00.000000Z"


def asked(url: str, table: str = "customers") -> SourceDatabase:
    return SourceDatabase(SOURCES["customers"], url, table, timedelta(hours=1))


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Take every database for a kind that nobody knows, from now on."""
    return lambda: monkeypatch.setattr(databases, "DIALECTS", {})


def do(url: str, *statements: str) -> None:
    """As its applications would, in a session that lives in Tokyo where the server does."""
    if url.startswith("mariadb"):
        with mariadb_server.connect(url) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            connection.commit()
        return
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement.replace(":", "\\:")))
    engine.dispose()


def rows(url: str, table: str = "customers", since: str | None = None) -> dict[str, dict[str, str | None]]:
    with asked(url, table).snapshot() as snapshot:
        snapshot.summary(snapshot.clock()[1])
        return {r["customer_id"]: r for r in snapshot.rows(since).to_pylist()}


@pytest.mark.parametrize("read", ["asked", "whole"])
def test_values_of_postgresql_come_as_json_has_them(postgres: str, read: str, whole: Any) -> None:
    """Otherwise a second time of a row, or a small number, is none that a contract takes, and every row is refused."""
    if read == "whole":
        whole()
    do(
        postgres,
        "CREATE TABLE customers (customer_id bigint PRIMARY KEY, name text, email timestamptz, city double precision,"
        " country real, segment numeric(12, 3), updated_at timestamptz, deleted boolean)",
        "INSERT INTO customers VALUES (1, 'Zoë', '2026-09-01 14:00:00.53+02', 0.00001, 2.5, 1.500, '2026-09-01"
        " 12:00:00+00', true), (2, NULL, NULL, NULL, NULL, NULL, '2026-09-01 12:00:00+00', false)",
    )
    found = rows(postgres)
    email = datetime.fromisoformat(str(found["1"].pop("email")))  # read whole, it is in the zone of the server
    assert email == datetime(2026, 9, 1, 12, 0, 0, 530_000, UTC)
    assert list(found["1"].values()) == ["1", "Zoë", "0.00001", "2.5", "1.500", NOON, "true", None]
    assert list(found["2"].values()) == ["2", None, None, None, None, None, NOON, "false", None]


@pytest.mark.parametrize("option", ["ssl-mode=REQUIRED", "sslmode=require", "read_timeout=soon"])
def test_an_option_that_a_driver_does_not_know_is_said_of_that_source_alone(option: str) -> None:
    """Otherwise it stops the load of every other source, in words that name no setting."""
    with (
        pytest.raises(SourceUnavailableError, match="LAKEHOUSE_CUSTOMERS_DB") as caught,
        asked(f"mariadb://crm:hush@127.0.0.1:1/crm?{option}").snapshot(),
    ):
        pass
    assert "hush" not in str(caught.value)


@pytest.fixture(params=["mariadb", "whole"])
def mysql(request: pytest.FixtureRequest, mariadb: str) -> str:
    """A MariaDB, asked in its words and read whole."""
    if request.param == "whole":
        request.getfixturevalue("whole")()
        return mariadb.replace("mariadb:", "mariadb+pymysql:")
    return mariadb


def test_values_of_mariadb_come_as_they_are(mysql: str) -> None:
    """Otherwise a customer would have another number, a strange name, or would end without having ended."""
    do(
        mysql,
        "CREATE TABLE customers (customer_id bigint unsigned PRIMARY KEY, name varchar(20) CHARACTER SET latin1, email"
        " varbinary(40), city text CHARACTER SET utf8mb4, country char(9), segment decimal(12, 3), updated_at"
        " datetime(6), deleted tinyint(1))",
        "INSERT INTO customers VALUES (18446744073709551615, 'Zoë', 'a@b.c', '京都 🏯', 'Ö', 1.500, '2026-09-01"
        " 12:00:00', 1), (2, NULL, x'4dfc6c6c6572', '', '', -0.1, NULL, NULL), (3, 'x', NULL, 'x', 'x', 0, '2026-09-01"
        " 12:00:00.000001', 0)",
    )
    found = rows(mysql)
    assert list(found["18446744073709551615"].values()) == [
        *("18446744073709551615", "Zoë", "a@b.c", "京都 🏯", "Ö", "1.500", NOON, "true", None)
    ]
    assert list(found["2"].values()) == ["2", None, "M\\xfcller", "", "", "-0.100", None, None, "row.encoding"]
    assert (found["3"]["updated_at"], found["3"]["deleted"]) == ("2026-09-01T12:00:00.000001Z", "false")
    assert rows(mysql, since="2026-09-01T12:00:00.000001Z").keys() == {"2", "3"}


def test_a_bit_is_a_truth_value(mysql: str) -> None:
    """Otherwise the flag of many frameworks would be a text that nobody can print."""
    do(
        mysql,
        "CREATE TABLE customers (customer_id int, updated_at datetime, deleted bit(1))",
        "INSERT INTO customers VALUES (1, '2026-09-01', b'1'), (2, '2026-09-01', b'0'), (3, '2026-09-01', NULL)",
    )
    assert {k: v["deleted"] for k, v in rows(mysql).items()} == {"1": "true", "2": "false", "3": None}


def test_days_that_are_none_spoil_their_own_row_alone(mysql: str) -> None:
    """Otherwise one zero date would stop the source, or be the newest time of all."""
    do(
        mysql,
        "SET sql_mode = 'ALLOW_INVALID_DATES'",
        "CREATE TABLE customers (customer_id int, updated_at datetime)",
        "INSERT INTO customers VALUES (1, '0000-00-00'), (2, '2026-00-00'), (3, '2026-02-31'), (4, '2026-01-05'), (5,"
        " '0999-01-01')",
    )
    found = {k: str(v["updated_at"]).partition(".")[0] for k, v in rows(mysql).items()}
    assert found == {
        "1": "0000-00-00 00:00:00",
        "2": "2026-00-00 00:00:00",
        "3": "2026-02-31 00:00:00",
        "4": "2026-01-05T00:00:00",
        "5": "0999-01-01T00:00:00",
    }
    with asked(mysql).snapshot() as snapshot:
        assert snapshot.clock()[1] == "2026-01-05T00:00:00.000000Z"
        # No time puts them behind the watermark, so they are read again each time.
        assert set(snapshot.rows(NOON)["customer_id"].to_pylist()) >= {"1", "2", "3"}
        assert "4" not in snapshot.rows(NOON)["customer_id"].to_pylist()


def test_a_timestamp_of_mariadb_is_in_utc_and_a_datetime_is_taken_for_it(mariadb: str) -> None:
    """Otherwise a server that lives in Tokyo, as this one does, would have every row nine hours early."""
    for kind, landed in (
        ("timestamp(3) NULL", "2026-09-01T03:00:00.000000Z"),
        ("datetime", NOON),
        ("date", f"{NOON[:11]}00:00:00.000000Z"),
    ):
        do(
            mariadb,
            "DROP TABLE IF EXISTS customers",
            f"CREATE TABLE customers (customer_id int, updated_at {kind})",
            "INSERT INTO customers VALUES (1, '2026-09-01 12:00:00')",
        )
        assert rows(mariadb)["1"]["updated_at"] == landed
        with asked(mariadb).snapshot() as snapshot:
            now, greatest = snapshot.clock()
            assert greatest == landed
            assert snapshot.rows(landed).num_rows == 1
            assert snapshot.rows("2026-09-01T12:00:00.000001Z").num_rows == 0
        with asked(mariadb.replace("mariadb:", "mariadb+pymysql:")).snapshot() as snapshot:
            assert snapshot.clock()[0] > now


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("(customer_id int, updated_at varchar(40))", "its times are neither DATETIME nor TIMESTAMP nor DATE"),
        ("(customer_id int, updated_at datetime) ENGINE MyISAM", "the storage engine MyISAM has no transactions"),
        ("(customer_id int, updated_at datetime, Deleted int, name int, nom int)", "it has no column email, city"),
    ],
)
def test_a_table_of_mariadb_that_cannot_keep_the_promises_is_refused(mariadb: str, table: str, said: str) -> None:
    """Otherwise times would be guessed, or rows be lost between two questions, and nobody would know."""
    do(mariadb, f"CREATE TABLE customers {table}")
    for name in ("customers", f"{make_url(mariadb).database}.customers"):
        with pytest.raises(SourceUnavailableError, match=said), asked(mariadb, name).snapshot():
            pass


def test_names_may_hold_any_sign(mysql: str) -> None:
    """Otherwise a table could not be named, or its name would run as SQL."""
    name = """t`able :x "of" 'them' 100%s; DROP"""
    quoted = f"`{name.replace('`', '``')}`"
    do(
        mysql,
        f"CREATE TABLE {quoted} (`CUSTOMER_ID` int, `Updated_At` datetime)",
        f"INSERT INTO {quoted} VALUES (1, '2026-09-01')",
    )
    assert rows(mysql, name).keys() == {"1"}


def test_a_password_that_mariadb_refuses_is_not_repeated(mariadb: str) -> None:
    """Otherwise it would stand in the event log for all to read."""
    url = mariadb.replace("not-a-secret", "hush-hush")
    with pytest.raises(SourceUnavailableError, match=r"\(Access denied for user") as caught, asked(url).snapshot():
        pass
    assert "hush" not in str(caught.value)


TEXTS = [None, "", "-", "a", "A", "a "]


SERVERS = [pytest.param(name, marks=pytest.mark.server) for name in ("postgres", "mariadb")]


@pytest.mark.parametrize("kind", ["sqlite", "whole", *SERVERS])
def test_two_states_are_told_apart_if_and_only_if_they_differ(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Otherwise a change would wait for ever, or every tick would start a run for nothing."""
    url = f"sqlite:///{tmp_path / 'crm.sqlite'}" if kind in ("sqlite", "whole") else request.getfixturevalue(kind)
    if kind == "whole":
        request.getfixturevalue("whole")()
    stamp = "varchar(40)" if "sqlite" in url else "datetime" if kind == "mariadb" else "timestamp"
    text_ = "varchar(9) CHARACTER SET utf8mb4" if kind == "mariadb" else "varchar(9)"
    do(url, f"CREATE TABLE customers (customer_id int, name {text_}, email {text_}, updated_at {stamp})")
    rng = random.Random(7)
    pairs = list(product(TEXTS, repeat=2))
    tried = [[(0, *pair, "01")] for pair in pairs]
    tried += [[(n, *rng.choice(pairs), rng.choice(["01", "02"])) for n in range(rng.randint(0, 3))] for _ in range(12)]
    states: dict[tuple[Any, ...], set[tuple[Any, ...]]] = {}
    for state in (*tried, *(rows[::-1] for rows in tried[-12:])):
        do(url, "DELETE FROM customers", *(f"INSERT INTO customers VALUES {_sql(row)}" for row in state))
        with asked(url).snapshot() as snapshot:
            found = snapshot.summary(None)
        states.setdefault(tuple(sorted(map(str, state))), set()).add((found["rows"], found["keys"], found["recent"]))
    assert {len(summaries) for summaries in states.values()} == {1}
    assert max(Counter(summary for (summary,) in states.values()).values()) == 1


def _sql(row: tuple[Any, ...]) -> str:
    number, *texts, day = row
    written = ["NULL" if t is None else f"'{t}'" for t in texts]
    return f"({number}, {', '.join(written)}, '2026-09-{day} 00:00:00')"


@pytest.mark.parametrize("kind", ["sqlite", *SERVERS])
def test_what_is_read_whole_is_what_is_asked_for(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, whole: Any
) -> None:
    """Otherwise what lands would depend on who reads it."""
    url = f"sqlite:///{tmp_path / 'crm.sqlite'}" if kind == "sqlite" else request.getfixturevalue(kind)
    stamp = {"sqlite": "text", "postgres": "timestamptz", "mariadb": "datetime(6)"}[kind]
    zone = "" if kind == "mariadb" else "+00:00"
    do(
        url,
        f"CREATE TABLE customers (customer_id int, name varchar(9), segment numeric(9, 2), updated_at {stamp}, deleted"
        " boolean, email text, city date, country text)",
        *(
            f"INSERT INTO customers VALUES ({n}, '{'Zoë' * (n % 2)}', {n}.50, {t}, {d}, NULL, '2026-01-0{n}', 'x')"
            for n, (t, d) in enumerate(
                [
                    (f"'2026-09-01 12:00:00.5{zone}'", "true"),
                    ("NULL", "NULL"),
                    (f"'2199-01-01 00:00:00{zone}'", "false"),
                    (f"'2026-09-01 11:59:59{zone}'", "false"),
                ],
                start=1,
            )
        ),
    )

    def seen(address: str) -> Any:
        with asked(address).snapshot() as snapshot:
            tables = [snapshot.keys(), snapshot.rows(None), snapshot.rows(NOON)]
            listed = [sorted(map(tuple, (r.items() for r in t.to_pylist())), key=str) for t in tables]
            return [[t.schema for t in tables], listed, snapshot.clock()[1], snapshot.summary(NOON)["rows"]]

    expected = seen(url)
    whole()
    found = seen(url.replace("mariadb:", "mariadb+pymysql:"))
    assert found == expected


def test_a_table_read_whole_is_seen_as_it_was_at_one_moment(tmp_path: Path, whole: Any) -> None:
    """Otherwise a row that moves between two questions would be taken for gone."""
    whole()
    with sqlite3.connect(tmp_path / "crm.sqlite") as connection:
        connection.execute("CREATE TABLE customers (customer_id INTEGER, updated_at TEXT)")
        connection.execute("INSERT INTO customers VALUES (1, '2026-09-01')")
        connection.commit()
        with asked(f"sqlite:///{tmp_path / 'crm.sqlite'}").snapshot() as snapshot:
            before = snapshot.summary(None)
            connection.execute("INSERT INTO customers VALUES (2, '2026-09-01')")
            connection.commit()
            assert snapshot.summary(None) == before
            assert (snapshot.keys().num_rows, snapshot.rows(None).num_rows) == (1, 1)
    connection.close()
