"""PUT, LIST and REMOVE: whole files or none, names that stay, paths that stay on the stage."""

from __future__ import annotations

import hashlib
import http.client
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.embedded_snowflake import AccountAddress
from lakehouse_assets_tests.embedded_snowflake.conftest import Sql


@pytest.fixture
def folder(sql: Sql, tmp_path: Path) -> Path:
    """Two local files and an empty stage ST."""
    sql("CREATE STAGE ST")
    (tmp_path / "one.parquet").write_bytes(b"1" * 1000)
    (tmp_path / "two.parquet").write_bytes(b"2" * 2000)
    return tmp_path


def test_a_listing_tells_name_size_and_digest_below_any_prefix(sql: Sql, folder: Path) -> None:
    """Without it a hand-off cannot find out which of its files have arrived."""
    schema = sql.value("CURRENT_SCHEMA()")
    sql(f"PUT file://{folder}/one.parquet @LAKEHOUSE.{schema}.ST/a/b/ AUTO_COMPRESS=FALSE OVERWRITE=FALSE PARALLEL=4")
    sql(f"PUT file://{folder}/two.parquet @ST/a/ AUTO_COMPRESS=FALSE")
    one = ("st/a/b/one.parquet", 1000, hashlib.md5(b"1" * 1000).hexdigest())
    two = ("st/a/two.parquet", 2000, hashlib.md5(b"2" * 2000).hexdigest())
    assert [row[:3] for row in sql("LIST @ST")] == [one, two]
    assert [row[:3] for row in sql("LS @ST/a/b/")] == [one]
    assert [row[:3] for row in sql("LIST @ST/a/t")] == [two]
    assert [row[:3] for row in sql("LIST @ST PATTERN = '.*one.*'")] == [one]
    assert sql("LIST @ST/nothing/") == []


def test_several_files_go_with_one_wildcard(sql: Sql, folder: Path) -> None:
    """Without it every file costs a statement."""
    status = sql(f"PUT file://{folder}/*.parquet @ST/all/ AUTO_COMPRESS=FALSE PARALLEL=8")
    assert sorted((row[0], row[6]) for row in status) == [("one.parquet", "UPLOADED"), ("two.parquet", "UPLOADED")]
    assert [row[0] for row in sql("LIST @ST/all/")] == ["st/all/one.parquet", "st/all/two.parquet"]


def test_quoted_paths_may_hold_spaces(sql: Sql, folder: Path) -> None:
    """Without it a home directory with a space in its name cannot hand anything off."""
    (folder / "a b.parquet").write_bytes(b"3")
    sql(f"PUT 'file://{folder}/a b.parquet' '@ST/c d/' AUTO_COMPRESS=FALSE")
    assert [row[0] for row in sql("LIST '@ST/c d/'")] == ["st/c d/a b.parquet"]


def test_a_file_that_is_there_stays_unless_overwrite_is_given(sql: Sql, folder: Path) -> None:
    """Without it a repeated hand-off replaces files that a reader has open."""
    sql(f"PUT file://{folder}/one.parquet @ST/ AUTO_COMPRESS=FALSE")
    (folder / "one.parquet").write_bytes(b"changed")
    sql(f"PUT file://{folder}/one.parquet @ST/ AUTO_COMPRESS=FALSE OVERWRITE=FALSE")
    assert [row[1] for row in sql("LIST @ST")] == [1000]
    sql(f"PUT file://{folder}/one.parquet @ST/ AUTO_COMPRESS=FALSE OVERWRITE=TRUE")
    assert [row[1] for row in sql("LIST @ST")] == [7]


def test_a_put_that_dies_half_way_leaves_nothing(
    sql: Sql, folder: Path, connect: Callable[..., SnowflakeConnection], address: AccountAddress
) -> None:
    """Without it a half file is listed, read, or taken for the whole one by the next run."""
    transfer = connect().cursor()._execute_helper(f"PUT file://{folder}/one.parquet @ST/ AUTO_COMPRESS=FALSE")["data"]
    upload = http.client.HTTPConnection(address.host, address.port)
    upload.putrequest("PUT", transfer["stageInfo"]["presignedUrl"])
    upload.putheader("Content-Length", "1000")
    upload.endheaders(b"1" * 500)
    time.sleep(0.1)
    assert sql("LIST @ST") == []
    assert upload.sock is not None
    upload.sock.shutdown(socket.SHUT_RDWR)
    upload.close()
    time.sleep(0.1)
    assert sql("LIST @ST") == []
    sql(f"PUT file://{folder}/one.parquet @ST/ AUTO_COMPRESS=FALSE")
    assert [row[1] for row in sql("LIST @ST")] == [1000]


def test_remove_takes_a_prefix_or_a_pattern_and_nothing_else(sql: Sql, folder: Path) -> None:
    """Without it tidying one hand-off takes another one's files."""
    for directory in ("a", "b", "ab"):
        sql(f"PUT file://{folder}/*.parquet @ST/{directory}/ AUTO_COMPRESS=FALSE")
    assert sql("REMOVE @ST/a/") == [("st/a/one.parquet", "removed"), ("st/a/two.parquet", "removed")]
    assert sql("RM @ST/b/ PATTERN='.*one.*'") == [("st/b/one.parquet", "removed")]
    assert [row[0] for row in sql("LIST @ST")] == ["st/ab/one.parquet", "st/ab/two.parquet", "st/b/two.parquet"]
    assert sql("REMOVE @ST/a/") == []


@pytest.mark.parametrize(
    "statement",
    [
        "PUT file:///etc/hostname @ST/../../x/ AUTO_COMPRESS=FALSE",
        "LIST @ST/../",
        "REMOVE @ST/a/../../",
        "LIST @NOPE/",
        "REMOVE @NOPE",
        "PUT file:///etc/hostname @NOPE",
        "PUT file:///nonexistent @ST",
        "PUT file:///etc/hostname @ST FORCE=TRUE",
        "LIST @~",
    ],
)
def test_a_wrong_path_stage_or_option_is_a_programming_error(sql: Sql, folder: Path, statement: str) -> None:
    """Without it a typing mistake reads as success, or leaves the stage."""
    with pytest.raises(ProgrammingError):
        sql(statement)


def test_dropping_a_stage_or_its_schema_drops_the_files(sql: Sql, folder: Path) -> None:
    """Without it a stage of the same name later finds what an earlier one left."""
    sql(f"PUT file://{folder}/one.parquet @ST AUTO_COMPRESS=FALSE")
    sql("DROP STAGE ST")
    sql("CREATE STAGE ST")
    assert sql("LIST @ST") == []
    with pytest.raises(ProgrammingError, match="does not exist"):
        sql("DROP STAGE NOPE")
    sql("DROP STAGE IF EXISTS NOPE")
    sql("CREATE SCHEMA SHORT_LIVED")
    sql("CREATE STAGE ST")
    sql(f"PUT file://{folder}/one.parquet @ST AUTO_COMPRESS=FALSE")
    sql("DROP SCHEMA SHORT_LIVED")
    sql("CREATE SCHEMA SHORT_LIVED")
    sql("CREATE STAGE ST")
    assert sql("LIST @ST") == []
