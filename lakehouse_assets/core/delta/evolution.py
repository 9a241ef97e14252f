"""How a Delta table follows its contract: what differs, which class a change is of, and the statement that says it.

Belongs here: deciding and wording. Does not belong here: carrying it out (the stores), the Snowflake side
(`core/handoff/deploy.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lakehouse_assets.core.contracts import Column, ColumnType, Contract
from lakehouse_assets.core.spark_sql import literal, quoted, quoted_list
from lakehouse_assets.errors import LakehouseError

Class = Literal["safe", "rebuild", "breaking"]

_DECIMAL = re.compile(r"decimal\((\d+),\s*(\d+)\)")


@dataclass(frozen=True)
class PlannedChange:
    """One pending change of a Delta table. `safe`: only its schema changes; `rebuild`: its rows are written anew in
    wider types, in one commit; `breaking`: its rows cannot follow, and it is never done.

    sql: the change in Spark SQL. delta-spark executes it as it is; delta-rs, which knows no SQL, does the same by
    its own means.
    """

    sql: str
    kind: Class
    object: str
    reason: str


def created(contract: Contract, table: str) -> PlannedChange:
    """What makes a table that is not there. table: as Spark's SQL names it, here and below."""
    columns = ",\n    ".join(
        f"{quoted(c.name)} {c.type.spark} COMMENT {literal(c.description)}" for c in contract.columns
    )
    sql = f"CREATE TABLE IF NOT EXISTS {table} (\n    {columns}\n)\nUSING delta{clauses(contract)}"
    return PlannedChange(sql, "safe", contract.name, "the table is not there")


def differing(contract: Contract, present: Mapping[str, str], table: str) -> list[PlannedChange]:
    """What brings a table with the columns `present` (name → type in Spark SQL) to its contract. A rewrite adds columns
    as well.
    """
    name = contract.name
    changes = [(c, present[c.name]) for c in contract.columns if present.get(c.name, c.type.spark) != c.type.spark]
    lost = [n for n in present if n not in contract.names]
    planned = [
        PlannedChange(f"ALTER TABLE {table} DROP COLUMN {quoted(n)}", "breaking", name, f"drops {n}") for n in lost
    ]
    for column, was in changes:
        if not holds(column.type, was):
            reason = f"changes {column.name} {was} → {column.type.spark}"
            planned.append(
                PlannedChange(
                    f"ALTER TABLE {table} ALTER COLUMN {quoted(column.name)} TYPE {column.type.spark}",
                    "breaking",
                    name,
                    reason,
                )
            )
    gained = added(contract, present)
    adds = [f"adds {', '.join(c.name for c in gained)}"] if gained else []
    wider = [f"widens {c.name} {was} → {c.type.spark}" for c, was in changes if holds(c.type, was)]
    if wider:
        planned.append(PlannedChange(rewriting(contract, present, table), "rebuild", name, ", ".join(wider + adds)))
    elif gained:
        planned.append(PlannedChange(adding(gained, table), "safe", name, adds[0]))
    return planned


def refuse_breaking(planned: Sequence[PlannedChange], place: str) -> None:
    """Raise `LakehouseError` where rows that are there cannot follow the contract. place: where the table lies."""
    breaking = [p for p in planned if p.kind == "breaking"]
    if breaking:
        name = breaking[0].object
        raise LakehouseError(
            f"The contract of {name} now {' and '.join(p.reason for p in breaking)}, which its rows cannot follow; put"
            f" that back, or move {place} away and run `lakehouse rebuild {name}` to make the table anew from its"
            " upstreams."
        )


def added(contract: Contract, present: Mapping[str, str]) -> list[Column]:
    """The columns that a contract has gained."""
    return [c for c in contract.columns if c.name not in present]


def holds(wanted: ColumnType, was: str) -> bool:
    """Whether a type holds every value of another, given in Spark SQL."""
    narrow = _DECIMAL.fullmatch(was)
    if wanted.kind == "decimal" and narrow:
        precision, scale = map(int, narrow.groups())
        return wanted.scale >= scale and wanted.precision - wanted.scale >= precision - scale
    return (was, wanted.kind) == ("date", "timestamp_ntz")


def adding(columns: list[Column], table: str) -> str:
    """The statement that adds columns at the end."""
    return f"ALTER TABLE {table} ADD COLUMNS ({', '.join(f'{quoted(c.name)} {c.type.spark}' for c in columns)})"


def recast(contract: Contract, present: Mapping[str, str]) -> list[str]:
    """A table's columns in the types of its contract, with new columns null."""
    return [
        f"CAST({quoted(c.name) if c.name in present else 'NULL'} AS {c.type.spark}) AS {quoted(c.name)}"
        for c in contract.columns
    ]


def rewriting(contract: Contract, present: Mapping[str, str], table: str) -> str:
    """The statement that writes a table's rows anew in the types of its contract."""
    values = ",\n    ".join(recast(contract, present))
    return f"CREATE OR REPLACE TABLE {table} USING delta{clauses(contract)}\nAS SELECT\n    {values}\nFROM {table}"


def clauses(contract: Contract) -> str:
    """Partitions, comment and properties, as a table is created with them."""
    partitions = f" PARTITIONED BY ({quoted_list(contract.partition_by)})" if contract.partition_by else ""
    settings = ", ".join(
        f"{literal(k)} = {literal(v)}" for k, v in {**properties(contract), **features(contract.columns)}.items()
    )
    return f"{partitions}\nCOMMENT {literal(contract.summary)}\nTBLPROPERTIES ({settings})"


_PRUNING = ("string", "bigint", "date")


def properties(contract: Contract) -> dict[str, str]:
    """The table properties that a table is created with, by whichever store."""
    columns = [c.name for c in contract.columns if c.type.kind in _PRUNING and c.name not in contract.partition_by]
    return {
        "delta.enableChangeDataFeed": "true",
        # A platform may turn them on by itself, and not every reader knows them.
        "delta.enableDeletionVectors": "false",
        # delta-rs writes the least and greatest decimal as a float, and Sail 0.7.2 answers from them where they are
        # equal: wrong beyond 15 digits, without an error. Times and lists are left out because no read is pruned by
        # them.
        "delta.dataSkippingStatsColumns": ",".join(columns),
    }


def features(columns: Iterable[Column]) -> dict[str, str]:
    """The settings that let a table have columns of these types; delta-rs finds that out by itself."""
    return {"delta.feature.timestampNtz": "supported"} if any(c.type.kind == "timestamp_ntz" for c in columns) else {}
