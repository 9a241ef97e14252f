"""How Dagster shows contracts and what was found: Markdown tables and texts, column schemas, column lineage.

Belongs here: values → metadata and descriptions. Does not belong here: what a gate or a check concludes (`gates.py`,
`checks.py`).
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dagster as dg

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.contracts.describe import broken_text, column_rules, row_rules
from lakehouse_assets.core.quality.rules import severity_of
from lakehouse_assets.orchestration.keys import asset_key
from lakehouse_assets.shown import printable

SHOWN_ROWS = 20


def rule_table(contract: Contract, counts: Mapping[str, int]) -> dg.MetadataValue:
    """The broken rules, with what each asks for."""
    severities = severity_of(contract, counts)
    rows = [
        {"rule": name, "count": count, "severity": severities[name], "what must hold": broken_text(contract, name)}
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    return markdown_table(rows)


def summary(counts: Mapping[str, int], what: str) -> str:
    """How many times each rule is broken, as a sentence; `what` is what is counted."""
    if not counts:
        return "Nothing is broken."
    return (
        "; ".join(
            f"{name}: {count} {what}" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        )
        + "."
    )


def markdown_table(rows: Sequence[Mapping[str, Any]], most: int = SHOWN_ROWS) -> dg.MetadataValue:
    """At most `most` rows as Markdown, all names and values as plain text; columns in the order in which they first
    appear.
    """
    columns = list(dict.fromkeys(name for row in rows[:most] for name in row))
    lines = [f"| {' | '.join(map(_cell, columns))} |", f"|{'---|' * len(columns)}"] if columns else []
    lines += [f"| {' | '.join(_cell(row.get(name, '')) for name in columns)} |" for row in rows[:most]]
    return dg.MetadataValue.md("\n".join(lines))


def _cell(value: Any) -> str:
    return plain("null" if value is None else str(value).replace("\r", " ").replace("\n", " "))


def plain(text: str) -> str:
    """A text as Markdown that shows just that text, on one line: no markup, link, picture or HTML of it comes into
    being. Control characters are spelled out.
    """
    marked = re.sub(r"[\\`*|\[\]~!#$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", printable(text))
    return marked.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def dagster_schema(contract: Contract) -> dg.TableSchema:
    """The columns for the metadata key `dagster/column_schema`: types, descriptions, constraints; personal data as a
    tag.
    """
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.type.spark,
                description=column.description,
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable,
                    unique=contract.key == (column.name,),
                    other=column_rules(contract, column),
                ),
                tags={"personal": "true"} if column.personal else {},
            )
            for column in contract.columns
        ],
        constraints=dg.TableConstraints(other=row_rules(contract)),
    )


def dagster_lineage(
    contract: Contract, contracts: Mapping[str, Contract], upstreams: Collection[str]
) -> dict[str, Any]:
    """The column lineage as metadata, as far as the rules over the whole table say where a column comes from, for these
    are checked.

    A column that holds keys of an upstream comes from there, and a sum that agrees with another table from what is
    summed there. Of other columns nothing is said.
    """
    deps: dict[str, list[dg.TableColumnDep]] = {}

    def comes_from(column: str, table: str, source: str) -> None:
        dep = dg.TableColumnDep(asset_key(table), source)
        if dep not in deps.setdefault(column, []):
            deps[column].append(dep)

    for rule in contract.table_rules:
        if rule.kind == "references" and rule.other in upstreams:
            comes_from(rule.column, rule.other, contracts[rule.other].key[0])
        elif rule.kind == "agrees":
            for column, theirs in zip(rule.by, rule.theirs, strict=True):
                comes_from(column, rule.other, theirs)
            for source in (rule.of, *(name for name, _ in rule.where)):
                comes_from(rule.column, rule.other, source)
    return lineage(deps)


def lineage(deps: Mapping[str, list[dg.TableColumnDep]]) -> dict[str, Any]:
    """Where columns come from, as metadata: the graph, which only Dagster+ draws, and a table for everybody else."""
    rows = [
        {"column": name, "comes from": ", ".join(f"{'.'.join(s.asset_key.path)}.{s.column_name}" for s in sources)}
        for name, sources in deps.items()
    ]
    graph = dg.TableColumnLineage({name: list(sources) for name, sources in deps.items()})
    return {"dagster/column_lineage": graph, "columns_from": markdown_table(rows, len(rows))} if deps else {}
