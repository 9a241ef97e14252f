"""The one daily partitions definition (batch date) and its backfill policy. Every table has both."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import dagster as dg

from lakehouse_assets.orchestration.first_day import first_day
from lakehouse_assets.settings import Settings

BACKFILL_POLICY = dg.BackfillPolicy.single_run()


class Days(dg.DailyPartitionsDefinition):
    """Dagster's daily partitions, whose keys are counted as dates. Dagster asks for all of them in each stand-alone
    check, and walks a cron schedule from the first day to today for that: ten years take 50 ms, twenty times a run.
    """

    def get_partition_keys(
        self, current_time: datetime | None = None, dynamic_partitions_store: Any = None
    ) -> Sequence[str]:
        """All keys, oldest first, as the inherited method gives them."""
        with dg.partition_loading_context(current_time, dynamic_partitions_store):
            ends = self.get_first_partition_key(), self.get_last_partition_key()
        first, last = (date.fromisoformat(key).toordinal() if key else 0 for key in ends)
        return [date.fromordinal(n).isoformat() for n in range(first, last + 1)] if first and last else []


def daily(settings: Settings) -> dg.DailyPartitionsDefinition:
    """One partition a batch date, from the first one to today: `end_offset=1` gives today a partition while it
    lasts.
    """
    return Days(start_date=first_day(settings).isoformat(), timezone=settings.timezone, end_offset=1)
