"""A source's database that is not as it should be: what it costs is its own rows, and no message tells a secret."""

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine

from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.sources.database import SourceDatabase
from lakehouse_assets.core.sources.dialects import Unfit
from lakehouse_assets.errors import SourceUnavailableError

CANARY = "hush-4711"


def database(url: str, **more: float) -> SourceDatabase:
    return SourceDatabase(SOURCES["customers"], url, "customers", timedelta(hours=1), **more)


def refusal(url: str) -> str:
    with pytest.raises(SourceUnavailableError) as caught, database(url).snapshot():
        pass
    # What is chained is printed with -v, and kept by Dagster.
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


SIGNS = ["@", ":", "/", "?", "#", "%", "[", "]", "@/", ":@", "%zz", " ", "'", '"', "\\", "&", "=", "@@", "//", "ü"]


@pytest.mark.parametrize("host", ["127.0.0.1:1", "127.0.0.1", "127.0.0.1:54x2", "[::1]:1", "", "127.0.0.1:99999"])
@pytest.mark.parametrize("sign", SIGNS)
def test_no_form_of_an_address_shows_a_part_of_the_password(sign: str, host: str) -> None:
    """A password with a sign that has a meaning in addresses is cut there, and its pieces are taken for host, port or
    name.
    """
    pieces = ("hush", "4711x9", "w0rdy")
    password = sign.join(pieces)
    for user, name in (("crm", "crm"), ("", ""), ("crm", "crm?connect_timeout=1")):
        said = refusal(f"postgresql://{user}:{password}@{host}/{name}")
        assert not [piece for piece in pieces if piece in said], said
        assert said.endswith(".")


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://127.0.0.1:1/crm?password={CANARY}",
        f"postgresql://127.0.0.1:1/crm?sslpassword={CANARY}&user=a",
        f"{CANARY}",
        f"postgresql:{CANARY}@host",
        f"://{CANARY}",
        f"oracle://crm:{CANARY}@host/crm",
        f"mysql://crm:{CANARY}@127.0.0.1:1/crm",
        f"mariadb+pymysql://127.0.0.1:1/crm?password={CANARY}",
        f"mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BUID%3Dcrm%3BPWD%3D{CANARY}",
        f"sqlite+pysqlite:///nowhere?token={CANARY}",
        f"postgresql+nodriver://crm:{CANARY}@host/crm",
        f"sqlite://{CANARY}@host/x",
    ],
)
def test_no_address_of_another_form_shows_its_secret(url: str) -> None:
    """Whatever is set there may be, or hold, a password."""
    assert CANARY not in refusal(url)


