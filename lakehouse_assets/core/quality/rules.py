"""Contract → Spark SQL: which rules a row breaks, in one pass, with the very semantics of pandera.polars.

Belongs here: the SQL of every rule, and the frame that names the broken rules of each row. Does not belong here: what
follows for drops and tables (`audit.py`). Only SQL is written that Apache Spark and Sail both know and read alike.

A null breaks `nullable` and passes every other rule. A rule that cannot be translated is an error, never skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

from pandera.api.checks import Check
from pandera.api.function_dispatch import Dispatcher

from lakehouse_assets.core.contracts import Column, ColumnType, Contract, Rule
from lakehouse_assets.core.contracts.row_checks import RULES
from lakehouse_assets.core.quality.patterns import PatternError, portable
from lakehouse_assets.core.spark_sql import literal, quoted
from lakehouse_assets.errors import LakehouseError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

VIOLATIONS, WARNINGS = "_violations", "_warnings"
"""The columns that `violations` adds: sorted names of the broken rules, empty where none is broken."""

_EMPTY = "CAST(array() AS ARRAY<STRING>)"
_MALFORMED = r"(?m)^(row|drop)[.][^\n]*"


class _Untranslatable(Exception):
    """Why a rule has no SQL, as the end of a sentence."""


def sql_literal(value: Any, of: ColumnType) -> str:
    """The value as a Spark SQL literal of exactly the column's type.

    Raises `LakehouseError` for a value that the type cannot hold: engines would each convert it in their own way.
    """
    try:
        return _literal(value, of)
    except _Untranslatable as error:
        raise LakehouseError(f"The value {value!r} cannot be compared with a {of.spark}: {error}.") from None


def _literal(value: Any, of: ColumnType) -> str:
    kind = of.kind
    if kind == "string" and isinstance(value, str):
        return literal(value)
    if kind == "boolean" and isinstance(value, bool):
        return str(value).lower()
    if kind == "bigint" and type(value) is int and -(2**63) <= value < 2**63:
        return f"CAST({literal(str(value))} AS BIGINT)"
    if kind == "decimal" and type(value) in (int, Decimal) and _fits(Decimal(value), of):
        return f"CAST({literal(f'{Decimal(value):f}')} AS {of.spark.upper()})"
    if kind == "date" and type(value) is date:
        return literal(value)
    if kind == "timestamp_ntz" and isinstance(value, datetime) and value.tzinfo is None:
        return f"TIMESTAMP_NTZ '{value.isoformat(' ')}'"
    if kind == "timestamp" and isinstance(value, datetime) and value.utcoffset() is not None:
        return f"TIMESTAMP_LTZ '{value.astimezone(UTC).isoformat(' ')}'"
    raise _Untranslatable(f"{value!r} is no value of the type {of.spark}; write one that is")


def _fits(value: Decimal, of: ColumnType) -> bool:
    with localcontext(prec=100):
        units = value.scaleb(of.scale) if value.is_finite() else Decimal("0.5")
        return units == units.to_integral_value() and abs(units) < 10**of.precision


_COMPARISONS: Mapping[str, tuple[str, str]] = {
    "eq": ("value", "<>"),
    "ne": ("value", "="),
    "gt": ("min_value", "<="),
    "ge": ("min_value", "<"),
    "lt": ("max_value", ">="),
    "le": ("max_value", ">"),
}
"""Check → its statistic, and the comparison that is true where the check is broken."""

_Builder = Callable[[str, ColumnType, Mapping[str, Any]], str]


def _comparison(statistic: str, operator: str) -> _Builder:
    return lambda column, of, said: f"{column} {operator} {_literal(said[statistic], of)}"


def _in_range(column: str, of: ColumnType, said: Mapping[str, Any]) -> str:
    below = "<" if said["include_min"] else "<="
    above = ">" if said["include_max"] else ">="
    return f"{column} {below} {_literal(said['min_value'], of)} OR {column} {above} {_literal(said['max_value'], of)}"


def _members(said: Any, of: ColumnType) -> str:
    if isinstance(said, str) or not isinstance(said, Collection):
        raise _Untranslatable(f"its values {said!r} are no list; write a list")
    return ", ".join(sorted({_literal(value, of) for value in said}))


def _isin(column: str, of: ColumnType, said: Mapping[str, Any]) -> str:
    members = _members(said["allowed_values"], of)
    return f"{column} NOT IN ({members})" if members else f"{column} IS NOT NULL"


def _notin(column: str, of: ColumnType, said: Mapping[str, Any]) -> str:
    members = _members(said["forbidden_values"], of)
    return f"{column} IN ({members})" if members else "false"


def _text_of(said: Any) -> str:
    if not isinstance(said, str):
        raise _Untranslatable(f"{said!r} is no plain string; write one")
    return said


def _pattern(said: Any) -> str:
    try:
        return portable(_text_of(said))
    except PatternError as error:
        raise _Untranslatable(
            f"Rust, Java and Snowflake do not all read {error} in {said!r} alike; see core/quality/patterns.py for what"
            " may be used"
        ) from None


def _str_matches(column: str, _: ColumnType, said: Mapping[str, Any]) -> str:
    # pandera puts a ^ before the pattern as it stands, so that in `a|b` it binds to the first branch only.
    pattern = _pattern(said["pattern"])
    return f"NOT ({column} RLIKE {literal(pattern if pattern.startswith('^') else '^' + pattern)})"


def _str_length(column: str, _: ColumnType, said: Mapping[str, Any]) -> str:
    bounds = {"exact_value": "<>", "min_value": "<", "max_value": ">"}
    given = {name: said[name] for name in bounds if said.get(name) is not None}
    if not given or any(type(value) is not int for value in given.values()):
        raise _Untranslatable(f"{dict(said)} is no length; write whole numbers")
    return " OR ".join(f"char_length({column}) {bounds[name]} {value}" for name, value in given.items())


_TEXT_CHECKS: Mapping[str, tuple[frozenset[str], _Builder]] = {
    "str_matches": (frozenset({"pattern"}), _str_matches),
    "str_contains": (
        frozenset({"pattern"}),
        lambda c, _, said: f"NOT ({c} RLIKE {literal(_pattern(said['pattern']))})",
    ),
    "str_startswith": (
        frozenset({"string"}),
        lambda c, _, said: f"NOT startswith({c}, {literal(_text_of(said['string']))})",
    ),
    "str_endswith": (
        frozenset({"string"}),
        lambda c, _, said: f"NOT endswith({c}, {literal(_text_of(said['string']))})",
    ),
    "str_length": (frozenset(), _str_length),
}
_VALUE_CHECKS: Mapping[str, tuple[frozenset[str], _Builder]] = {
    **{
        name: (frozenset({statistic}), _comparison(statistic, operator))
        for name, (statistic, operator) in _COMPARISONS.items()
    },
    "in_range": (frozenset({"min_value", "max_value", "include_min", "include_max"}), _in_range),
    "isin": (frozenset({"allowed_values"}), _isin),
    "notin": (frozenset({"forbidden_values"}), _notin),
}


def known_checks() -> list[str]:
    """pandera's built-in checks that are judged, by the short names that `Field` takes."""
    return [*_TEXT_CHECKS, *_VALUE_CHECKS]


