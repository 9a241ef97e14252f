"""Names in statements: what unqualified ones are resolved against, and how names and texts are written in SQL.

What belongs here: database, schema and name of an object. What does not: stages (`stages/`) and which names are refused
(`refusals.py`).
"""

import re
from typing import NamedTuple

from sqlglot import Expr, exp

from lakehouse_assets.embedded_snowflake.errors import compilation_error


class Context(NamedTuple):
    """What unqualified names are resolved against."""

    database: str | None
    schema: str | None


class ObjectName(NamedTuple):
    """A fully qualified name, in the case in which Snowflake keeps it."""

    database: str
    schema: str
    name: str

    @classmethod
    def of(cls, table: exp.Table, context: Context) -> "ObjectName":
        """The object that a table node names. Raises ProgrammingError when database or schema are neither written nor
        current.
        """
        parts = [fold(part) for part in (table.args.get("catalog"), table.args.get("db"), table.this)]
        database, schema, name = parts[0] or context.database, parts[1] or context.schema, parts[2]
        if not (database and schema and name):
            raise compilation_error(
                f"Cannot resolve {table.sql(dialect='snowflake')}: the session has no current database and schema."
            )
        return cls(database, schema, name)

    @classmethod
    def created(cls, create: Expr, context: Context) -> "ObjectName":
        """The object that a CREATE makes. Raises ProgrammingError as `of` does."""
        return cls.of(create.this.this if isinstance(create.this, exp.Schema) else create.this, context)

    def sql(self) -> str:
        """The name as DuckDB reads it."""
        return ".".join(map(quote, self))

    def __str__(self) -> str:
        return ".".join(self)


def fold(identifier: Expr | None) -> str:
    """An identifier in the case in which Snowflake keeps it; empty for none."""
    if identifier is None:
        return ""
    return identifier.name if identifier.args.get("quoted") else identifier.name.upper()


def quote(name: str) -> str:
    """A name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: object) -> str:
    """A text or path as a literal of SQL."""
    return "'" + str(text).replace("'", "''") + "'"


def without_strings(text: str) -> str:
    """A statement with nothing in its strings."""
    return re.sub(r"'(?:[^']|'')*'", "''", text)
