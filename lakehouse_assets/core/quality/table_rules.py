"""Rules over whole tables: how many rows there are, whether every reference leads somewhere, whether sums agree with
the layer below, whether a group has one value.

Belongs here: judging them on frames, and refusing, when definitions load, one that names what is not there. Does not
belong here: the rules of rows and keys (`rules.py`, `slices.py`), Dagster (`orchestration/checks.py`). They read more
than a slice, so they stand alone, but for sums by day: those of the days that a slice touches gate it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from lakehouse_assets.core.contracts import Contract, TableRule
from lakehouse_assets.core.quality.check_sql import sql_literal
from lakehouse_assets.core.quality.samples import shown
from lakehouse_assets.core.quality.slices import Broken
from lakehouse_assets.core.spark_sql import between, in_list, quoted
from lakehouse_assets.errors import LakehouseError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ReadTable = Callable[[str], "DataFrame"]
"""Gives all rows of a table, by its name `layer.table`."""


def refuse_table_rules(contract: Contract, contracts: Mapping[str, Contract]) -> None:
    """Raise `LakehouseError`, naming model and rule, where a rule over the whole table cannot be judged; for when
    definitions load.
    """
    for rule in contract.table_rules:
        where = f"The rule {rule.name} of {contract.model.__name__} ({contract.name}) cannot be judged"
        if rule.kind == "rows":
            if rule.most is not None and rule.most < rule.least:
                raise LakehouseError(
                    f"{where}: it asks for at least {rule.least} and at most {rule.most} rows; exchange them."
                )
        elif rule.kind == "single":
            _refuse_missing(where, contract, (rule.column, *rule.by))
        elif rule.other not in contracts:
            raise LakehouseError(f"{where}: there is no table {rule.other}; correct its name.")
        elif rule.kind == "references":
            _refuse_reference(where, rule, contract, contracts[rule.other])
        else:
            _refuse_sums(where, rule, contract, contracts[rule.other])
            if rule.gate:
                _refuse_gate(f"{where} in its step", rule, contract, contracts)


def _refuse_missing(where: str, contract: Contract, columns: Collection[str]) -> None:
    if missing := [name for name in columns if name not in contract.names]:
        raise LakehouseError(f"{where}: {contract.name} has no column {', '.join(missing)}; correct the names.")


def _refuse_reference(where: str, rule: TableRule, contract: Contract, other: Contract) -> None:
    if len(other.key) != 1:
        raise LakehouseError(
            f"{where}: the key of {rule.other} is not one column but {', '.join(other.key)}; refer to another table."
        )
    _refuse_missing(where, contract, [rule.column])
    _refuse_missing(where, other, other.key)
    if contract.column(rule.column).type != other.column(other.key[0]).type:
        raise LakehouseError(
            f"{where}: {rule.column} and the key of {rule.other} have different types; refer to another table."
        )


def _columns_there(rule: TableRule) -> tuple[str, ...]:
    """What a rule over sums reads of the other table."""
    return (rule.of, *rule.theirs, *(name for name, _ in rule.where))


def _refuse_sums(where: str, rule: TableRule, contract: Contract, other: Contract) -> None:
    _refuse_missing(where, contract, (rule.column, *rule.by))
    _refuse_missing(where, other, _columns_there(rule))
    for table, name in ((contract, rule.column), (other, rule.of)):
        if table.column(name).type.kind not in ("bigint", "decimal"):
            raise LakehouseError(
                f"{where}: {name} of {table.name} is no number, so that it has no sum; name another column."
            )
    for name, value in rule.where:
        sql_literal(value, other.column(name).type)


def _refuse_gate(where: str, rule: TableRule, contract: Contract, contracts: Mapping[str, Contract]) -> None:
    upstream, other, names = contracts.get(rule.gate), contracts[rule.other], _columns_there(rule)
    if upstream is None or any(
        name not in upstream.names or upstream.column(name).type.kind != other.column(name).type.kind for name in names
    ):
        raise LakehouseError(
            f"{where}: {rule.gate} lacks one of {', '.join(names)} of {rule.other}; name another gate."
        )
    if contract.column(rule.by[0]).type.kind != "date":
        raise LakehouseError(
            f"{where}: {rule.by[0]} is no date, which tells the touched rows from the others; begin `by` with one."
        )


def broken_table_rules(
    contract: Contract, contracts: Mapping[str, Contract], read: ReadTable, samples: int = 5
) -> dict[str, Broken]:
    """Which rules over the whole table are broken, by name: in how many rows, keys or groups, and some of them. `read`
    gives the tables as they are.
    """
    frame = read(contract.name)
    found: dict[str, Broken] = {}
    together: dict[tuple[str, tuple[str, ...]], list[TableRule]] = defaultdict(list)
    for rule in contract.table_rules:
        if rule.kind == "rows":
            count = frame.count()
            if count < rule.least or (rule.most is not None and count > rule.most):
                found[rule.name] = Broken(count, ({"rules": rule.name, "rows": count},), rule.severity)
        elif rule.kind == "references":
            key = quoted(contracts[rule.other].key[0])
            known = read(rule.other).selectExpr(f"{key} AS {quoted(rule.column)}")
            lost = (
                frame.where(f"{quoted(rule.column)} IS NOT NULL")
                .select(rule.column)
                .distinct()
                .join(known, [rule.column], "left_anti")
            )
            if count := lost.count():
                rows = lost.orderBy(rule.column).limit(samples).collect()
                said = tuple(shown(row.asDict(), contract, [rule.name], [rule.column]) for row in rows)
                found[rule.name] = Broken(count, said, rule.severity)
        elif rule.kind == "single":
            values = frame.selectExpr(*map(quoted, rule.by), f"{quoted(rule.column)} AS _value").distinct()
            several = values.groupBy(*rule.by).count().where("count > 1").select(*rule.by)
            if count := several.count():
                rows = several.orderBy(*rule.by).limit(samples).collect()
                found[rule.name] = Broken(
                    count, tuple(shown(r.asDict(), contract, [rule.name], rule.by) for r in rows), rule.severity
                )
        else:
            together[rule.other, rule.by].append(rule)
    for (name, _), rules in together.items():
        found |= _disagreements(contract, contracts[name], frame, read(name), rules, samples)
    return found


def disagreements_of_slice(
    contract: Contract,
    contracts: Mapping[str, Contract],
    staged: DataFrame,
    written: DataFrame,
    target: DataFrame,
    read: ReadTable,
    samples: int = 5,
) -> dict[str, Broken]:
    """The sums that a slice would let disagree with the tables it was computed from, over the days that it touches.

    staged: all rows of the slice; written: those that it does not delete; target: the table as it is. `read` gives an
    upstream as it was read. What a slice that touches nothing leaves wrong, only `broken_table_rules` finds.
    """
    found: dict[str, Broken] = {}
    together: dict[tuple[str, tuple[str, ...]], list[TableRule]] = defaultdict(list)
    for rule in contract.table_rules:
        if rule.gate:
            together[rule.gate, rule.by].append(rule)
    for (name, _), rules in together.items():
        here, there = quoted(rules[0].by[0]), quoted(rules[0].theirs[0])
        days = sorted(r[0] for r in staged.select(rules[0].by[0]).distinct().collect() if r[0] is not None)
        if not days:
            continue
        # The bounds let an engine leave files out, which it does not for long lists.
        touched_here, touched_there = (
            f"{between(column, days[0], days[-1])} AND {in_list(column, days)}" for column in (here, there)
        )
        kept = target.where(touched_here).join(staged.select(*contract.key), list(contract.key), "left_anti")
        frame = kept.select(*contract.names).unionByName(written.select(*contract.names))
        found |= _disagreements(contract, contracts[name], frame, read(name).where(touched_there), rules, samples)
    return found


def _disagreements(
    contract: Contract, other: Contract, frame: DataFrame, other_frame: DataFrame, rules: list[TableRule], samples: int
) -> dict[str, Broken]:
    """The groups in which sums differ; one pass over either table for all its sums. Rows without a group, which null
    stands for, are left out.
    """
    from pyspark.sql import functions as F

    by = rules[0].by

    def summed(of: DataFrame, side: str, by: tuple[str, ...], terms: list[str]) -> DataFrame:
        sums = [F.expr(f"sum(CAST({term} AS DECIMAL(28,6)))").alias(f"_{side}{n}") for n, term in enumerate(terms)]
        keys = [F.expr(quoted(name)).alias(f"_{side}_by{n}") for n, name in enumerate(by)]
        return of.where(" AND ".join(f"{quoted(name)} IS NOT NULL" for name in by)).groupBy(*keys).agg(*sums)

    here = summed(frame, "here", by, [quoted(rule.column) for rule in rules])
    there = summed(other_frame, "there", rules[0].theirs, [_term(rule, other) for rule in rules])
    on = F.expr(" AND ".join(f"_here_by{n} = _there_by{n}" for n in range(len(by))))
    sides = [
        f"CAST(coalesce(_{side}{n}, 0) AS DECIMAL(38,6)) AS {side}{n}"
        for n in range(len(rules))
        for side in ("here", "there")
    ]
    keys = [f"coalesce(_here_by{n}, _there_by{n}) AS {quoted(name)}" for n, name in enumerate(by)]
    joined = here.join(there, on, "full_outer").selectExpr(*keys, *sides)
    differ = {rule.name: f"here{n} <> there{n}" for n, rule in enumerate(rules)}
    counts = joined.selectExpr(
        *(f"count(CASE WHEN {sql} THEN 1 END) AS n{n}" for n, sql in enumerate(differ.values()))
    ).collect()[0]
    found = {}
    for n, rule in enumerate(rules):
        if counts[n]:
            rows = joined.where(differ[rule.name]).orderBy(*by).limit(samples).collect()
            said = (
                {
                    **shown(row.asDict(), contract, [rule.name], by),
                    "here": row[f"here{n}"],
                    other.name: row[f"there{n}"],
                }
                for row in rows
            )
            found[rule.name] = Broken(counts[n], tuple(said), rule.severity)
    return found


def _term(rule: TableRule, other: Contract) -> str:
    """What a row of the other table adds to the sum."""
    holds = " AND ".join(
        f"{quoted(name)} = {sql_literal(value, other.column(name).type)}" for name, value in rule.where
    )
    return f"(CASE WHEN {holds} THEN {quoted(rule.of)} END)" if holds else quoted(rule.of)
