"""What is shown of rows: samples of those that break rules, first rows of a table. Personal data is masked.

Does not belong here: what follows from broken rules (`drops.py`, `slices.py`). Each function runs one bounded query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.quality.rules import VIOLATIONS, WARNINGS, offending_columns
from lakehouse_assets.core.spark_sql import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Sample = Mapping[str, Any]
"""One row as it is shown: `rules` (the rules it breaks), then the columns worth looking at."""

MASK = "•••"

SAMPLED_GROUPS = 20
"""Of how many drops, or combinations of broken rules, sample rows are fetched."""

_LONGEST_TEXT = 120


def sample_rows(
    df: DataFrame, contract: Contract, rules: Iterable[str], group: str, samples: int, identity: Sequence[str]
) -> list[tuple[Any, Sample]]:
    """Up to `samples` broken rows of every group, bad ones before warned ones: the raw row beside what may be shown of
    it.
    """
    offending = [c for c in offending_columns(contract, set(rules)) if c.name in df.columns]
    carried = dict.fromkeys(
        [
            *identity,
            *(n for n in ("path", "content_hash", "row_number") if n in df.columns),
            *(c.name for c in offending),
        ]
    )
    order = ", ".join(quoted(name) for name in identity) or VIOLATIONS
    ranked = df.where(f"size({VIOLATIONS}) > 0 OR size({WARNINGS}) > 0").selectExpr(
        *map(quoted, carried),
        f"{VIOLATIONS}",
        f"{WARNINGS}",
        f"row_number() OVER (PARTITION BY {group} ORDER BY size({VIOLATIONS}) = 0, {order}) AS _rank",
    )
    rows = ranked.where(f"_rank <= {samples}").collect()
    found = []
    for row in sorted(rows, key=lambda r: r["_rank"]):
        broken = {*row[VIOLATIONS], *row[WARNINGS]}
        columns = [*identity, *(c.name for c in offending_columns(contract, broken))]
        found.append((row, shown(row.asDict(), contract, broken, columns)))
    return found


def shown(values: Mapping[str, Any], contract: Contract, broken: Iterable[str], columns: Iterable[str]) -> Sample:
    """What may be shown of a row: those columns, long texts cut, personal data masked."""
    personal = {c.name for c in contract.columns if c.personal}
    sample: dict[str, Any] = {"rules": ", ".join(sorted(broken))}
    for name in dict.fromkeys(columns):
        value = values.get(name)
        if value is not None and name in personal:
            value = MASK
        elif isinstance(value, str) and len(value) > _LONGEST_TEXT:
            value = value[:_LONGEST_TEXT] + "…"
        sample[name] = value
    return sample


def preview(df: DataFrame, contract: Contract, rows: int = 10) -> list[Sample]:
    """The first rows of a frame as they may be shown, newest business date first, then by key."""
    newest = [F.expr(quoted(contract.business_date)).desc()] if contract.business_date else []
    first = df.orderBy(*newest, *(F.expr(quoted(k)).asc() for k in contract.key)).limit(rows).collect()
    return [
        {n: v for n, v in shown(row.asDict(), contract, (), contract.names).items() if n != "rules"} for row in first
    ]
