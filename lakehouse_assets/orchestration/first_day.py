"""The first batch date. Importing this starts no Dagster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.delta.staging import JOURNAL
from lakehouse_assets.core.names import layer_of, short_name
from lakehouse_assets.core.sources.landing import LandingZone, date_in
from lakehouse_assets.settings import Settings

EARLIEST = date(1995, 1, 1)
"""The earliest date of an invoice, as the contract of order lines has it."""


def first_day(settings: Settings) -> date:
    """The first batch date: that of the settings, else that of the first drop which lies in the landing zone or has
    landed, else today.

    A drop from before `EARLIEST` counts for nothing: it is a typing mistake, and partitions would begin with it. Tables
    that lie elsewhere than on this machine are not asked.
    """
    if settings.partitions_start:
        return settings.partitions_start
    today = datetime.now(ZoneInfo(settings.timezone)).date()
    dates = [day for day in _dates(settings) if EARLIEST <= day <= today]
    return min(dates, default=today)


def _dates(settings: Settings) -> Iterator[date]:
    zone = LandingZone(settings.landing, settings.timezone, EARLIEST, Path(), follow_links=settings.follow_links)
    for source in SOURCES:
        yield from filter(None, (date_in(file.name) for file in zone.files(source, {})))
    journal = Path(settings.tables_root, layer_of(JOURNAL), short_name(JOURNAL))
    if "://" not in settings.tables_root and journal.is_dir():
        # What is wrong with it is said where it is used.
        with suppress(DeltaError, OSError):
            table = DeltaTable(str(journal)).to_pyarrow_dataset().to_table(columns=["batch_date"])
            yield from (day for day in table["batch_date"].unique().to_pylist() if day)
