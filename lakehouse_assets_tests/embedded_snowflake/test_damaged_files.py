"""A file of the account that was damaged on disk is found when it is read, and said in a sentence with what to do."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import snowflake.connector

from lakehouse_assets.embedded_snowflake import account_directory, connection_arguments, ensure_running, stop
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.given import present

ROWS = 200_000
BREAKS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "flipped": lambda content: bytes([*content[:200_000], content[200_000] ^ 4, *content[200_001:]]),
    "flipped in its header": lambda content: bytes([*content[:4100], content[4100] ^ 4, *content[4101:]]),
    "foreign": lambda content: random.Random(5).randbytes(len(content)),
}


def count(home: Path) -> int:
    with snowflake.connector.connect(**connection_arguments(ensure_running(home))) as connection:
        cursor = present(connection.cursor().execute("SELECT COUNT(*) FROM D.S.T WHERE MD5(N::VARCHAR) >= ''"))
        return present(cursor.fetchone())[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of an account with a table, stopped."""
    home = tmp_path_factory.mktemp("whole")
    with snowflake.connector.connect(**connection_arguments(ensure_running(home))) as connection:
        for statement in (
            "CREATE DATABASE D",
            "CREATE SCHEMA D.S",
            f"CREATE TABLE D.S.T AS SELECT SEQ8() AS N FROM TABLE(GENERATOR(ROWCOUNT => {ROWS}))",
        ):
            connection.cursor().execute(statement)
    stop(home)
    assert count(home) == ROWS
    stop(home)
    return home


@pytest.mark.parametrize(
    "change", [pytest.param(name, marks=() if name == "flipped" else pytest.mark.heavy) for name in BREAKS]
)
def test_a_damaged_database_says_what_to_do_and_never_answers(whole: Path, tmp_path: Path, change: str) -> None:
    """A wrong figure would be served, or an error be shown that only a developer of the database understands."""
    home = tmp_path / "home"
    shutil.copytree(whole, home)
    file = account_directory(home) / "databases" / "D.db"
    file.write_bytes(BREAKS[change](file.read_bytes()))
    try:
        with pytest.raises(
            (LakehouseError, snowflake.connector.errors.ProgrammingError), match=r"`lakehouse down`.*move .* away"
        ) as said:
            count(home)
        assert "lakehouse run" in str(said.value)
        stop(home)
        shutil.move(account_directory(home), tmp_path / "away")
        with snowflake.connector.connect(**connection_arguments(ensure_running(home))) as connection:
            assert present(connection.cursor().execute("SELECT 1")).fetchone() == (1,)
    finally:
        stop(home)
