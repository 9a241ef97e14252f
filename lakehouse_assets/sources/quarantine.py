"""Rejected rows as they stand in quarantine. Does not belong here: judging rows (`cleanse.py`)."""

from __future__ import annotations

from typing import Any

from lakehouse_assets.delta.staging import Lakehouse
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.sources.ingest import entries, never_landed

QUARANTINED = ("silver.order_lines", "silver.customers", "silver.fx_rates")
"""The tables that have a quarantine."""


def rejected_rows(
    lakehouse: Lakehouse, table: str | None = None, drop: str | None = None, rule: str | None = None
) -> list[dict[str, Any]]:
    """Rejected rows, each with the table it was kept out of; those of one table, of one drop, or that break one rule.

    Raises `LakehouseError` for a table without quarantine and for a drop that never landed.
    """
    if table is not None and table not in QUARANTINED:
        raise no_quarantine(table)
    if drop is not None and all(e.path != drop for e in entries(lakehouse)):
        raise never_landed(drop)
    store, rows = lakehouse.store, []
    for name in [table] if table else QUARANTINED:
        if store.exists(f"{name}_quarantine"):
            rows += [{"table": name, **r} for r in store.read(f"{name}_quarantine").to_pylist()]
    found = [r for r in rows if (drop is None or r["path"] == drop) and (rule is None or rule in r["rules"])]
    return sorted(found, key=lambda r: (r["table"], r["path"], r["row_number"]))


def no_quarantine(table: str) -> LakehouseError:
    """What is wrong with a table that has no quarantine."""
    return LakehouseError(f"{table} has no quarantine; choose one of {', '.join(QUARANTINED)}.")
