"""What docs/platforms.md asks an administrator to paste: each platform's SQL, tried as far as the page says."""

import re
from pathlib import Path

import pytest
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets_tests.core.handoff.conftest import Lakehouse
from lakehouse_assets_tests.core.handoff.test_deploy import assert_parses

PAGE = (Path(__file__).parents[3] / "docs" / "platforms.md").read_text(encoding="utf-8")


def _statements(part: str) -> list[tuple[str, str]]:
    """The statements of a part of the page, each with how it was tried."""
    return [
        (statement, mark)
        for block in re.findall(r"```sql\n(.*?)```", part, re.DOTALL)
        for statement, mark in re.findall(r"(.+?); -- (.+)\n", block)
    ]


STATEMENTS, OF_DATABRICKS = map(_statements, PAGE.split("\n## Databricks\n"))


def test_the_page_holds_statements() -> None:
    """The tests below would pass over a page that is written otherwise."""
    assert len(STATEMENTS) == 7
    assert len(OF_DATABRICKS) == 14
    assert {mark.split()[0] for _, mark in (*STATEMENTS, *OF_DATABRICKS)} == {"executed", "rendered"}


@pytest.mark.parametrize(("statement", "mark"), OF_DATABRICKS)
def test_each_is_databricks_sql(statement: str, mark: str) -> None:
    """An administrator would paste what no workspace takes."""
    assert_parses(f"{statement};\n", "databricks")


@pytest.mark.parametrize(("statement", "mark"), STATEMENTS)
def test_each_is_snowflakes_sql_and_as_its_mark_says(lakehouse: Lakehouse, statement: str, mark: str) -> None:
    """An administrator would paste what no account takes, or believe that it was tried."""
    assert_parses(f"{statement};\n")
    if mark == "rendered only":
        with pytest.raises(ProgrammingError, match="rendered only"):
            lakehouse.sql(statement)
        return
    role = re.findall(r"LAKEHOUSE_\w+", statement)[0]
    lakehouse.sql(f"CREATE ROLE IF NOT EXISTS {role}")
    lakehouse.sql(re.sub(r"TO USER \w+", "TO USER EMBEDDED", statement))
    lakehouse.sql(f"USE ROLE {role}")
    lakehouse.sql("USE ROLE ACCOUNTADMIN")
