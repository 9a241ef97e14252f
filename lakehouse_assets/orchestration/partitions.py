"""The one daily partitions definition (batch date) and its backfill policy. Every table has both."""

from __future__ import annotations

import dagster as dg

from lakehouse_assets.orchestration.first_day import first_day
from lakehouse_assets.settings import Settings

BACKFILL_POLICY = dg.BackfillPolicy.single_run()


def daily(settings: Settings) -> dg.DailyPartitionsDefinition:
    """One partition a batch date, from the first one to today: `end_offset=1` gives today a partition while it
    lasts.
    """
    start = first_day(settings).isoformat()
    return dg.DailyPartitionsDefinition(start_date=start, timezone=settings.timezone, end_offset=1)
