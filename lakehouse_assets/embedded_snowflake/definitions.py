"""DDL that fakesnow or DuckDB do not do as Snowflake does: comments, DROP, IF NOT EXISTS, widening a column, views over
stages.

What belongs here: what a definition changes besides the object itself. What does not: which definitions are refused
(`refusals.py`) and when their transaction begins and ends (`session.py`).
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from duckdb import DuckDBPyConnection
from fakesnow import info_schema
from sqlglot import Expr, exp

from lakehouse_assets.embedded_snowflake import stage
from lakehouse_assets.embedded_snowflake.errors import compilation_error, does_not_exist

UNBOUNDED = 16777216  # the length of a VARCHAR that is given none
_GLOBAL = "_fs_global._fs_information_schema"


class ObjectName(NamedTuple):
    """A fully qualified name, in the case in which Snowflake keeps it."""

    database: str
    schema: str
    name: str

    @classmethod
    def of(cls, table: exp.Table, context: stage.Context) -> "ObjectName":
        """The object that a table node names. Raises ProgrammingError when database or schema are neither written nor
        current.
        """
        parts = [_fold(part) for part in (table.args.get("catalog"), table.args.get("db"), table.this)]
        database, schema, name = parts[0] or context.database, parts[1] or context.schema, parts[2]
        if not (database and schema and name):
            raise compilation_error(
                f"Cannot resolve {table.sql(dialect='snowflake')}: the session has no current database and schema."
            )
        return cls(database, schema, name)

    def sql(self) -> str:
        """The name as DuckDB reads it."""
        return ".".join('"' + part.replace('"', '""') + '"' for part in self)

    def __str__(self) -> str:
        return ".".join(self)


def _fold(identifier: Expr | None) -> str:
    if identifier is None:
        return ""
    return identifier.name if identifier.args.get("quoted") else identifier.name.upper()


def take_comments(expression: Expr, context: stage.Context) -> list[str]:
    """Take the comments out of a definition; returns DuckDB statements that set them.

    They are kept in the database that holds the object, so that both change in one commit and go together; fakesnow
    keeps those of tables elsewhere, where they outlive a replaced table, and drops those of columns.
    """
    if isinstance(expression, exp.Comment):
        kind = str(expression.args.get("kind")).upper()
        target = expression.this
        if kind == "COLUMN":
            table = exp.Table(this=target.args["table"], db=target.args.get("db"), catalog=target.args.get("catalog"))
            return [_column_comment(ObjectName.of(table, context), target.this, expression.expression.name)]
        return [_comment(kind, ObjectName.of(target, context), expression.expression.name)]
    if isinstance(expression, exp.Alter):
        name, statements = ObjectName.of(expression.this, context), []
        for action in expression.args.get("actions") or []:
            if isinstance(action, exp.AlterSet) and (comment := action.find(exp.SchemaCommentProperty)):
                statements.append(_comment(expression.args["kind"], name, comment.this.name))
            elif isinstance(action, exp.AlterColumn) and (text := action.args.get("comment")):
                statements.append(_column_comment(name, action.this, text.name))
        return statements
    if not (isinstance(expression, exp.Create) and expression.args.get("kind") in ("TABLE", "VIEW")):
        return []
    schema = expression.this
    name = ObjectName.of(schema.this if isinstance(schema, exp.Schema) else schema, context)
    statements = []
    if properties := expression.args.get("properties"):
        for comment in list(properties.find_all(exp.SchemaCommentProperty)):
            statements.append(_comment(expression.args["kind"], name, comment.this.name))
            comment.pop()
        if not properties.expressions:
            expression.set("properties", None)
    for column in schema.expressions if isinstance(schema, exp.Schema) else []:
        for constraint in list(column.args.get("constraints") or []):
            if isinstance(constraint.args.get("kind"), exp.CommentColumnConstraint):
                statements.append(_column_comment(name, column.this, constraint.args["kind"].this.name))
                constraint.pop()
    return statements


def only_comments(expression: Expr) -> bool:
    """Whether a definition does nothing but comment."""
    if isinstance(expression, exp.Comment):
        return True
    return isinstance(expression, exp.Alter) and all(
        isinstance(a, exp.AlterSet) or (isinstance(a, exp.AlterColumn) and a.args.get("comment"))
        for a in expression.args.get("actions") or []
    )


def _comment(kind: str, name: ObjectName, text: str) -> str:
    return f"COMMENT ON {kind} {name.sql()} IS {_literal(text)}"


def _column_comment(name: ObjectName, column: Expr, text: str) -> str:
    return f'COMMENT ON COLUMN {name.sql()}."{_fold(column)}" IS {_literal(text)}'


def already_exists(duck: DuckDBPyConnection, expression: Expr, context: stage.Context) -> str | None:
    """The name of the table or view that CREATE … IF NOT EXISTS finds, else None. fakesnow would still change its
    comment and load history.
    """
    if not (
        isinstance(expression, exp.Create)
        and expression.args.get("exists")
        and expression.args.get("kind") in ("TABLE", "VIEW")
    ):
        return None
    name = ObjectName.of(expression.this.this if isinstance(expression.this, exp.Schema) else expression.this, context)
    kind = expression.args["kind"].lower()
    found = duck.execute(
        f"SELECT 1 FROM duckdb_{kind}s() WHERE upper(database_name) = upper(?) AND upper(schema_name) = upper(?) AND"
        f" upper({kind}_name) = upper(?)",
        list(name),
    ).fetchone()
    return name.name if found else None


def check_widening(duck: DuckDBPyConnection, expression: Expr, context: stage.Context) -> None:
    """Raise ProgrammingError for ALTER COLUMN … SET DATA TYPE that Snowflake refuses: another type or scale, or a
    smaller one. DuckDB would convert.
    """
    if not isinstance(expression, exp.Alter):
        return
    for action in expression.args.get("actions") or []:
        wanted = action.args.get("dtype") if isinstance(action, exp.AlterColumn) else None
        if wanted is None:
            continue
        name, column = ObjectName.of(expression.this, context), _fold(action.this)
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
    """CREATE DATABASE, which is a file of the catalogue: what the client is told, None if it is another statement."""
    if not (isinstance(expression, exp.Create) and str(expression.args.get("kind")).upper() == "DATABASE"):
        return None
    database = _fold(expression.find(exp.Identifier))
    if create(database, bool(expression.args.get("exists")), bool(expression.args.get("replace"))):
        return f"Database {database} successfully created."
    return f"{database} already exists, statement succeeded."


def drop(
    duck: DuckDBPyConnection, expression: Expr, context: stage.Context, drop_database: Callable[[str, bool], None]
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
        database = _fold(table.find(exp.Identifier))
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
        stage.clear(name.database, name.schema, name.name)
    return name.name


def forget_schema(duck: DuckDBPyConnection, expression: Expr, context: stage.Context) -> None:
    """After DROP SCHEMA: drop its stages with their files, and its file formats, which fakesnow leaves behind."""
    if not (isinstance(expression, exp.Drop) and str(expression.args.get("kind")).upper() == "SCHEMA"):
        return
    table = (expression.args.get("tables") or [expression.this])[0]
    schema, database = _fold(table.args.get("db")), _fold(table.args.get("catalog")) or context.database or ""
    for catalogue in ("_fs_stages", "_fs_file_formats"):
        duck.execute(
            f"DELETE FROM {_GLOBAL}.{catalogue} WHERE database_name = ? AND schema_name = ?", [database, schema]
        )
    stage.clear(database, schema)


def record_lengths(
    duck: DuckDBPyConnection, expression: Expr, lengths: list[tuple[str, int]], context: stage.Context
) -> None:
    """Remember the declared lengths of text columns, which DuckDB has no place for."""
    schema = expression.this
    name = ObjectName.of(schema.this if isinstance(schema, exp.Schema) else schema, context)
    duck.execute(
        info_schema.insert_text_lengths_sql(*name, [(column.replace("'", "''"), length) for column, length in lengths])
    )


def stage_view(
    duck: DuckDBPyConnection,
    create: exp.Create,
    text: str,
    described: list[tuple],
    comments: list[str],
    context: stage.Context,
) -> list[str]:
    """The DuckDB statements that create a view over a stage: `described` are the columns of its query as it reads
    now.
    """
    names = [row[0] for row in described]
    target = create.this
    if isinstance(target, exp.Schema):
        if len(target.expressions) != len(names):
            raise compilation_error("Invalid column definition list", errno=2026, sqlstate="42601")
        names = [_fold(column if isinstance(column, exp.Identifier) else column.this) for column in target.expressions]
        target = target.this
    columns = [(name, row[1]) for name, row in zip(names, described, strict=True)]
    return [
        stage.stored_view(
            text, context, ObjectName.of(target, context).sql(), columns, bool(create.args.get("replace"))
        ),
        *comments,
    ]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
