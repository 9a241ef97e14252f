"""Which areas there are, by the settings. Does not belong here: what an area brings."""

import pytest

from lakehouse_assets import areas
from lakehouse_assets.settings import Settings


@pytest.mark.parametrize(
    ("given", "installed", "there", "told"),
    [
        ({}, True, False, False),
        ({}, False, False, False),
        ({"kafka": "127.0.0.1:9092"}, True, True, False),
        ({"kafka": "127.0.0.1:9092"}, False, False, True),
        ({"kafka": "127.0.0.1:9092", "areas": "lakehouse_assets.domains.sales"}, False, False, False),
    ],
)
def test_the_area_of_a_topic_is_there_where_a_broker_is_set(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], installed: bool, there: bool, told: bool
) -> None:
    """Otherwise the example would have tables that nothing fills, or an installation without the extra would fail."""
    monkeypatch.setattr(areas, "installed", lambda: installed)
    settings = Settings(_env_file=None, **given)
    assert (areas.STREAMED in areas.packages_of(settings)) == there
    assert ("lakehouse_assets[streaming]" in areas.left_out(settings)) == told
