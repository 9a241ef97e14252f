"""Numbers, text and times have Snowflake's values, exactly, on their way in, through functions and out to the
client.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import snowflake.connector
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.embedded_snowflake import AccountAddress, connection_arguments
from lakehouse_assets_tests.embedded_snowflake.conftest import Sql

SHARED = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("MD5_NUMBER_LOWER64('Snowflake')", 9203306159527282910),  # the manual's example
        ("DATE_PART(EPOCH_MICROSECOND, '2010-12-01 08:26:00.123456'::TIMESTAMP_NTZ)", 1291191960123456),
        ("DATE_PART(EPOCH_MICROSECOND, '1900-01-01 00:00:00.000001'::TIMESTAMP_NTZ)", -2208988799999999),
        ("DATEDIFF(day, '1970-01-01', '2010-12-01'::DATE)", 14944),
        ("DATEDIFF(day, '1970-01-01', '1900-01-01'::DATE)", -25567),
        ("TO_VARCHAR(12.50::NUMBER(10,2))", "12.50"),
        ("TO_VARCHAR(7)", "7"),
        ("LENGTH('Zoë 𝄞')", 5),
        ("HEX_ENCODE('ë')", "C3AB"),
        ("COALESCE(NULL, 'x')", "x"),
        ("IFF(1 > 2, 'a', 'b')", "b"),
        ("DIV0(1, 0)", 0.0),  # a FLOAT here and a NUMBER in Snowflake; nothing in the application uses it
        ("SIGN(-3)", -1),
        ("'$USD; it''s'", "$USD; it's"),
        ("NULL::TIMESTAMP_NTZ", None),
        ("SUM(x) FROM (SELECT 0.1::NUMBER(18,3) AS x UNION ALL SELECT 0.2)", Decimal("0.300")),
    ],
)
def test_an_expression_has_snowflakes_value(sql: Sql, expression: str, value: Any) -> None:
    """Without it count and hash of the two sides differ, or agree by accident."""
    found = sql.value(expression)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("DATEADD(month, -1, d)", dt.date(2026, 2, 28)),
        ("DATEADD('days', 1, d)", dt.date(2026, 4, 1)),
        ("TIMESTAMPADD(year, 1, d)", dt.date(2027, 3, 31)),
        ("ADD_MONTHS(d, 1)", dt.date(2026, 4, 30)),
        ("DATE_TRUNC('week', d)", dt.date(2026, 3, 30)),
        ("DATE_TRUNC(month, DATEADD(year, 1, d))", dt.date(2027, 3, 1)),
        ("d - INTERVAL '1 day'", dt.date(2026, 3, 30)),
        ("MAX(DATE_TRUNC('quarter', d))", dt.date(2026, 1, 1)),
        ("DATE_TRUNC('month', d::TIMESTAMP_NTZ)", dt.datetime(2026, 3, 1)),
        ("DATEADD(hour, 1, d)", dt.datetime(2026, 3, 31, 1)),
        ("d + INTERVAL '1 hour'", dt.datetime(2026, 3, 31, 1)),
        ("DATEADD(day, 1, d::TIMESTAMP_NTZ)", dt.datetime(2026, 4, 1)),
    ],
)
def test_a_date_that_is_moved_by_days_stays_a_date(sql: Sql, expression: str, value: dt.date) -> None:
    """A report by month would show midnights, and a view made here another type than in Snowflake."""
    ((found, grouped),) = sql(f"SELECT {expression}, COUNT(*) FROM (SELECT '2026-03-31'::DATE AS d) GROUP BY d")
    assert (type(found), found, grouped) == (type(value), value, 1)


@SHARED
@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30), min_size=1, max_size=20
    )
)
def test_row_hashes_equal_pythons_for_any_text(sql: Sql, texts: list[str]) -> None:
    """Without it reconciliation reports differences for names with unusual letters."""
    expected = [int.from_bytes(hashlib.md5(text.encode()).digest()[8:]) for text in texts]
    values = ", ".join(["(%s)"] * len(texts))
    rows = sql(
        f"SELECT MD5_NUMBER_LOWER64(column1), LENGTH(column1), HEX_ENCODE(column1), column1 FROM VALUES {values}",
        tuple(texts),
    )
    assert rows == [
        (hash_, len(text), text.encode().hex().upper(), text) for hash_, text in zip(expected, texts, strict=True)
    ]
    total = sql(f"SELECT SUM(MD5_NUMBER_LOWER64(column1))::NUMBER(38,0) FROM VALUES {values}", tuple(texts))
    assert total == [(sum(expected),)]


@SHARED
@given(
    numbers=st.lists(
        st.decimals(Decimal("-99999999999999.999"), Decimal("99999999999999.999"), places=3), min_size=1, max_size=30
    )
)
def test_sums_of_a_plain_decimal_column_are_exact(sql: Sql, numbers: list[Decimal]) -> None:
    """Without it fakesnow adds money as FLOAT, and the last cents are wrong."""
    sql("CREATE OR REPLACE TABLE MONEY (amount NUMBER(18,3))")
    sql(f"INSERT INTO MONEY VALUES {', '.join(f'({number})' for number in numbers)}")
    assert sql("SELECT SUM(amount) FROM MONEY") == [(sum(numbers),)]
    sql("CREATE OR REPLACE TABLE TOTAL AS SELECT SUM(amount) AS amount FROM MONEY")
    assert sql("SELECT amount FROM TOTAL") == [(sum(numbers),)]
    assert sql("DESCRIBE TABLE TOTAL")[0][1] == "NUMBER(38,3)"


def test_a_sum_keeps_the_column_name_of_snowflake(sql: Sql) -> None:
    """Without it a client that reads columns by name finds none."""
    cursor = sql.connection.cursor()
    cursor.execute("SELECT SUM(a), MAX(a) FROM (SELECT 1 AS a)")
    assert cursor.description[0].name == "SUM(A)"


def test_number_without_scale_holds_38_digits(sql: Sql) -> None:
    """Without it fakesnow keeps it as 64 bits, into which no sum of row hashes fits."""
    sql("CREATE TABLE T (a NUMBER(38,0), b NUMBER, c INT)")
    most = 10**38 - 1
    sql(f"INSERT INTO T VALUES ({most}, {-most}, 5)")
    assert sql("SELECT * FROM T") == [(most, -most, 5)]
    assert [row[1] for row in sql("DESCRIBE TABLE T")] == ["NUMBER(38,0)"] * 3


def test_null_and_the_ends_of_time_reach_the_client(sql: Sql) -> None:
    """Without it fakesnow turns a NULL timestamp into 1970-01-01, and an open interval ends somewhere else."""
    moments = [
        dt.datetime(1900, 1, 1, 0, 0, 0, 1),
        dt.datetime(9999, 12, 31, 23, 59, 59, 999999),
        dt.datetime(1969, 12, 31, 23, 59, 59, 500000),
        None,
    ]
    sql("CREATE TABLE T (n INT, at TIMESTAMP_NTZ, day DATE, tz TIMESTAMP_TZ)")
    for n, moment in enumerate(moments):
        sql("INSERT INTO T VALUES (%s, %s, %s, %s)", (n, moment, moment and moment.date(), None))
    assert sql("SELECT at, day, tz FROM T ORDER BY n") == [(m, m and m.date(), None) for m in moments]


def test_a_timestamp_is_read_without_a_current_database(address: AccountAddress) -> None:
    """Without it fakesnow reads it by a macro that only a database has."""
    arguments = connection_arguments(address)
    with snowflake.connector.connect(**arguments) as connection:
        assert Sql(connection).value("'2010-12-01 08:26:00.000001'::TIMESTAMP_NTZ") == dt.datetime(
            2010, 12, 1, 8, 26, 0, 1
        )


@pytest.mark.parametrize(
    "expression", ["1 / 0", "1.5::NUMBER(10,2) / 0", "x / y FROM (SELECT 1 AS x, 0 AS y)", "MOD(5, 0)"]
)
def test_division_by_zero_is_an_error(sql: Sql, expression: str) -> None:
    """Without it a KPI becomes infinite here and an error there."""
    with pytest.raises(ProgrammingError, match="Division by zero"):
        sql.value(expression)


def test_a_format_that_would_be_ignored_is_refused(sql: Sql) -> None:
    """Without it fakesnow answers TO_VARCHAR(ts, fmt) as if no format were given."""
    sql("CREATE TABLE T (at TIMESTAMP_NTZ)")
    with pytest.raises(ProgrammingError, match="rendered only"):
        sql("SELECT TO_VARCHAR(at, 'YYYY') FROM T")


def test_a_million_rows_arrive_as_rows_and_as_arrow(sql: Sql) -> None:
    """Without it a large export fails."""
    sql(
        "CREATE TABLE BIG AS SELECT i, i::NUMBER(18,3) AS amount, 'row ' || i AS text FROM (SELECT"
        " UNNEST(RANGE(1000000)) AS i)"
    )
    cursor = sql.connection.cursor()
    table = cursor.execute("SELECT * FROM BIG ORDER BY i").fetch_arrow_all()  # type: ignore[union-attr]
    assert table is not None
    assert table.num_rows == 1_000_000
    assert table.slice(999_999).to_pylist() == [{"I": 999_999, "AMOUNT": Decimal("999999.000"), "TEXT": "row 999999"}]
    cursor.execute("SELECT i FROM BIG")
    assert sum(row[0] for row in cursor) == 499_999_500_000


def test_session_variables_and_bindings_are_values(sql: Sql, connect: Callable[..., SnowflakeConnection]) -> None:
    """Without it a text with a dollar sign is an error, or a binding ends up as code."""
    sql("SET LIMIT_ = 5")
    assert sql.value("$limit_ + 1") == 6
    with pytest.raises(ProgrammingError, match="does not exist"):
        sql.value("$unknown")
    positional = Sql(connect(paramstyle="qmark"))
    assert positional("SELECT ?, ?", (1, "it's $5")) == [(1, "it's $5")]


def test_what_the_client_said_at_connect_is_what_the_session_answers(
    connect: Callable[..., SnowflakeConnection],
) -> None:
    """Without it role, warehouse and session parameters of a real account cannot be given to this one."""
    parameters = {"TIMEZONE": "UTC", "QUERY_TAG": "hand-off", "LOCK_TIMEOUT": 30}
    admin = Sql(connect())
    for role in ("LOADER", "OTHER"):
        admin(f"CREATE ROLE IF NOT EXISTS {role}")
        admin(f"GRANT ROLE {role} TO ROLE SYSADMIN")
    admin("GRANT USAGE ON DATABASE LAKEHOUSE TO ROLE LOADER")
    session = Sql(connect(role="LOADER", warehouse="SMALL", session_parameters=parameters))
    assert session("SELECT CURRENT_ROLE(), CURRENT_WAREHOUSE(), CURRENT_DATABASE()") == [
        ("LOADER", "SMALL", "LAKEHOUSE")
    ]
    session("USE ROLE OTHER")
    session("USE WAREHOUSE OTHER")
    session("ALTER SESSION SET QUERY_TAG = 'x', TIMEZONE = 'UTC'")
