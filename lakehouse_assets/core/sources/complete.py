"""How far a table is: the journal version that it includes, and the batch date up to which that is everything.

Belongs here: reading that from the journal and from what tables have consumed. Does not belong here: what is to be done
about it (`orchestration/automation/pending.py`).
"""

from __future__ import annotations

from datetime import date

from lakehouse_assets.core.delta.staging import JOURNAL, Lakehouse
from lakehouse_assets.core.sources.ingest import entries, entries_after


def included(lakehouse: Lakehouse, name: str) -> int:
    """The journal version that a table includes: the one it was computed from, or a later one of which its upstreams
    say that it changes nothing.

    A table that is not behind commits nothing, so its own record may be old.
    """
    head, journal = lakehouse.store.head(name), lakehouse.store.head(JOURNAL)
    if head is None or head.consumed is None or journal is None:
        return -1
    was = head.consumed
    if was.through == journal.data_version:
        return was.through
    found = []
    for upstream, version in was.upstreams.items():
        now = journal if upstream == JOURNAL else lakehouse.store.head(upstream)
        if now is None or (now.data_version, now.table_id) != (version, was.ids.get(upstream)):
            return was.through
        if upstream == JOURNAL:
            found.append(now.data_version)
        elif now.consumed and now.consumed.upstreams:  # rows of bronze count by their entry in the journal
            found.append(included(lakehouse, upstream))
    return min(found, default=was.through)


def complete_through(lakehouse: Lakehouse, version: int) -> date | None:
    """The newest batch date of the journal up to which a table that includes `version` of it includes every entry; None
    where there is none.

    A refused drop has been judged, so it counts as included.
    """
    journal = entries(lakehouse)
    missing = entries_after(lakehouse, version, journal)
    first = min((e.batch_date for e in missing), default=date.max)
    return max((e.batch_date for e in journal if e.batch_date < first), default=None)
