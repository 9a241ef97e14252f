"""The change data feed of a table: the rows that differ between two versions.

Belongs here: netting what came and went. Does not belong here: reading the feed (the stores), what follows from the
changes (`staging.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lakehouse_assets.core.spark_sql import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

CHANGE = "_change"
"""The column of `changes` that says whether the row came (`insert`) or went (`delete`)."""


class HistoryUnavailableError(Exception):
    """The history of a table no longer says which rows differ between two versions."""


def unavailable(name: str, since: int, until: int, why: object) -> HistoryUnavailableError:
    return HistoryUnavailableError(f"{name} between versions {since} and {until}: {why}")


def netted(feed: DataFrame, columns: Sequence[str], *, mixed: bool) -> DataFrame:
    """The rows of a feed with `_change`. mixed: a row may have come and gone, and only what is left of it counts."""
    names = [quoted(c) for c in columns]
    changed = feed.selectExpr(
        *names, "CASE WHEN _change_type IN ('insert', 'update_postimage') THEN 1 ELSE -1 END AS _net"
    )
    if mixed:
        summed = changed.groupBy(*names).agg({"_net": "sum"}).withColumnRenamed("sum(_net)", "_net")
        changed = summed.where("_net <> 0")
    return changed.selectExpr(*names, f"CASE WHEN _net > 0 THEN 'insert' ELSE 'delete' END AS {CHANGE}")
