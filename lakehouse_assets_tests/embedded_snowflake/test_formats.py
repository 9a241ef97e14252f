"""File formats, stages and tables: they are described with the columns that Snowflake documents."""

from collections.abc import Callable

import pytest
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets_tests.embedded_snowflake.conftest import Sql


def options(sql: Sql, name: str) -> dict[str, str]:
    return {row[0]: row[2] for row in sql(f"DESCRIBE FILE FORMAT {name}")}


def test_a_file_format_is_described_and_altered(sql: Sql) -> None:
    """Without it a format that reads timestamps otherwise is found by the first hand-off that fails."""
    sql("CREATE FILE FORMAT F TYPE = PARQUET USE_LOGICAL_TYPE = TRUE")
    assert ("USE_LOGICAL_TYPE", "Boolean", "true", "false") in sql("DESC FILE FORMAT F")
    assert options(sql, "F")["BINARY_AS_TEXT"] == "true"
    sql("ALTER FILE FORMAT F SET BINARY_AS_TEXT = FALSE NULL_IF = ()")
    changed = options(sql, "F")
    assert (changed["TYPE"], changed["USE_LOGICAL_TYPE"], changed["BINARY_AS_TEXT"], changed["NULL_IF"]) == (
        "PARQUET",
        "true",
        "false",
        "[]",
    )
    with pytest.raises(ProgrammingError, match=r"type of .* cannot be changed"):
        sql("ALTER FILE FORMAT F SET TYPE = CSV")


def test_an_internal_stage_has_no_url(sql: Sql) -> None:
    """Without it an external stage looks like the internal one that a hand-off needs."""
    sql("CREATE STAGE S")
    assert sql("DESCRIBE STAGE S") == [("STAGE_LOCATION", "URL", "String", "", "")]


@pytest.mark.parametrize(
    "statement", ["DESCRIBE STAGE NONE", "DESCRIBE FILE FORMAT NONE", "ALTER FILE FORMAT NONE SET TRIM_SPACE = TRUE"]
)
def test_what_is_not_there_is_said_by_the_number_that_snowflake_gives_it(sql: Sql, statement: str) -> None:
    """Without it a missing object looks like any other failure."""
    with pytest.raises(ProgrammingError) as error:
        sql(statement)
    assert error.value.errno == 2003


def test_the_schemas_of_a_database_that_is_not_there_are_not_shown_as_none(sql: Sql) -> None:
    """Without it a database that is missing looks like one without schemas, and is not created."""
    with pytest.raises(ProgrammingError) as error:
        sql("SHOW SCHEMAS IN DATABASE NOWHERE")
    assert error.value.errno == 2043


@pytest.mark.parametrize("current", [None, "ANOTHER"])
def test_a_table_is_described_from_any_database(
    sql: Sql, connect: Callable[..., SnowflakeConnection], current: str | None
) -> None:
    """Without it a session without a current database gets an error about a table that is the account's own."""
    sql("CREATE TABLE T (a INT)")
    schema = sql.value("CURRENT_SCHEMA()")
    other = Sql(connect(database=current, schema=None))
    assert [row[:2] for row in other(f"DESCRIBE TABLE LAKEHOUSE.{schema}.T")] == [("A", "NUMBER(38,0)")]
