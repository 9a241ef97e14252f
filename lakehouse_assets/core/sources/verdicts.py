"""What has been recorded of the drops of a source, and what of it counts now. From the tables, without an engine.

Does not belong here: judging drops (`core/quality/drops.py`), deciding what follows (`decide.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import date
from typing import Any, Final

from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.delta.staging import Lakehouse
from lakehouse_assets.core.quality.drops import AGED, DropVerdict, drift_of
from lakehouse_assets.core.sources.ingest import entries
from lakehouse_assets.core.sources.journal import ACCEPTED, REFUSED, Content, acknowledged, by_path, standing_contents

REFUSED_RULE: Final = "drop.bad_rows"
"""The reason that is on every row of a refused drop."""


def recorded_verdicts(lakehouse: Lakehouse, source: Source) -> dict[Content, DropVerdict]:
    """Every verdict that has been recorded; the rules that rows broke are not among it."""
    if not lakehouse.store.exists(source.verdicts.name):
        return {}
    rows = lakehouse.store.read(source.verdicts.name).to_pylist()
    return {(r["path"], r["content_hash"]): _recorded(r, {}) for r in rows}


def rejected_now(lakehouse: Lakehouse, source: Source) -> list[DropVerdict]:
    """The drops of a source that wait for somebody: refused or unreadable, the newest content of their path, and not
    acknowledged. From the tables, without an engine.
    """
    known = acknowledged(entries(lakehouse))
    rows = [r for r in _standing_rows(lakehouse, source) if (r["path"], r["content_hash"]) not in known]
    return [_recorded(r, {REFUSED_RULE: r["landed"]}) for r in rows if r["verdict"] != ACCEPTED]


def refused_now(lakehouse: Lakehouse, source: Source) -> list[DropVerdict]:
    """Those of `rejected_now` that are refused: their batch dates are red, and runs go around them."""
    return [v for v in rejected_now(lakehouse, source) if v.verdict == REFUSED]


def standing_verdicts(lakehouse: Lakehouse, source: Source, days: Collection[date] | None = None) -> list[DropVerdict]:
    """What has been recorded of the drops of those batch dates (None: of all), as far as they count as things stand;
    from the tables, without an engine.

    The rules are counted in quarantine, so those that only warn are not among them, and where rows have left it by age,
    `AGED` stands for all.
    """
    rows = [r for r in _standing_rows(lakehouse, source) if days is None or r["batch_date"] in days]
    broken: dict[Content, Counter[str]] = {(r["path"], r["content_hash"]): Counter() for r in rows}
    together: dict[Content, Counter[tuple[str, ...]]] = {content: Counter() for content in broken}
    if any(r["bad_rows"] for r in rows) and lakehouse.store.exists(source.quarantine.name):
        for r in lakehouse.store.read(source.quarantine.name, columns=["path", "content_hash", "rules"]).to_pylist():
            # That its drop is refused is no rule that a row breaks.
            names = tuple(name for name in r["rules"] if name != REFUSED_RULE)
            if names and (r["path"], r["content_hash"]) in broken:
                broken[r["path"], r["content_hash"]].update(names)
                together[r["path"], r["content_hash"]][names] += 1
    for r in rows:
        content = (r["path"], r["content_hash"])
        if r["bad_rows"] and not broken[content]:
            broken[content][AGED] = together[content][(AGED,)] = r["bad_rows"]
    return [
        replace(_recorded(r, dict(broken[c])), together=dict(together[c]))
        for r in rows
        for c in [(r["path"], r["content_hash"])]
    ]


def batch_accounts(lakehouse: Lakehouse, source: Source, published: Mapping[date, int]) -> dict[date, dict[str, int]]:
    """The account of the drops of each batch date, as `silver.intake` will have it; from the tables, without an engine.

    published: the rows of the table that stand on drops of each batch date asked for, 0 where none does.
    """
    accounts = {
        day: {"landed": 0, "published": rows, "quarantined": 0, "duplicates": -rows} for day, rows in published.items()
    }
    for row in _standing_rows(lakehouse, source):
        account = accounts.get(row["batch_date"])
        if account:
            quarantined = row["bad_rows"] if row["verdict"] == ACCEPTED else row["landed"]
            account["landed"] += row["landed"]
            account["quarantined"] += quarantined
            account["duplicates"] += row["landed"] - quarantined
    return accounts


def drifted_now(lakehouse: Lakehouse, source: Source) -> list[tuple[DropVerdict, str]]:
    """The drops of a source that count now and have other columns than it, with what is other, unless somebody has
    acknowledged the same of one of its drops; from the tables, without an engine.
    """
    drifted = [(v, words) for v in standing_verdicts(lakehouse, source) if (words := drift_of(v))]
    acknowledgements = acknowledged(entries(lakehouse)) if drifted else set()
    known = {words for v, words in drifted if (v.path, v.content_hash) in acknowledgements}
    return [(v, words) for v, words in drifted if words not in known]


def _standing_rows(lakehouse: Lakehouse, source: Source) -> list[dict[str, Any]]:
    """The recorded verdicts on the live content of each path and on a newer one that is refused or unreadable."""
    side = source.verdicts.name
    if not lakehouse.store.exists(side):
        return []
    rows = {(r["path"], r["content_hash"]): r for r in lakehouse.store.read(side).to_pylist()}
    verdict_of = {content: r["verdict"] for content, r in rows.items()}
    journal = by_path(e for e in entries(lakehouse) if e.source == source.name and e.content in rows)
    live, rejected = standing_contents(journal.values(), verdict_of)
    return [r for content, r in rows.items() if content in live | rejected]


def _recorded(row: Mapping[str, Any], rules: Mapping[str, int]) -> DropVerdict:
    names = ("path", "content_hash", "batch_date", "landed", "bad_rows", "warned_rows", "verdict", "reason")
    # A table of an earlier version has no drift until the next run.
    return DropVerdict(**{k: row[k] for k in names}, rules=rules, drift=row.get("drift"))
