"""The account of every drop: landed = published + quarantined + duplicates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import pyarrow as pa

from lakehouse_assets.core.contracts.side_tables import intake_model
from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.declarations.table import Table
from lakehouse_assets.core.declarations.table import table as declare_table
from lakehouse_assets.core.delta.staging import JOURNAL
from lakehouse_assets.core.frames import Inputs, Recomputed, from_arrow
from lakehouse_assets.core.sources.journal import REFUSED, UNREADABLE, Content, Entry, by_path, effective, standing
from lakehouse_assets.core.spark_sql import in_list
from lakehouse_assets.errors import LakehouseError

INTAKE = "silver.intake"


def intake_table(sources: Sequence[Source]) -> Table:
    """The table of the accounts of those sources."""
    published = {source.name: source.table for source in sources}
    upstreams = [JOURNAL, *(name for table in published.values() for name in (table, f"{table}_verdicts"))]

    def accounts(inputs: Inputs) -> Recomputed:
        return intake(inputs, published)

    accounts.__doc__ = intake.__doc__
    return declare_table(intake_model(list(published)), upstreams=upstreams)(accounts)


def intake(inputs: Inputs, published_in: Mapping[str, str]) -> Recomputed:
    """The accounts of the drops that something was said of, or whose lines moved to or from another drop."""
    journal = [
        Entry(r["path"], r["sequence"], r["content_hash"], r["batch_date"], r["state"], r["source"])
        for r in inputs.snapshots["bronze.landings"].collect()
    ]
    verdicts: dict[Content, Any] = {}
    for table in published_in.values():
        for r in inputs.snapshots[f"{table}_verdicts"].collect():
            verdicts[r["path"], r["content_hash"]] = r
    journal = [e for e in journal if e.content in verdicts]

    if inputs.everything:
        published = _published(inputs, None, published_in.values())
        paths = {e.path for e in journal}
        replaced = inputs.target
    else:
        moved = _published(inputs, inputs.changes, published_in.values())
        paths = {p for p, _ in moved}
        for name, changes in inputs.changes.items():
            if changes is not None and (name == "bronze.landings" or name.endswith("_verdicts")):
                paths |= {r[0] for r in changes.select("path").distinct().collect()}
        replaced = inputs.target.where(in_list("path", sorted(paths)))
        published = defaultdict(int, {(r["path"], r["content_hash"]): r["published"] for r in replaced.collect()})
        for content, n in moved.items():
            published[content] += n

    rows, early = [], set()
    for path, entries in by_path(e for e in journal if e.path in paths).items():
        live, rejected = standing(entries, {c: v["verdict"] for c, v in verdicts.items()})
        withdrawn = effective(entries)[-1].state == "withdrawn"
        days: dict[Content, tuple[date, str]] = {e.content: (e.batch_date, e.source) for e in entries}
        for content, (day, source) in days.items():
            verdict = verdicts[content]
            state = (
                "live"
                if content == live
                else verdict["verdict"]
                if content == rejected
                else "withdrawn"
                if withdrawn
                else "superseded"
            )
            landed = verdict["landed"] if content in (live, rejected) else 0
            quarantined = landed if state in (REFUSED, UNREADABLE) else verdict["bad_rows"] if state == "live" else 0
            stands = published[content] if state == "live" else 0
            if landed < stands + quarantined or stands != published[content]:
                if published_in[source] in inputs.behind:  # the next run moves its rows, and accounts for them
                    early.add(path)
                    continue
                raise LakehouseError(
                    f"The account of {path} does not add up: {landed} landed, {published[content]} published,"
                    f" {quarantined} quarantined ({state}); run `lakehouse rebuild silver.intake`, and if it stays,"
                    f" `lakehouse rebuild {published_in[source]}`."
                )
            rows.append(
                (source, path, content[1], day, state, landed, stands, quarantined, landed - stands - quarantined)
            )
    schema = pa.schema(
        [
            ("source", pa.string()),
            ("path", pa.string()),
            ("content_hash", pa.string()),
            ("batch_date", pa.date32()),
            ("standing", pa.string()),
        ]
        + [(n, pa.int64()) for n in ("landed", "published", "quarantined", "duplicates")]
    )
    if early:
        rows = [row for row in rows if row[1] not in early]
        replaced = replaced.where(f"NOT {in_list('path', sorted(early))}")
    columns = list(zip(*rows, strict=True)) or [[] for _ in schema]
    frame = pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
    return Recomputed(from_arrow(replaced.sparkSession, frame), replaced)


def _published(inputs: Inputs, changes: Any, tables: Iterable[str]) -> dict[Content, int]:
    """Rows that stand on each drop; with changes: by how many that has moved."""
    counts: dict[Content, int] = defaultdict(int)
    for table in tables:
        frame = inputs.snapshots[table] if changes is None else changes[table]
        weight = "1" if changes is None else "CASE WHEN _change = 'insert' THEN 1 ELSE -1 END"
        sums = (
            frame.selectExpr("path", "content_hash", f"{weight} AS n").groupBy("path", "content_hash").agg({"n": "sum"})
        )
        for r in sums.collect():
            counts[r[0], r[1]] += r[2]
    return counts
