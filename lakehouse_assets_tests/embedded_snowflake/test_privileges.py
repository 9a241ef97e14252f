"""Roles: what each may, by Snowflake's rules and with its errors."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import snowflake.connector
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import DatabaseError, ProgrammingError

from lakehouse_assets.embedded_snowflake import account_directory, connection_arguments, ensure_running, stop
from lakehouse_assets_tests.embedded_snowflake.conftest import Sql

HIDDEN, REFUSED = (2003, "does not exist or not authorized"), (3001, "Insufficient privileges to operate on")


@pytest.fixture
def role(sql: Sql) -> Iterator[str]:
    """A role that may use the test's schema and nothing more, with a table T of two rows, a view V and a stage ST."""
    sql("CREATE OR REPLACE ROLE R")
    sql("GRANT ROLE R TO ROLE SYSADMIN")
    schema = sql.value("CURRENT_SCHEMA()")
    sql("GRANT USAGE ON DATABASE LAKEHOUSE TO ROLE R")
    sql(f"GRANT USAGE ON SCHEMA LAKEHOUSE.{schema} TO ROLE R")
    sql("CREATE TABLE T AS SELECT 1 AS N UNION ALL SELECT 2")
    sql("CREATE VIEW V AS SELECT * FROM T")
    sql("CREATE STAGE ST")
    yield "R"
    sql("USE ROLE ACCOUNTADMIN")
    sql("DROP ROLE R")


@pytest.fixture
def other(connect: Callable[..., SnowflakeConnection], role: str) -> Sql:
    """A session of that role."""
    return Sql(connect(role=role))


def refused(session: Sql, statement: str, how: tuple[int, str]) -> None:
    """Assert that a statement is refused so, and so as Snowflake words it."""
    with pytest.raises(ProgrammingError, match=how[1]) as error:
        session(statement)
    assert error.value.errno == how[0], error.value


WRITES = {
    "INSERT": "INSERT INTO T VALUES (3)",
    "UPDATE": "UPDATE T SET N = 3 WHERE N = 1",
    "DELETE": "DELETE FROM T WHERE N = 3",
    "TRUNCATE": "TRUNCATE TABLE T",
}


@pytest.mark.parametrize("privilege", ["SELECT", *WRITES])
def test_each_privilege_allows_its_statement_and_no_other(sql: Sql, other: Sql, privilege: str) -> None:
    """A reader could write, or a loader could not."""
    statements = {"SELECT": "SELECT * FROM T", **WRITES}
    for statement in statements.values():
        refused(other, statement, HIDDEN)
    sql(f"GRANT {privilege} ON TABLE T TO ROLE R")
    other(statements[privilege])
    for name, statement in statements.items():
        if name != privilege:
            refused(other, statement, (3001, "Insufficient privileges to operate on table 'T'"))
    sql(f"REVOKE {privilege} ON TABLE T FROM ROLE R")
    refused(other, statements[privilege], HIDDEN)


@pytest.mark.parametrize(
    "statement",
    ["ALTER TABLE T ADD COLUMN M INT", "DROP TABLE T", "ALTER TABLE T RENAME TO U", "COMMENT ON TABLE T IS 'x'",
     "COMMENT ON COLUMN T.N IS 'x'", "CREATE OR REPLACE TABLE T (A INT)", "CREATE TABLE U (A INT)",
     "CREATE TABLE IF NOT EXISTS T (A INT)", "CREATE VIEW W AS SELECT * FROM T", "CREATE STAGE U",
     "CREATE FILE FORMAT F TYPE = PARQUET", "CREATE SCHEMA LAKEHOUSE.NEW", "CREATE DATABASE NEW", "CREATE SEQUENCE Q",
     "CREATE ROLE S", "GRANT SELECT ON TABLE T TO ROLE R", "GRANT ROLE SYSADMIN TO ROLE R", "DROP ROLE R",
     "DROP SCHEMA {schema}"],
)  # fmt: skip
def test_who_only_reads_defines_nothing(sql: Sql, other: Sql, statement: str) -> None:
    """A role that was given SELECT could take a table away."""
    sql("GRANT SELECT ON TABLE T TO ROLE R")
    refused(other, statement.format(schema=sql.value("CURRENT_SCHEMA()")), REFUSED)
    assert sql("SELECT N FROM T ORDER BY N") == [(1,), (2,)]


