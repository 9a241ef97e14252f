"""What a definition does to ownership and grants: the creator owns, FUTURE grants apply, a dropped object is forgotten.

What belongs here: CREATE, DROP and RENAME, after they have succeeded. What does not: GRANT OWNERSHIP (`statements.py`).
"""

from typing import NamedTuple

from duckdb import DuckDBPyConnection
from sqlglot import Expr, exp

from lakehouse_assets.embedded_snowflake.names import Context
from lakehouse_assets.embedded_snowflake.privileges.checks import exists
from lakehouse_assets.embedded_snowflake.privileges.needs import securable, target_of
from lakehouse_assets.embedded_snowflake.privileges.store import Privileges, Securable


class Definition(NamedTuple):
    """What was defined. to: its new name, where it was renamed."""

    verb: str
    kind: str
    what: tuple[Securable, ...]
    copy_grants: bool = False
    to: Securable | None = None


def definition(
    privileges: Privileges, duck: DuckDBPyConnection, role: str, expression: Expr, context: Context
) -> Definition | None:
    """What a statement is about to define, read before it is executed; None where nothing follows from it."""
    if not isinstance(expression, (exp.Create, exp.Drop, exp.Alter)) or privileges.trivial(role):
        return None
    kind = str(expression.args.get("kind")).upper()
    if kind == "SESSION":
        return None
    what = tuple(securable(kind, target, context)[0] for target in target_of(expression))
    if isinstance(expression, exp.Drop):
        return Definition("DROP", kind, what)
    if isinstance(expression, exp.Alter):
        renamed = next((a for a in expression.args.get("actions") or [] if isinstance(a, exp.AlterRename)), None)
        return Definition("RENAME", kind, what, to=securable(kind, renamed.this, context)[0]) if renamed else None
    if expression.args.get("exists") and exists(duck, what[0]):
        return None
    return Definition("CREATE", kind, what, expression.find(exp.CopyGrantsProperty) is not None)


def note(privileges: Privileges, role: str, done: Definition) -> None:
    """Note what has been defined."""
    for what in done.what:
        if done.verb == "DROP":
            privileges.dropped(what)
        elif done.to:
            privileges.renamed(what, done.to)
        else:
            privileges.created(what, done.kind, role, copy_grants=done.copy_grants)