def rule_sql(contract: Contract, rule: Rule) -> str:
    """A Spark SQL boolean: true where the row breaks the rule; false or null where it does not.

    Raises `LakehouseError` naming table and field where the rule has no SQL that every engine reads alike.
    """
    try:
        return _rule_sql(contract, rule)
    except _Untranslatable as error:
        model = contract.model.__name__
        where = f"{model}.{rule.column}" if rule.column else f"the rows of {model}"
        raise LakehouseError(
            f"The check {rule.check} on {where} ({contract.name}) cannot be judged: {error}."
        ) from None


def _rule_sql(contract: Contract, rule: Rule) -> str:
    said = dict(rule.statistics)
    column = quoted(rule.column) if rule.column else None
    if rule.check == "nullable":
        return f"{column} IS NULL"
    if rule.check in RULES:
        registered = RULES[rule.check]
        if set(said) != set(registered.statistics):
            raise _Untranslatable(
                "its body cannot be read; use a built-in check, or one registered in core/contracts/row_checks.py"
            )
        if (registered.columns is None) != (column is not None):
            place = "a Field" if registered.columns is None else "Config"
            raise _Untranslatable(f"it belongs in {place}; move it there")
        missing = sorted(set(rule_columns(contract, rule)) - set(contract.names))
        if missing:
            raise _Untranslatable(f"the table has no column {', '.join(missing)}; correct the names")
        return registered.sql(**({"column": column} if column else {}), **said)
    if column is None or rule.column is None or rule.check not in {**_TEXT_CHECKS, **_VALUE_CHECKS}:
        raise _Untranslatable(
            "its body cannot be read; use a built-in check, or register one in core/contracts/row_checks.py"
        )
    of = contract.column(rule.column).type
    if of.kind == "list" or (rule.check in _TEXT_CHECKS and of.kind != "string"):
        raise _Untranslatable(f"it does not apply to the type {of.spark}; remove it")
    statistics, build = {**_TEXT_CHECKS, **_VALUE_CHECKS}[rule.check]
    if not statistics <= set(said):
        raise _Untranslatable(
            "its body cannot be read; use a built-in check, or register one in core/contracts/row_checks.py"
        )
    return build(column, of, said)


