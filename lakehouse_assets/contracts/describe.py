"""A contract in words: what people read in the docs, on the command line and in check descriptions. Pure text; no SQL of rules, no Dagster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lakehouse_assets.contracts.contract import Column, Contract, HandoffSlice, Rule, TableRule

_SIGNS = {"eq": "=", "ne": "≠", "gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def rule_text(rule: Rule) -> str:
    """The rule as a phrase, such as ``customer_id ≥ 1``."""
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
    return [_with_severity(r) for r in contract.rules if r.column == column.name and r.check != "nullable"]


def row_rules(contract: Contract) -> list[str]:
    """The rules on whole rows, as phrases."""
    return [_with_severity(r) for r in contract.rules if r.column is None]


def table_rule_text(rule: TableRule) -> str:
    """A rule over the whole table as a phrase."""
    if rule.kind == "rows":
        return f"there are at least {rule.least} rows" + (f" and at most {rule.most}" if rule.most is not None else "")
    if rule.kind == "references":
        return f"every {rule.column} is a key of {rule.other}"
    if rule.kind == "single":
        return f"each {', '.join(rule.by)} has one {rule.column}"
    rows = "".join(f" of rows with {name} {_value(value)}" for name, value in rule.where)
    return f"{rule.column}, summed by {', '.join(rule.by)}, is the sum of {rule.of}{rows} in {rule.other}"


def table_rules(contract: Contract) -> list[str]:
    """The rules over the whole table, as phrases; a mere warning says so."""
    return [table_rule_text(r) + (" (warn)" if r.severity == "warn" else "") for r in contract.table_rules]


def _with_severity(rule: Rule) -> str:
    return rule_text(rule) + ("" if rule.severity == "quarantine" else f" ({rule.severity})")


def spark_ddl(contract: Contract) -> str:
    """The columns as Spark SQL writes them in DDL, with comments, one a line."""
    return ",\n".join(
        f"`{c.name}` {c.type.spark.upper()}{'' if c.nullable else ' NOT NULL'} COMMENT '{_escaped(c.description)}'"
        for c in contract.columns
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def markdown(contract: Contract) -> str:
    """The contract as a Markdown section: what the table is, its facts, its columns and rules."""
    facts = [f"- Key: {_names(contract.key) or 'none'}"]
    if contract.partition_by:
        facts.append(f"- Delta partitions: {_names(contract.partition_by)}")
    if contract.handoff:
        facts.append(f"- Travels to Snowflake {_handoff(contract.handoff)}")
    if contract.blocking:
        facts.append(
            f"- A drop is refused when more than {contract.blocking.rows} and more than {contract.blocking.share:.0%} of its rows are bad"
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
        lines.append(f"| `{column.name}` | {column.type.spark} | {'yes' if column.nullable else 'no'} | {what} | {rules} |")
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
        "# Contracts\n\nWhat each table promises. Written from the models in `lakehouse_assets/contracts/` by `lakehouse contracts`; change it there.\n"
        "\nA null breaks only *null: no*. A row that breaks a rule goes to quarantine, unless the rule says block or warn.\n"
    )
    index = "\n".join(f"- [{name}](#{name.replace('.', '')}): {c.description.splitlines()[0]}" for name, c in contracts.items())
    return "\n".join([head, index, "", *(markdown(c) for c in contracts.values())])
