"""Which partitions of a table are to be z-ordered.

Does not belong here: writing their files anew (the stores).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.delta.change_feed import HistoryUnavailableError
from lakehouse_assets.core.delta.commits import RESTORE
from lakehouse_assets.core.delta.heads import Head

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from lakehouse_assets.core.delta.store import DeltaStore

Z_ORDER = "z_order_by"
"""The columns by which a commit z-ordered files, in the metadata that goes beside it."""

Z_ORDERED_THROUGH = "z_ordered_through"
"""Beside it: the version whose rows were then in order."""


def not_in_order(store: DeltaStore, spark: SparkSession, contract: Contract, head: Head) -> list[Any] | None:
    """The partitions in which rows came or went since files were z-ordered; None: the whole table, also where the
    history no longer says it.
    """
    by = list(contract.z_order_by)
    through = -1
    for commit in store.history(contract.name):
        if commit.operation == RESTORE:  # files come back with it that were not in order, though no row may differ
            return None
        if commit.metadata.get(Z_ORDER) == by:
            through = commit.metadata[Z_ORDERED_THROUGH]
            break
    if 0 <= head.data_version <= through:
        return []
    if through < 0 or not contract.partition_by:
        return None
    try:
        changes = store.changes(spark, contract.name, through, head.version)
        found = [row[0] for row in changes.select(contract.partition_by[0]).distinct().collect()]
    except HistoryUnavailableError:
        return None
    return None if None in found else sorted(found)
