"""Which rules a row breaks, in one pass: the frame that names the broken rules of each row, and their severities.

Does not belong here: the SQL of one check (`check_sql.py`), what follows for drops (`drops.py`) and slices
(`slices.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from lakehouse_assets.core.contracts import Column, Contract, Rule
from lakehouse_assets.core.contracts.parts import Severity
from lakehouse_assets.core.quality.check_sql import rule_columns, rule_sql
from lakehouse_assets.core.spark_sql import literal, quoted
from lakehouse_assets.errors import LakehouseError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

VIOLATIONS, WARNINGS = "_violations", "_warnings"
"""The columns that `violations` adds: sorted names of the broken rules, empty where none is broken."""

SEPARATOR = "\n"
"""What separates the names of rules that are joined to one text."""

_EMPTY = "CAST(array() AS ARRAY<STRING>)"

_MALFORMED = r"(?m)^(row|drop)[.][^\n]*"


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


def severity_of(contract: Contract, rules: Iterable[str]) -> dict[str, Severity]:
    """The severity of each of the named rules; problems of reading and conversion are `quarantine` where the model does
    not say.
    """
    said: dict[str, Severity] = {
        **contract.severities,
        **{r.name: r.severity for r in (*contract.rules, *contract.table_rules)},
    }
    return {name: said.get(name, "quarantine") for name in rules}


def joined(column: str) -> str:
    """SQL: the names in a column of `violations`, as one text."""
    return f"array_join({column}, {literal(SEPARATOR)})"


def names_in(joined: str) -> list[str]:
    """The names in such a text."""
    return joined.split(SEPARATOR) if joined else []
