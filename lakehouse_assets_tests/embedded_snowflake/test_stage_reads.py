"""Reading staged Parquet in place is as strict as Snowflake: what would break or be empty there must not look right
here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal

import pyarrow as pa
import pytest
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets_tests.embedded_snowflake.conftest import Sql

Staged = Callable[..., None]
MOMENT = dt.datetime(2010, 12, 1, 8, 26, 0, 123456)


def lines(*ids: int, name: str = "id") -> pa.Table:
    """Order lines with a column of every kind that travels."""
    return pa.table(
        {
            name: pa.array(ids, pa.int64()),
            "at": pa.array([MOMENT] * len(ids), pa.timestamp("us")),
            "amount": pa.array([Decimal("12345678901234.567")] * len(ids), pa.decimal128(18, 3)),
            "day": pa.array([dt.date(2010, 12, 1)] * len(ids)),
            "text": pa.array(["Zoë's 𝄞"] * len(ids)),
            "flag": pa.array([None] * len(ids), pa.bool_()),
        }
    )


def test_every_type_arrives_exactly(staged: Staged, sql: Sql) -> None:
    """Without it a hand-off alters what it carries."""
    staged("a.parquet", lines(1))
    row = sql(
        "SELECT $1:id::INT, $1:at::TIMESTAMP_NTZ, $1:amount::NUMBER(18,3), $1:day::DATE, $1:text::VARCHAR,"
        " $1:flag::BOOLEAN FROM @ST/d/ (FILE_FORMAT => 'PQ')"
    )
    assert row == [(1, MOMENT, Decimal("12345678901234.567"), dt.date(2010, 12, 1), "Zoë's 𝄞", None)]


def test_a_view_reads_the_files_of_the_moment(staged: Staged, sql: Sql) -> None:
    """Without it a view created before its files shows nothing for ever, or one read after a clean-up shows what is
    gone.
    """
    sql("CREATE VIEW V AS SELECT $1:id::INT AS id FROM @ST/d/ (FILE_FORMAT => 'PQ') t")
    assert sql("SELECT id FROM V") == []
    staged("a.parquet", lines(1))
    assert sql("SELECT id FROM V") == [(1,)]
    staged("b.parquet", lines(2, 3))
    assert sql("SELECT id FROM V ORDER BY id") == [(1,), (2,), (3,)]
    sql("REMOVE @ST/d/a.parquet")
    assert sql("SELECT id FROM V ORDER BY id") == [(2,), (3,)]


def test_a_key_is_case_sensitive_and_a_missing_one_is_null(staged: Staged, sql: Sql) -> None:
    """Without it a view with a misspelt column passes here and loads NULLs into a real account."""
    staged("a.parquet", lines(1))
    row = sql(
        "SELECT $1:ID::INT, $1:nope::TIMESTAMP_NTZ, $1:nope::DATE, $1:nope::VARCHAR, $1:\"id\"::INT, $1['id']::INT FROM"
        " @ST/d/ (FILE_FORMAT => 'PQ')"
    )
    assert row == [(None, None, None, None, 1, 1)]


def test_files_whose_names_differ_in_case_are_not_mixed(staged: Staged, sql: Sql) -> None:
    """Without it a renamed column reads right here from both files and as NULL from one of them there."""
    staged("a.parquet", lines(1))
    staged("b.parquet", lines(2, name="ID"))
    assert sql("SELECT $1:id::INT, $1:ID::INT FROM @ST/d/ (FILE_FORMAT => 'PQ') ORDER BY 1") == [(1, None), (None, 2)]


def test_a_file_with_two_names_that_differ_in_case_reads_each(staged: Staged, sql: Sql) -> None:
    """Without it one column is read for the other."""
    staged("a.parquet", pa.table({"x": [1], "X": [2]}))
    assert sql("SELECT $1:x::INT, $1:X::INT FROM @ST/d/ (FILE_FORMAT => 'PQ')") == [(1, 2)]


def test_a_path_without_files_reads_as_no_rows(staged: Staged, sql: Sql) -> None:
    """Without it an empty hand-off fails here, where it succeeds on a real account."""
    assert sql("SELECT $1:id::INT, METADATA$FILENAME FROM @ST/nothing/ (FILE_FORMAT => 'PQ')") == []
    assert sql("SELECT COUNT(*) FROM @ST/nothing/ (FILE_FORMAT => 'PQ')") == [(0,)]


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_a_timestamp_needs_a_format_that_reads_logical_types(staged: Staged, sql: Sql, zone: str | None) -> None:
    """Without it a file format that gives "Invalid date" on a real account is not noticed."""
    staged("a.parquet", pa.table({"at": pa.array([MOMENT], pa.timestamp("us", tz=zone))}))
    with pytest.raises(ProgrammingError, match="Invalid date"):
        sql("SELECT $1:at::TIMESTAMP_NTZ FROM @ST/d/ (FILE_FORMAT => 'PLAIN')")
    sql("CREATE VIEW V AS SELECT $1:at::TIMESTAMP_NTZ AS at FROM @ST/empty/ (FILE_FORMAT => 'PLAIN')")
    assert sql("SELECT $1:at::NUMBER FROM @ST/d/ (FILE_FORMAT => 'PLAIN')") == [(1291191960123456,)]
    assert sql("SELECT $1:at::TIMESTAMP_NTZ FROM @ST/d/ (FILE_FORMAT => 'PQ')") == [(MOMENT,)]


def test_binary_is_text_unless_the_format_says_otherwise(staged: Staged, sql: Sql) -> None:
    """Without it bytes that are no text pass here under a format that mangles them there."""
    staged("a.parquet", pa.table({"b": pa.array([b"\xff\x00"])}))
    assert sql("SELECT $1:b::BINARY FROM @ST/d/ (FILE_FORMAT => 'PQ')") == [(bytearray(b"\xff\x00"),)]
    with pytest.raises(ProgrammingError):
        sql("SELECT $1:b::VARCHAR FROM @ST/d/ (FILE_FORMAT => 'PLAIN')")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT $1:id::INT FROM @ST/d/", "named file format"),
        ("SELECT $1:id::INT FROM @ST/d/ (FILE_FORMAT => 'NOPE')", "does not exist"),
        ("SELECT $1:id::INT FROM @NOPE/d/ (FILE_FORMAT => 'PQ')", "does not exist"),
        ("SELECT $1:id::INT FROM @ST/d/ (FILE_FORMAT => 'TEXT')", "TYPE = CSV"),
        ("SELECT * FROM @ST/d/ (FILE_FORMAT => 'PQ')", "name the columns"),
        ("SELECT $2 FROM @ST/d/ (FILE_FORMAT => 'PQ')", "no \\$2"),
        ("SELECT $1:id:inner::INT FROM @ST/d/ (FILE_FORMAT => 'PQ')", "top-level"),
        ("SELECT $1:id::INT FROM @ST/../d/ (FILE_FORMAT => 'PQ')", "leads out"),
    ],
)
def test_a_read_that_cannot_be_right_is_an_error(staged: Staged, sql: Sql, query: str, message: str) -> None:
    """Without it a query that Snowflake would not answer, or not like this, is answered."""
    sql("CREATE FILE FORMAT TEXT TYPE = CSV")
    staged("a.parquet", lines(1))
    with pytest.raises(ProgrammingError, match=message):
        sql(query)


def test_metadata_names_the_file_below_the_stage_and_counts_rows_from_one(staged: Staged, sql: Sql) -> None:
    """Without it a row cannot be traced to the file it came in."""
    staged("a.parquet", lines(7, 8), directory="d/2010-12-01")
    rows = sql(
        "SELECT METADATA$FILENAME, t.METADATA$FILE_ROW_NUMBER, t.$1:id::INT FROM @ST/d/ (FILE_FORMAT => 'PQ') t ORDER"
        " BY 2"
    )
    assert rows == [("d/2010-12-01/a.parquet", 1, 7), ("d/2010-12-01/a.parquet", 2, 8)]


def test_a_directory_like_a_partition_adds_no_column(staged: Staged, sql: Sql) -> None:
    """Without it a path segment `id=9` overrides what the file says."""
    staged("a.parquet", lines(1), directory="id=9")
    assert sql("SELECT $1:id::INT FROM @ST/id=9/ (FILE_FORMAT => 'PQ')") == [(1,)]


def test_a_pattern_selects_files_by_their_whole_name(staged: Staged, sql: Sql) -> None:
    """Without it a view reads files that were never meant for it."""
    staged("a.parquet", lines(1))
    staged("b.parquet", lines(2))
    read = "SELECT $1:id::INT FROM @ST/d/ (FILE_FORMAT => 'PQ', PATTERN => '{}')"
    assert sql(read.format(".*b[.]parquet")) == [(2,)]
    assert sql(read.format("b")) == []


def test_names_with_glob_characters_are_taken_literally(staged: Staged, sql: Sql) -> None:
    """Without it one file name reads other files too, or none."""
    staged("a.parquet", lines(1), directory="d[1]")
    staged("a.parquet", lines(2), directory="d1")
    assert sql("SELECT $1:id::INT FROM @ST/d[1]/ (FILE_FORMAT => 'PQ')") == [(1,)]


def test_views_over_stage_views_and_joins_of_stages_read_as_one_would_think(staged: Staged, sql: Sql) -> None:
    """Without it a view built on a stage view is empty, or two stages in one query take each other's columns."""
    staged("a.parquet", lines(1, 2))
    staged("b.parquet", lines(2, 3), directory="e")
    sql("CREATE VIEW V AS SELECT $1:id::INT AS id, $1:text::VARCHAR AS text FROM @ST/d/ (FILE_FORMAT => 'PQ')")
    sql("CREATE VIEW W (KEY) AS SELECT id FROM V WHERE id > 1")
    assert sql("SELECT key FROM W") == [(2,)]
    assert sql("SELECT a.id, b.key FROM V a LEFT JOIN W b ON a.id = b.key ORDER BY 1") == [(1, None), (2, 2)]
    joined = "FROM @ST/d/ (FILE_FORMAT => 'PQ') x JOIN @ST/e/ (FILE_FORMAT => 'PQ') y ON x.$1:id::INT = y.$1:id::INT"
    assert sql(f"SELECT x.$1:id::INT, y.$1:text::VARCHAR {joined}") == [(2, "Zoë's 𝄞")]
    with pytest.raises(ProgrammingError, match="ambiguous"):
        sql(f"SELECT $1:id::INT {joined}")
    assert sql("WITH V AS (SELECT 9 AS id) SELECT id FROM V") == [(9,)]
    sql("CREATE TABLE T AS SELECT * FROM V")
    sql("INSERT INTO T SELECT id + 10, text FROM W JOIN V ON V.id = W.key")
    assert sql("SELECT id FROM T ORDER BY 1") == [(1,), (2,), (12,)]


