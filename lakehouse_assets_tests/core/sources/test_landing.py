"""The landing zone: new content is seen however it came, links are followed once and not out of it, large files are
named.
"""

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from lakehouse_assets.core.sources.landing import LandingZone
from lakehouse_assets.core.sources.lines import MAX_UNPACKED_MB
from lakehouse_assets.orchestration.first_day import first_day
from lakehouse_assets.settings import Settings

DAY = "orders_2026-09-01.csv"
Zone = Callable[..., LandingZone]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "landing" / "orders").mkdir(parents=True)
    return tmp_path / "landing"


@pytest.fixture
def zone(root: Path, tmp_path: Path) -> Zone:
    def make(**more: Any) -> LandingZone:
        return LandingZone(root, "UTC", date(2009, 11, 1), tmp_path / "cache.json", **more)

    return make


def hashes(zone: LandingZone) -> dict[str, str]:
    return {drop.path: drop.content_hash for drop in zone.scan()[0]}


def test_new_content_of_the_same_size_and_time_is_seen(root: Path, zone: Zone) -> None:
    """As `cp -p`, `tar` and `rsync --inplace -t` leave it; the sum of a correction would otherwise never arrive."""
    file = root / "orders" / DAY
    for content in ("a,6", "a,7", "a,8"):
        with file.open("r+" if file.exists() else "w") as stream:
            stream.write(content)
        os.utime(file, ns=(10**18, 10**18))
        seen = hashes(zone())
        assert seen == hashes(zone(checksum=True)), content


def test_content_is_not_hashed_twice_unless_asked(root: Path, zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at a landing zone of years would read all of it."""
    file = root / "orders" / DAY
    file.write_text("a")
    monkeypatch.setattr("lakehouse_assets.core.sources.landing._TICK_SECONDS", 0.0)
    first = hashes(zone())
    opened: list[Path] = []
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: (opened.append(self), original(self, *a, **k))[1])
    assert hashes(zone()) == first
    assert file not in opened
    assert hashes(zone(checksum=True)) == first
    assert file in opened


def test_a_file_that_changes_within_the_tick_of_the_clock_is_seen(
    root: Path, zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The times of a file move in ticks: two writes within one have the same."""
    file = root / "orders" / DAY
    file.write_text("a")
    frozen = file.stat()
    before = hashes(zone())
    file.write_text("b")
    original = os.stat

    def same(path: Any, *a: Any, **k: Any) -> Any:
        return (
            frozen if os.fspath(path) == os.fspath(file) and k.get("follow_symlinks", True) else original(path, *a, **k)
        )

    monkeypatch.setattr(Path, "stat", lambda self, **k: same(self, **k))
    assert hashes(zone()) != before


@pytest.mark.parametrize("settle", [0.0, 5.0])
def test_a_drop_whose_time_lies_in_the_future_is_taken_in(root: Path, zone: Zone, settle: float) -> None:
    """A copy from a machine whose clock is ahead keeps that time, and would wait for it, maybe for years, unsaid."""
    file = root / "orders" / DAY
    file.write_text("a")
    ahead = file.stat().st_mtime + 3600
    os.utime(file, (ahead, ahead))
    assert list(hashes(zone(settle_seconds=settle))) == [f"orders/{DAY}"]


def test_links_within_the_zone_are_followed_once(root: Path, zone: Zone) -> None:
    """An archive that is linked into the landing zone would never land, or land for ever."""
    (root / "archive" / "2025").mkdir(parents=True)
    (root / "archive" / "2025" / "orders_2025-01-01.csv").write_text("a")
    (root / "orders" / "2026").mkdir()
    (root / "orders" / "2026" / DAY).write_text("b")
    (root / "orders" / "old").symlink_to(root / "archive")
    (root / "orders" / "again").symlink_to(root / "orders" / "2026")
    (root / "orders" / "2026" / "loop").symlink_to(root / "orders")
    (root / "orders" / "older").symlink_to(root / "orders" / "old")
    drops, refused = zone().scan("orders")
    assert [d.path for d in drops] == [f"orders/2026/{DAY}", "orders/old/2025/orders_2025-01-01.csv"]
    assert not refused


def test_partitions_begin_with_what_is_taken_in_whatever_links_there_are(root: Path, tmp_path: Path) -> None:
    """Two links to their own folder are two to the fortieth folders for who follows each, and no command ever ends."""
    (root / "orders" / DAY).write_text("a")
    (root / "orders" / "orders_2020-01-01.csv.part").write_text("a")
    for name in ("one", "other"):
        (root / "orders" / name).symlink_to(".")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "orders_2020-01-01.csv").write_text("a")
    (root / "orders" / "archive").symlink_to(tmp_path / "outside")
    settings = Settings(landing=root, home=tmp_path / "home")
    assert first_day(settings) == date(2026, 9, 1)
    assert first_day(settings.model_copy(update={"follow_links": True})) == date(2020, 1, 1)


def test_links_out_of_the_zone_are_named_unless_a_setting_follows_them(root: Path, zone: Zone, tmp_path: Path) -> None:
    """Whoever may write into the landing zone could have any file of the machine read."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "orders_2025-01-01.csv").write_text("a")
    (root / "orders" / "linked").symlink_to(outside)
    (root / "orders" / DAY).symlink_to(outside / "orders_2025-01-01.csv")
    (root / "fx").symlink_to(outside)
    drops, refused = zone().scan()
    assert not drops
    assert set(refused) == {"orders/linked", f"orders/{DAY}", "fx"}
    assert all("LAKEHOUSE_FOLLOW_LINKS=true" in reason for reason in refused.values())
    drops, refused = zone(follow_links=True).scan()
    assert {d.path for d in drops} == {
        "orders/linked/orders_2025-01-01.csv",
        f"orders/{DAY}",
        "fx/orders_2025-01-01.csv",
    }
    assert not refused


def test_a_landing_zone_that_is_a_link_is_as_good_as_a_folder(root: Path, tmp_path: Path) -> None:
    """`current -> 2026` is how many people name a folder."""
    (root / "orders" / DAY).write_text("a")
    (root / "orders" / "again").symlink_to(root / "orders")
    link = tmp_path / "current"
    link.symlink_to(root)
    zone = LandingZone(link.resolve(), "UTC", date(2009, 11, 1), tmp_path / "cache.json")
    assert list(hashes(zone)) == [f"orders/{DAY}"]


def test_a_file_that_is_too_large_is_named_and_not_read(root: Path, zone: Zone) -> None:
    """One file of a terabyte would take the memory of the machine."""
    with (root / "orders" / DAY).open("wb") as file:
        file.truncate(MAX_UNPACKED_MB * 1_000_000 + 1)
    drops, refused = zone().scan()
    assert not drops
    assert refused == {f"orders/{DAY}": f"orders/{DAY} is larger than {MAX_UNPACKED_MB} MB; send it in several drops."}
