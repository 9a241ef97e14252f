"""What is known of all hand-offs, for people to look at: what is acknowledged, under way, and on the stage.

Does not belong here: removing any of it (`tidy.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lakehouse_assets.core.handoff import stage, tidy
from lakehouse_assets.core.handoff.attempt import Context
from lakehouse_assets.core.handoff.state import Intent, TableState, read_state


@dataclass(frozen=True)
class HandoffStatus:
    """tables: what is acknowledged. pending: hand-offs recorded and not published. Data files and their bytes on the
    stage, of which each is loaded (published from, and kept for a while), pending (of a hand-off under way) or
    orphaned; oldest: since when the oldest one lies there.
    """

    tables: tuple[TableState, ...]
    pending: tuple[Intent, ...]
    stage_files: int
    stage_bytes: int
    stage_orphaned: int
    stage_loaded: int = 0
    stage_pending: int = 0
    stage_oldest: datetime | None = None


def status(context: Context) -> HandoffStatus:
    """What Snowflake has acknowledged, what is under way, what lies on the stage."""
    entries = stage.list_files(context.session, context.names.stage_path)
    state = read_state(context.session, context.names)
    pending = tuple(i for i in state.intents if not i.published)
    under_way = {i.table for i in pending}
    unpublished = tidy.unpublished(context, {e.directory for e in entries})
    orphaned = {d for d in unpublished if d.partition("/")[0].upper() not in under_way}
    data = [e for e in entries if not e.is_manifest]
    return HandoffStatus(
        tuple(t for _, t in sorted(state.tables.items())),
        pending,
        len(data),
        sum(e.bytes for e in data),
        sum(e.directory in orphaned for e in data),
        sum(e.directory not in unpublished for e in data),
        sum(e.directory in unpublished - orphaned for e in data),
        min((e.modified for e in data), default=None),
    )
