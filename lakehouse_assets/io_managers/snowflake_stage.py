"""The Parquet stage hand-off as an IO manager: takes the reference of a gold table and makes its Snowflake table equal to it.

The work from diff to tidy is `handoff/`'s; here it is called, and what it did becomes metadata.
"""

from contextlib import ExitStack
from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from lakehouse_assets.contracts import Contract, contract
from lakehouse_assets.delta.store import TableRef
from lakehouse_assets.handoff.handoff import Handoff
from lakehouse_assets.handoff.state import Published, State
from lakehouse_assets.io_managers.metadata import say, with_run
from lakehouse_assets.resources.handoff import HandoffResource, served


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
        through = head.consumed.through if head.consumed else -1
        acknowledged = handoff.acknowledged(contract(obj.name), state)
        # The newest version holds the rows of the data version, and its files are there also after a vacuum.
        version = head.version if acknowledged < head.data_version else acknowledged
        result = handoff.hand_off(lakehouse.spark, contract(obj.name), version, through, state)
        table = {
            "delta_version": result.version,
            "dagster/row_count": result.table_rows,
            "consumed": dg.MetadataValue.json({obj.name: result.version}),
        }
        run = {
            "outcome": result.outcome,
            "handoff_id": result.handoff_id or "",
            "slices": len(result.slices),
            "rows": result.rows,
            "files": result.files,
            "bytes": result.bytes_put,
            "statements": result.statements,
            "seconds": round(result.total_seconds, 3),
            "seconds_by_step": dg.MetadataValue.json(dict(result.seconds)),
        }
        say(context, with_run(dict.fromkeys(context.asset_partition_keys, table), run))

    def published(self, model: Contract) -> Published | None:
        """What the last hand-off of a table sent, and what arrived, by the session that the run has."""
        return self._session()[0].published(model)

    def load_input(self, context: dg.InputContext) -> TableRef:
        handoff, _ = self._session()
        model = served()[context.asset_key.path[-1]]
        return TableRef(model.name, handoff.acknowledged(model, handoff.read_state()))
