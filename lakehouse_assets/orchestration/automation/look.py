"""One look at what is pending, before anything is done about it. Importing this starts no Dagster.

Does not belong here: what counts as pending (`pending.py`), runs (`runner.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from lakehouse_assets.core.handoff.state import State
from lakehouse_assets.orchestration.automation.pending import Pending, pending
from lakehouse_assets.orchestration.graph import TableNode
from lakehouse_assets.orchestration.resources.handoff_access import HandoffAccess
from lakehouse_assets.orchestration.resources.lakehouse_access import LakehouseAccess


@dataclass(frozen=True)
class Look:
    """found: what is pending. state: what Snowflake has acknowledged, None where nothing is deployed there."""

    found: Pending
    state: State | None

    @classmethod
    def taken(
        cls,
        lakehouse: LakehouseAccess,
        handoff: HandoffAccess,
        graph: Mapping[str, TableNode],
        start: date | None = None,
        end: date | None = None,
    ) -> Look:
        """What is so now. start, end: batch dates to which new drops are restricted."""
        with handoff.open() as opened:
            state = handoff.state(opened)
            behind = handoff.behind(opened, state)
            damaged = {table: f"{finding.sentence()}." for table, finding in handoff.short(state).items()}
        databases = lakehouse.databases
        found = pending(
            lakehouse.tables, lakehouse.zone, graph, behind, databases, start=start, end=end, damaged=damaged
        )
        return cls(found, state)
