"""One account server for the room, a sample that many tests start from, and a world for each test that asks for one."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import count
from pathlib import Path

import pytest

from lakehouse_assets.embedded_snowflake import stop
from lakehouse_assets.sample.generate import generate
from lakehouse_assets.sample.ledger import SampleLedger
from lakehouse_assets_tests.pipeline.world import State, World

PROJECT = Path(__file__).parents[2]
FIRST_DAY = date(2026, 9, 1)
NewWorld = Callable[..., World]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of the account that all worlds share."""
    home = tmp_path_factory.mktemp("shared")
    yield home
    stop(home)


@pytest.fixture(scope="session")
def make_world(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[NewWorld]:
    """Makes worlds that live until the session ends."""
    worlds: list[World] = []
    before = dict(os.environ)
    numbers = count(1)

    def make(landing: Path | None = None) -> World:
        number = next(numbers)
        worlds.append(World(tmp_path_factory.mktemp(f"world{number}"), shared, f"WORLD_{number}", landing))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()
    os.environ.clear()
    os.environ.update(before)


@dataclass(frozen=True)
class Sample:
    """A generated landing zone with all kinds of dirt, its clean twin, and the ledger of the dirt."""

    landing: Path
    clean: Path
    ledger: SampleLedger


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Five days of 30 lines: small, with re-deliveries too far away to occur."""
    root = tmp_path_factory.mktemp("sample")
    ledger = generate(root / "dirty" / "landing", FIRST_DAY, 5, 30, 11)
    generate(root / "clean" / "landing", FIRST_DAY, 5, 30, 11, dirt=())
    return Sample(root / "dirty" / "landing", root / "clean" / "landing", ledger)


@pytest.fixture(scope="session")
def loaded(sample: Sample, make_world: NewWorld) -> tuple[World, State]:
    """The sample loaded in one run, and the state of all its tables; tests that change it put it back."""
    world = make_world()
    world.take(sample.landing)
    world.run()
    return world, world.state(("bronze", "silver", "gold", "snowflake"))


@pytest.fixture(scope="session")
def real_landing() -> Path:
    """The landing zone of real orders and rates; the test is skipped where it is not at hand."""
    data = Path(os.environ.get("LAKEHOUSE_TEST_DATA", PROJECT.parent / "shared" / "data"))
    if not (data / "landing" / "orders").is_dir():
        pytest.skip("no real orders: LAKEHOUSE_TEST_DATA names the folder that holds landing/")
    return data / "landing"