def rule_columns(contract: Contract, rule: Rule) -> tuple[str, ...]:
    """The columns a rule reads."""
    if rule.column:
        return (rule.column,)
    registered = RULES.get(rule.check)
    return tuple(registered.columns(**dict(rule.statistics))) if registered and registered.columns else contract.names


def refuse_unreadable(contract: Contract) -> None:
    """Raise `LakehouseError` where the model says something of its rows that the one-pass audit does not judge; for
    when definitions load.
    """
    schema = contract.model.to_schema()
    for name, column in schema.columns.items():
        where = f"{contract.model.__name__}.{name} ({contract.name})"
        _refuse_settings(where, column, _OF_A_COLUMN)
        for check in column.checks:
            _refuse_options(where, check)
    _refuse_settings(f"{contract.model.__name__} ({contract.name})", schema, _OF_A_TABLE)
    for check in schema.checks or []:
        _refuse_options(f"the rows of {contract.model.__name__} ({contract.name})", check)
    names = [rule.name for rule in contract.rules]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise LakehouseError(
            f"The contract of {contract.name} has two rules named {', '.join(doubled)}; merge them into one."
        )
    for rule in contract.rules:
        rule_sql(contract, rule)


_KEY = "which is not judged; name the key in Config.metadata instead"
_CHANGES = "by which pandera would change rows before it judges them; remove it, and let the transform do that"
_OF_A_COLUMN: Mapping[str, tuple[Any, str]] = {
    "unique": (False, _KEY),
    "regex": (False, "which is not judged; give each column a line of its own"),
    "required": (True, "but every row of a table has all its columns; write nullable=True instead of Optional"),
    "default": (None, _CHANGES),
    "coerce": (False, _CHANGES),
    "parsers": (None, _CHANGES),
}
_OF_A_TABLE: Mapping[str, tuple[Any, str]] = {
    "unique": (None, _KEY),
    "drop_invalid_rows": (False, "but a row that breaks a rule goes to quarantine; remove it"),
    **dict.fromkeys(("add_missing_columns", "coerce"), (False, _CHANGES)),
    "parsers": (None, _CHANGES),
    "dtype": (None, _CHANGES),
}
"""Setting of a pandera schema → the one value under which its verdict is that of the rules alone, and what to say of
any other.
"""


