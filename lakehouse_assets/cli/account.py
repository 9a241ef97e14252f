"""Commands that reach the serving account: `sql` and `account`. Does not belong here: how a connection is made."""

from __future__ import annotations

import json
import re
import sys
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

import typer

from lakehouse_assets.cli import context
from lakehouse_assets.cli.context import Home
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.shown import table as table_of
from lakehouse_assets.shown import wide


def sql(
    query: Annotated[str, typer.Argument(help="One SQL statement.")],
    format: Annotated[str, typer.Option(help="table, csv or json.")] = "table",
    write: Annotated[bool, typer.Option("--write", help="Allow a statement that changes something.")] = False,
    home: Home = None,
) -> None:
    """Query the serving account; names without a schema are those of the served tables.

    Example: `lakehouse sql "SELECT SUM(gross_sales) FROM DAILY_SALES" --format json`
    """
    context.one_of(format, ["table", "csv", "json"])
    if not query.strip():
        raise LakehouseError("The query is empty; give one SQL statement.")
    if not write and not only_reads(query):
        raise LakehouseError("The statement may change something; say --write if it is to.")
    settings = context.settings(home=home)
    from lakehouse_assets.orchestration.resources.snowflake_access import SnowflakeAccess

    account = SnowflakeAccess.of(
        settings, database=settings.database, schema_name=settings.analytics_schema, query_tag="lakehouse sql"
    )
    with account.get_connection() as connection, connection.cursor() as cursor:
        cursor.execute(query)
        names = [c[0] for c in cursor.description]
        rows = cursor.fetchall()
    if format == "json":
        print(_json_rows([n.lower() for n in names], rows))
    elif format == "csv":
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([n.lower() for n in names])
        writer.writerows([["" if v is None else v for v in row] for row in rows])
    else:
        wide().print(table_of([n.lower() for n in names], rows))


_NO_CODE = re.compile(
    r"""--[^\n]*|//[^\n]*|/\*.*?\*/|'(?:[^'\\]|\\.)*'|"[^"]*"|\$\$.*?\$\$""",
    re.DOTALL,
)
"""Comments, texts and quoted names."""
_READS = re.compile(r"[\s(]*(select|with|values|show|describe|desc|explain|list|ls)\b", re.IGNORECASE)
"""How a statement begins that changes nothing."""
_WRITES = re.compile(r"\b(delete|update|into)\b", re.IGNORECASE)
"""What one holds that begins so and changes something all the same, as `WITH … DELETE`; these words are reserved."""


def only_reads(query: str) -> bool:
    """Whether a statement changes nothing."""
    code = _NO_CODE.sub(" ", query)
    return bool(_READS.match(code)) and not _WRITES.search(code)


def _json_rows(names: list[str], rows: list[Any]) -> str:
    """A list of objects; decimals are written as numbers with all their digits, which json.dumps cannot do."""

    def text(value: Any) -> str:
        if isinstance(value, Decimal):
            return format(value, "f")
        if isinstance(value, (date, datetime)):
            return json.dumps(value.isoformat())
        return json.dumps(value, default=str, ensure_ascii=False)

    objects = (
        "{" + ", ".join(f"{json.dumps(n)}: {text(v)}" for n, v in zip(names, row, strict=True)) + "}" for row in rows
    )
    return "[" + ",\n ".join(objects) + "]"


def account(
    show_secret: Annotated[
        bool, typer.Option("--show-secret", help="Print the password of the embedded account, too.")
    ] = False,
    home: Home = None,
) -> None:
    """How to connect a client (Python, DBeaver, dbt) to the Snowflake account. Starts the embedded one if it does not
    run.

    Example: `lakehouse account --show-secret`
    """
    from lakehouse_assets.orchestration.resources.clients import how_to_connect

    print(how_to_connect(context.settings(home=home), show_secret))
