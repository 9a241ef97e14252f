"""A broker, and the tables of the area `web`, for each test that asks for one. The client of Kafka is imported by those
alone, for it may not be installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lakehouse_assets import areas
from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.delta.rs import DeltaRsStore
from lakehouse_assets.core.delta.staging import Lakehouse
from lakehouse_assets.settings import Settings
from lakehouse_assets.streams.process import Limits, Stream

if TYPE_CHECKING:
    from lakehouse_assets_tests.mock_broker import MockBroker


@pytest.fixture
def web() -> Iterator[Source]:
    """The source `web_events`; afterwards the areas are what they were."""
    before = list(areas.AREAS)
    areas.use(areas.load([*areas.PACKAGES, areas.STREAMED]))
    yield SOURCES["web_events"]
    areas.use(before)


@pytest.fixture
def broker() -> Iterator[MockBroker]:
    from lakehouse_assets_tests.mock_broker import MockBroker

    mock = MockBroker()
    yield mock
    mock.stop()


class Taken:
    """A lakehouse in a folder, and processes that append to it."""

    def __init__(self, root: Path, source: Source):
        self.root, self.source = root, source
        self.said: list[str] = []

    @property
    def lakehouse(self) -> Lakehouse:
        """As another process has it."""

        def no_engine() -> Any:
            raise AssertionError("no engine is needed to take messages in")

        store = DeltaRsStore(str(self.root / "tables"), str(self.root / "changes"))
        return Lakehouse(store, no_engine, str(self.root / "staging"))

    def stream(self, address: str, *, accept_loss: bool = False, **limits: Any) -> Stream:
        from lakehouse_assets.streams.broker import Broker

        settings = Settings(_env_file=None, kafka=address)
        given = Limits(**{"every": 0.1, "stand_by": 0.2, **limits})
        client = Broker(settings, self.source.topic, most_mb=given.mb)
        return Stream(self.lakehouse, self.source, client, given, accept_loss=accept_loss, say=self.said.append)

    def take(self, address: str, **more: Any) -> int:
        """Take in what is there; returns how many messages."""
        return self.stream(address, **more).run(lambda: False, once=True).rows

    def offsets(self) -> list[tuple[str, int]]:
        """Partition and offset of every row, sorted."""
        columns = ["partition", "offset"]
        rows = self.lakehouse.store.read(self.source.bronze, columns=columns).to_pylist()
        return sorted((r["partition"], int(r["offset"])) for r in rows)


@pytest.fixture
def taken(tmp_path: Path, web: Source) -> Taken:
    return Taken(tmp_path, web)
