"""Which privileges a statement needs, by the objects that it names.

What belongs here: reading a parsed statement. What does not: who has them (`store.py`), and the errors (`checks.py`).
"""

from collections.abc import Iterator
from typing import NamedTuple

from sqlglot import Expr, exp

from lakehouse_assets.embedded_snowflake.errors import rendered_only
from lakehouse_assets.embedded_snowflake.names import Context, ObjectName, fold
from lakehouse_assets.embedded_snowflake.privileges import store
from lakehouse_assets.embedded_snowflake.privileges.store import OWNERSHIP, Securable
from lakehouse_assets.embedded_snowflake.stages.paths import StagePath
from lakehouse_assets.embedded_snowflake.stages.references import format_name, is_stage, stage_text

ACCOUNT = Securable(*store.ACCOUNT)
ANY = ()
"""In place of privileges: any of them will do."""
_IN_SCHEMAS = ("TABLE", "VIEW", "STAGE", "FILE FORMAT", "SEQUENCE")


class Need(NamedTuple):
    """One of some privileges on something."""

    on: Securable
    one_of: tuple[str, ...]
    shown: str
    """Its name as it is written in an error."""
    if_exists: bool = False
    """Whether nothing is needed where it does not exist."""


def needs(expression: Expr, context: Context) -> Iterator[Need]:
    """What a statement needs. Nothing for what concerns the session alone."""
    if isinstance(expression, exp.Create):
        yield from _creation(expression, context)
    elif isinstance(expression, (exp.Drop, exp.Alter, exp.Comment)):
        yield from _owner(expression, context)
    elif isinstance(expression, exp.Describe):
        if isinstance(expression.this, exp.Table):
            yield _on(str(expression.args.get("kind") or "TABLE").upper(), expression.this, context, ANY)
    elif isinstance(expression, exp.Use):
        yield from _use(expression, context)
    elif isinstance(expression, exp.Show):
        yield from _shown(expression, context)
    else:
        target = _changed(expression)
        if target is not None:
            yield _on("TABLE", target, context, _privileges_of_change(expression))
        yield from sources(expression, context, target)


def sources(expression: Expr, context: Context, target: Expr | None = None) -> Iterator[Need]:
    """What a query reads: tables, stages and the file formats by which these are read."""
    for table in expression.find_all(exp.Table):
        if table is target or _names_a_with(table):
            continue
        if is_stage(table):
            yield stage(StagePath.parse(stage_text(table), context), "READ")
            if (given := table.args.get("format")) is not None:
                named = exp.to_table(format_name(given).strip("'"), dialect="snowflake")
                yield _on("FILE FORMAT", named, context, ("USAGE",))
        elif isinstance(table.this, exp.Identifier):
            if table.db.upper() == "INFORMATION_SCHEMA":
                database = fold(table.args.get("catalog")) or context.database or ""
                yield Need(Securable("DATABASE", database.upper()), ("USAGE",), database)
            else:
                yield _on("TABLE", table, context, ("SELECT",))
        else:
            raise rendered_only("a table that is named by an expression, under another role than ACCOUNTADMIN")
    for rows in expression.find_all(exp.TableFromRows):
        if not isinstance(rows.this, exp.Func):
            raise rendered_only("a table that is named by an expression, under another role than ACCOUNTADMIN")


def _names_a_with(table: exp.Table) -> bool:
    """Whether a table is a name of a WITH around it. One that comes later in the same WITH is none yet, and itself only
    if that is recursive: what has its name is a table.
    """
    if table.db:
        return False
    inner: Expr = table
    while inner.parent is not None:
        outer = inner.parent
        if isinstance(outer, exp.With):
            before = outer.expressions[: next(n for n, cte in enumerate(outer.expressions) if cte is inner)]
            names = [*before, *([inner] if outer.args.get("recursive") else [])]
        else:
            with_ = outer.args.get("with_") if inner.arg_key != "with_" else None
            names = with_.expressions if with_ else []
        if any(fold(cte.args["alias"].this) == fold(table.this) for cte in names):
            return True
        inner = outer
    return False


def stage(path: StagePath, privilege: str) -> Need:
    """A privilege on the stage of a path."""
    name = ObjectName(path.database, path.schema, path.stage)
    return Need(Securable.of("STAGE", *name), (privilege,), str(name))


def target_of(expression: Expr) -> list[exp.Table]:
    """What a CREATE, DROP or ALTER is about."""
    if isinstance(expression, exp.Drop):
        return [t for t in expression.args.get("tables") or [expression.this] if isinstance(t, exp.Table)]
    this = expression.this.this if isinstance(expression.this, exp.Schema) else expression.this
    return [this] if isinstance(this, exp.Table) else []


