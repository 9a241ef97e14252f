"""The hand-off as a Dagster resource. Does not belong here: what it does (`handoff_access.py`)."""

import dagster as dg

from lakehouse_assets.orchestration.resources.handoff_access import HandoffAccess
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource
from lakehouse_assets.orchestration.resources.snowflake import SnowflakeAccount


class HandoffResource(dg.ConfigurableResource, HandoffAccess):
    """Opens hand-offs against the account of the settings. Names only; secrets stay with the account resource."""

    lakehouse: dg.ResourceDependency[LakehouseResource]
    account: dg.ResourceDependency[SnowflakeAccount]
