"""Rules over whole tables: how many rows there are, whether every reference leads somewhere, whether sums agree with the layer below, whether a group
has one value.

Belongs here: judging them on frames, and refusing, when definitions load, one that names what is not there. Does not belong here: the rules of rows and keys
(`rules.py`, `audit.py`), Dagster (`checks.py`). They read more than a slice, so they stand alone and gate nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lakehouse_assets.contracts import Contract, TableRule
from lakehouse_assets.contracts.checks import sql_name
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.quality.audit import Broken, shown
from lakehouse_assets.quality.rules import sql_literal

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ReadTable = Callable[[str], "DataFrame"]
"""Gives all rows of a table, by its name `layer.table`."""


def refuse_table_rules(contract: Contract, contracts: Mapping[str, Contract]) -> None:
    """Raise `LakehouseError`, naming model and rule, where a rule over the whole table cannot be judged; for when definitions load."""
    for rule in contract.table_rules:
        where = f"The rule {rule.name} of {contract.model.__name__} ({contract.name}) cannot be judged"
        if rule.kind == "rows":
            if rule.most is not None and rule.most < rule.least:
                raise LakehouseError(f"{where}: it asks for at least {rule.least} and at most {rule.most} rows; exchange them.")
            continue
        if rule.kind == "single":
            if missing := [name for name in (rule.column, *rule.by) if name not in contract.names]:
                raise LakehouseError(f"{where}: {contract.name} has no column {', '.join(missing)}; correct the names.")
            continue
        other = contracts.get(rule.other)
        if other is None:
            raise LakehouseError(f"{where}: there is no table {rule.other}; correct its name.")
        here, there = ((rule.column, *rule.by), (rule.of, *rule.by, *(name for name, _ in rule.where)))
        if rule.kind == "references":
            if len(other.key) != 1:
                raise LakehouseError(
                    f"{where}: the key of {rule.other} is not one column but {', '.join(other.key)}; refer to another table."
                )
            here, there = (rule.column,), other.key
        for table, columns in ((contract, here), (other, there)):
            if missing := [name for name in columns if name not in table.names]:
                raise LakehouseError(f"{where}: {table.name} has no column {', '.join(missing)}; correct the names.")
        if rule.kind == "references" and contract.column(rule.column).type != other.column(other.key[0]).type:
            raise LakehouseError(f"{where}: {rule.column} and the key of {rule.other} have different types; refer to another table.")
        for table, name in ((contract, rule.column), (other, rule.of)) if rule.kind == "agrees" else ():
            if table.column(name).type.kind not in ("bigint", "decimal"):
                raise LakehouseError(f"{where}: {name} of {table.name} is no number, so that it has no sum; name another column.")
        for name, value in rule.where:
            sql_literal(value, other.column(name).type)


def broken_table_rules(contract: Contract, contracts: Mapping[str, Contract], read: ReadTable, samples: int = 5) -> dict[str, Broken]:
    """Which rules over the whole table are broken, by name: in how many rows, keys or groups, and some of them. `read` gives the tables as they are."""
    frame = read(contract.name)
    found: dict[str, Broken] = {}
    together: dict[tuple[str, tuple[str, ...]], list[TableRule]] = defaultdict(list)
    for rule in contract.table_rules:
        if rule.kind == "rows":
            count = frame.count()
            if count < rule.least or (rule.most is not None and count > rule.most):
                found[rule.name] = Broken(count, ({"rules": rule.name, "rows": count},), rule.severity)
        elif rule.kind == "references":
            key = sql_name(contracts[rule.other].key[0])
            known = read(rule.other).selectExpr(f"{key} AS {sql_name(rule.column)}")
            lost = (
                frame.where(f"{sql_name(rule.column)} IS NOT NULL").select(rule.column).distinct().join(known, [rule.column], "left_anti")
            )
            if count := lost.count():
                rows = lost.orderBy(rule.column).limit(samples).collect()
                said = tuple(shown(row.asDict(), contract, [rule.name], [rule.column]) for row in rows)
                found[rule.name] = Broken(count, said, rule.severity)
        elif rule.kind == "single":
            values = frame.selectExpr(*map(sql_name, rule.by), f"{sql_name(rule.column)} AS _value").distinct()
            several = values.groupBy(*rule.by).count().where("count > 1").select(*rule.by)
            if count := several.count():
                rows = several.orderBy(*rule.by).limit(samples).collect()
                found[rule.name] = Broken(count, tuple(shown(r.asDict(), contract, [rule.name], rule.by) for r in rows), rule.severity)
        else:
            together[rule.other, rule.by].append(rule)
    for (name, by), rules in together.items():
        found |= _disagreements(contract, contracts[name], frame, read(name), by, rules, samples)
    return found


def _disagreements(
    contract: Contract, other: Contract, frame: DataFrame, other_frame: DataFrame, by: tuple[str, ...], rules: list[TableRule], samples: int
) -> dict[str, Broken]:
    """The groups in which sums differ; one pass over either table for all its sums. Rows without a group, which null stands for, are left out."""
    from pyspark.sql import functions as F

    def summed(of: DataFrame, side: str, terms: list[str]) -> DataFrame:
        sums = [F.expr(f"sum(CAST({term} AS DECIMAL(28,6)))").alias(f"_{side}{n}") for n, term in enumerate(terms)]
        keys = [F.expr(sql_name(name)).alias(f"_{side}_by{n}") for n, name in enumerate(by)]
        return of.where(" AND ".join(f"{sql_name(name)} IS NOT NULL" for name in by)).groupBy(*keys).agg(*sums)

    here = summed(frame, "here", [sql_name(rule.column) for rule in rules])
    there = summed(other_frame, "there", [_term(rule, other) for rule in rules])
    on = F.expr(" AND ".join(f"_here_by{n} = _there_by{n}" for n in range(len(by))))
    sides = [f"CAST(coalesce(_{side}{n}, 0) AS DECIMAL(38,6)) AS {side}{n}" for n in range(len(rules)) for side in ("here", "there")]
    keys = [f"coalesce(_here_by{n}, _there_by{n}) AS {sql_name(name)}" for n, name in enumerate(by)]
    joined = here.join(there, on, "full_outer").selectExpr(*keys, *sides)
    differ = {rule.name: f"here{n} <> there{n}" for n, rule in enumerate(rules)}
    counts = joined.selectExpr(*(f"count(CASE WHEN {sql} THEN 1 END) AS n{n}" for n, sql in enumerate(differ.values()))).collect()[0]
    found = {}
    for n, rule in enumerate(rules):
        if counts[n]:
            rows = joined.where(differ[rule.name]).orderBy(*by).limit(samples).collect()
            said = (
                {**shown(row.asDict(), contract, [rule.name], by), "here": row[f"here{n}"], other.name: row[f"there{n}"]} for row in rows
            )
            found[rule.name] = Broken(counts[n], tuple(said), rule.severity)
    return found


def _term(rule: TableRule, other: Contract) -> str:
    """What a row of the other table adds to the sum."""
    holds = " AND ".join(f"{sql_name(name)} = {sql_literal(value, other.column(name).type)}" for name, value in rule.where)
    return f"(CASE WHEN {holds} THEN {sql_name(rule.of)} END)" if holds else sql_name(rule.of)