def _refuse_settings(where: str, schema: Any, settings: Mapping[str, tuple[Any, str]]) -> None:
    for setting, (usual, why) in settings.items():
        if getattr(schema, setting) not in (usual, []):
            raise LakehouseError(f"{where} sets {setting}, {why}.")
    if getattr(schema, "strict", None) == "filter":
        raise LakehouseError(f"{where} sets strict to filter, {_CHANGES}.")


def _refuse_options(where: str, check: Check) -> None:
    if check.name == "unique_values_eq":
        raise LakehouseError(
            f"The check {check.name} on {where} is about all rows together, which no row can break; use isin, and"
            " `rows` in Config.metadata."
        )
    built_in = Check.is_builtin_check(check.name) and isinstance(check._check_fn, Dispatcher)
    if not built_in and not (check.name in RULES and RULES[check.name].is_body_of(check)):
        raise LakehouseError(
            f"The check {check.name} on {where} has a body that cannot be read; use a built-in check, or register one"
            " in core/contracts/row_checks.py."
        )
    for option, usual in (("ignore_na", True), ("raise_warning", False), ("element_wise", False), ("groupby", None)):
        if getattr(check, option) != usual:
            raise LakehouseError(f"The check {check.name} on {where} sets {option}, which is not judged; remove it.")


def _array(broken: Mapping[str, str]) -> str:
    if not broken:
        return _EMPTY
    cases = ", ".join(f"CASE WHEN {broken[name]} THEN {literal(name)} END" for name in sorted(broken))
    return f"array_compact(array({cases}))"


def _any(broken: Mapping[str, str]) -> str:
    return " OR ".join(f"({sql})" for sql in broken.values()) or "false"


def _where(
    contract: Contract, columns_present: Collection[str] | None, wanted: Callable[[Rule], bool]
) -> dict[str, str]:
    present = set(contract.names if columns_present is None else columns_present)
    return {
        rule.name: rule_sql(contract, rule)
        for rule in contract.rules
        if wanted(rule) and present.issuperset(rule_columns(contract, rule))
    }


def _is_bad(rule: Rule) -> bool:
    return rule.severity != "warn"


def violations_sql(contract: Contract, columns_present: Collection[str] | None = None) -> str:
    """One expression: the sorted names of all broken rules that are not mere warnings, as array<string>.

    Rules of derived columns are judged only where no rule of a landed column is broken. columns_present: judge only
    rules whose columns are all among these; None judges all.
    """
    landed = _where(contract, columns_present, lambda r: _is_bad(r) and not r.derived)
    derived = _where(contract, columns_present, lambda r: _is_bad(r) and r.derived)
    # Most rows are good, so the arrays are built only where something is broken.
    branches = [f"WHEN {_any(rules)} THEN {_array(rules)}" for rules in (landed, derived) if rules]
    return f"CASE {' '.join(branches)} ELSE {_EMPTY} END" if branches else _EMPTY


def warnings_sql(contract: Contract, columns_present: Collection[str] | None = None) -> str:
    """As `violations_sql`, for the rules of severity `warn`."""
    landed = _where(contract, columns_present, lambda r: not _is_bad(r) and not r.derived)
    derived = _where(contract, columns_present, lambda r: not _is_bad(r) and r.derived)
    if not derived:
        return _array(landed)
    broken = _where(contract, columns_present, lambda r: _is_bad(r) and not r.derived)
    return f"CASE WHEN {_any(broken)} THEN {_array(landed)} ELSE {_array({**landed, **derived})} END"


def _warning_problems(contract: Contract) -> list[str]:
    rules = {r.name for r in (*contract.rules, *contract.table_rules)}
    return sorted(name for name, severity in contract.severities.items() if severity == "warn" and name not in rules)


