"""Where the tree of a statement refers to a stage.

What belongs here: telling stages, tables and names of a WITH apart, and writing their names in full. What does not:
reading a stage (`scan.py`, `expansion.py`).
"""

from collections.abc import Iterable, Iterator

from fakesnow.transforms.stage import parts_from_var
from sqlglot import Expr, exp

from lakehouse_assets.embedded_snowflake.names import Context, quote
from lakehouse_assets.embedded_snowflake.stages.paths import StagePath


def stage_text(table: exp.Table) -> str:
    """The reference `@…` of a table that is a stage; of another table some other text."""
    return table.this.name if isinstance(table.this, (exp.Var, exp.Literal)) else ""


def is_stage(table: Expr) -> bool:
    """Whether a table is a stage."""
    return isinstance(table, exp.Table) and stage_text(table).lstrip("'").startswith("@")


def check_sources(expression: Expr, context: Context) -> None:
    """Raise ProgrammingError where a statement reads from a stage what does not lie on it."""
    for table in expression.find_all(exp.Table):
        if is_stage(table):
            StagePath.parse(stage_text(table), context).folder()


def without_stages(expression: Expr) -> Expr:
    """A copy with an ordinary, fully qualified table for every stage: what decides whether the other names need a
    current database and schema.
    """
    expression = expression.copy()
    for table in expression.find_all(exp.Table):
        if is_stage(table):
            table.replace(exp.table_("STAGED", db="STAGED", catalog="STAGED"))
    return expression


def sources(select: exp.Select) -> Iterator[Expr]:
    """What a SELECT reads directly: its FROM and its joins."""
    if source := select.args.get("from_"):
        yield source.this
    for join in select.args.get("joins") or []:
        yield join.this


def stage_select(node: Expr) -> exp.Select | None:
    """The nearest enclosing SELECT that reads a stage directly."""
    select = node.find_ancestor(exp.Select)
    while select is not None and not any(is_stage(source) for source in sources(select)):
        select = select.find_ancestor(exp.Select)
    return select


def is_cte(table: exp.Table) -> bool:
    """Whether a table is a name of a WITH around it."""
    if table.db:
        return False
    scope: Expr | None = table
    while scope is not None:
        with_ = scope.args.get("with_")
        if with_ and any(cte.alias.upper() == table.name.upper() for cte in with_.expressions):
            return True
        scope = scope.parent
    return False


def targets(expression: Expr) -> Iterable[exp.Table]:
    """The tables that a statement writes, creates, alters or describes, as against those it reads."""
    if isinstance(expression, (exp.Select, exp.SetOperation, exp.Subquery)):
        return []
    if not isinstance(expression, (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create)):
        return expression.find_all(exp.Table)
    target = expression.this
    return [target.this if isinstance(target, exp.Schema) else target]


def format_name(given: Expr) -> str:
    """The name of the file format that a stage is read by."""
    return given.name if isinstance(given, exp.Literal) else given.sql(dialect="snowflake")


def qualify(query: Expr, context: Context) -> None:
    """Write the context's database and schema into every unqualified table, stage and file format of a query, in
    place.
    """
    for table in query.find_all(exp.Table):
        if is_stage(table):
            table.set("this", exp.Var(this=StagePath.parse(stage_text(table), context).reference()))
            given = table.args.get("format")
            if given is not None:
                parts = parts_from_var(format_name(given), context.database, context.schema)
                table.set("format", exp.Literal.string(".".join(map(quote, parts))))
        elif isinstance(table.this, exp.Identifier) and not is_cte(table):
            if not table.db and context.schema:
                table.set("db", exp.to_identifier(context.schema, quoted=True))
            if not table.catalog and context.database:
                table.set("catalog", exp.to_identifier(context.database, quoted=True))
