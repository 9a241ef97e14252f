"""The Parquet stage hand-off as an IO manager: takes the reference of a gold table and makes its Snowflake table equal
to it.

The work from diff to tidy is `core/handoff/`'s; here it is called, what it did becomes metadata, and a connection that
breaks is made anew.
"""

from contextlib import AbstractContextManager, ExitStack
from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from lakehouse_assets.core.contracts import Contract, contract
from lakehouse_assets.core.delta.heads import TableRef
from lakehouse_assets.core.handoff.handoff import Handoff
from lakehouse_assets.core.handoff.state import Published, State
from lakehouse_assets.core.sources.progress import complete_through, included
from lakehouse_assets.disks import full_disk_told
from lakehouse_assets.orchestration.graph import served
from lakehouse_assets.orchestration.io_managers.metadata import say, with_run
from lakehouse_assets.orchestration.resources.handoff_resource import HandoffResource
from lakehouse_assets.orchestration.resources.retries import FIRST_PAUSE, retried


class SnowflakeStageIOManager(dg.ConfigurableIOManager):
    """Hands `TableRef`s off; one session and one read of the state a run. Loads the `TableRef` of the version that
    Snowflake has.

    A step whose connection breaks is tried again, over a new session, after a pause that grows threefold: the hand-off
    finds what had been done. Nothing else is tried again.
    """

    handoff: dg.ResourceDependency[HandoffResource]
    retry_seconds: float = FIRST_PAUSE
    """How long is waited before the first of the retries."""
    _open: Any = PrivateAttr(default=None)

    def _session(self, table: Contract) -> tuple[Handoff, State]:
        """The session of the run, and the state with that table deployed."""
        if self._open is None:
            stack = ExitStack()
            self._open = (stack, stack.enter_context(self.handoff.open()), None)
        stack, handoff, state = self._open
        self._open = (stack, handoff, self.handoff.ready(handoff, table, state))
        return self._open[1], self._open[2]

    def _close(self) -> None:
        if self._open is not None:
            stack, self._open = self._open[0], None
            stack.close()

    def _retried(self, tried: int) -> AbstractContextManager[None]:
        return retried(tried, self._close, self.retry_seconds)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        self._close()

    def handle_output(self, context: dg.OutputContext, obj: TableRef) -> None:
        with self._retried(context.step_context.previous_attempt_count), full_disk_told(self.handoff.lakehouse.written):
            self._hand_off(context, obj)

    def _hand_off(self, context: dg.OutputContext, obj: TableRef) -> None:
        handoff, state = self._session(contract(obj.name))
        lakehouse = self.handoff.lakehouse.tables
        head = lakehouse.upstream_heads([obj.name])[obj.name]
        through = included(lakehouse, obj.name)
        complete = complete_through(lakehouse, through)
        acknowledged = handoff.acknowledged(contract(obj.name), state)
        # The newest version holds the rows of the data version, and its files are there also after a vacuum.
        version = head.version if acknowledged < head.data_version else acknowledged
        model = contract(obj.name)
        with handoff.session.labelled(table=model.table.upper(), run=context.run_id):
            result = handoff.hand_off(lakehouse.spark, model, version, through, state, complete=complete)
        table = {
            "delta_version": result.version,
            "dagster/row_count": result.table_rows,
            "consumed": dg.MetadataValue.json({obj.name: result.version}),
            "complete_through": complete.isoformat() if complete else "",
        }
        run = {
            "outcome": result.outcome,
            "compared": result.compared,
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

    def published(self, model: Contract, tried: int = 0) -> Published | None:
        """What the last hand-off of a table sent, and what arrived, by the session that the run has. tried: how often
        the step was tried before.
        """
        with self._retried(tried):
            handoff = self._session(model)[0]
            with handoff.session.labelled(table=model.table.upper()):
                return handoff.published(model)

    def load_input(self, context: dg.InputContext) -> TableRef:
        with self._retried(context.step_context.previous_attempt_count):
            model = served()[context.asset_key.path[-1]]
            handoff, _ = self._session(model)
            return TableRef(model.name, handoff.acknowledged(model, handoff.read_state()))
