"""Where fakesnow's translation of Snowflake SQL to DuckDB gives another answer than Snowflake, and what replaces it.

What belongs here: functions from expression to expression, and `install`, which puts them in the place of fakesnow's.
What does not: stages (`stages/`), what is refused (`refusals.py`), sessions. Every function here has a contract test
that fails when it is no longer called.
"""

import functools
from collections.abc import Mapping

import duckdb
import fakesnow.arrow
import fakesnow.rowtype
import fakesnow.transforms
import pyarrow as pa
from fakesnow.arrow import timestamp_to_sf_struct as _timestamp_to_sf_struct
from fakesnow.transforms.transforms import _numeric_agg_col_name
from fakesnow.transforms.transforms import describe_table as _describe_table
from fakesnow.transforms.transforms import to_timestamp as _to_timestamp
from fakesnow.transforms.transforms import upper_case_unquoted_identifiers as _upper_case
from sqlglot import Expr, exp

from lakehouse_assets.embedded_snowflake.errors import compilation_error, rendered_only

AS_ARGUMENT = "_fs_global.main.as_argument"
"""A macro of the account: the first value, as a date where the second is one."""

_AGGREGATES = (exp.Sum, exp.Avg, exp.Variance, exp.Stddev, exp.StddevSamp, exp.StddevPop, exp.VariancePop, exp.Median)


def exact_aggregates(expression: Expr) -> Expr:
    """Leave the argument of SUM and its like as it is: fakesnow casts it to DOUBLE, which loses cents. The column keeps
    Snowflake's name.
    """
    if isinstance(expression, _AGGREGATES) and isinstance(expression.parent, exp.Select):
        name = _numeric_agg_col_name(expression, expression.this)
        return exp.alias_(expression, name, quoted=True) if name else expression
    return expression


def integer_types(expression: Expr) -> Expr:
    """NUMBER is NUMBER(38,0), which holds 38 digits; fakesnow makes it a BIGINT, into which no sum of row hashes fits.
    INT and its like stay BIGINT.
    """
    if isinstance(expression, exp.DataType):
        if expression.this == exp.DataType.Type.DECIMAL and len(expression.expressions) < 2:
            precision = (
                expression.expressions[0].copy()
                if expression.expressions
                else exp.DataTypeParam(this=exp.Literal.number(38))
            )
            return exp.DataType(
                this=exp.DataType.Type.DECIMAL, expressions=[precision, exp.DataTypeParam(this=exp.Literal.number(0))]
            )
        if expression.this in (exp.DataType.Type.INT, exp.DataType.Type.SMALLINT, exp.DataType.Type.TINYINT):
            return exp.DataType(this=exp.DataType.Type.BIGINT)
    return expression


def upper_case_identifiers(expression: Expr) -> Expr:
    """Unquoted identifiers in upper case, and quoted where DuckDB has a keyword that Snowflake allows as a name (AT,
    LAMBDA, SHOW, …).
    """
    folded = _upper_case(expression)
    if isinstance(folded, exp.Identifier) and not folded.quoted and folded.name.lower() in _keywords():
        folded.set("quoted", True)
    return folded


@functools.cache
def _keywords() -> frozenset[str]:
    rows = (
        duckdb.connect()
        .execute("SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category != 'unreserved'")
        .fetchall()
    )
    return frozenset(row[0] for row in rows)


def to_timestamp(expression: Expr) -> Expr:
    """A cast to TIMESTAMP_NTZ is a cast. fakesnow makes it a macro that tries to read every value as an epoch first,
    and that only a current database has.
    """
    return expression if isinstance(expression, exp.Cast) else _to_timestamp(expression)


