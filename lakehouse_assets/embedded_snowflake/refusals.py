"""What the embedded account answers with "rendered only": statements that it can neither execute nor enforce.

What belongs here: the list of what is executed; everything else is refused, so that a statement nobody thought of is
never answered with success.
"""

import functools
import re
from collections.abc import Iterator, Mapping

import duckdb
from sqlglot import Expr, exp

from lakehouse_assets.embedded_snowflake.errors import compilation_error, rendered_only
from lakehouse_assets.embedded_snowflake.names import without_strings

_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery, exp.Values)
_CHANGES = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Copy, exp.TruncateTable)
_SESSION = (exp.Transaction, exp.Commit, exp.Rollback, exp.Use, exp.Set, exp.Describe, exp.Show, exp.Comment)
_KINDS = {"TABLE", "VIEW", "SCHEMA", "DATABASE", "STAGE", "FILE FORMAT", "SEQUENCE"}
# Properties that change what the object is or protects, and that nothing here would honour.
_PROPERTIES = (
    exp.DynamicProperty, exp.ExternalProperty, exp.MaterializedProperty, exp.SecureProperty, exp.IcebergProperty,
    exp.HybridProperty,
    exp.RowAccessProperty, exp.MaskingProperty, exp.Tags, exp.LikeProperty, exp.UsingTemplateProperty,
)  # fmt: skip
_NAMED_PROPERTIES = {"DATA_RETENTION_TIME_IN_DAYS", "CHANGE_TRACKING", "URL", "STORAGE_INTEGRATION"}
_POLICY = re.compile(r"\bMASKING\s+POLICY\b|\bROW\s+ACCESS\s+POLICY\b|\bWITH\s+TAG\b", re.IGNORECASE)
_ACTIONS = (exp.ColumnDef, exp.AlterColumn, exp.Drop, exp.RenameColumn, exp.AlterRename, exp.AlterSet)
_SHOWN = {
    "TABLES", "VIEWS", "OBJECTS", "COLUMNS", "SCHEMAS", "DATABASES", "STAGES", "SEQUENCES", "FILE FORMATS",
    "PRIMARY KEYS", "UNIQUE KEYS", "IMPORTED KEYS",
}  # fmt: skip
SESSION_PARAMETERS = {
    "QUERY_TAG", "TIMEZONE", "LOCK_TIMEOUT", "AUTOCOMMIT", "STATEMENT_TIMEOUT_IN_SECONDS",
    "STATEMENT_QUEUED_TIMEOUT_IN_SECONDS",
    "QUOTED_IDENTIFIERS_IGNORE_CASE", "CLIENT_SESSION_KEEP_ALIVE", "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT",
    "JDBC_QUERY_RESULT_FORMAT",
    "ABORT_DETACHED_QUERY", "TRANSACTION_ABORT_ON_ERROR", "MULTI_STATEMENT_COUNT",
}  # fmt: skip

_MEANINGS = {
    "TIMEZONE": {"UTC", "ETC/UTC"},
    "DATE_INPUT_FORMAT": {"AUTO", "YYYY-MM-DD"},
    "TIME_INPUT_FORMAT": {"AUTO"},
    "TIMESTAMP_INPUT_FORMAT": {"AUTO"},
    "TIMESTAMP_TYPE_MAPPING": {"TIMESTAMP_NTZ"},
    "BINARY_INPUT_FORMAT": {"HEX"},
    "ROWS_PER_RESULTSET": {"0"},
}
"""Session parameters under which a statement means something else, with the values that this account acts by."""


# Of the table functions that DuckDB brings along, those that look at nothing but their arguments. Snowflake has none of
# the others.
_HARMLESS = {"unnest", "range", "generate_series", "json_each", "json_tree"}
_TELLING = {
    "current_setting", "getvariable", "getenv", "current_query", "current_query_id", "in_search_path", "write_log",
    "parse_duckdb_log_message",
}  # fmt: skip
# What a name may hold that fakesnow writes into a SQL text or a path: no quote, separator or control character.
_NAME = re.compile(r"[^'\"`;/\\\0-\x1f\x7f]+")


