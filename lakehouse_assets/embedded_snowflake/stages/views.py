"""Views over a stage, as DuckDB keeps them.

A view over a stage has to see the files of the moment it is read, with the columns these have, so it cannot be a plain
DuckDB view. It is stored as one that carries the statement it was created by and fails when read as it is;
`expansion.py` replaces every reference to it by the query.

What belongs here: storing such a view, and finding what is stored. What does not: reading one.
"""

import base64
import json
import re
from collections.abc import Sequence
from typing import Any

from duckdb import DuckDBPyConnection
from sqlglot import exp

from lakehouse_assets.embedded_snowflake.errors import compilation_error
from lakehouse_assets.embedded_snowflake.names import Context, ObjectName, fold, quote

STATEMENT = """CASE WHEN contains({sql}, 'stage_view:')
  THEN json_extract_string(decode(from_base64(regexp_extract({sql}, 'stage_view:([A-Za-z0-9+/=]+)', 1))), '$.statement')
  ELSE {sql} END"""
"""SQL for the statement that created a view over a stage, given that of DuckDB's view; another view's as it is."""

_DEFINITION = re.compile(r"stage_view:([A-Za-z0-9+/=]+)")


def creation(create: exp.Create, text: str, described: Sequence[tuple], context: Context) -> str:
    """The DuckDB statement that creates a view over a stage: `described` are the columns of its query as it reads now.
    Raises ProgrammingError when the view names another number of columns.
    """
    names = [row[0] for row in described]
    if isinstance(create.this, exp.Schema):
        given = create.this.expressions
        if len(given) != len(names):
            raise compilation_error("Invalid column definition list", errno=2026, sqlstate="42601")
        names = [fold(column if isinstance(column, exp.Identifier) else column.this) for column in given]
    definition = {"statement": text, "database": context.database, "schema": context.schema, "columns": names}
    encoded = base64.b64encode(json.dumps(definition).encode()).decode()
    projection = ", ".join(
        f"CAST(NULL AS {row[1]}) AS {quote(name)}" for name, row in zip(names, described, strict=True)
    )
    replace, name = "OR REPLACE " if create.args.get("replace") else "", ObjectName.created(create, context).sql()
    return (
        f"CREATE {replace}VIEW {name} AS SELECT {projection} FROM (SELECT"
        f" error('stage_view:{encoded}') AS definition) WHERE definition IS NOT NULL"
    )


def stored(duck: DuckDBPyConnection) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The definitions of all views over a stage, by database, schema and name in upper case."""
    rows = duck.execute(
        "SELECT database_name, schema_name, view_name, sql FROM duckdb_views() WHERE contains(sql, 'stage_view:')"
    ).fetchall()
    return {
        (database.upper(), schema.upper(), view.upper()): json.loads(base64.b64decode(match[1]))
        for database, schema, view, sql in rows
        if (match := _DEFINITION.search(sql))
    }
