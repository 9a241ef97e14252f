"""The Parquet stage hand-off as an IO manager: takes the reference of a gold table and makes its Snowflake table equal to it.

The work from diff to tidy is `handoff/`'s; here it is called, and what it did becomes metadata.
"""

from contextlib import ExitStack
from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from lakehouse_assets.contracts import contract
from lakehouse_assets.delta.store import TableRef
from lakehouse_assets.handoff.handoff import Handoff
from lakehouse_assets.handoff.state import State
from lakehouse_assets.resources.handoff import HandoffResource, served
from lakehouse_assets.sources.complete import complete_through, included


class SnowflakeStageIOManager(dg.ConfigurableIOManager):
    """Hands `TableRef`s off; one session and one read of the state a run. Loads the `TableRef` of the version that Snowflake has."""

    handoff: dg.ResourceDependency[HandoffResource]
    _open: Any = PrivateAttr(default=None)

    def _session(self) -> tuple[Handoff, State]:
        if self._open is None:
            stack = ExitStack()
            handoff = stack.enter_context(self.handoff.open())
            self._open = (stack, handoff, self.handoff.ready(handoff))
        return self._open[1], self._open[2]

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        if self._open is not None:
            self._open[0].close()
            self._open = None

    def handle_output(self, context: dg.OutputContext, obj: TableRef) -> None:
        handoff, state = self._session()
        lakehouse = self.handoff.lakehouse.lakehouse
        head = lakehouse.upstream_heads([obj.name])[obj.name]
        through = included(lakehouse, obj.name)
        complete = complete_through(lakehouse, through)
        acknowledged = handoff.acknowledged(contract(obj.name), state)
        # The newest version holds the rows of the data version, and its files are there also after a vacuum.
        version = head.version if acknowledged < head.data_version else acknowledged
        result = handoff.hand_off(lakehouse.spark, contract(obj.name), version, through, state, complete=complete)
        context.add_output_metadata(
            {
                "outcome": result.outcome,
                "compared": result.compared,
                "complete_through": complete.isoformat() if complete else "",
                "delta_version": result.version,
                "handoff_id": result.handoff_id or "",
                "slices": len(result.slices),
                "rows_handed_off": result.rows,
                "files": result.files,
                "bytes_put": result.bytes_put,
                "statements": result.statements,
                "seconds": dg.MetadataValue.json(dict(result.seconds)),
            }
        )

    def load_input(self, context: dg.InputContext) -> TableRef:
        handoff, _ = self._session()
        model = served()[context.asset_key.path[-1]]
        return TableRef(model.name, handoff.acknowledged(model, handoff.read_state()))
