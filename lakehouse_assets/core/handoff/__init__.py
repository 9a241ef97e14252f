"""The hand-off: carries a snapshot of a gold Delta table to Snowflake and proves that it arrived.

    diff -> record -> export -> PUT -> view -> publish -> tidy

Belongs here: everything between the Delta store and the served tables, with its SQL as files in `sql/`. It takes a way
to connect, a `DeltaStore`, a Spark session and contracts. Does not belong here: Dagster, settings, opening connections,
business logic. The protocol, and why each crash in it is safe, is written down in docs/handoff.md.
"""

# ruff: noqa: E402 -- pandera and the connector are imported before anything that imports them
from lakehouse_assets.lean import import_connector, import_contracts

import_contracts()
import_connector()

from lakehouse_assets.core.handoff.attempt import HandoffResult
from lakehouse_assets.core.handoff.evolve import PlannedStatement
from lakehouse_assets.core.handoff.handoff import Handoff
from lakehouse_assets.core.handoff.names import TargetNames
from lakehouse_assets.core.handoff.scripts import external_lane_script, roles_script
from lakehouse_assets.core.handoff.state import Intent, State, TableState
from lakehouse_assets.core.handoff.status import HandoffStatus
from lakehouse_assets.core.handoff.verify import RowDifference, SliceDifference, VerifyResult

__all__ = [
    "Handoff",
    "HandoffResult",
    "HandoffStatus",
    "Intent",
    "PlannedStatement",
    "RowDifference",
    "SliceDifference",
    "State",
    "TableState",
    "TargetNames",
    "VerifyResult",
    "external_lane_script",
    "roles_script",
]