def violations(
    df: DataFrame,
    contract: Contract,
    problems_column: str | None = None,
    columns_present: Collection[str] | None = None,
) -> DataFrame:
    """Add `_violations` and `_warnings`, the sorted names of the rules that each row breaks (array<string>, never
    null).

    problems_column: problems found while the row was read (array<string>, may be null), which are added: `<col>.type`
    and `<col>.scale` stand for a value that could not be converted, so that the null it left is not reported as
    `<col>.nullable` as well; of a row that could not be read (`row.…`, `drop.…`) nothing else is reported. A row with a
    problem has none of its derived columns judged. columns_present: judge only the rules of these columns. Raises
    `LakehouseError` where the frame lacks a column that it is to judge.
    """
    missing = [n for n in (contract.names if columns_present is None else columns_present) if n not in df.columns]
    if missing:
        raise LakehouseError(
            f"The rows for {contract.name} lack the columns {', '.join(missing)}; select them before judging."
        )
    judged, warned = violations_sql(contract, columns_present), warnings_sql(contract, columns_present)
    if problems_column is None:
        return df.selectExpr("*", f"{judged} AS {VIOLATIONS}", f"{warned} AS {WARNINGS}")

    # No lambda and no array_except here: Sail cannot push a filter on what they give down to a Parquet scan.
    given = f"array_compact(coalesce({quoted(problems_column)}, {_EMPTY}))"
    tolerated = _warning_problems(contract)
    bad = given
    for name in tolerated:
        bad = f"array_remove({bad}, {literal(name)})"
    landed = _where(contract, columns_present, lambda r: _is_bad(r) and not r.derived)
    converted = _array({name: _unless_converted(name, sql) for name, sql in landed.items()})
    landed_warned = _where(contract, columns_present, lambda r: not _is_bad(r) and not r.derived)
    warned_problems = _array({name: f"array_contains({given}, {literal(name)})" for name in tolerated})
    found = f"regexp_extract_all(array_join({given}, '\\n'), {literal(_MALFORMED)}, 0)"
    some = f"coalesce(size({quoted(problems_column)}), 0) > 0"
    frame = df.selectExpr(
        "*", f"CASE WHEN {some} THEN {found} ELSE {_EMPTY} END AS _malformed_row", f"{bad} AS _bad_problems"
    )
    return frame.selectExpr(
        "*",
        f"CASE WHEN size(_malformed_row) > 0 THEN {_sorted('_malformed_row')} WHEN size(_bad_problems) = 0 THEN"
        f" {judged} ELSE {_sorted(f'concat(_bad_problems, {converted})')} END AS {VIOLATIONS}",
        f"CASE WHEN size(_malformed_row) > 0 THEN {_EMPTY} WHEN size(_bad_problems) = 0 THEN"
        f" {_sorted(f'concat({warned_problems}, {warned})') if tolerated else warned}"
        f" ELSE {_sorted(f'concat({warned_problems}, {_array(landed_warned)})')} END AS {WARNINGS}",
    ).drop("_malformed_row", "_bad_problems")


def _sorted(names: str) -> str:
    return f"sort_array(array_distinct({names}))"


def _unless_converted(name: str, sql: str) -> str:
    column, _, check = name.rpartition(".")
    if check != "nullable":
        return sql
    marks = " OR ".join(f"array_contains(_bad_problems, {literal(f'{column}.{mark}')})" for mark in ("type", "scale"))
    return f"{sql} AND NOT ({marks})"


def offending_columns(contract: Contract, rules: Collection[str]) -> list[Column]:
    """The columns that the named rules read, in the order of the contract; problems of conversion name theirs."""
    known = {rule.name: rule for rule in contract.rules}
    read = {n for name in rules if name in known for n in rule_columns(contract, known[name])}
    read |= {name.rpartition(".")[0] for name in rules if name not in known}
    return [column for column in contract.columns if column.name in read]
