"""The partitions are Dagster's daily ones, in every time zone."""

from datetime import UTC, date, datetime
from typing import Any, cast

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse_assets.orchestration.partitions import Days

ZONES = ["UTC", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo"]
"""Among them zones whose clocks move by half an hour or at midnight, and one that has left out a day."""


@settings(deadline=None, max_examples=30)
@given(
    st.dates(date(1995, 1, 1), date(2030, 1, 1)),
    st.sampled_from(ZONES),
    st.datetimes(datetime(2009, 1, 1), datetime(2031, 1, 1), timezones=st.just(UTC)),
)
def test_the_keys_are_those_that_dagster_counts(start: date, zone: str, now: datetime) -> None:
    """A key that is missing cannot be backfilled, and one too many is a day that never turns green."""
    ours, stock = (
        kind(start_date=start.isoformat(), timezone=zone, end_offset=1) for kind in (Days, dg.DailyPartitionsDefinition)
    )
    assert ours == stock
    with dg.partition_loading_context(now):
        assert ours.get_partition_keys() == stock.get_partition_keys()
    assert ours.get_partition_keys(now) == stock.get_partition_keys(now)


@pytest.mark.parametrize("zone", ZONES)
def test_what_dagster_keeps_of_them_is_the_same(zone: str) -> None:
    """Else runs that are recorded, and a web server of another version, would not know the partitions."""

    def kept(kind: type[dg.DailyPartitionsDefinition]) -> str:
        day = (
            kind(start_date="2026-08-01", timezone=zone, end_offset=1)
            .empty_subset()
            .with_partition_keys(["2026-09-01"])
        )
        return dg.serialize_value(cast(Any, day.to_serializable_subset()))

    assert kept(Days) == kept(dg.DailyPartitionsDefinition)