@pytest.mark.parametrize(
    "statement",
    ["SELECT * FROM (SELECT * FROM T)", "WITH C AS (SELECT * FROM T) SELECT * FROM C", "SELECT (SELECT MAX(N) FROM T)",
     "SELECT 1 FROM OWN WHERE A IN (SELECT N FROM T)", "INSERT INTO OWN SELECT N FROM T",
     "SELECT 1 UNION SELECT N FROM T",
     "CREATE TABLE MINE AS SELECT * FROM T", "CREATE VIEW MINE AS SELECT * FROM T", "CREATE TABLE MINE CLONE T",
     "MERGE INTO OWN USING T ON OWN.A = T.N WHEN MATCHED THEN DELETE", "UPDATE OWN SET A = T.N FROM T",
     "DELETE FROM OWN USING T WHERE A = N", "SELECT * FROM T AS C, (WITH T AS (SELECT 1) SELECT * FROM T)",
     "WITH T AS (SELECT * FROM T) SELECT * FROM T", "WITH A AS (SELECT * FROM T), T AS (SELECT 1) SELECT * FROM A",
     "WITH A AS (SELECT 1) SELECT * FROM T", "SELECT * FROM OWN JOIN T ON TRUE",
     "SELECT * FROM OWN, LATERAL (SELECT * FROM T)",
     "SELECT * FROM \"T\"", "DESCRIBE TABLE T", "DROP TABLE T", "SELECT * FROM V"],
)  # fmt: skip
def test_wherever_a_table_is_named_it_is_checked(sql: Sql, other: Sql, statement: str) -> None:
    """A subquery would read what the role may not."""
    sql(f"GRANT CREATE TABLE, CREATE VIEW ON SCHEMA LAKEHOUSE.{sql.value('CURRENT_SCHEMA()')} TO ROLE R")
    other("CREATE TABLE OWN (A INT)")
    refused(other, statement, HIDDEN)


@pytest.mark.parametrize("statement", ["SELECT * FROM IDENTIFIER('T')", "SELECT * FROM TABLE($X)"])
def test_a_name_in_an_expression_is_no_way_around(other: Sql, statement: str) -> None:
    """What is named when the statement runs would not be checked."""
    if "$X" in statement:
        other("SET X = '(SELECT MAX(N) FROM T)'")
    with pytest.raises(ProgrammingError):
        other(statement)


def test_a_view_is_read_without_a_right_to_what_it_reads(sql: Sql, other: Sql) -> None:
    """Readers would need the tables behind it."""
    sql("GRANT SELECT ON VIEW V TO ROLE R")
    assert sorted(other("SELECT * FROM V")) == [(1,), (2,)]
    refused(other, "SELECT * FROM T", HIDDEN)
    refused(other, "DROP VIEW V", (3001, "view 'V'"))
    refused(other, "DROP VIEW IF EXISTS V", (3001, "view 'V'"))


def test_what_is_not_seen_is_not_dropped_or_replaced(sql: Sql, other: Sql) -> None:
    """IF EXISTS would pass the check of something that is there after all."""
    refused(other, "DROP TABLE IF EXISTS T", REFUSED)
    sql(f"GRANT CREATE TABLE ON SCHEMA LAKEHOUSE.{sql.value('CURRENT_SCHEMA()')} TO ROLE R")
    refused(other, "CREATE OR REPLACE TABLE T (A INT)", REFUSED)
    other("DROP TABLE IF EXISTS NOT_THERE")


def test_usage_of_schema_and_database_comes_first(sql: Sql, other: Sql) -> None:
    """A grant on a table would open a schema that is closed."""
    schema = f"LAKEHOUSE.{sql.value('CURRENT_SCHEMA()')}"
    sql("GRANT SELECT ON TABLE T TO ROLE R")
    sql(f"REVOKE USAGE ON SCHEMA {schema} FROM ROLE R")
    refused(other, "SELECT * FROM T", (2003, f"Schema '{schema}' does not exist or not authorized"))
    sql(f"GRANT USAGE ON SCHEMA {schema} TO ROLE R")
    sql("REVOKE USAGE ON DATABASE LAKEHOUSE FROM ROLE R")
    refused(other, "SELECT * FROM T", (2003, "Database 'LAKEHOUSE' does not exist or not authorized"))
    refused(other, "SHOW SCHEMAS IN DATABASE LAKEHOUSE", (2043, "cannot be performed"))
    refused(other, f"USE SCHEMA {schema}", (2043, "cannot be performed"))


