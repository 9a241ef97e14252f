"""A contract in words: what people read in the docs, on the command line and in check descriptions. Pure text; no SQL
of rules, no Dagster.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from lakehouse_assets.core.contracts.contract import Contract
from lakehouse_assets.core.contracts.parts import Blocking, Column, HandoffSlice, Rule, TableRule
from lakehouse_assets.core.spark_sql import literal, quoted

_WIDTH = 120

_SIGNS = {"eq": "=", "ne": "≠", "gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def rule_text(rule: Rule) -> str:
    """The rule as a phrase, such as ``quantity ≥ 1``."""
    said = dict(rule.statistics)
    column = rule.column or "row"
    if rule.check in _SIGNS:
        text = f"{column} {_SIGNS[rule.check]} {_value(next(iter(said.values())))}"
    elif rule.check == "in_range":
        low = "≤" if said["include_min"] else "<"
        high = "≤" if said["include_max"] else "<"
        text = f"{_value(said['min_value'])} {low} {column} {high} {_value(said['max_value'])}"
    elif rule.check in ("isin", "notin"):
        values = ", ".join(sorted(_value(v) for v in next(iter(said.values()))))
        text = f"{column} is {'one' if rule.check == 'isin' else 'none'} of {values}"
    elif rule.check == "nullable":
        text = f"{column} is not null"
    elif rule.check == "str_length":
        text = f"{column} has {_length(said)} characters"
    elif rule.column and rule.check.startswith("str_"):
        verb = {"str_matches": "begins with a match of", "str_contains": "contains a match of"}.get(rule.check)
        verb = verb or {"str_startswith": "begins with", "str_endswith": "ends with"}[rule.check]
        text = f"{column} {verb} {_value(next(iter(said.values())))}"
    else:
        details = ", ".join(f"{k}: {_value(v)}" for k, v in said.items())
        text = f"{column} {rule.check}{f' ({details})' if details else ''}"
    return text


PROBLEMS: Mapping[str, str] = {
    "drop.unreadable": "the drop is UTF-8 text with a header, whole and not empty",
    "drop.missing_column": "the header has every required column",
    "drop.duplicate_column": "the header names a required column once",
    "drop.bad_rows": "the drop has no more bad rows than its contract allows",
    "row.ragged": "the row has as many fields as the header has names",
    "row.encoding": "the line is UTF-8",
    "row.nul": "the line holds no NUL",
    "row.open_quote": "a quote that is opened is closed where its field ends",
    "row.json": "the line is one JSON object with distinct keys",
    "row.long": "the line is no longer than 16 MB",
    "row.truncated": "the gzip stream is whole",
    "rows.aged": "no longer known: the rows have left quarantine by age",
}
"""What must hold so that a drop and its rows can be read at all; the contract of no table says it."""


def broken_text(contract: Contract, name: str) -> str:
    """What must hold where a rule or a problem of that name is reported."""
    rules: dict[str, Rule | TableRule] = {r.name: r for r in (*contract.rules, *contract.table_rules)}
    if rule := rules.get(name):
        return table_rule_text(rule) if isinstance(rule, TableRule) else rule.description or rule_text(rule)
    column, _, check = name.rpartition(".")
    if name == "key.unique":
        return f"one row for each {', '.join(contract.key)}"
    if check in ("type", "scale") and column in contract.names:
        of = contract.column(column).type
        return (
            f"{column} can be converted to {of.spark}"
            if check == "type"
            else f"{column} has at most {of.scale} decimals"
        )
    return PROBLEMS.get(name, "")


def _value(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ", ".join(_value(v) for v in value)
    return f"`{value}`" if isinstance(value, str) else str(value)


def _length(said: Mapping[str, Any]) -> str:
    exact, least, most = (said.get(name) for name in ("exact_value", "min_value", "max_value"))
    if exact is not None or least == most:
        return str(least if exact is None else exact)
    if least is None or most is None:
        return f"at most {most}" if least is None else f"at least {least}"
    return f"{least} to {most}"


def column_rules(contract: Contract, column: Column) -> list[str]:
    """The rules on one column beside nullability, as phrases; a severity other than quarantine is added."""
    said = [_with_severity(contract, r) for r in contract.rules if r.column == column.name and r.check != "nullable"]
    # What has a severity of its own and no text of its own: null, and values that cannot be converted.
    names = (f"{column.name}.{check}" for check in ("nullable", "type", "scale"))
    return said + [
        f"{broken_text(contract, n)} ({_severity(contract, n)})"
        for n in names
        if contract.severities.get(n, "quarantine") != "quarantine"
    ]


def row_rules(contract: Contract) -> list[str]:
    """The rules on whole rows, as phrases."""
    return [_with_severity(contract, r) for r in contract.rules if r.column is None]


def table_rule_text(rule: TableRule) -> str:
    """A rule over the whole table as a phrase."""
    if rule.kind == "rows":
        return f"there are at least {rule.least} rows" + (f" and at most {rule.most}" if rule.most is not None else "")
    if rule.kind == "references":
        return f"every {rule.column} is a key of {rule.other}"
    if rule.kind == "single":
        return f"each {', '.join(rule.by)} has one {rule.column}"
    rows = "".join(f" of rows with {name} {_value(value)}" for name, value in rule.where)
    by = ", ".join(
        here if here == there else f"{here} ({there} there)" for here, there in zip(rule.by, rule.theirs, strict=True)
    )
    return f"{rule.column}, summed by {by}, is the sum of {rule.of}{rows} in {rule.other}"


def table_rules(contract: Contract) -> list[str]:
    """The rules over the whole table, as phrases; a mere warning says so, and so does a rule that gates."""
    return [
        table_rule_text(r)
        + (f"; judged in its step, against {r.gate}, for every {r.by[0]} that is touched" if r.gate else "")
        + (" (warn)" if r.severity == "warn" else "")
        for r in contract.table_rules
    ]


def _with_severity(contract: Contract, rule: Rule) -> str:
    return rule_text(rule) + ("" if rule.severity == "quarantine" else f" ({_severity(contract, rule.name)})")


def _severity(contract: Contract, name: str) -> str:
    allowed = contract.allowances.get(name)
    return f"block above {allowance_text(allowed, 'and')} of a drop" if allowed else contract.severities[name]


def allowance_text(allowed: Blocking, word: str = "or") -> str:
    """How many rows of a drop may be bad: so many, *or* such a share; above the one *and* the other it is refused."""
    return f"{allowed.rows} rows {word} {allowed.share:.0%}"


def spark_ddl(contract: Contract) -> str:
    """The columns as Spark SQL writes them in DDL, with comments, one a line."""
    return ",\n".join(
        f"{quoted(c.name)} {c.type.spark.upper()}{'' if c.nullable else ' NOT NULL'} COMMENT {literal(c.description)}"
        for c in contract.columns
    )


def markdown(contract: Contract) -> str:
    """The contract as a Markdown section: what the table is, its facts, its columns and rules."""
    facts = [f"- Key: {_names(contract.key) or 'none'}"]
    if contract.partition_by:
        facts.append(f"- Delta partitions: {_names(contract.partition_by)}")
    if contract.business_date:
        facts.append(f"- Business date: `{contract.business_date}`")
    if contract.handoff:
        facts.append(f"- Travels to Snowflake {_handoff(contract.handoff)}")
    if contract.blocking:
        facts.append(
            f"- A drop is refused when more than {contract.blocking.rows} and more than {contract.blocking.share:.0%}"
            " of its rows are bad"
        )
    facts += [f"- Every row: {text}" for text in row_rules(contract)]
    facts += [f"- The whole table: {text}" for text in table_rules(contract)]
    facts += [f"- Owner: {contract.owner}", f"- Fingerprint: `{contract.fingerprint}`"]
    lines = [
        f"## {contract.name}",
        "",
        contract.description,
        "",
        *facts,
        "",
        "| column | type | null | what it is | rules |",
        "|---|---|---|---|---|",
    ]
    for column in contract.columns:
        marks = [word for word, holds in (("personal data", column.personal), ("derived", column.derived)) if holds]
        what = _cell(column.description) + (f" *({', '.join(marks)})*" if marks else "")
        rules = _cell("; ".join(column_rules(contract, column)))
        lines.append(
            f"| `{column.name}` | {column.type.spark} | {'yes' if column.nullable else 'no'} | {what} | {rules} |"
        )
    return "\n".join(lines) + "\n"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{n}`" for n in names)


def _handoff(handoff: HandoffSlice) -> str:
    return {
        "column": f"by `{handoff.column}`",
        "hash": f"in {handoff.buckets} buckets of its key's hash",
        "whole": "as a whole",
    }[handoff.kind]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def page(contracts: Mapping[str, Contract]) -> str:
    """All contracts as one Markdown page, `docs/contracts.md`, in the order of the mapping."""
    head = (
        "# Contracts\n\nWhat each table promises. Written from the models in `lakehouse_assets/core/contracts/` by"
        " `lakehouse contracts --export docs/contracts.md`; change it there.\n\nA null breaks only *null: no*. A row"
        " that breaks a rule goes to quarantine, unless the rule says block or warn.\n"
    )
    index = "\n".join(f"- [{name}](#{name.replace('.', '')}): {c.summary}" for name, c in contracts.items())
    text = "\n".join([head, index, "", *(markdown(c) for c in contracts.values())])
    return "\n".join(map(_folded, text.split("\n")))


def _folded(line: str) -> str:
    """A line of Markdown in lines of the width of the docs; rows of tables cannot be folded."""
    if line.startswith("|"):
        return line
    return textwrap.fill(
        line,
        _WIDTH,
        subsequent_indent="  " if line.startswith("- ") else "",
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=bool(line.strip()),
    )
