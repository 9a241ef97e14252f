"""The quarantine of a source: its rows, what judging everything again would change in it, and how its rows age.

Does not belong here: which rows enter it (`cleanse.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.contracts.describe import broken_text
from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.delta.slice_rules import OPERATION
from lakehouse_assets.core.delta.staging import Lakehouse
from lakehouse_assets.core.sources.cleanse import cleanse
from lakehouse_assets.core.sources.ingest import entries, never_landed
from lakehouse_assets.core.sources.verdicts import REFUSED_RULE
from lakehouse_assets.core.spark_sql import literal, quoted
from lakehouse_assets.errors import LakehouseError, StaleSliceError

ATTEMPTS = 5


def rejected_rows(
    lakehouse: Lakehouse, table: str | None = None, drop: str | None = None, rule: str | None = None
) -> list[dict[str, Any]]:
    """Rejected rows, each with the table it was kept out of; those of one table, of one drop, or that break one rule.
    `detail` says of each what is wrong, or what must hold and does not.

    Raises `LakehouseError` for a table without quarantine and for a drop that never landed.
    """
    sources = [judged(table)] if table else list(SOURCES.values())
    if drop is not None and all(e.path != drop for e in entries(lakehouse)):
        raise never_landed(drop)
    store, rows = lakehouse.store, []
    for source in sources:
        if store.exists(source.quarantine.name):
            kept = store.read(source.quarantine.name).to_pylist()
            rows += [
                {"table": source.table, **r, "detail": r["detail"] or _must_hold(source, r["rules"])} for r in kept
            ]
    found = [r for r in rows if (drop is None or r["path"] == drop) and (rule is None or rule in r["rules"])]
    return sorted(found, key=lambda r: (r["table"], r["path"], r["row_number"]))


def _must_hold(source: Source, rules: Iterable[str]) -> str:
    texts = [text for rule in rules if rule != REFUSED_RULE and (text := broken_text(source.contract, rule))]
    return f"Must hold: {'; '.join(texts)}." if texts else ""


def judged(table: str) -> Source:
    """The source whose rows are judged for a table; raises `LakehouseError` for a table without quarantine."""
    names = [source.table for source in SOURCES.values()]
    if table not in names:
        raise LakehouseError(f"{table} has no quarantine; choose one of {', '.join(names)}.")
    return next(source for source in SOURCES.values() if source.table == table)


def preview(lakehouse: Lakehouse, source: Source) -> tuple[int, int]:
    """How many rows would enter and leave quarantine, were everything judged again; nothing is published.

    Rows are identified by drop and number, so a row that stays rejected under a changed contract counts as neither.
    """
    cleansed = cleanse(lakehouse, source, fingerprint="", force=True)
    assert cleansed is not None
    slices = (*cleansed.slice.side, cleansed.slice)
    quarantine = next(s for s in slices if s.contract.name == source.quarantine.name)
    entering = leaving = 0
    if quarantine.uri:
        rows = lakehouse.staged_frame(quarantine.contract, quarantine.uri).selectExpr(
            "path", "content_hash", "row_number", f"{OPERATION} AS op"
        )
        per_row = rows.groupBy("path", "content_hash", "row_number").agg({"op": "min", "*": "count"}).collect()
        for row in per_row:
            operation, times = row["min(op)"], row["count(1)"]
            entering += times == 1 and operation == "I"
            leaving += times == 1 and operation == "D"
    for staged in slices:
        lakehouse.discard(staged.uri)
    return entering, leaving


def age_quarantine(lakehouse: Lakehouse, model: Contract, before: date) -> int:
    """Remove the rows of batch dates before that day from a quarantine table; returns how many.

    What the table has consumed stays as it was, so that nothing is judged again for it; judged again for another
    reason, rows come back, and age again. Starts anew when a run publishes meanwhile; raises `LakehouseError` when that
    happens `ATTEMPTS` times.
    """
    last = before - timedelta(days=1)
    for _ in range(ATTEMPTS):
        if not lakehouse.store.exists(model.name) or not lakehouse.store.counts(
            model.name, "batch_date", date.min, last
        ):
            return 0
        head = lakehouse.head(model)
        if head.consumed is None:
            return 0  # it was restored to an earlier version: the next run judges everything again
        old = lakehouse.store.frame(lakehouse.spark, model.name, head.version).where(f"batch_date <= {literal(last)}")
        uri = lakehouse.scratch(model.name)
        old.selectExpr(*map(quoted, model.names), f"'D' AS {OPERATION}").write.mode("overwrite").parquet(uri)
        slice_ = lakehouse.staged(model, head, head.consumed, uri)
        try:
            lakehouse.publish(slice_)
            return slice_.rows
        except StaleSliceError:
            lakehouse.discard(slice_.uri)
    raise LakehouseError(
        f"{model.name} was published by others {ATTEMPTS} times while it aged; run maintenance again when they are"
        " done."
    )