@pytest.mark.parametrize(
    "options",
    [
        "?token=l0ng-one",
        "?api-key=1&x=l0ng-one&x=2",
        "?odbc_connect=DRIVER%3Dx%3BUID%3Dcrm%3BPWD%3Dl0ng-one",
        "?pass=77a",
    ],
)
def test_what_a_driver_repeats_of_its_address_is_not_shown(options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of database has other options that hold secrets, and nobody knows what its driver says."""

    def cannot(url: URL) -> Engine:
        said = [value for values in url.query.values() for value in ([values] if isinstance(values, str) else values)]
        raise Unfit(f"cannot open {url.render_as_string(hide_password=False)}: {said} {said[0].rpartition('=')[2]}")

    monkeypatch.setattr("lakehouse_assets.core.sources.database.open_engine", cannot)
    said = refusal(f"other://crm:{CANARY}@host/crm{options}")
    assert "cannot open" in said
    assert not [secret for secret in (CANARY, "l0ng-one", "77a") if secret in said], said


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with sqlite3.connect(tmp_path / "crm.sqlite") as connection:
        yield connection
    connection.close()


def url_of(connection: sqlite3.Connection) -> str:
    return f"sqlite:///{connection.execute('PRAGMA database_list').fetchone()[2]}"


def rows(connection: sqlite3.Connection) -> list[dict[str, str | None]]:
    connection.commit()
    with database(url_of(connection)).snapshot() as snapshot:
        snapshot.summary(None)
        snapshot.clock()
        snapshot.keys()
        return snapshot.rows(None).to_pylist()


def test_a_text_in_another_encoding_spoils_its_own_row_alone(crm: sqlite3.Connection) -> None:
    """One byte of Latin-1 stopped the whole load."""
    crm.execute("CREATE TABLE customers (customer_id INTEGER, name TEXT, updated_at TEXT)")
    crm.execute(
        "INSERT INTO customers VALUES (1, 'Ada', '2026-09-01'), (2, CAST(x'4dfc6c6c6572' AS TEXT), '2026-09-01')"
    )
    crm.execute(
        "INSERT INTO customers VALUES (3, 'Eve', CAST(x'ff' AS TEXT)), (4, x'00ff', '2026-09-01'), (5, 'Zoë', NULL)"
    )
    found = {r["customer_id"]: (r["name"], r["_malformed"]) for r in rows(crm)}
    assert found == {
        "1": ("Ada", None),
        "2": ("M\\xfcller", "row.encoding"),
        "3": ("Eve", "row.encoding"),
        "4": ("\x00\\xff", "row.encoding"),
        "5": ("Zoë", None),
    }


def test_names_of_columns_are_found_whatever_their_case(crm: sqlite3.Connection) -> None:
    """A CRM that writes Name and Email gave customers without either."""
    crm.execute(
        'CREATE TABLE customers ("Customer_ID" INTEGER, "NAME" TEXT, "eMail" TEXT, city, country, segment, "Updated_At"'
        ' TEXT, "Deleted")'
    )
    crm.execute(
        "INSERT INTO customers VALUES (1, 'Ada', 'a@example.org', 'Graz', 'AT', 'base', '2026-09-01 10:00:00', 0)"
    )
    (row,) = rows(crm)
    assert (row["customer_id"], row["name"], row["email"], row["deleted"]) == ("1", "Ada", "a@example.org", "false")
    assert row["updated_at"] == "2026-09-01T10:00:00.000000Z"


def test_an_attribute_under_another_name_is_an_error(crm: sqlite3.Connection) -> None:
    """Nulls in place of a renamed column take the attribute from every customer."""
    crm.execute(
        "CREATE TABLE customers (customer_id INTEGER, full_name TEXT, email, city, country, segment, updated_at TEXT)"
    )
    assert "it has no column name, but full_name, which is not known" in refusal(url_of(crm))


@pytest.mark.parametrize(
    ("before", "lost", "share", "refused"),
    [(1000, 501, 0.5, True), (1000, 500, 0.5, False), (9, 9, 0.5, False), (1000, 1000, 1.0, False)],
)
def test_a_table_that_was_emptied_ends_nobody(before: int, lost: int, share: float, refused: bool) -> None:
    """A table that is truncated and loaded anew ended every customer in between."""
    if not refused:
        database("sqlite:///x", may_lose=share).refuse_emptied(before, lost)
        return
    with pytest.raises(SourceUnavailableError, match=f"has lost {lost} of its {before} rows"):
        database("sqlite:///x", may_lose=share).refuse_emptied(before, lost)


def test_times_that_no_timestamp_holds_come_as_they_are_written(postgres: str) -> None:
    """Ten in the morning in 1999 before Christ is not ten in the morning in 1999."""
    import psycopg2

    with psycopg2.connect(postgres) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE customers (customer_id bigint, name text, updated_at timestamp)")
        cursor.execute(
            "INSERT INTO customers VALUES (1, 'a', '2026-09-01'), (2, 'b', '1999-01-01 10:00 BC'), (3, 'c',"
            " 'infinity'), (4, 'd', '-infinity'), (5, 'e', '15000-01-01'), (6, 'f', NULL)"
        )
    with database(postgres).snapshot() as snapshot:
        snapshot.summary(snapshot.clock()[1])
        found = {r["customer_id"]: r["updated_at"] for r in snapshot.rows(None).to_pylist()}
    assert found == {
        "1": "2026-09-01T00:00:00.000000Z",
        "2": "1999-01-01 10:00:00 BC",
        "3": "infinity",
        "4": "-infinity",
        "5": "15000-01-01T00:00:00.000000Z",
        "6": None,
    }
