"""The row hash: one number a row that the engine and Snowflake compute alike, so that equal sums prove equal rows.

A row becomes its canonical text: every column in the contract's order, each a prefix-free text (`n` null; strings with
their length in front; decimals as scaled integers; dates as days and timestamps as microseconds since 1970). The row's
hash is the lower 64 bits of the MD5 of that text; a slice's hash is the sum, which is blind to order and keeps
multiplicity.

Belongs here: the expressions in both dialects, generated from the contract. Does not belong here: slices (`slices.py`),
running queries.
"""

from __future__ import annotations

from collections.abc import Iterable

from lakehouse_assets.core.contracts import Column, Contract
from lakehouse_assets.core.spark_sql import quoted
from lakehouse_assets.errors import LakehouseError

DEFINITION = 1
"""Raise it when the canonical text changes: every table then travels again, for old sums say nothing about new ones."""


def _refuse(contract: Contract, column: Column) -> LakehouseError:
    return LakehouseError(
        f"The column {contract.name}.{column.name} is a {column.type.spark}, which has no canonical text; "
        "leave it out of the hand-off or give it a type of core/contracts/types.py with precision plus scale up to 36."
    )


def _too_wide(column: Column) -> bool:
    # The scaled integer needs precision + scale + 1 digits in the multiplication on either side.
    return column.type.kind == "decimal" and column.type.precision + column.type.scale > 36


def _spark_text(contract: Contract, column: Column) -> str:
    name, kind = quoted(column.name), column.type.kind
    if kind == "list" or _too_wide(column):
        raise _refuse(contract, column)
    value = {
        "string": f"concat('s', cast(length({name}) as string), ':', {name})",
        "bigint": f"cast({name} as string)",
        "boolean": f"CASE WHEN {name} THEN 't' ELSE 'f' END",
        "date": f"cast(unix_date({name}) as string)",
        "timestamp": f"cast(unix_micros({name}) as string)",
        # In parts, for a conversion to a timestamp would go through the session's time zone; as bigint, for Sail wraps
        # integers.
        "timestamp_ntz": (
            f"cast(cast(unix_date(cast({name} as date)) as bigint) * 86400000000"
            f" + cast(hour({name}) as bigint) * 3600000000 + cast(minute({name}) as bigint) * 60000000"
            f" + cast(extract(second from {name}) * 1000000 as bigint) as string)"
        ),
        "decimal": f"cast(cast({name} * {10**column.type.scale} as decimal(37,0)) as string)",
    }[kind]
    return f"CASE WHEN {name} IS NULL THEN 'n' ELSE {value} END"


def _snowflake_text(contract: Contract, column: Column) -> str:
    name, kind = column.name.upper(), column.type.kind
    if kind == "list" or _too_wide(column):
        raise _refuse(contract, column)
    value = {
        "string": f"'s' || LENGTH({name})::VARCHAR || ':' || {name}",
        "bigint": f"{name}::VARCHAR",
        "boolean": f"CASE WHEN {name} THEN 't' ELSE 'f' END",
        "date": f"DATEDIFF(day, '1970-01-01'::DATE, {name})::VARCHAR",
        "timestamp": f"DATE_PART(EPOCH_MICROSECOND, {name})::VARCHAR",
        "timestamp_ntz": f"DATE_PART(EPOCH_MICROSECOND, {name})::VARCHAR",
        # Widened first, for DuckDB gives the product of two narrow decimals no more than 18 digits.
        "decimal": (
            f"({name}::NUMBER({column.type.precision + column.type.scale + 1},{column.type.scale}) *"
            f" {10**column.type.scale})::NUMBER(37,0)::VARCHAR"
        ),
    }[kind]
    return f"CASE WHEN {name} IS NULL THEN 'n' ELSE {value} END"


def spark_text(contract: Contract, columns: Iterable[str] | None = None) -> str:
    """The canonical text of a row (or of some of its columns) in Spark SQL. Raises `LakehouseError` for a type that has
    none.
    """
    chosen = contract.columns if columns is None else [contract.column(c) for c in columns]
    return "concat(" + ", '|', ".join(_spark_text(contract, c) for c in chosen) + ", '|')"


def snowflake_text(contract: Contract, columns: Iterable[str] | None = None) -> str:
    """The canonical text of a row (or of some of its columns) in Snowflake SQL. Raises `LakehouseError` for a type that
    has none.
    """
    chosen = contract.columns if columns is None else [contract.column(c) for c in columns]
    return " || '|' || ".join(_snowflake_text(contract, c) for c in chosen) + " || '|'"


def spark_halves(digest: str) -> tuple[str, str]:
    """The upper and lower 32 bits of the hash from an MD5 digest, as bigint. Halves, for Sail's `conv` gives NULL from
    2^63 on.
    """

    def half(start: int) -> str:
        return f"cast(conv(substr({digest}, {start}, 8), 16, 10) as bigint)"

    return half(17), half(25)


def snowflake_hash(text: str) -> str:
    """The hash of a text in Snowflake SQL, 0 to 2^64 - 1."""
    return f"MD5_NUMBER_LOWER64({text})"


def combine(upper: int, lower: int) -> int:
    """The sum of hashes from the sums of their halves."""
    return (upper << 32) + lower
