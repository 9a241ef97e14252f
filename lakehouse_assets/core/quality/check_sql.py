"""One check of a contract → Spark SQL, with the very semantics of pandera.polars.

Belongs here: the SQL of every check and literal. Does not belong here: which rules a row breaks (`rules.py`), what a
model may not say (`refusals.py`). Only SQL is written that Apache Spark and Sail both know and read alike.

A null breaks `nullable` and passes every other check. A check that cannot be translated is an error, never skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext
from typing import Any

from lakehouse_assets.core.contracts import ColumnType, Contract, Rule
from lakehouse_assets.core.contracts.row_checks import RULES
from lakehouse_assets.core.quality.patterns import PatternError, portable
from lakehouse_assets.core.spark_sql import literal, quoted
from lakehouse_assets.errors import LakehouseError


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
    # pandera puts a ^ before the pattern as it is, so that in `a|b` it binds to the first branch only.
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
