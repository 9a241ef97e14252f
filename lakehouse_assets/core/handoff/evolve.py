"""How a table that is there becomes the one that its definition says: the statements between, and their class.

Belongs here: columns and their types, of served tables and of those of the record. Does not belong here: asking the
account (`catalog.py`), the order of objects (`plan.py`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from lakehouse_assets.core.contracts import Column, ColumnType, Contract
from lakehouse_assets.core.handoff import sql
from lakehouse_assets.core.handoff.catalog import DeployedColumn
from lakehouse_assets.core.handoff.definitions import Object, column_comment, create_table, table_comment
from lakehouse_assets.core.handoff.names import TargetNames

Class = Literal["safe", "rebuild", "breaking", "foreign", "unlike", "left"]

_COLUMN = re.compile(r"^    ([A-Z_]+) ([A-Z_]+(?:\(\d+,\d+\))?),?$", re.MULTILINE)
"""Name and type of a column as `sql/objects.sql` defines it."""


@dataclass(frozen=True)
class PlannedStatement:
    """One pending definition. `safe`: altered in place; `rebuild`: the table is made anew of its own rows, in one
    statement; `breaking`: readers lose something; `foreign`: another lakehouse is served there; `unlike`: somebody made
    an object of that name that does not serve, which stops a deployment; `left`: for a person to do, and never executed
    here.
    """

    sql: str
    kind: Class
    object: str
    reason: str


def evolve(
    names: TargetNames, contract: Contract, present: Mapping[str, DeployedColumn], *, comments: bool
) -> Iterator[PlannedStatement]:
    """From the deployed columns to the contract's. Where a type cannot be altered the table is made anew: of its own
    rows if they fit.
    """
    table = names.table(contract)
    changes = [(c, present[c.name.upper()]) for c in contract.columns if c.name.upper() in present]
    retyped = {c.name: how for c, was in changes if (how := _retype(c.type, was))}
    lost = [n for n in present if n.lower() not in contract.names]
    reason = _why_anew(contract, present, retyped, lost)
    if "breaking" in retyped.values() or ("rebuild" in retyped.values() and lost):
        yield PlannedStatement(create_table(names, contract, "replace"), "breaking", table, reason)
        return
    if rebuilt := "rebuild" in retyped.values():
        yield PlannedStatement(rebuild(table, contract, present, retyped), "rebuild", table, reason)
    for column in contract.columns:
        was = present.get(column.name.upper())
        if rebuilt:
            yield from _rebuilt(table, column, was)
        elif was is None:
            # Nullable whatever the contract says: the rows that are there have no value until they are handed off
            # again.
            yield _alter("add_column", table, column, "adds")
        else:
            yield from _altered(table, column, was, retyped.get(column.name) == "safe", comments)
    for name in lost:
        statement = sql.statement("tables", "drop_column", table=table, column=name)
        yield PlannedStatement(statement, "breaking", table, f"drops {name}")
    if comments or rebuilt:
        statement = sql.statement("tables", "comment_table", table=table, comment=sql.literal(table_comment(contract)))
        yield PlannedStatement(statement, "safe", table, "describes the table")


def _why_anew(
    contract: Contract, present: Mapping[str, DeployedColumn], retyped: Collection[str], lost: Collection[str]
) -> str:
    gained = [c.name.upper() for c in contract.columns if c.name.upper() not in present]
    changed = [f"{n.upper()} from {_type(present[n.upper()])} to {contract.column(n).type.snowflake}" for n in retyped]
    parts = {"changes": changed, "adds": gained, "drops": lost}
    return ", ".join(f"{what} {', '.join(columns)}" for what, columns in parts.items() if columns)


def _alter(which: str, table: str, column: Column, does: str, how: str = "") -> PlannedStatement:
    """A statement of `sql/tables.sql` that alters a column in place. does, how: what precedes and follows the
    column's name in the reason.
    """
    name, comment = column.name.upper(), sql.literal(column_comment(column))
    fields = {"table": table, "column": name, "type": column.type.snowflake, "comment": comment}
    return PlannedStatement(sql.statement("tables", which, **fields), "safe", table, f"{does} {name}{how}")


def _altered(
    table: str, column: Column, was: DeployedColumn, widened: bool, comments: bool
) -> Iterator[PlannedStatement]:
    if widened:
        yield _alter("widen_column", table, column, "widens", f" from {_type(was)} to {column.type.snowflake}")
    if column.nullable and not was.nullable:
        yield _alter("drop_not_null", table, column, "allows null in")
    if comments and was.comment != column_comment(column):
        yield _alter("comment_column", table, column, "describes")


def _rebuilt(table: str, column: Column, was: DeployedColumn | None) -> Iterator[PlannedStatement]:
    """What a table that was made anew of its own rows lacks: it has no comments, and may have lost its NOT NULL."""
    if was and not was.nullable:
        which, does = ("drop_not_null", "allows null in") if column.nullable else ("set_not_null", "keeps null out of")
        yield _alter(which, table, column, does)
    if column_comment(column):
        yield _alter("comment_column", table, column, "describes")


def rebuild(table: str, contract: Contract, present: Collection[str], retyped: Collection[str]) -> str:
    """A table made of its own rows: columns of another type cast, new ones null. One statement, so that readers see all
    rows or all rows.
    """

    def value(column: Column) -> str:
        name = column.name.upper()
        if name in present and column.name not in retyped:
            return name
        return f"CAST({name if name in present else 'NULL'} AS {column.type.snowflake}) AS {name}"

    return sql.statement("tables", "rebuild", table=table, columns=",\n    ".join(map(value, contract.columns)))


def migrate(wanted: Object, present: Mapping[str, DeployedColumn]) -> Iterator[PlannedStatement]:
    """From a table of the record as it is to its definition. Columns are added; anything else is left to a person, for
    its rows are the proof.
    """
    unknown: list[str] = []
    columns = dict(_COLUMN.findall(wanted.statement))
    for column, type_ in columns.items():
        if column not in present:
            statement = sql.statement("tables", "add_record_column", table=wanted.table, column=column, type=type_)
            yield PlannedStatement(statement, "safe", wanted.table, f"adds {column}")
        elif (was := _type(present[column])) != type_:
            unknown.append(f"{column} is {was}, not {type_}")
    unknown += [f"{n} is not known" for n in present if n not in columns]
    if unknown:
        reason = f"{', '.join(unknown)} to this version; migrate it by hand, its rows are the record of hand-offs"
        yield PlannedStatement("", "left", wanted.table, reason)


_FAMILIES = {
    "TEXT": "string",
    "VARCHAR": "string",
    "NUMBER": "number",
    "DECIMAL": "number",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP_TZ": "timestamp",
    "TIMESTAMP_NTZ": "timestamp_ntz",
    "ARRAY": "list",
}


def _type(column: DeployedColumn) -> str:
    if column.precision is not None:
        return f"{column.type}({column.precision},{column.scale})"
    return "VARCHAR" if column.type == "TEXT" else column.type


def _retype(wanted: ColumnType, was: DeployedColumn) -> Class | None:
    """How a column gets its new type: not at all, altered in place, with the table made anew, or at the readers'
    cost.
    """
    family = _FAMILIES.get(was.type, was.type)
    if wanted.kind in ("bigint", "decimal"):
        precision, scale = (wanted.precision, wanted.scale) if wanted.kind == "decimal" else (38, 0)
        if family != "number" or was.precision is None or was.scale is None:
            return "breaking"
        if (precision, scale) == (was.precision, was.scale):
            return None
        if scale == was.scale and precision > was.precision:
            return "safe"
        # A greater scale takes digits from the whole part, unless the precision grows as much.
        return "rebuild" if scale >= was.scale and precision - scale >= was.precision - was.scale else "breaking"
    if wanted.kind == family:
        return None
    return (
        "rebuild"
        if (family, wanted.kind) in {("date", "timestamp_ntz"), ("number", "string"), ("date", "string")}
        else "breaking"
    )