def securable(kind: str, table: exp.Table, context: Context) -> tuple[Securable, str]:
    """What a table node names, if it is of that kind, and its name as it is written in an error."""
    if kind == "DATABASE":
        identifier = table.find(exp.Identifier)
        return Securable.of(kind, fold(identifier)), fold(identifier)
    if kind == "SCHEMA":
        # CREATE and DROP have no name of their own here, USE and SHOW have the schema as name
        parts = [fold(table.args.get(part)) for part in ("catalog", "db", "this")]
        named = [part for part in parts if part]
        database, schema = named if len(named) == 2 else (context.database or "", named[-1])
        return Securable.of(kind, database, schema), f"{database}.{schema}"
    name = ObjectName.of(table, context)
    return Securable.of(kind, *name), str(name)


def owner_of_format(name: ObjectName) -> Need:
    """Ownership of a file format."""
    return Need(Securable.of("FILE FORMAT", *name), (OWNERSHIP,), str(name))


def _on(kind: str, table: exp.Table, context: Context, one_of: tuple[str, ...], *, if_exists: bool = False) -> Need:
    on, shown = securable(kind, table, context)
    return Need(on, one_of, shown, if_exists)


def _creation(create: exp.Create, context: Context) -> Iterator[Need]:
    kind = str(create.args.get("kind")).upper()
    (target,) = target_of(create)
    what, shown = securable(kind, target, context)
    if kind == "DATABASE":
        yield Need(ACCOUNT, ("CREATE DATABASE",), "EMBEDDED")
    elif what.within:
        yield Need(what.within[0], (f"CREATE {kind}",), what.within[0].name)
    if create.args.get("replace"):
        yield Need(what, (OWNERSHIP,), shown, if_exists=True)
    yield from sources(create, context, target)


def _owner(expression: exp.Drop | exp.Alter | exp.Comment, context: Context) -> Iterator[Need]:
    kind = str(expression.args.get("kind")).upper()
    exists = bool(expression.args.get("exists"))
    if kind == "SESSION":
        return
    targets = target_of(expression)
    if isinstance(expression.this, exp.Column):
        column = expression.this
        parts = [column.args.get(part) for part in ("table", "db", "catalog")]
        kind, targets = "TABLE", [exp.Table(this=parts[0], db=parts[1], catalog=parts[2])]
    for target in targets:
        yield _on(kind, target, context, (OWNERSHIP,), if_exists=exists)
    for action in expression.args.get("actions") or []:
        if isinstance(action, exp.AlterRename):
            within = securable(kind, action.this, context)[0].within
            yield Need(within[0], (f"CREATE {kind}",), within[0].name)


def _use(use: exp.Use, context: Context) -> Iterator[Need]:
    kind = use.args["kind"].name.upper() if use.args.get("kind") else ""
    if kind in ("ROLE", "WAREHOUSE", "SECONDARY ROLES") or not isinstance(use.this, exp.Table):
        return
    if not kind:
        kind = "SCHEMA" if use.this.db else "DATABASE"
    yield _on(kind, use.this, context, ("USAGE",))


def _shown(show: exp.Show, context: Context) -> Iterator[Need]:
    kind, scope = str(show.args.get("scope_kind") or "").upper(), show.args.get("scope")
    if kind in ("DATABASE", "SCHEMA") and isinstance(scope, exp.Table) and scope.find(exp.Identifier):
        yield _on(kind, scope, context, ANY)


def _changed(expression: Expr) -> exp.Table | None:
    """The table of a change."""
    if isinstance(expression, exp.TruncateTable):
        found = expression.expressions[0]
    elif isinstance(expression, (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Copy)):
        found = expression.this.this if isinstance(expression.this, exp.Schema) else expression.this
    else:
        return None
    return found if isinstance(found, exp.Table) else None


def _privileges_of_change(expression: Expr) -> tuple[str, ...]:
    if isinstance(expression, exp.Copy):
        return ("INSERT",)
    if isinstance(expression, exp.Merge):
        kinds = {type(when.args.get("then")) for when in expression.find_all(exp.When)}
        return ("INSERT",) if exp.Insert in kinds else ("UPDATE",) if exp.Update in kinds else ("DELETE",)
    return ("TRUNCATE",) if isinstance(expression, exp.TruncateTable) else (expression.key.upper(),)