def test_future_grants_reach_what_is_made_later_and_not_what_is_there(sql: Sql, other: Sql) -> None:
    """A table of next month would not be readable."""
    schema = f"LAKEHOUSE.{sql.value('CURRENT_SCHEMA()')}"
    sql(f"GRANT SELECT ON FUTURE TABLES IN SCHEMA {schema} TO ROLE R")
    refused(other, "SELECT * FROM T", HIDDEN)
    sql("CREATE TABLE LATER (A INT)")
    sql("CREATE VIEW LATER_VIEW AS SELECT * FROM LATER")
    assert other("SELECT * FROM LATER") == []
    refused(other, "SELECT * FROM LATER_VIEW", HIDDEN)
    sql("CREATE OR REPLACE TABLE T COPY GRANTS AS SELECT 1 AS N")
    refused(other, "SELECT * FROM T", HIDDEN)
    sql("CREATE OR REPLACE TABLE T AS SELECT 1 AS N")
    assert other("SELECT * FROM T") == [(1,)]
    sql(f"REVOKE SELECT ON FUTURE TABLES IN SCHEMA {schema} FROM ROLE R")
    sql("CREATE OR REPLACE TABLE T AS SELECT 2 AS N")  # without COPY GRANTS all grants are lost
    refused(other, "SELECT * FROM T", HIDDEN)


def test_grants_follow_a_table_as_snowflake_keeps_them(sql: Sql, other: Sql) -> None:
    """A rebuild would lock readers out, or let them in."""
    sql("GRANT SELECT ON TABLE T TO ROLE R")
    sql("CREATE OR REPLACE TABLE T COPY GRANTS AS SELECT 5 AS N")
    assert other("SELECT * FROM T") == [(5,)]
    sql("ALTER TABLE T RENAME TO RENAMED")
    assert other("SELECT * FROM RENAMED") == [(5,)]
    sql("DROP TABLE RENAMED")
    sql("CREATE OR REPLACE TABLE RENAMED COPY GRANTS AS SELECT 1 AS A")  # there is nothing to copy them from
    refused(other, "SELECT * FROM RENAMED", HIDDEN)


def test_who_creates_owns_and_ownership_can_be_given_away(sql: Sql, other: Sql) -> None:
    """A deployer could not change its own tables, or could change them after they were taken from it."""
    schema = f"LAKEHOUSE.{sql.value('CURRENT_SCHEMA()')}"
    sql(f"GRANT CREATE TABLE ON SCHEMA {schema} TO ROLE R")
    sql("CREATE OR REPLACE ROLE READER")
    other("CREATE TABLE MINE (A INT)")
    other("INSERT INTO MINE VALUES (1)")
    other("GRANT SELECT ON TABLE MINE TO ROLE READER")
    with pytest.raises(ProgrammingError, match="Dependent grant of privilege 'SELECT'"):
        sql("GRANT OWNERSHIP ON TABLE MINE TO ROLE SYSADMIN")
    sql("GRANT OWNERSHIP ON TABLE MINE TO ROLE SYSADMIN COPY CURRENT GRANTS")
    refused(other, "INSERT INTO MINE VALUES (1)", HIDDEN)
    sql("GRANT OWNERSHIP ON ALL TABLES IN SCHEMA " + schema + " TO ROLE R REVOKE CURRENT GRANTS")
    other("DROP TABLE MINE")
    assert other("SELECT COUNT(*) FROM T") == [(2,)]
    sql("DROP ROLE READER")


def test_what_is_there_already_does_not_become_the_role_s(sql: Sql, other: Sql) -> None:
    """IF NOT EXISTS would take a table away from its owner."""
    sql(f"GRANT CREATE TABLE ON SCHEMA LAKEHOUSE.{sql.value('CURRENT_SCHEMA()')} TO ROLE R")
    sql("GRANT SELECT ON TABLE T TO ROLE R")
    other("CREATE TABLE IF NOT EXISTS T (N INT)")
    refused(other, "DROP TABLE T", (3001, "table 'T'"))


