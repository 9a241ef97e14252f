"""The account of every drop: landed = published + quarantined + duplicates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import pyarrow as pa

from lakehouse_assets.core.contracts.side_tables import intake_model
from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.declarations.table import Table
from lakehouse_assets.core.declarations.table import table as declare_table
from lakehouse_assets.core.delta.staging import JOURNAL
from lakehouse_assets.core.frames import Inputs, Recomputed, from_arrow
from lakehouse_assets.core.sources.journal import (
    REFUSED,
    UNREADABLE,
    WITHDRAWN,
    Content,
    Entry,
    by_path,
    is_withdrawn,
    standing,
)
from lakehouse_assets.core.spark_sql import in_list
from lakehouse_assets.errors import LakehouseError

INTAKE = "silver.intake"

LIVE = "live"
"""The standing of the content that its path says now."""

_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("source", "path", "content_hash")]
    + [("batch_date", pa.date32()), ("standing", pa.string())]
    + [(name, pa.int64()) for name in ("landed", "published", "quarantined", "duplicates")]
)


def intake_table(sources: Sequence[Source]) -> Table:
    """The table of the accounts of those sources."""
    published = {source.name: source.table for source in sources}
    upstreams = [JOURNAL, *(name for table in published.values() for name in (table, f"{table}_verdicts"))]

    def accounts(inputs: Inputs) -> Recomputed:
        return intake(inputs, published)

    accounts.__doc__ = intake.__doc__
    return declare_table(intake_model(list(published)), upstreams=upstreams)(accounts)


class Account(NamedTuple):
    """The account of one content of a path: its rows by what has become of them."""

    source: str
    path: str
    content_hash: str
    batch_date: date
    standing: str
    landed: int
    published: int
    quarantined: int

    @property
    def duplicates(self) -> int:
        return self.landed - self.published - self.quarantined

    @property
    def adds_up(self) -> bool:
        return self.duplicates >= 0 and (self.standing == LIVE or not self.published)


def intake(inputs: Inputs, published_in: Mapping[str, str]) -> Recomputed:
    """The accounts of the drops that something was said of, or whose lines moved to or from another drop."""
    verdicts: dict[Content, Any] = {
        (r["path"], r["content_hash"]): r
        for table in published_in.values()
        for r in inputs.snapshots[f"{table}_verdicts"].collect()
    }
    journal = [e for e in _journal(inputs) if e.content in verdicts]
    if inputs.everything:
        published = _published(inputs, None, published_in.values())
        paths, replaced = {e.path for e in journal}, inputs.target
    else:
        moved = _published(inputs, inputs.changes, published_in.values())
        paths = {path for path, _ in moved} | _said_of(inputs)
        replaced = inputs.target.where(in_list("path", sorted(paths)))
        published = defaultdict(int, {(r["path"], r["content_hash"]): r["published"] for r in replaced.collect()})
        for content, n in moved.items():
            published[content] += n

    rows: list[Account] = []
    early: list[str] = []
    for path, entries in by_path(e for e in journal if e.path in paths).items():
        accounts = accounts_of(entries, verdicts, published)
        wrong = [account for account in accounts if not account.adds_up]
        if lost := [account for account in wrong if published_in[account.source] not in inputs.behind]:
            raise _wrong(lost[0], published_in[lost[0].source])
        if wrong:  # the next run moves its rows, and accounts for them
            early.append(path)
        else:
            rows += accounts
    if early:
        replaced = replaced.where(f"NOT {in_list('path', sorted(early))}")
    frame = pa.Table.from_pylist([{**a._asdict(), "duplicates": a.duplicates} for a in rows], _SCHEMA)
    return Recomputed(from_arrow(replaced.sparkSession, frame), replaced)


def accounts_of(
    entries: Sequence[Entry], verdicts: Mapping[Content, Any], published: Mapping[Content, int]
) -> list[Account]:
    """The accounts of all contents of one path. verdicts: rows of the tables of verdicts; published: the rows that
    stand on each content.
    """
    live, rejected = standing(entries, {e.content: verdicts[e.content]["verdict"] for e in entries})
    other = WITHDRAWN if is_withdrawn(entries) else "superseded"
    accounts = []
    for entry in {e.content: e for e in entries}.values():
        content, verdict = entry.content, verdicts[entry.content]
        state = LIVE if content == live else verdict["verdict"] if content == rejected else other
        landed = verdict["landed"] if content in (live, rejected) else 0
        quarantined = landed if state in (REFUSED, UNREADABLE) else verdict["bad_rows"] if state == LIVE else 0
        accounts.append(
            Account(entry.source, *content, entry.batch_date, state, landed, published.get(content, 0), quarantined)
        )
    return accounts


def _journal(inputs: Inputs) -> list[Entry]:
    return [
        Entry(r["path"], r["sequence"], r["content_hash"], r["batch_date"], r["state"], r["source"])
        for r in inputs.snapshots[JOURNAL].collect()
    ]


def _said_of(inputs: Inputs) -> set[str]:
    """The paths of which the journal or a table of verdicts says something new."""
    return {
        r[0]
        for name, changes in inputs.changes.items()
        if changes is not None and (name == JOURNAL or name.endswith("_verdicts"))
        for r in changes.select("path").distinct().collect()
    }


def _wrong(account: Account, table: str) -> LakehouseError:
    return LakehouseError(
        f"The account of {account.path} does not add up: {account.landed} landed, {account.published} published,"
        f" {account.quarantined} quarantined ({account.standing}); run `lakehouse rebuild silver.intake`, and if it"
        f" stays, `lakehouse rebuild {table}`."
    )


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
