"""The lakehouse as a Dagster resource. Does not belong here: how it is reached (`lakehouse_access.py`)."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager

import dagster as dg

from lakehouse_assets.disks import full_disk_told
from lakehouse_assets.orchestration.resources.lakehouse_access import LakehouseAccess


class LakehouseResource(dg.ConfigurableResource, LakehouseAccess):
    """Where the tables, the staged slices and the landing zone lie, and what computes. Holds no secret."""

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator["LakehouseResource"]:
        """What a run reads is held against vacuum until it ends."""
        with ExitStack() as stack:
            with full_disk_told(self.written):
                stack.enter_context(self.holding(context.run.run_id if context.run else ""))
            yield self
