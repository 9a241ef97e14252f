"""DDL that fakesnow or DuckDB do not do as Snowflake does: CREATE and DROP DATABASE, other DROPs, IF NOT EXISTS,
widening a column, lengths of text.

What belongs here: what a definition changes besides the object itself. What does not: comments (`comments.py`), views
over a stage (`stages/views.py`), which definitions are refused (`refusals.py`) and when their transaction begins and
ends (`statement.py`).
"""

import re
from collections.abc import Callable

from duckdb import DuckDBPyConnection
from fakesnow import info_schema
from sqlglot import Expr, exp

from lakehouse_assets.embedded_snowflake.errors import compilation_error, does_not_exist
from lakehouse_assets.embedded_snowflake.names import Context, ObjectName, fold
from lakehouse_assets.embedded_snowflake.stages.paths import clear_stages

UNBOUNDED = 16777216  # the length of a VARCHAR that is given none
_GLOBAL = "_fs_global._fs_information_schema"


def already_exists(duck: DuckDBPyConnection, expression: Expr, context: Context) -> str | None:
    """The name of the table or view that CREATE … IF NOT EXISTS finds, else None. fakesnow would still change its
    comment and load history.
    """
    if not (
        isinstance(expression, exp.Create)
        and expression.args.get("exists")
        and expression.args.get("kind") in ("TABLE", "VIEW")
    ):
        return None
    name = ObjectName.created(expression, context)
    kind = expression.args["kind"].lower()
    found = duck.execute(
        f"SELECT 1 FROM duckdb_{kind}s() WHERE upper(database_name) = upper(?) AND upper(schema_name) = upper(?) AND"
        f" upper({kind}_name) = upper(?)",
        list(name),
    ).fetchone()
    return name.name if found else None


def check_shown(duck: DuckDBPyConnection, expression: Expr) -> None:
    """Raise ProgrammingError for SHOW … IN DATABASE of one that does not exist, of which fakesnow shows nothing."""
    if not (isinstance(expression, exp.Show) and expression.args.get("scope_kind") == "DATABASE"):
        return
    database = fold(scope.find(exp.Identifier)) if (scope := expression.args.get("scope")) else ""
    if (
        database
        and not duck.execute(
            "SELECT 1 FROM duckdb_databases() WHERE upper(database_name) = upper(?)", [database]
        ).fetchone()
    ):
        raise compilation_error(
            "Object does not exist, or operation cannot be performed.", errno=2043, sqlstate="02000"
        )


def check_widening(duck: DuckDBPyConnection, expression: Expr, context: Context) -> None:
    """Raise ProgrammingError for ALTER COLUMN … SET DATA TYPE that Snowflake refuses: another type or scale, or a
    smaller one. DuckDB would convert.
    """
    if not isinstance(expression, exp.Alter):
        return
    for action in expression.args.get("actions") or []:
        wanted = action.args.get("dtype") if isinstance(action, exp.AlterColumn) else None
        if wanted is None:
            continue
        name, column = ObjectName.of(expression.this, context), fold(action.this)
        found = duck.execute(
            f"""SELECT data_type, coalesce(ext_character_maximum_length, {UNBOUNDED}) FROM duckdb_columns()
            LEFT JOIN {_GLOBAL}._fs_columns_ext ON ext_table_catalog = database_name AND ext_table_schema = schema_name
              AND ext_table_name = table_name AND ext_column_name = column_name
            WHERE upper(database_name) = upper(?) AND upper(schema_name) = upper(?) AND upper(table_name) = upper(?)
              AND upper(column_name) = upper(?)""",
            [*name, column],
        ).fetchone()
        if found is None:
            raise does_not_exist("Column", f"{name}.{column}")
        old, new = _extent(*found), _extent(wanted.sql(dialect="duckdb"), _length(wanted))
        if old[0] != new[0] or old[2] != new[2] or old[1] > new[1]:
            raise compilation_error(
                f"cannot change column {column} from type {found[0]} to {wanted.sql(dialect='snowflake')}: only"
                " widening is possible.",
                errno=40052,
            )


