"""What a statement is by its text alone: its kind, the tables that it names and changes, whether it needs a warehouse.

What belongs here: reading a parsed statement. What does not: what became of it (`log.py`), and what a view reads
(`results.py`).
"""

import re
from dataclasses import dataclass

from sqlglot import Expr, exp

from lakehouse_assets.embedded_snowflake.names import Context, fold, without_strings

EVERYTHING = "*"
"""Stands for every table there is."""

_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery, exp.Values)
_CHANGES = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Copy, exp.TruncateTable)
_DEFINITIONS = (exp.Create, exp.Drop, exp.Alter)
UNSTABLE = re.compile(
    r"@|\bread_parquet\b|\b(SYSDATE|SYSTIMESTAMP|GETDATE|LOCALTIME\w*|CURRENT_\w+|RANDOM|RANDSTR|UNIFORM|NORMAL|ZIPF|UUID_STRING"
    r"|SEQ[1248]|NEXTVAL|LAST_QUERY_ID|LAST_TRANSACTION|RESULT_SCAN|INFORMATION_SCHEMA|SAMPLE|TABLESAMPLE|GETVARIABLE)\b"
    r"|\$\w",
    re.IGNORECASE,
)
"""What keeps Snowflake from answering a query from an earlier result, and some that may: when in doubt, it does not."""


@dataclass(frozen=True)
class Facts:
    """What a statement is. `tables` are those that it reads or changes, `changes` those that it changes."""

    kind: str
    tables: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    needs_warehouse: bool = False
    repeatable: bool = False
    """Whether it is a query that would find the same in the same tables."""


def of_text(text: str) -> Facts:
    """What can be said of a statement that is not parsed."""
    return Facts(text.split(None, 1)[0].upper()[:20] if text.split() else "")


def of(expression: Expr, text: str, context: Context) -> Facts:
    """What a parsed statement is. SHOW, DESCRIBE, definitions, transactions and settings run without a warehouse."""
    query = isinstance(expression, _QUERIES)
    definition = isinstance(expression, _DEFINITIONS)
    if not (query or definition or isinstance(expression, _CHANGES)):
        return of_text("BEGIN" if isinstance(expression, exp.Transaction) else text)
    tables = _tables(expression, context)
    if query:
        # what is read is neither a stage nor a function
        of_tables = all(isinstance(table.this, exp.Identifier) for table in expression.find_all(exp.Table))
        return Facts("SELECT", tables, (), True, of_tables and not UNSTABLE.search(without_strings(text)))
    if not definition:
        return Facts(of_text(text).kind, tables, _target(expression, context), True)
    kind = str(expression.args.get("kind") or "").upper()
    changes = (EVERYTHING,) if kind in ("DATABASE", "SCHEMA") else _target(expression, context)
    filled = isinstance(expression, exp.Create) and kind == "TABLE" and expression.args.get("expression") is not None
    return Facts(f"{expression.key.upper()} {kind}".strip(), tables, changes, filled)


def name(table: exp.Table, context: Context) -> str:
    """The full name of a table as it is logged."""
    parts = (fold(table.args.get("catalog")) or context.database, fold(table.args.get("db")) or context.schema)
    return ".".join(str(part or "") for part in (*parts, fold(table.this)))


def _tables(expression: Expr, context: Context) -> tuple[str, ...]:
    own = {fold(cte.args["alias"].this) for cte in expression.find_all(exp.CTE)}
    return tuple(
        dict.fromkeys(
            name(table, context)
            for table in expression.find_all(exp.Table)
            if isinstance(table.this, exp.Identifier) and (table.db or fold(table.this) not in own)
        )
    )


def _target(expression: Expr, context: Context) -> tuple[str, ...]:
    """What a statement changes: the first table in it."""
    target = expression.this.this if isinstance(expression.this, exp.Schema) else expression.this
    if isinstance(expression, exp.TruncateTable):
        target = expression.expressions[0]
    return (name(target, context),) if isinstance(target, exp.Table) else (EVERYTHING,)
