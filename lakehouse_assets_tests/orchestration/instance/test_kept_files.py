"""Files that the product keeps beside the tables, broken in every way: healed where they can be made anew, else named
with what to do.
"""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from lakehouse_assets.core.sources.landing import LandingZone
from lakehouse_assets.embedded_snowflake import read_address
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.instance.local import refuse_broken_storage


def flipped(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 4
    return bytes(changed)


BREAKS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda content: content[: len(content) // 2],
    "flipped": flipped,
    "foreign": lambda _: b'["of", "somebody", "else"]',
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_cache_of_hashes_that_is_broken_costs_hashing_again(tmp_path: Path, how: str):
    """Else a drop gets the hash of a content that has never been."""
    (tmp_path / "landing" / "orders").mkdir(parents=True)
    (tmp_path / "landing" / "orders" / "orders_2026-01-02.csv").write_text("InvoiceNo\n1\n")
    zone = LandingZone(tmp_path / "landing", "UTC", date(2026, 1, 1), tmp_path / "cache" / "landing.json")
    drops = zone.scan()[0]
    zone.cache.write_bytes(BREAKS[how](zone.cache.read_bytes()))
    assert zone.scan()[0] == drops != []


@pytest.mark.parametrize("how", ["empty", "cut", "foreign"])
def test_an_address_of_a_server_that_is_broken_is_none(tmp_path: Path, how: str):
    """Else every command fails in Python's words; a server that starts writes it anew."""
    good = json.dumps({"host": "127.0.0.1", "port": 4000, "pid": 7, "started": 1.0}).encode()
    (tmp_path / "server.json").write_bytes(BREAKS[how](good))
    assert read_address(tmp_path) is None


@pytest.mark.parametrize("wrong", [{"port": 99999999}, {"port": "4000"}, {"host": "example.org"}, {"pid": None}])
def test_an_address_that_none_of_our_servers_can_have_is_none(tmp_path: Path, wrong: dict):
    (tmp_path / "server.json").write_text(
        json.dumps({"host": "127.0.0.1", "port": 4000, "pid": 7, "started": 1.0, **wrong})
    )
    assert read_address(tmp_path) is None


@pytest.mark.parametrize("broken", [b"no database at all, no database at all", b"X"], ids=["foreign", "flipped"])
def test_a_database_of_the_history_that_is_none_is_named(tmp_path: Path, broken: bytes):
    file = tmp_path / "history" / "runs.db"
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE runs (id INTEGER)")
        database.commit()
    refuse_broken_storage(tmp_path)
    content = file.read_bytes()
    file.write_bytes(broken if len(broken) > 1 else content[:3] + broken + content[4:])
    with pytest.raises(LakehouseError, match=r"runs\.db.* is broken .*move .* away and run again"):
        refuse_broken_storage(tmp_path)