def test_a_stage_view_is_described_like_any_other(staged: Staged, sql: Sql) -> None:
    """Without it deploy cannot tell whether a view is up to date."""
    sql(
        "CREATE VIEW V COMMENT = 'incoming' AS SELECT $1:id::INT AS id, $1:amount::NUMBER(18,3) AS amount FROM @ST/d/"
        " (FILE_FORMAT => 'PQ')"
    )
    assert [row[:2] for row in sql("DESCRIBE VIEW V")] == [("ID", "NUMBER(38,0)"), ("AMOUNT", "NUMBER(18,3)")]
    definition, comment = sql(
        "SELECT view_definition, t.comment FROM INFORMATION_SCHEMA.VIEWS v JOIN INFORMATION_SCHEMA.TABLES t USING"
        " (table_schema, table_name) WHERE table_schema = CURRENT_SCHEMA()"
    )[0]
    assert definition.startswith("CREATE VIEW V COMMENT = 'incoming' AS SELECT $1:id::INT")
    assert comment == "incoming"
    sql("DROP VIEW V")
    with pytest.raises(ProgrammingError, match="does not exist"):
        sql("SELECT * FROM V")


def test_a_stage_view_names_its_tables_for_good(staged: Staged, sql: Sql) -> None:
    """Without it a view means another stage in another session."""
    staged("a.parquet", lines(1))
    schema = sql.value("CURRENT_SCHEMA()")
    sql("CREATE VIEW V AS SELECT $1:id::INT AS id FROM @ST/d/ (FILE_FORMAT => 'PQ')")
    sql("CREATE SCHEMA IF NOT EXISTS SOMEWHERE_ELSE")
    assert sql(f"SELECT id FROM {schema}.V") == [(1,)]


def test_copy_into_loads_by_column_name_and_skips_what_it_loaded(staged: Staged, sql: Sql) -> None:
    """Without it the floor that hand-offs are measured against cannot be run on this account."""
    staged("a.parquet", lines(1, 2))
    sql("CREATE TABLE T (ID INT, TEXT VARCHAR)")
    copy = "COPY INTO T FROM @ST/d/ FILE_FORMAT = (FORMAT_NAME = 'PQ') MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE"
    assert [row[:4] for row in sql(copy)] == [("st/d/a.parquet", "LOADED", 2, 2)]
    assert [row[1] for row in sql(f"{copy} FORCE = FALSE PURGE = FALSE")] == ["LOAD_SKIPPED"]
    assert sql("SELECT COUNT(*) FROM T") == [(2,)]
    sql("BEGIN")
    sql("DELETE FROM T")
    sql(f"{copy} FORCE = TRUE")
    sql("ROLLBACK")
    assert sql("SELECT id FROM T ORDER BY id") == [(1,), (2,)]