@functools.cache
def _inner_functions() -> frozenset[str]:
    """DuckDB's functions that read or write files, run text as SQL or tell of the process. Asked of DuckDB, so that a
    later one's are among them.
    """
    with duckdb.connect() as duck:
        rows = duck.execute(
            "SELECT function_name FROM duckdb_functions() WHERE function_type NOT IN ('scalar', 'aggregate', 'macro',"
            " 'window')"
        ).fetchall()
    return frozenset(name.lower() for (name,) in rows) - _HARMLESS | _TELLING


@functools.cache
def _keywords() -> frozenset[str]:
    """The words that DuckDB does not take as the name of a database unless they are quoted, which fakesnow does not."""
    with duckdb.connect() as duck:
        rows = duck.execute(
            "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category IN ('reserved', 'type_function')"
        ).fetchall()
    return frozenset(name.lower() for (name,) in rows)


def check_login(parameters: Mapping[str, object]) -> None:
    """Raise ProgrammingError ("rendered only …") for a login that asks for another meaning of statements than they have
    here.
    """
    for name, values in _MEANINGS.items():
        if name in parameters and str(parameters[name]).upper() not in values:
            raise rendered_only(f"{name} = {parameters[name]}")


def check_container(kind: str, name: str) -> None:
    """Raise ProgrammingError for a name that a database or schema of the embedded account cannot have: it is the name
    of a file, and part of SQL.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_$]{0,254}", name):
        raise compilation_error(
            f"{name[:60]!a} cannot be the name of a {kind} of the embedded account: letters, digits and _ are possible."
        )
    own = name.lower().startswith("_fs_") or name.lower() in ("memory", "system", "temp")
    if kind == "database" and (own or name.lower() in _keywords()):
        raise compilation_error(
            f"{name[:60]!a} cannot be the name of a database of the embedded account: the word is taken. Choose another"
            " name."
        )


def check_inner(expression: Expr) -> None:
    """Raise ProgrammingError for what is DuckDB's and not Snowflake's: its functions over files and settings, and files
    as tables.
    """
    for function in expression.find_all(exp.Func):
        names = [function.name] if isinstance(function, exp.Anonymous) else function.sql_names()
        for name in names:
            if name.lower() in _inner_functions():
                raise compilation_error(f"Unknown function {name.upper()}.", errno=2141, sqlstate="42601")
    check_names(expression)


def check_names(expression: Expr) -> None:
    """Raise ProgrammingError where a table is a file, or has a name that could be one or could end a string of SQL."""
    for table in expression.find_all(exp.Table):
        for part in (table.args.get("catalog"), table.args.get("db"), table.this):
            if isinstance(part, exp.Literal) and not part.name.startswith("@"):
                raise compilation_error(
                    f"{part.name[:60]!a} is no table; the embedded account reads files of a stage only."
                )
            if isinstance(part, exp.Identifier) and not _NAME.fullmatch(part.name):
                raise compilation_error(
                    f"{part.name[:60]!a} cannot be a name on the embedded account: it holds a quote, a slash or the"
                    " like."
                )


def check(expression: Expr, text: str) -> None:
    """Raise ProgrammingError ("rendered only …") unless the embedded account executes the statement with the effect
    that Snowflake gives it.
    """
    for reason in _reasons(expression, text):
        raise rendered_only(reason)
    check_inner(expression)


def check_unparsed(text: str) -> None:
    """The same for a statement that the parser cannot read, as far as its first words tell that it is about something
    this account does not have.
    """
    match = re.match(
        r"(?:CREATE|ALTER|DROP|SHOW|DESCRIBE|DESC)\s+(?:OR\s+(?:REPLACE|ALTER)\s+)?(?:(?:LOCAL|GLOBAL|TEMP|TEMPORARY|VOLATILE|TRANSIENT)\s+)*"
        r"(?P<kind>\w+\s+\w+)",
        text,
        re.IGNORECASE,
    )
    kind = " ".join(match["kind"].upper().split()) if match else ""
    if re.match(r"(GRANT|REVOKE|CALL|EXECUTE|UNDROP)\b", text, re.IGNORECASE) or (
        kind and kind not in _KINDS and kind.split()[0] not in _KINDS | _SHOWN | {"SESSION"}
    ):
        raise rendered_only(" ".join(text.split()[:4]))


def _reasons(expression: Expr, text: str) -> Iterator[str]:
    beginning = " ".join(text.split()[:4])
    if isinstance(expression, (exp.Create, exp.Drop)):
        yield from _in_definition(expression, beginning)
        if isinstance(expression, exp.Create):
            yield from _in_columns(expression, text, beginning)
    elif isinstance(expression, exp.Alter):
        yield from _in_alteration(expression, beginning)
    elif isinstance(expression, exp.Show):
        if expression.name.upper() not in _SHOWN:
            yield beginning
    elif isinstance(expression, exp.Command):
        # SHOW PARAMETERS is the one command without a node of its own that is answered truly.
        if not re.match(r"SHOW\s+PARAMETERS\b", text, re.IGNORECASE):
            yield beginning
    elif not isinstance(expression, (*_QUERIES, *_CHANGES, *_SESSION)) and not _unset(expression):
        yield beginning
    if isinstance(expression, exp.Copy):
        if not re.match(r"COPY\s+INTO\s+[^'@\s]", text, re.IGNORECASE):
            yield "COPY INTO a location"
        if expression.args.get("kind") is False or not expression.args.get("files"):
            yield "COPY TO a file"
    yield from _in_queries(expression)


def _in_definition(expression: exp.Create | exp.Drop, beginning: str) -> Iterator[str]:
    if str(expression.args.get("kind") or "").upper() not in _KINDS:
        yield beginning
    properties = expression.args.get("properties")
    for property_ in properties.expressions if properties else []:
        if isinstance(property_, _PROPERTIES):
            yield f"{beginning} with {type(property_).__name__.removesuffix('Property').upper()}"
        if isinstance(property_, exp.Property) and property_.name.upper() in _NAMED_PROPERTIES:
            yield f"{beginning} with {property_.name.upper()}"


def _in_columns(expression: exp.Create, text: str, beginning: str) -> Iterator[str]:
    for constraint in expression.find_all(exp.ColumnConstraint):
        if isinstance(constraint.args.get("kind"), (exp.MaskingProperty, exp.Tags, exp.ComputedColumnConstraint)):
            yield f"{beginning} with a {type(constraint.kind).__name__}"
    if _POLICY.search(without_strings(text)):
        yield f"{beginning} with a policy or tag"


def _in_alteration(expression: exp.Alter, beginning: str) -> Iterator[str]:
    kind = expression.args.get("kind")
    if kind == "SESSION":
        yield from _session_parameters(expression)
        return
    if kind not in ("TABLE", "VIEW"):
        yield beginning
        return
    for action in expression.args.get("actions") or [None]:
        if not isinstance(action, _ACTIONS) or (
            isinstance(action, exp.Drop) and str(action.args.get("kind")).upper() != "COLUMN"
        ):
            yield beginning
        if isinstance(action, exp.AlterSet) and not _sets_comment(action):
            yield f"{beginning} SET"


def _sets_comment(action: exp.AlterSet) -> bool:
    """Whether SET sets a comment and nothing else."""
    return [type(p) for s in action.expressions for p in s.expressions] == [exp.SchemaCommentProperty]


def _in_queries(expression: Expr) -> Iterator[str]:
    for table in expression.find_all(exp.Table):
        if table.args.get("when") or table.args.get("version") or table.args.get("changes"):
            yield "time travel"
        if table.db.upper() in ("ACCOUNT_USAGE", "ORGANIZATION_USAGE", "READER_ACCOUNT_USAGE"):
            yield table.db.upper()
    for function in expression.find_all(exp.Anonymous):
        if function.name.upper().startswith("SYSTEM$"):
            yield function.name.upper()


def _session_parameters(expression: Expr) -> Iterator[str]:
    for item in expression.find_all(exp.SetItem):
        assignment = item.this
        name = (assignment.this if isinstance(assignment, exp.EQ) else assignment).name.upper()
        if name not in SESSION_PARAMETERS:
            yield f"ALTER SESSION {name}"
        if (
            name == "TIMEZONE"
            and isinstance(assignment, exp.EQ)
            and assignment.expression.name.upper() not in ("UTC", "ETC/UTC")
        ):
            yield "ALTER SESSION SET TIMEZONE to another zone than UTC"


def _unset(expression: Expr) -> bool:
    """UNSET variable, which the parser reads as an alias."""
    return (
        isinstance(expression, exp.Alias)
        and isinstance(expression.this, exp.Column)
        and expression.this.name.upper() == "UNSET"
    )
