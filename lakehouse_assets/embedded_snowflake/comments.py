"""Comments on tables, views and columns, of COMMENT ON, CREATE and ALTER.

What belongs here: taking comments out of a statement, and the DuckDB statements that set them. What does not: executing
these (`statement.py`).

Comments are kept in the database that holds the object, so that both change in one commit and go together; fakesnow
keeps those of tables elsewhere, where they outlive a replaced table, and drops those of columns.
"""

from collections.abc import Iterator

from sqlglot import Expr, exp

from lakehouse_assets.embedded_snowflake.names import Context, ObjectName, fold, literal, quote


def take_comments(expression: Expr, context: Context) -> list[str]:
    """Take the comments out of a definition; returns DuckDB statements that set them."""
    if isinstance(expression, exp.Comment):
        return [_of_comment(expression, context)]
    if isinstance(expression, exp.Alter):
        return list(_of_alter(expression, context))
    if isinstance(expression, exp.Create) and expression.args.get("kind") in ("TABLE", "VIEW"):
        return list(_out_of_create(expression, context))
    return []


def only_comments(expression: Expr) -> bool:
    """Whether a definition does nothing but comment."""
    if isinstance(expression, exp.Comment):
        return True
    return isinstance(expression, exp.Alter) and all(
        isinstance(a, exp.AlterSet) or (isinstance(a, exp.AlterColumn) and a.args.get("comment"))
        for a in expression.args.get("actions") or []
    )


def _of_comment(expression: exp.Comment, context: Context) -> str:
    kind, target, text = str(expression.args.get("kind")).upper(), expression.this, expression.expression.name
    if kind != "COLUMN":
        return _comment(kind, ObjectName.of(target, context), text)
    table = exp.Table(this=target.args["table"], db=target.args.get("db"), catalog=target.args.get("catalog"))
    return _column_comment(ObjectName.of(table, context), target.this, text)


def _of_alter(expression: exp.Alter, context: Context) -> Iterator[str]:
    name = ObjectName.of(expression.this, context)
    for action in expression.args.get("actions") or []:
        if isinstance(action, exp.AlterSet) and (comment := action.find(exp.SchemaCommentProperty)):
            yield _comment(expression.args["kind"], name, comment.this.name)
        elif isinstance(action, exp.AlterColumn) and (text := action.args.get("comment")):
            yield _column_comment(name, action.this, text.name)


def _out_of_create(expression: exp.Create, context: Context) -> Iterator[str]:
    schema, name = expression.this, ObjectName.created(expression, context)
    if properties := expression.args.get("properties"):
        for comment in list(properties.find_all(exp.SchemaCommentProperty)):
            yield _comment(expression.args["kind"], name, comment.this.name)
            comment.pop()
        if not properties.expressions:
            expression.set("properties", None)
    for column in schema.expressions if isinstance(schema, exp.Schema) else []:
        for constraint in list(column.args.get("constraints") or []):
            if isinstance(constraint.args.get("kind"), exp.CommentColumnConstraint):
                yield _column_comment(name, column.this, constraint.args["kind"].this.name)
                constraint.pop()


def _comment(kind: str, name: ObjectName, text: str) -> str:
    return f"COMMENT ON {kind} {name.sql()} IS {literal(text)}"


def _column_comment(name: ObjectName, column: Expr, text: str) -> str:
    return f"COMMENT ON COLUMN {name.sql()}.{quote(fold(column))} IS {literal(text)}"
