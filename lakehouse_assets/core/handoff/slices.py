"""Hand-off slices: which slice a row belongs to, and how to pick the rows of some slices, in either dialect.

A slice is named by text: the ISO date of a date column, the bucket of `hash(key) mod N`, or `all`; rows without a date
are in slice `null`. Does not belong here: the row hash, running queries.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import date, timedelta

from lakehouse_assets.core.contracts import Contract, HandoffSlice
from lakehouse_assets.core.delta.files import Among
from lakehouse_assets.core.handoff import rowhash, sql
from lakehouse_assets.core.spark_sql import quoted
from lakehouse_assets.errors import LakehouseError

NULL = "null"
WHOLE = "all"
_DASHED = " || '-' || "


def handoff_slice(contract: Contract) -> HandoffSlice:
    """How the table of a contract is slicing. Raises `LakehouseError` where the contract does not say, or says it of a
    column that is no date.
    """
    slicing = contract.handoff
    if slicing is None:
        raise LakehouseError(
            f"The contract of {contract.name} names no hand-off slice; add `handoff` to its Config.metadata."
        )
    if slicing.kind == "column" and (slicing.column is None or contract.column(slicing.column).type.kind != "date"):
        raise LakehouseError(
            f"The hand-off slice of {contract.name} is {slicing.column!r}, which is no date column; name one, or use"
            " hash or whole."
        )
    if slicing.kind == "hash" and slicing.buckets < 1:
        raise LakehouseError(
            f"The hand-off slice of {contract.name} has {slicing.buckets} buckets; give it at least one."
        )
    return slicing


def spark_value(contract: Contract) -> str:
    """What the rows of a slice share, in Spark SQL: the date, the bucket, or a constant."""
    slicing = handoff_slice(contract)
    if slicing.kind == "column":
        return quoted(str(slicing.column))
    if slicing.kind == "hash":
        upper, lower = rowhash.spark_halves(f"md5({rowhash.spark_text(contract, contract.key)})")
        # (u * 2^32 + l) mod n without leaving 64 bits
        return f"(({upper} % {slicing.buckets}) * {2**32 % slicing.buckets} + {lower}) % {slicing.buckets}"
    return sql.literal(WHOLE)


def spark_name(contract: Contract, value: str) -> str:
    """The name of the slice with this value, in Spark SQL."""
    return f"coalesce(cast({value} as string), {sql.literal(NULL)})"


def snowflake_value(contract: Contract) -> str:
    """What the rows of a slice share, in Snowflake SQL: the date, the bucket, or a constant."""
    slicing = handoff_slice(contract)
    if slicing.kind == "column":
        return slicing.column.upper()  # type: ignore[union-attr]
    if slicing.kind == "hash":
        return f"MOD({rowhash.snowflake_hash(rowhash.snowflake_text(contract, contract.key))}, {slicing.buckets})"
    return sql.literal(WHOLE)


def snowflake_name(contract: Contract, value: str) -> str:
    """The name of the slice with this value, in Snowflake SQL."""
    if handoff_slice(contract).kind == "column":
        # From its parts: a cast follows the account's DATE_OUTPUT_FORMAT.
        parts = (
            f"LPAD(YEAR({value})::VARCHAR, 4, '0')",
            f"LPAD(MONTH({value})::VARCHAR, 2, '0')",
            f"LPAD(DAY({value})::VARCHAR, 2, '0')",
        )
        return f"COALESCE({_DASHED.join(parts)}, {sql.literal(NULL)})"
    return f"{value}::VARCHAR"


def spark_predicate(contract: Contract, names: Collection[str]) -> str:
    """Picks the rows of the slices `names` in Spark SQL."""
    slicing = handoff_slice(contract)
    if slicing.kind == "column":
        return _dates(quoted(str(slicing.column)), names, lambda d: f"DATE {sql.literal(d.isoformat())}")
    return _list(spark_value(contract), names) if slicing.kind == "hash" else _whole(names)


def snowflake_predicate(contract: Contract, names: Collection[str]) -> str:
    """Picks the rows of the slices `names` in Snowflake SQL, null-safe."""
    slicing = handoff_slice(contract)
    if slicing.kind == "column":
        return _dates(slicing.column.upper(), names, sql.date_literal)  # type: ignore[union-attr]
    return _list(snowflake_value(contract), names) if slicing.kind == "hash" else _whole(names)


def among(contract: Contract, names: Collection[str]) -> Among | None:
    """The rows of the slices `names` by the values of a column; None where slices are no days."""
    slicing = handoff_slice(contract)
    if slicing.kind != "column":
        return None
    return Among(str(slicing.column), [None if n == NULL else date.fromisoformat(n) for n in names])


def span(contract: Contract, names: Collection[str]) -> tuple[str, date, date] | None:
    """Column, first and last day of the slices `names`; None where they are not days, or one is of rows without a
    day.
    """
    slicing = handoff_slice(contract)
    if slicing.kind != "column" or not names or NULL in names:
        return None
    days = [date.fromisoformat(n) for n in names]
    return str(slicing.column), min(days), max(days)


def order(contract: Contract) -> Callable[[str], tuple[bool, int | str]]:
    """A sort key that puts slice names in the order in which both engines sort their values; null comes first."""
    numeric = handoff_slice(contract).kind == "hash"
    return lambda name: (name != NULL, int(name) if numeric else name)


def between(contract: Contract, text: str) -> list[str]:
    """The names of the slices from `FROM..TO`, both included, or of the one that is named alone. Raises
    `LakehouseError` where it names none.
    """
    first, dots, last = text.strip().partition("..")
    last = last if dots else first
    kind = handoff_slice(contract).kind
    try:
        if kind == "column" and first == last == NULL:
            return [NULL]
        if kind == "column":
            days = date.fromisoformat(first), date.fromisoformat(last)
            names = [date.fromordinal(n).isoformat() for n in range(days[0].toordinal(), days[1].toordinal() + 1)]
        elif kind == "hash":
            names = [str(n) for n in range(int(first), int(last) + 1) if 0 <= n < handoff_slice(contract).buckets]
        else:
            names = [WHOLE] if first == last == WHOLE else []
    except ValueError:
        names = []
    if not names:
        wanted = {"column": "dates as 2010-12-01..2010-12-31, or null", "hash": "buckets as 0..3", "whole": WHOLE}[kind]
        raise LakehouseError(f"{text!r} names no hand-off slices of {contract.name}; give {wanted}.")
    return names


def _whole(names: Collection[str]) -> str:
    return "1 = 1" if names else "1 = 0"


def _list(expression: str, names: Collection[str]) -> str:
    return f"{expression} IN ({', '.join(str(int(n)) for n in sorted(names))})" if names else "1 = 0"


def _dates(column: str, names: Collection[str], literal: Callable[[date], str]) -> str:
    """Stretches of adjoining days become ranges, which keeps the statement short and lets either side prune."""
    days = sorted(date.fromisoformat(n) for n in names if n != NULL)
    stretches: list[list[date]] = []
    for day in days:
        if stretches and day - stretches[-1][1] == timedelta(days=1):
            stretches[-1][1] = day
        else:
            stretches.append([day, day])
    parts = [
        f"{column} = {literal(first)}" if first == last else f"{column} BETWEEN {literal(first)} AND {literal(last)}"
        for first, last in stretches
    ]
    if NULL in names:
        parts.append(f"{column} IS NULL")
    return "(" + " OR ".join(parts) + ")" if parts else "1 = 0"
