"""The shape every transform has: `Inputs` in, `Recomputed` out; and the few helpers that all of them share.

A transform says which rows its table must hold within the scope that the changes touch, and which rows it holds there
now. What becomes of the difference (insert, update, delete, publish) is not its business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property, reduce
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse_assets.core.spark_sql import literal, quoted

CAME, WENT = "insert", "delete"
FOREVER = date(9999, 12, 31)


class Snapshots(Mapping[str, DataFrame]):
    """Tables as they are now, by name. All files of one are proven when it is asked for; with `part` those that may
    hold the rows asked for.

    read: gives the rows of a table, all of them or those whose column lies between two values, both included.
    """

    def __init__(self, names: Iterable[str], read: Callable[[str, tuple[str, Any, Any] | None], DataFrame]):
        self._names, self._read = tuple(names), read

    def __getitem__(self, name: str) -> DataFrame:
        if name not in self._names:
            raise KeyError(name)
        return self._read(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def part(self, name: str, column: str, least: Any, greatest: Any) -> DataFrame:
        """The rows of a table whose `column` lies between two values, both included."""
        return self._read(name, (column, least, greatest))


@dataclass(frozen=True)
class Inputs:
    """What a transform may look at.

    snapshots: each upstream table and the table itself as they are now. changes: the rows of each upstream that differ
    from what the table last consumed (column `_change`: insert or delete), None where everything counts as changed.
    name, columns: of the table itself. behind: upstreams that were made from an older journal than the one among the
    snapshots, for somebody has written to it in between.
    """

    snapshots: Snapshots
    changes: Mapping[str, DataFrame | None]
    name: str
    columns: Sequence[str]
    behind: frozenset[str] = frozenset()

    @cached_property
    def target(self) -> DataFrame:
        """The table as it is now."""
        return self.snapshots[self.name]

    def target_part(self, column: str, least: Any, greatest: Any) -> DataFrame:
        """Its rows whose `column` lies between two values, both included."""
        return self.snapshots.part(self.name, column, least, greatest)

    @property
    def everything(self) -> bool:
        """Whether some upstream cannot say what changed, so that the whole table is recomputed."""
        return any(c is None for c in self.changes.values())


@dataclass(frozen=True)
class Recomputed:
    """rows: what the table must hold within the scope; replaced: what it holds there now."""

    rows: DataFrame
    replaced: DataFrame


Transform = Callable[[Inputs], Recomputed]


@dataclass(frozen=True)
class Days:
    """A scope of whole days: sorted, disjoint intervals, first day included and last day excluded."""

    intervals: tuple[tuple[date, date], ...]

    @classmethod
    def of(cls, days: Iterable[date], ranges: Iterable[tuple[date, date]] = ()) -> Days:
        spans = sorted([(d, d + timedelta(days=1)) for d in days] + list(ranges))
        merged: list[tuple[date, date]] = []
        for start, end in spans:
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return cls(tuple(merged))

    @property
    def span(self) -> tuple[date, date]:
        """The first and the last day of the scope; the last before the first where it is empty."""
        return (
            (self.intervals[0][0], self.intervals[-1][1] - timedelta(days=1))
            if self.intervals
            else (date.max, date.min)
        )

    def where(self, day: str, month: str | None = None) -> str:
        """A predicate on the column `day`; `month` is the column with the first day of its month, which prunes
        partitions.
        """
        if not self.intervals:
            return "false"
        within = " OR ".join(f"({day} >= {literal(a)} AND {day} < {literal(b)})" for a, b in self.intervals)
        if month is None:
            return f"({within})"
        first, last = self.intervals[0][0].replace(day=1), self.intervals[-1][1] - timedelta(days=1)
        return f"({month} >= {literal(first)} AND {month} <= {literal(last.replace(day=1))} AND ({within}))"


def days_of(changes: DataFrame, column: str = "invoice_date") -> list[date]:
    """The distinct days in a change set."""
    return [r[0] for r in changes.select(column).distinct().collect() if r[0] is not None]


def keys_of(changes: Iterable[DataFrame], *columns: str) -> DataFrame:
    """The distinct keys in several change sets."""
    return reduce(DataFrame.unionByName, [c.select(*columns) for c in changes]).distinct()


def copied(inputs: Inputs, rows: DataFrame, key: Sequence[str]) -> Recomputed:
    """The table as a copy of `rows`, which come from its upstreams: those whose key was touched there. rows: with the
    columns of the table.
    """
    if inputs.everything:
        return Recomputed(rows, inputs.target)
    touched = keys_of([c for c in inputs.changes.values() if c is not None], *key)
    return Recomputed(rows.join(touched, list(key), "left_semi"), inputs.target.join(touched, list(key), "left_semi"))


def row_hash(columns: Sequence[str]) -> str:
    """SQL for 128 bits of the SHA-256 of some columns, as 32 hexadecimal digits: a key for rows that have none. No two
    lists of values give the same text: each value has its length before it, and null is a mark of its own.
    """
    texts = [f"CAST({quoted(c)} AS STRING)" for c in columns]
    parts = [f"coalesce(concat(CAST(length({t}) AS STRING), ':', {t}), '-')" for t in texts]
    return f"left(sha2(concat({', '.join(parts)}), 256), 32)"


def exact_sum(column: str, scale: int, when: str | None = None, precision: int = 38) -> F.Column:  # type: ignore[name-defined]
    """A decimal sum of fixed precision and scale, 0 where there is nothing to add; engines differ in what they give by
    themselves.
    """
    value = f"CASE WHEN {when} THEN {column} ELSE 0 END" if when else column
    return F.expr(
        f"CAST(coalesce(sum(CAST({value} AS DECIMAL({precision - 10},{scale}))), 0) AS DECIMAL({precision},{scale}))"
    )


def from_arrow(spark: SparkSession, table: pa.Table) -> DataFrame:
    """A frame of a small Arrow table, which may be empty: Spark Connect cannot take an empty one by itself."""
    if table.num_rows:
        return spark.createDataFrame(table)
    none = pa.Table.from_pylist(
        [dict.fromkeys(table.schema.names)], schema=pa.schema([f.with_nullable(True) for f in table.schema])
    )
    return spark.createDataFrame(none).limit(0)


def least_by_where_doubled(rows: DataFrame, key: Sequence[str], order: Iterable[str]) -> DataFrame:
    """What `least_by` gives, of very many rows of which few share a key: only these are sorted. rows: read from files,
    for they are read three times.
    """
    names = rows.columns
    # Two keys of one hash are both looked at, which changes nothing.
    hashed = rows.selectExpr("*", f"xxhash64({', '.join(map(quoted, key))}) AS _hash")
    shared = hashed.groupBy("_hash").count().where("count > 1").selectExpr("_hash AS _shared")
    # The few hashes first, for an engine that keeps in memory what comes first.
    marked = shared.join(hashed, F.expr("_shared = _hash"), "right").select("_shared", *names)
    first = least_by(marked.where("_shared IS NOT NULL").select(*names), key, order)
    return marked.where("_shared IS NULL").select(*names).unionByName(first)


def least_by(rows: DataFrame, key: Iterable[str], order: Iterable[str]) -> DataFrame:
    """The first row of each key in an order given as SQL. `row_number` rather than an aggregate over structs: it is
    many times cheaper.
    """
    names = rows.columns
    ranked = rows.selectExpr(
        "*", f"row_number() OVER (PARTITION BY {', '.join(key)} ORDER BY {', '.join(order)}) AS _rank"
    )
    return ranked.where("_rank = 1").select(*names)