def describe_table(expression: Expr, database: str | None = None, schema: str | None = None) -> Expr:
    """DESCRIBE of a table of any database. fakesnow asks the current database, which may be another one or none."""
    described = _describe_table(expression, database, schema)
    named = expression.find(exp.Table) if isinstance(expression, exp.Describe) else None
    if described is not expression and named is not None and named.catalog:
        for table in described.find_all(exp.Table):
            if table.db == "_fs_information_schema" and not table.catalog:
                table.set("catalog", exp.to_identifier(named.catalog, quoted=True))
    return described


def md5_number_lower64(expression: Expr) -> Expr:
    """MD5_NUMBER_LOWER64: the last eight bytes of the digest as an unsigned big-endian number. A decimal, so that it
    and its sums reach the client exactly.
    """
    if not isinstance(expression, exp.MD5NumberLower64):
        return expression
    digits = exp.func("SUBSTR", exp.func("MD5", expression.this.copy()), exp.Literal.number(17), exp.Literal.number(16))
    number = exp.cast(exp.DPipe(this=exp.Literal.string("0x"), expression=digits, safe=True), exp.DataType.Type.UBIGINT)
    return exp.cast(number, exp.DataType.build("DECIMAL(20, 0)", dialect="duckdb"))


_DAYS = {"YEAR", "QUARTER", "MONTH", "WEEK", "WEEKISO", "DAY", "Y", "YY", "YYYY", "MM", "MON", "D", "DD"}
"""Units of days and more, by which a date stays a date."""


def dates(statement: Expr) -> None:
    """A date that is truncated or moved by days, months or years stays a date; DuckDB makes it a timestamp.

    The type of a column is not known here, so a macro with a case for dates (`AS_ARGUMENT`) decides.
    """
    kinds = (exp.TimestampTrunc, exp.DateTrunc, exp.DateAdd, exp.DateSub, exp.AddMonths, exp.Add, exp.Sub)
    named = [(node, node.sql(dialect="snowflake").upper()) for node in statement.find_all(*kinds)]
    for node, name in reversed(named):  # inner ones first
        by = node.expression if isinstance(node, (exp.Add, exp.Sub)) else node
        if by is not node and not isinstance(by, exp.Interval):
            continue
        unit = by.args.get("unit")
        if unit is not None and unit.name.upper().removesuffix("S") not in _DAYS:
            continue
        moved: Expr = exp.Anonymous(this=AS_ARGUMENT, expressions=[node.copy(), node.this.copy()])
        if isinstance(node.parent, exp.Select):  # whose column Snowflake names after the expression as it is written
            moved = exp.alias_(moved, name, quoted=True)
        node.replace(moved)


def refuse_formats(expression: Expr) -> Expr:
    """TO_VARCHAR with a format: fakesnow drops the format and answers with another text."""
    if isinstance(expression, exp.ToChar) and expression.args.get("format"):
        raise rendered_only("TO_VARCHAR with a format")
    return expression


def unenforced_keys(expression: Expr) -> Expr:
    """Drop PRIMARY KEY, UNIQUE and FOREIGN KEY from table definitions: Snowflake records them and enforces none, DuckDB
    would enforce them.
    """
    if isinstance(expression, exp.ColumnDef):
        unenforced = (exp.PrimaryKeyColumnConstraint, exp.UniqueColumnConstraint, exp.Reference)
        kept = [c for c in expression.args.get("constraints") or [] if not isinstance(c.args.get("kind"), unenforced)]
        if any(
            isinstance(c.args.get("kind"), exp.PrimaryKeyColumnConstraint)
            for c in expression.args.get("constraints") or []
        ):
            # A primary key column is NOT NULL, and that Snowflake does enforce.
            kept = [*kept, exp.ColumnConstraint(kind=exp.NotNullColumnConstraint())] if not _not_null(kept) else kept
        expression.set("constraints", kept)
    elif isinstance(expression, exp.Schema) and isinstance(expression.parent, exp.Create):
        keys = {i.name.upper() for p in expression.find_all(exp.PrimaryKey) for i in p.find_all(exp.Identifier)}
        for column in expression.expressions:
            if (
                isinstance(column, exp.ColumnDef)
                and column.name.upper() in keys
                and not _not_null(column.args.get("constraints") or [])
            ):
                column.append("constraints", exp.ColumnConstraint(kind=exp.NotNullColumnConstraint()))
        expression.set("expressions", [e for e in expression.expressions if not _is_key(e)])
    return expression


