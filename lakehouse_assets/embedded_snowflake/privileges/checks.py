"""The check of a statement: whether the role of its session may, and the error if not; what a role sees of lists.

What belongs here: Snowflake's errors of access, and hiding what a role may not see. What does not: what a statement
needs (`needs.py`).
"""

from collections.abc import Iterable

import pyarrow as pa
import sqlglot
from duckdb import DuckDBPyConnection
from snowflake.connector.errors import ProgrammingError
from sqlglot import Expr, exp

from lakehouse_assets.embedded_snowflake.errors import compilation_error, rendered_only
from lakehouse_assets.embedded_snowflake.names import Context, fold, literal
from lakehouse_assets.embedded_snowflake.privileges.needs import Need
from lakehouse_assets.embedded_snowflake.privileges.store import Privileges, Securable

_GLOBAL = "_fs_global._fs_information_schema"
_LISTS = {
    "DATABASE": "SELECT database_name FROM duckdb_databases() WHERE NOT internal",
    "SCHEMA": "SELECT database_name, schema_name FROM duckdb_schemas()",
    "TABLE": "SELECT database_name, schema_name, table_name FROM duckdb_tables()",
    "VIEW": "SELECT database_name, schema_name, view_name FROM duckdb_views() WHERE NOT internal",
    "STAGE": f"SELECT database_name, schema_name, name FROM {_GLOBAL}._fs_stages",
    "FILE FORMAT": f"SELECT database_name, schema_name, name FROM {_GLOBAL}._fs_file_formats",
    "SEQUENCE": "SELECT database_name, schema_name, sequence_name FROM duckdb_sequences()",
}
_OF_INFORMATION_SCHEMA = {"TABLES": "TABLE_NAME", "VIEWS": "TABLE_NAME", "COLUMNS": "TABLE_NAME"}


def listed(duck: DuckDBPyConnection, kind: str, within: Securable | None = None) -> list[Securable]:
    """Everything of a kind, in a schema or database."""
    found = [Securable.of(kind, *row) for row in duck.execute(_LISTS[kind]).fetchall()]
    return [one for one in found if within is None or within in one.within]


def exists(duck: DuckDBPyConnection, what: Securable) -> bool:
    """Whether there is such a thing."""
    kinds = ("TABLE", "VIEW") if what.kind == "TABLE" else (what.kind,)
    return any(what in listed(duck, kind) for kind in kinds)


def insufficient(kind: str, name: str) -> ProgrammingError:
    """The error for something that the role sees and may not use so."""
    return ProgrammingError(
        msg=f"SQL access control error:\nInsufficient privileges to operate on {kind.lower()} '{name}'",
        errno=3001,
        sqlstate="42501",
    )


def hidden(kind: str, name: str) -> ProgrammingError:
    """The error for something that is not there, or that the role does not see: it cannot tell which."""
    shown, state = ("Object", "42S02") if kind == "TABLE" else (kind.capitalize(), "02000")
    return compilation_error(f"{shown} '{name}' does not exist or not authorized.", errno=2003, sqlstate=state)


def check(
    privileges: Privileges, duck: DuckDBPyConnection, role: str, needed: Iterable[Need], *, vague: bool = False
) -> None:
    """Raise ProgrammingError unless the role has what is needed. vague: for SHOW and USE, which do not say what it is
    that they do not find.
    """

    def not_seen(what: Securable, shown: str) -> ProgrammingError:
        if vague:
            return compilation_error(
                "Object does not exist, or operation cannot be performed.", errno=2043, sqlstate="02000"
            )
        return hidden(what.kind, shown)

    for need in needed:
        for outer in reversed(need.on.within):
            if not privileges.may(role, ("USAGE",), outer):
                raise not_seen(outer, outer.name)
        if privileges.may(role, need.one_of, need.on):
            continue
        if privileges.sees(role, need.on):
            if need.one_of:
                kind = "view" if need.on.kind == "TABLE" and need.on in listed(duck, "VIEW") else need.on.kind
                raise insufficient(kind, need.on.name.rpartition(".")[2])
        elif need.on.kind == "ACCOUNT":
            raise insufficient("ACCOUNT", need.shown)
        elif not need.if_exists:
            raise not_seen(need.on, need.shown)
        elif exists(duck, need.on):
            # Said by neither its name nor its owner, but it is not replaced or dropped.
            raise insufficient(need.on.kind, need.on.name.rpartition(".")[2])


def visible(privileges: Privileges, role: str, shown: str, table: pa.Table) -> pa.Table:
    """The rows of a SHOW that a role sees."""
    names = [name.lower() for name in table.column_names]
    parts = ["database_name", "schema_name", "table_name" if "table_name" in names else "name"]
    kind = {"COLUMNS": "TABLE", "OBJECTS": "TABLE"}.get(shown, shown.removesuffix("S"))
    if kind in ("SCHEMA", "DATABASE"):
        parts = ["database_name", "name"] if kind == "SCHEMA" else ["name"]
    if kind.endswith("KEY"):
        kind, parts = "TABLE", [name for name in names if name.endswith(("database_name", "schema_name", "table_name"))]
    columns = [table.column(names.index(part)).to_pylist() for part in parts[:3]]
    keep = [
        (kind == "SCHEMA" and str(row[-1]).upper() == "INFORMATION_SCHEMA")
        or privileges.sees(role, Securable.of(kind, *map(str, row)))
        for row in zip(*columns, strict=True)
    ]
    return table.filter(pa.array(keep, pa.bool_()))


def hide(privileges: Privileges, duck: DuckDBPyConnection, role: str, expression: Expr, context: Context) -> None:
    """Put what the role sees in the place of the lists of the information schema, in a parsed statement."""
    for table in list(expression.find_all(exp.Table)):
        if table.db.upper() != "INFORMATION_SCHEMA":
            continue
        name = table.name.upper()
        if name not in _OF_INFORMATION_SCHEMA:
            raise rendered_only(f"INFORMATION_SCHEMA.{name} under another role than ACCOUNTADMIN")
        database = Securable.of("DATABASE", fold(table.args.get("catalog")) or context.database or "")
        found = [*listed(duck, "TABLE", database), *listed(duck, "VIEW", database)]
        seen = [one.name.split(".", 1)[1] for one in found if privileges.sees(role, one)]
        condition = f"UPPER(TABLE_SCHEMA || '.' || TABLE_NAME) IN ({', '.join(map(literal, seen)) or 'NULL'})"
        inner = exp.select("*").from_(
            exp.Table(this=table.this, db=table.args["db"], catalog=table.args.get("catalog"))
        )
        inner = inner.where(sqlglot.condition(condition, dialect="snowflake"))
        table.replace(inner.subquery(table.alias or table.name))