def test_who_owns_a_schema_makes_anything_in_it_and_reads_only_its_own(sql: Sql, other: Sql) -> None:
    """A deployer would need each CREATE, or would read other people's tables."""
    schema = f"LAKEHOUSE.{sql.value('CURRENT_SCHEMA()')}"
    sql(f"GRANT OWNERSHIP ON SCHEMA {schema} TO ROLE R COPY CURRENT GRANTS")
    for statement in ("CREATE TABLE OWN (A INT)", "CREATE STAGE OWN_STAGE", "CREATE FILE FORMAT F TYPE = PARQUET",
                      "ALTER FILE FORMAT F SET TRIM_SPACE = TRUE", "CREATE VIEW OWN_VIEW AS SELECT * FROM OWN",
                      "DESCRIBE STAGE OWN_STAGE", "LIST @OWN_STAGE", "DROP STAGE OWN_STAGE"):  # fmt: skip
        other(statement)
    refused(other, "SELECT * FROM T", HIDDEN)


def test_stages_and_file_formats(sql: Sql, other: Sql, tmp_path: Path) -> None:
    """A loader could not send files, or a reader could."""
    (tmp_path / "f").write_text("x")
    put, listing, remove = f"PUT file://{tmp_path / 'f'} @ST AUTO_COMPRESS=FALSE", "LIST @ST", "REMOVE @ST"
    for statement in (put, listing, remove, "DESCRIBE STAGE ST"):
        refused(other, statement, HIDDEN)
    sql("GRANT READ ON STAGE ST TO ROLE R")
    assert other(listing) == []
    for statement in (put, remove):
        refused(other, statement, (3001, "stage 'ST'"))
    sql("GRANT WRITE ON STAGE ST TO ROLE R")
    other(put)
    sql("CREATE FILE FORMAT F TYPE = PARQUET")
    refused(other, "SELECT $1:a FROM @ST (FILE_FORMAT => 'F')", (2003, "File format"))
    refused(other, "ALTER FILE FORMAT F SET TRIM_SPACE = TRUE", (2003, "File format"))
    other(remove)


def test_what_a_role_does_not_see_is_in_no_list(sql: Sql, other: Sql) -> None:
    """A deployment would take a table for one that it may change."""
    schema = sql.value("CURRENT_SCHEMA()")
    assert [row[1] for row in other("SHOW SCHEMAS IN DATABASE LAKEHOUSE")].count(schema) == 1
    assert other("SHOW TABLES") == other("SHOW VIEWS") == other("SHOW STAGES") == []
    columns = "SELECT TABLE_NAME, COLUMN_NAME FROM LAKEHOUSE.INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = %s"
    assert other(columns, (schema,)) == []
    sql("GRANT SELECT ON TABLE T TO ROLE R")
    assert [row[1] for row in other("SHOW TABLES")] == ["T"]
    assert other(columns, (schema,)) == [("T", "N")]
    assert other(f"SELECT C.TABLE_NAME FROM INFORMATION_SCHEMA.TABLES C WHERE TABLE_SCHEMA = '{schema}'") == [("T",)]
    assert len(sql(columns, (schema,))) > 1
    with pytest.raises(ProgrammingError, match="rendered only"):
        other("SELECT * FROM INFORMATION_SCHEMA.SCHEMATA")


def test_a_role_holds_what_the_roles_below_it_hold(sql: Sql, other: Sql) -> None:
    """The hierarchy would be a picture only."""
    sql("CREATE OR REPLACE ROLE BELOW")
    sql("CREATE OR REPLACE ROLE MIDDLE")
    sql("GRANT SELECT ON TABLE T TO ROLE BELOW")
    sql("GRANT ROLE BELOW TO ROLE MIDDLE")
    refused(other, "SELECT * FROM T", HIDDEN)
    sql("GRANT ROLE MIDDLE TO ROLE R")
    assert len(other("SELECT * FROM T")) == 2
    with pytest.raises(ProgrammingError, match="which it holds itself"):
        sql("GRANT ROLE R TO ROLE BELOW")
    sql("REVOKE ROLE BELOW FROM ROLE MIDDLE")
    refused(other, "SELECT * FROM T", HIDDEN)
    sql("GRANT SELECT ON TABLE T TO ROLE PUBLIC")
    assert len(other("SELECT * FROM T")) == 2
    for name in ("BELOW", "MIDDLE"):
        sql(f"DROP ROLE {name}")