def _not_null(constraints: list[Expr]) -> bool:
    return any(isinstance(c.args.get("kind"), exp.NotNullColumnConstraint) for c in constraints)


def _is_key(expression: Expr) -> bool:
    if isinstance(expression, exp.Constraint):
        return any(_is_key(e) for e in expression.expressions)
    return isinstance(expression, (exp.PrimaryKey, exp.ForeignKey, exp.UniqueColumnConstraint))


def copy_options(expression: Expr) -> Expr:
    """COPY INTO options that fakesnow reads by their presence (FORCE, PURGE) or only unquoted
    (MATCH_BY_COLUMN_NAME).
    """
    if not isinstance(expression, exp.Copy):
        return expression
    kept = []
    for parameter in expression.args.get("params") or []:
        name, value = parameter.this.name.upper(), parameter.args.get("expression")
        if name in ("FORCE", "PURGE") and isinstance(value, exp.Boolean) and not value.this:
            continue
        if name == "MATCH_BY_COLUMN_NAME" and isinstance(value, exp.Literal):
            parameter.set("expression", exp.Var(this=value.name))
        if name in ("FILES", "PATTERN"):
            raise compilation_error(
                f"{name} is not read by COPY INTO on the embedded account: give the directory of the hand-off, one for"
                " each."
            )
        kept.append(parameter)
    expression.set("params", kept)
    return expression


def timestamps_with_nulls(timestamps: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A timestamp column as the connector expects it; fakesnow's own conversion turns NULL into 1970-01-01."""
    if isinstance(timestamps, pa.ChunkedArray):
        timestamps = timestamps.combine_chunks()
    struct = _timestamp_to_sf_struct(timestamps)
    fields = [struct.type.field(index) for index in range(struct.type.num_fields)]
    return pa.StructArray.from_arrays(
        [struct.field(index) for index in range(len(fields))], fields=fields, mask=timestamps.is_null()
    )


def install() -> None:
    """Put this module's functions in the place of fakesnow's, in this process."""
    # fakesnow's cursor looks its transforms up in their package with every statement.
    fakesnow.transforms.numeric_agg_implicit_cast = exact_aggregates
    fakesnow.transforms.integer_precision = integer_types
    fakesnow.transforms.upper_case_unquoted_identifiers = upper_case_identifiers
    fakesnow.transforms.to_timestamp = to_timestamp
    fakesnow.transforms.describe_table = describe_table
    fakesnow.arrow.timestamp_to_sf_struct = timestamps_with_nulls
    # Types of DuckDB's integer functions that fakesnow has no Snowflake type for.
    fakesnow.rowtype.duckdb_to_sf_type.update(
        dict.fromkeys(("TINYINT", "SMALLINT", "UTINYINT", "USMALLINT", "UINTEGER"), "fixed")
    )


def apply(expression: Expr, values: Mapping[type[Expr], str | None]) -> Expr:
    """All rewrites that fakesnow has no counterpart of, before its own. `values` are what the context functions answer
    (CURRENT_ROLE and the like).
    """

    def context_functions(node: Expr) -> Expr:
        if type(node) not in values:
            return node
        value = values[type(node)]
        literal = exp.Null() if value is None else exp.Literal.string(value)
        return (
            exp.alias_(literal, node.sql(dialect="snowflake"), quoted=True)
            if isinstance(node.parent, exp.Select)
            else literal
        )

    dates(expression)
    expression = expression.transform(context_functions, copy=False)
    for rewrite in (md5_number_lower64, refuse_formats, unenforced_keys, copy_options):
        expression = expression.transform(rewrite, copy=False)
    return expression