def _length(type_: exp.DataType) -> int:
    return int(type_.expressions[0].this.name) if type_.expressions else UNBOUNDED


def _extent(type_: str, length: int) -> tuple[str, int, int]:
    """A type's kind, its size and its scale: NUMBER by precision, text by length."""
    if match := re.fullmatch(r"DECIMAL\((\d+), ?(\d+)\)", type_):
        return "NUMBER", int(match[1]), int(match[2])
    if type_ in ("BIGINT", "INT", "INTEGER", "SMALLINT", "TINYINT", "DECIMAL", "HUGEINT"):
        return "NUMBER", 38, 0
    if type_.startswith(("VARCHAR", "TEXT")):
        return "TEXT", length, 0
    return type_, 0, 0


def create_database(expression: Expr, create: Callable[[str, bool, bool], bool]) -> str | None:
    """CREATE DATABASE, which is a file of the catalogue: what the client gets, None if it is another statement."""
    if not (isinstance(expression, exp.Create) and str(expression.args.get("kind")).upper() == "DATABASE"):
        return None
    database = fold(expression.find(exp.Identifier))
    if create(database, bool(expression.args.get("exists")), bool(expression.args.get("replace"))):
        return f"Database {database} successfully created."
    return f"{database} already exists, statement succeeded."


def drop(
    duck: DuckDBPyConnection, expression: Expr, context: Context, drop_database: Callable[[str, bool], None]
) -> str | None:
    """DROP of what DuckDB does not have (stages, file formats) or cannot drop (databases): the name of what was
    dropped, None if it is another DROP.
    """
    kind = str(expression.args.get("kind")).upper() if isinstance(expression, exp.Drop) else ""
    if kind not in ("STAGE", "FILE FORMAT", "DATABASE"):
        return None
    table = (expression.args.get("tables") or [expression.this])[0]
    exists = bool(expression.args.get("exists"))
    if kind == "DATABASE":
        database = fold(table.find(exp.Identifier))
        drop_database(database, exists)
        return database
    name = ObjectName.of(table, context)
    catalogue = "_fs_stages" if kind == "STAGE" else "_fs_file_formats"
    deleted = duck.execute(
        f"DELETE FROM {_GLOBAL}.{catalogue} WHERE database_name = ? AND schema_name = ? AND name = ?", list(name)
    ).fetchone()
    if not (deleted and deleted[0]) and not exists:
        raise does_not_exist(kind.capitalize(), str(name))
    if kind == "STAGE":
        clear_stages(name.database, name.schema, name.name)
    return name.name


def forget_schema(duck: DuckDBPyConnection, expression: Expr, context: Context) -> None:
    """After DROP SCHEMA: drop its stages with their files, and its file formats, which fakesnow leaves behind."""
    if not (isinstance(expression, exp.Drop) and str(expression.args.get("kind")).upper() == "SCHEMA"):
        return
    table = (expression.args.get("tables") or [expression.this])[0]
    schema, database = fold(table.args.get("db")), fold(table.args.get("catalog")) or context.database or ""
    for catalogue in ("_fs_stages", "_fs_file_formats"):
        duck.execute(
            f"DELETE FROM {_GLOBAL}.{catalogue} WHERE database_name = ? AND schema_name = ?", [database, schema]
        )
    clear_stages(database, schema)


def record_lengths(
    duck: DuckDBPyConnection, expression: Expr, lengths: list[tuple[str, int]], context: Context
) -> None:
    """Remember the declared lengths of text columns, which DuckDB has no place for."""
    name = ObjectName.created(expression, context)
    duck.execute(
        info_schema.insert_text_lengths_sql(*name, [(column.replace("'", "''"), length) for column, length in lengths])
    )
