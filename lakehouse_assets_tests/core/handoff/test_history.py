"""What the Delta log tells of changes, and when it must not be believed: the log is shortened, rows are turned back, a
folder is put back from a copy.
"""

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from lakehouse_assets.core.delta.findings import DamagedTableError
from lakehouse_assets.core.delta.rs import DeltaRsStore
from lakehouse_assets.core.handoff import Handoff
from lakehouse_assets_tests.core.handoff.conftest import FIRST_DAY, Lakehouse
from lakehouse_assets_tests.core.handoff.test_handoff import assert_equal

D1, D2, D3 = (FIRST_DAY + timedelta(days=i) for i in range(3))


def folder(lakehouse: Lakehouse) -> Path:
    return Path(lakehouse.store.uri(lakehouse.contract.name))


@pytest.fixture
def put_back(lakehouse: Lakehouse) -> Lakehouse:
    """A table of which Snowflake has a version that the lakehouse lost: its folder was put back from a copy made
    before.
    """
    lakehouse.add(D1, D2)
    copy = folder(lakehouse).with_name("copy")
    shutil.copytree(folder(lakehouse), copy)
    lakehouse.add(D1)
    lakehouse.replace(D2)
    lakehouse.hand_off()
    shutil.rmtree(folder(lakehouse))
    shutil.copytree(copy, folder(lakehouse))
    return lakehouse


def test_a_table_put_back_from_a_copy_is_named_and_not_handed_off(put_back: Lakehouse) -> None:
    """Its id is the same and its version lower than the one that Snowflake has: its rows are those of the past."""
    lakehouse = put_back
    assert lakehouse.handoff.acknowledged(lakehouse.contract, lakehouse.handoff.read_state()) == -1
    with pytest.raises(
        DamagedTableError,
        match=r"the table is at version 1, and Snowflake has version 3 .*lakehouse rebuild gold\.things",
    ):
        lakehouse.hand_off()
    found = lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract)
    assert (found.equal, found.snapshot_readable) == (True, False)


def test_a_table_put_back_from_a_copy_that_has_gone_on_is_compared(put_back: Lakehouse) -> None:
    """It counts the same versions again for other commits, so that the log between two versions tells the wrong
    changes.
    """
    lakehouse = put_back
    for _ in range(3):
        lakehouse.add(D3)
    result = lakehouse.hand_off()
    assert (result.outcome, result.compared, result.slices) == (
        "published",
        "sums",
        tuple(d.isoformat() for d in (D1, D2, D3)),
    )
    assert_equal(lakehouse)
    lakehouse.add(D3)
    assert lakehouse.hand_off().compared == "history"


def test_a_table_that_was_copied_elsewhere_is_the_same_table(lakehouse: Lakehouse, tmp_path: Path) -> None:
    """Moving the lakehouse to another disk must cost nothing: no row is compared or travels again."""
    lakehouse.add(D1, D2)
    lakehouse.hand_off()
    shutil.copytree(lakehouse.store.root, tmp_path / "elsewhere")
    shutil.rmtree(lakehouse.store.root)
    store = DeltaRsStore(str(tmp_path / "elsewhere"), str(tmp_path / "elsewhere-scratch"))
    with Handoff(lakehouse.connect, store, lakehouse.names, lakehouse.staging) as handoff:
        copied = replace(lakehouse, store=store, handoff=handoff)
        assert copied.hand_off().outcome == "unchanged"
        copied.add(D2)
        result = copied.hand_off()
        assert (result.compared, result.slices) == ("history", (D2.isoformat(),))
        assert_equal(copied)


def test_a_log_that_was_shortened_costs_a_comparison(lakehouse: Lakehouse) -> None:
    """Logs are cleaned up after a while; who is further behind must still get every change, and say how it was
    found.
    """
    lakehouse.add(D1, D2, D3)
    lakehouse.hand_off()
    lakehouse.replace(D2)
    lakehouse.delete(f"day = '{D3}'")
    lakehouse.add(None)
    DeltaTable(folder(lakehouse)).create_checkpoint()
    for commit in sorted((folder(lakehouse) / "_delta_log").glob("*.json"))[:-1]:
        commit.unlink()
    result = lakehouse.hand_off()
    assert (result.compared, set(result.slices)) == ("sums", {D2.isoformat(), D3.isoformat(), "null"})
    assert_equal(lakehouse)
    assert lakehouse.hand_off().outcome == "unchanged"


def test_a_restore_hands_off_what_it_turned_back(lakehouse: Lakehouse) -> None:
    """An operator who takes a bad load back expects the warehouse to follow, and no other day to travel."""
    good = lakehouse.add(D1, D2)
    lakehouse.add(D3)
    lakehouse.replace(D2)
    lakehouse.hand_off()
    lakehouse.store.restore(lakehouse.contract.name, good)
    result = lakehouse.hand_off()
    assert (result.compared, set(result.slices)) == ("history", {D2.isoformat(), D3.isoformat()})
    assert_equal(lakehouse)


def test_a_vacuum_costs_a_comparison_and_loses_no_change(lakehouse: Lakehouse) -> None:
    """The files of rows that went are gone, so the log cannot tell which they were."""
    lakehouse.add(D1, D2)
    lakehouse.hand_off()
    lakehouse.replace(D1)
    lakehouse.replace(D1)
    lakehouse.store.vacuum(lakehouse.contract.name, 0)
    result = lakehouse.hand_off()
    assert (result.outcome, result.slices) == ("published", (D1.isoformat(),))
    assert_equal(lakehouse)


def test_after_a_vacuum_of_what_was_handed_off_nothing_moves(lakehouse: Lakehouse) -> None:
    """Housekeeping must not cost an upload."""
    lakehouse.add(D1)
    lakehouse.replace(D1)
    lakehouse.hand_off()
    DeltaTable(folder(lakehouse)).optimize.compact()
    lakehouse.store.vacuum(lakehouse.contract.name, 0)
    result = lakehouse.hand_off()
    assert (result.outcome, result.bytes_put) == ("acknowledged", 0)
    assert_equal(lakehouse)


def test_a_row_that_moves_to_another_day_leaves_the_day_it_was_in(lakehouse: Lakehouse) -> None:
    """A corrected date would otherwise count the sale on both days."""
    lakehouse.add(D1, D2, D3)
    lakehouse.hand_off()
    DeltaTable(folder(lakehouse)).update(updates={"day": f"DATE '{D3}'"}, predicate="id = 0")
    result = lakehouse.hand_off()
    assert set(result.slices) == {D1.isoformat(), D3.isoformat()}
    days: dict[Any, int] = dict(
        lakehouse.sql(f"SELECT DAY, COUNT(*) FROM {lakehouse.names.table(lakehouse.contract)} GROUP BY DAY")
    )
    assert days == {D1: 2, D2: 3, D3: 4}
    assert_equal(lakehouse)
