"""Checks of our own beside pandera's: each says the same thing twice, to polars and in Spark SQL. Import this module
where a model uses one.

Belongs here: `register_rule` and the checks registered by it. Does not belong here: pandera's built-in checks
(`core/quality/check_sql.py` knows their SQL).

A check over the whole row goes into the model's `Config` (`in_order = {"columns": ["valid_from", "valid_to"]}`), one
over a column into its `Field` (`pa.Field(trimmed=True)`). A body written under `@pa.check` or `@pa.dataframe_check`
cannot be read, so it is refused: register it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import polars as pl
from pandera.api.checks import Check
from pandera.api.extensions import register_check_method
from pandera.api.polars.types import PolarsData

from lakehouse_assets.core.spark_sql import quoted
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.lean import registering


@dataclass(frozen=True)
class RegisteredRule:
    """A registered check: its polars body, its statistics, its Spark SQL, and for a whole-row check the columns it
    reads.
    """

    name: str
    statistics: tuple[str, ...]
    body: Callable[..., pl.LazyFrame]
    sql: Callable[..., str]
    columns: Callable[..., Sequence[str]] | None

    def is_body_of(self, check: Check) -> bool:
        """Whether a check found in a model is this one, and not a method that only shares its name."""
        fn = getattr(check, "_check_fn", None)
        return isinstance(fn, partial) and getattr(fn.func, "__wrapped__", None) is self.body


RULES: dict[str, RegisteredRule] = {}
"""Every registered check by its name."""


def register_rule(
    name: str,
    *,
    statistics: Iterable[str],
    sql: Callable[..., str],
    columns: Callable[..., Sequence[str]] | None = None,
) -> Callable[[Callable[..., pl.LazyFrame]], Callable[..., pl.LazyFrame]]:
    """Register a pandera check together with its Spark SQL; decorates its polars body.

    The body takes `PolarsData` and the statistics by keyword, and returns one boolean column: true where the row keeps
    the rule, null where it cannot say (which passes). `sql` takes the statistics by keyword, and for a check over a
    column that column's SQL as `column`; it returns a Spark SQL expression that is true where the row **breaks** the
    rule. `columns` takes the statistics and names the columns that a whole-row check reads; leave it out for a check
    over one column. Raises `LakehouseError` where the name is taken.
    """

    def register(body: Callable[..., pl.LazyFrame]) -> Callable[..., pl.LazyFrame]:
        if hasattr(Check, name):
            raise LakehouseError(f"A check named {name} exists already; register yours under another name.")
        body.__name__ = name
        with registering():
            register_check_method(body, statistics=list(statistics))
        RULES[name] = RegisteredRule(name, tuple(statistics), body, sql, columns)
        return body

    statistics = tuple(statistics)
    return register


def _pairs(columns: Sequence[str]) -> list[tuple[str, str]]:
    return list(pairwise(columns))


@register_rule(
    "in_order",
    statistics=["columns"],
    columns=lambda columns: columns,
    sql=lambda columns: " OR ".join(f"{quoted(a)} > {quoted(b)}" for a, b in _pairs(columns)),
)
def _in_order(data: PolarsData, *, columns: Sequence[str]) -> pl.LazyFrame:
    """None of `columns` is greater than the next one; a null is in order with anything."""
    return data.lazyframe.select(
        pl.all_horizontal((pl.col(a) <= pl.col(b)).fill_null(True) for a, b in _pairs(columns))
    )


@register_rule(
    "sums_to",
    statistics=["total", "parts"],
    columns=lambda total, parts: [total, *parts],
    sql=lambda total, parts: f"{quoted(total)} <> {' + '.join(quoted(p) for p in parts)}",
)
def _sums_to(data: PolarsData, *, total: str, parts: Sequence[str]) -> pl.LazyFrame:
    """`total` is the sum of `parts`; where one of them is null, nothing is said."""
    added = pl.col(parts[0])
    for part in parts[1:]:
        added = added + pl.col(part)
    return data.lazyframe.select(pl.col(total) == added)


@register_rule(
    "present",
    statistics=["columns"],
    columns=lambda columns: columns,
    sql=lambda columns: " OR ".join(f"{quoted(c)} IS NULL" for c in columns),
)
def _present(data: PolarsData, *, columns: Sequence[str]) -> pl.LazyFrame:
    """None of `columns` is null; for columns that may be, where that is worth a warning."""
    return data.lazyframe.select(pl.all_horizontal(pl.col(c).is_not_null() for c in columns))


@register_rule(
    "trimmed",
    statistics=["expected"],
    sql=lambda column, expected: f"{column} <> trim(BOTH ' ' FROM {column})" if expected else "false",
)
def _trimmed(data: PolarsData, *, expected: Any) -> pl.LazyFrame:
    """The text neither begins nor ends with a space; `Field(trimmed=True)`."""
    column = pl.col(data.key)
    return data.lazyframe.select(column == column.str.strip_chars(" ") if expected else pl.lit(True))
