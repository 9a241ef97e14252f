"""Rows and contracts made up for tests: values at and around every boundary a contract names, and models with every
check on every type.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandera.polars as pa
import polars as pl

from lakehouse_assets.core.contracts import Column, Contract
from lakehouse_assets.core.contracts.types import Day, Euro, Flag, Moment, Money, Price, ShopClock, Text, Whole

TYPES: Mapping[str, Any] = {
    "text": Text,
    "whole": Whole,
    "flag": Flag,
    "day": Day,
    "moment": Moment,
    "clock": ShopClock,
    "price": Price,
    "money": Money,
    "euro": Euro,
}
TEXTS = [
    "", " ", "a", "b", "ab", "abc", "a b", " ab", "ab ", "A", "ABC", "abc\n", "abc\r\n", "\n", "a\nb", "\u2028",
    "a\u2028", "é", "É", "e\u0301", "😀", "😀é",
    "ß", "İ", "'", "''", "\\", "\\'", "\\n", "a'b\\c", '"', "%", "_", "a%", "${x}", "${env:HOME}", "$", "`", "\0", "a\0b", "\t", "-", "]", "^", "x" * 31,  # noqa: E501
    "x" * 32, "x" * 33, "é" * 32, "😀" * 32, "536365", "C536365", "A536365", "c536365", "536365\n", "X536365", "53636", "5363650", "٣٣٣٣٣٣", "GBP", "GBP\n",  # noqa: E501
    "gbp", "GBPX", "sale", "return", "landed", "orders", "zzz", "\ud7ff", "\U0010ffff",
]  # fmt: skip
WHOLES = [0, 1, -1, 2, 5, 10, 2**31 - 1, 2**31, -(2**31) - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 17850]
DAYS = [date(1, 1, 1), date(1582, 10, 4), date(1582, 10, 15), date(1900, 1, 1), date(1969, 12, 31), date(1970, 1, 1), date(2000, 2, 29), date(2010, 12, 1), date(9999, 12, 31)]  # fmt: skip  # noqa: E501
CLOCKS = [
    datetime(1900, 1, 1), datetime(1969, 12, 31, 23, 59, 59, 999999), datetime(1970, 1, 1), datetime(1995, 1, 1),
    datetime(2010, 3, 28, 1, 30),
    datetime(2010, 10, 31, 1, 30, 0, 1), datetime(2010, 12, 1, 8, 26), datetime(2100, 1, 1),
    datetime(9999, 12, 31, 23, 59, 59, 999999),
]  # fmt: skip
PATTERNS = [
    "a", "^a", "a$", "^abc$", "a|b", "^(a|b)$", "^[AC]?[0-9]{6}$", "^[A-Z]{3}$", ".", "^.$", "^..$", "^.*$", "[^a]",
    "^[^a]+$", "x{31,32}$", "b.c", "\\.", "\\$",
    "\\\\", "'", "[\\]\\-\\^]", "é", "^😀", "(a(b|c)){1,2}", "^$", "[a-c]+( |$)", '"', "a\\{", "^[é😀]{2}$", "%", "[-_]", "^(a|b$)",  # noqa: E501
]  # fmt: skip
_ALPHABET = ["a", "b", "c", " ", "\n", "\r", "é", "😀", "\u2028", "'", "\\", "$", "{", ".", "0", "٣"]


def pool(dtype: Any) -> list[Any]:
    """Values of a polars type, edges included."""
    if isinstance(dtype, pl.Decimal):
        unit = Decimal(1).scaleb(-dtype.scale)
        most = Decimal(10 ** (dtype.precision or 38) - 1).scaleb(-dtype.scale)
        small = [Decimal(n).scaleb(-dtype.scale) for n in (0, 1, -1, 5, 999, 1000, 1001, -1000)]
        return [*small, most, -most, most - unit, Decimal(1), Decimal(5)]
    if isinstance(dtype, pl.Datetime):
        return [c.replace(tzinfo=UTC) for c in CLOCKS] if dtype.time_zone else list(CLOCKS)
    by_type = {pl.String: TEXTS, pl.Int64: WHOLES, pl.Boolean: [True, False], pl.Date: DAYS}
    for polars_type, values in by_type.items():
        if dtype == polars_type:
            return list(values)
    return [[], ["a.ge"], ["a.ge", "b.type"]]


def around(value: Any, dtype: Any) -> list[Any]:
    """The value and its neighbours on either side, as far as the type has them."""
    if isinstance(value, bool) or value is None:
        return [value]
    if isinstance(value, str):
        return [value, value + "\n", value + "x", "x" + value, value.upper(), value[:-1]]
    if isinstance(value, datetime):
        return [
            value,
            *(value + d for d in (timedelta(microseconds=1), timedelta(microseconds=-1)) if 1 < value.year < 9999),
        ]
    if isinstance(value, date):
        return [value, *(value + d for d in (timedelta(1), timedelta(-1)) if 1 < value.year < 9999)]
    if isinstance(dtype, pl.Decimal):
        unit = Decimal(1).scaleb(-dtype.scale)
        most = Decimal(10 ** (dtype.precision or 38) - 1).scaleb(-dtype.scale)
        return [v for v in (Decimal(value), value - unit, value + unit) if abs(v) <= most]
    return [v for v in (value - 1, value, value + 1) if -(2**63) <= v < 2**63]


def random_texts(rng: random.Random, count: int) -> list[str]:
    return ["".join(rng.choices(_ALPHABET, k=rng.randrange(6))) for _ in range(count)]


def random_pattern(rng: random.Random) -> str:
    """A pattern of the portable kind: every construct may occur."""

    def branch(depth: int) -> str:
        begin = "^" if rng.random() < 0.2 else ""
        end = "$" if rng.random() < 0.2 else ""
        return begin + "".join(piece(depth) for _ in range(rng.randint(1, 3))) + end

    def piece(depth: int) -> str:
        kinds = ["a", "b", "é", "😀", ".", "[ab]", "[^a]", "[a-c😀]", "\\.", "\\$", "\\\\", "'", " ", "[ \\]]"]
        text = (
            f"({'|'.join(branch(depth - 1) for _ in range(rng.randint(1, 2)))})"
            if depth and rng.random() < 0.3
            else rng.choice(kinds)
        )
        return text + rng.choice(["", "", "", "*", "+", "?", "{2}", "{0,1}", "{1,}"])

    return branch(2)


def every_check(type_name: str, rng: random.Random) -> type[pa.DataFrameModel]:
    """A model with a column for every check that the type can have, with statistics drawn at random."""
    annotation = TYPES[type_name]
    values = pool(_dtype(annotation))
    fields: list[dict[str, Any]] = [{}]
    for check in ("eq", "ne", "gt", "ge", "lt", "le"):
        fields += [{check: value} for value in rng.sample(values, 2)]
    for include_min in (True, False):
        for include_max in (True, False):
            low, high = sorted((rng.choice(values), rng.choice(values)))
            if low != high:
                fields.append(
                    {
                        "in_range": {
                            "min_value": low,
                            "max_value": high,
                            "include_min": include_min,
                            "include_max": include_max,
                        }
                    }
                )
    fields += [{check: rng.sample(values, k)} for check in ("isin", "notin") for k in (0, 1, min(4, len(values)))]
    if type_name == "text":
        for check in ("str_matches", "str_contains"):
            fields += [{check: p} for p in [*rng.sample(PATTERNS, 8), *(random_pattern(rng) for _ in range(8))]]
        fields += [{check: rng.choice(TEXTS)} for check in ("str_startswith", "str_endswith") for _ in range(4)]
        fields += [
            {"str_length": said}
            for said in ({"exact_value": 3}, {"min_value": 2}, {"max_value": 1}, {"min_value": 1, "max_value": 32})
        ]
        fields += [{"trimmed": True}]
    columns = {f"c{i}": pa.Field(nullable=rng.random() < 0.5, **said) for i, said in enumerate(fields)}
    return type(
        f"Every{type_name.title()}",
        (pa.DataFrameModel,),
        {"__annotations__": dict.fromkeys(columns, annotation), **columns},
    )


def _dtype(annotation: Any) -> Any:
    model = type("One", (pa.DataFrameModel,), {"__annotations__": {"c": annotation}})
    return model.to_schema().columns["c"].dtype.type


def values_for(contract: Contract, column: Column, rng: random.Random) -> list[Any]:
    """Values worth trying in the column: edges of its type, neighbours of whatever its rules name, and at random."""
    dtype = contract.model.to_schema().columns[column.name].dtype.type
    values = pool(dtype)
    for rule in contract.rules:
        if rule.column == column.name:
            for _, said in rule.statistics:
                for value in said if isinstance(said, tuple) else (said,):
                    if column.type.kind == "string" and not isinstance(value, str):
                        continue
                    values += (
                        around(value, dtype) if not isinstance(value, bool) or column.type.kind == "boolean" else []
                    )
    if column.type.kind == "string":
        values += random_texts(rng, 60)
    return values


def rows(contract: Contract, count: int, rng: random.Random, good: Mapping[str, Sequence[Any]]) -> pl.DataFrame:
    """Rows with the contract's columns: a third drawn freely, nulls included; the others good but for at most one
    column.

    good: values of each column that break none of its rules.
    """
    schema = contract.model.to_schema()
    tries = {c.name: values_for(contract, c, rng) for c in contract.columns}
    data: dict[str, list[Any]] = {c.name: [] for c in contract.columns}
    for _ in range(count):
        free = rng.random() < 0.33
        odd = rng.choice(contract.columns).name if rng.random() < 0.5 else None
        for column in contract.columns:
            drawn = None if rng.random() < 0.1 else rng.choice(tries[column.name])
            data[column.name].append(
                drawn if free or column.name == odd or not good[column.name] else rng.choice(good[column.name])
            )
    return pl.DataFrame({n: pl.Series(n, v, dtype=schema.columns[n].dtype.type) for n, v in data.items()})