def test_a_session_uses_only_roles_of_its_user(
    connect: Callable[..., SnowflakeConnection], sql: Sql, role: str
) -> None:
    """Anybody could become anything."""
    sql(f"USE ROLE {role}")
    assert sql.value("CURRENT_ROLE()") == role
    refused(sql, "SELECT * FROM T", HIDDEN)
    sql("USE ROLE ACCOUNTADMIN")
    sql("CREATE OR REPLACE ROLE NOBODYS")
    refused(sql, "USE ROLE NOBODYS", (3013, "Requested role 'NOBODYS' is not assigned to the executing user"))
    refused(sql, "USE ROLE NOT_THERE", (2043, "cannot be performed"))
    for name in ("NOBODYS", "NOT_THERE"):
        with pytest.raises(DatabaseError, match=f"Role '{name}' specified in the connect string does not exist"):
            connect(role=name)
    sql("GRANT ROLE NOBODYS TO USER EMBEDDED")
    assert Sql(connect(role="NOBODYS")).value("CURRENT_ROLE()") == "NOBODYS"
    sql("DROP ROLE NOBODYS")


def test_a_login_of_a_role_makes_nothing(address: object, role: str, sql: Sql) -> None:
    """Database and schema of a login are made where they do not exist; a role could make them so."""
    arguments = connection_arguments(address, "MADE_BY_LOGIN", "S")  # type: ignore[arg-type]
    with snowflake.connector.connect(**arguments, role=role) as connection:
        assert Sql(connection).value("CURRENT_DATABASE()") is None
    assert "MADE_BY_LOGIN" not in {row[1] for row in sql("SHOW DATABASES")}


def test_grants_outlive_the_server_and_are_their_owners_alone(tmp_path: Path) -> None:
    """After a restart everybody could read everything, or nobody anything."""
    try:
        for number in range(2):
            with snowflake.connector.connect(**connection_arguments(ensure_running(tmp_path), "D", "S")) as connection:
                admin = Sql(connection)
                if number == 0:
                    for statement in (
                        "CREATE ROLE R", "GRANT ROLE R TO ROLE SYSADMIN", "GRANT USAGE ON DATABASE D TO ROLE R",
                        "GRANT USAGE, CREATE FILE FORMAT ON SCHEMA D.S TO ROLE R", "CREATE TABLE T (A INT)",
                        "GRANT SELECT ON FUTURE TABLES IN DATABASE D TO ROLE R", "CREATE TABLE U (A INT)",
                    ):  # fmt: skip
                        admin(statement)
                else:
                    admin("CREATE TABLE W (A INT)")
                admin("USE ROLE R")
                if number == 0:
                    admin("CREATE FILE FORMAT F TYPE = PARQUET")
                assert admin("SELECT * FROM U") == []
                refused(admin, "SELECT * FROM T", HIDDEN)
                admin("DESCRIBE FILE FORMAT F")
                if number:
                    assert admin("SELECT * FROM W") == []
                    admin("DROP FILE FORMAT F")
            stop(tmp_path)
    finally:
        stop(tmp_path)
    assert (account_directory(tmp_path) / "privileges.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("statement", "match"),
    [
        ("GRANT SELECT ON TABLE T TO ROLE R WITH GRANT OPTION", "rendered only"),
        ("GRANT SELECT ON DYNAMIC TABLE T TO ROLE R", "rendered only"),
        ("GRANT INSERT ON VIEW V TO ROLE R", "Invalid object type 'VIEW' for privilege 'INSERT'"),
        ("GRANT SELECT ON TABLE NOT_THERE TO ROLE R", "NOT_THERE' does not exist"),
        ("GRANT SELECT ON TABLE T TO ROLE NOT_THERE", "Role 'NOT_THERE' does not exist"),
        ("USE SECONDARY ROLES ALL", "rendered only"),
        ("CREATE ROLE R", "already exists"),
        ("DROP ROLE NOT_THERE", "does not exist"),
    ],
)
@pytest.mark.usefixtures("role")
def test_a_grant_without_effect_is_refused(sql: Sql, statement: str, match: str) -> None:
    """It would be believed to be in force."""
    with pytest.raises(ProgrammingError, match=match):
        sql(statement)
