"""A database serves one lakehouse; another one is refused by a sentence until somebody says that it may take over."""

import shutil
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from deltalake import write_deltalake

from lakehouse_assets.core.handoff import Handoff, faults
from lakehouse_assets.core.handoff.state import Owner
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.core.handoff.conftest import FIRST_DAY, Lakehouse
from lakehouse_assets_tests.core.handoff.test_handoff import assert_equal, assert_tidy

D1, D2, D3 = (FIRST_DAY + timedelta(days=i) for i in range(3))


def owned(lakehouse: Lakehouse, lakehouse_id: str) -> Lakehouse:
    """The same with a hand-off that says whose tables they are."""
    return replace(
        lakehouse,
        handoff=lakehouse.publisher(
            owner=Owner(lambda: lakehouse_id, lambda: [lakehouse.store.table_id(lakehouse.contract.name)])
        ),
    )


@pytest.fixture
def two(lakehouse_of: Any) -> tuple[Lakehouse, Lakehouse]:
    """A lakehouse that has published, and another one that points to the same database."""
    one = owned(lakehouse_of(), "one")
    other = lakehouse_of(deploy=False)
    other = owned(replace(other, names=one.names), "other")
    one.add(D1, D2)
    one.hand_off()
    other.add(D3)
    return one, other


def test_another_lakehouse_is_refused_and_changes_nothing(two: tuple[Lakehouse, Lakehouse]) -> None:
    """Two lakehouses on one database would overwrite each other in turn, without a word."""
    one, other = two
    state = one.handoff.read_state()
    message = (
        rf"database {one.names.database} serves another lakehouse \(one; this one is other\), so nothing was done;"
        r" .*--take-over"
    )
    for _ in range(2):
        with pytest.raises(LakehouseError, match=message):
            other.hand_off()
        with pytest.raises(LakehouseError, match=message):
            other.handoff.deploy([other.contract], allow_breaking=True)
    assert one.handoff.read_state() == state
    assert_equal(one)
    assert one.hand_off().outcome == "unchanged"
    one.handoff.close()
    other.handoff.close()


def test_who_takes_over_is_served_and_the_former_one_refused(two: tuple[Lakehouse, Lakehouse]) -> None:
    """A lakehouse that was moved or made anew must be able to go on with the database of old."""
    one, other = two
    planned = other.handoff.plan([other.contract])
    assert [(p.kind, p.object) for p in planned] == [("foreign", f"{one.names.database}.OPS.HANDOFF_STATE")]
    assert other.handoff.deploy([other.contract], take_over=True) == planned
    assert other.handoff.plan([other.contract]) == []
    assert other.hand_off().compared == "sums"
    assert_equal(other)
    with pytest.raises(LakehouseError, match=r"serves another lakehouse \(other; this one is one\)"):
        one.hand_off()
    assert_equal(other)
    one.handoff.close()
    other.handoff.close()


def test_a_hand_off_under_way_stops_when_another_lakehouse_takes_over(
    two: tuple[Lakehouse, Lakehouse], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read whose the database is before its files travelled, which may take an hour."""
    one, other = two
    one.add(D1)
    before = one.snowflake_rows()

    def taken(name: str) -> None:
        if name == "uploaded":
            other.handoff.deploy([other.contract], take_over=True)

    monkeypatch.setattr(faults, "crash_point", taken)
    with pytest.raises(LakehouseError, match="serves another lakehouse"):
        one.hand_off()
    assert one.snowflake_rows() == before
    monkeypatch.undo()
    other.hand_off()
    assert_equal(other)
    other.handoff.sweep()
    assert_tidy(other)
    one.handoff.close()
    other.handoff.close()


def test_a_table_made_anew_in_the_same_lakehouse_is_taken_as_before(lakehouse: Lakehouse) -> None:
    """Gold can be computed anew at any time; nobody should have to say who they are for that."""
    lakehouse = owned(lakehouse, "one")
    lakehouse.add(D1, D2)
    lakehouse.hand_off()
    rows = lakehouse.arrow()
    shutil.rmtree(lakehouse.store.uri(lakehouse.contract.name))
    lakehouse.store.create(lakehouse.contract)
    write_deltalake(lakehouse.store.uri(lakehouse.contract.name), rows, mode="append")
    assert lakehouse.hand_off().outcome == "acknowledged"
    lakehouse.add(D3)
    assert lakehouse.hand_off().outcome == "published"
    assert_equal(lakehouse)
    lakehouse.handoff.close()


def test_a_journal_made_anew_is_known_by_the_tables_that_stayed(lakehouse: Lakehouse) -> None:
    """Who has lost bronze and still has the drops goes on; from the next hand-off on the new journal counts."""
    one = owned(lakehouse, "one")
    one.add(D1)
    one.hand_off()
    other = owned(lakehouse, "other")
    assert other.handoff.plan([other.contract]) == []
    assert other.hand_off().outcome == "unchanged"
    other.add(D2)
    other.hand_off()
    assert other.handoff.read_state().tables["THINGS"].lakehouse_id == "other"
    assert_equal(other)
    one.handoff.close()
    other.handoff.close()


@pytest.mark.parametrize("record", ["kept", "lost"])
def test_a_table_with_rows_that_no_hand_off_brought_is_not_ours(lakehouse_of: Any, record: str) -> None:
    """A table of that name may be somebody's; the first hand-off would empty it."""
    lakehouse: Lakehouse = lakehouse_of(deploy=False)
    lakehouse.handoff.deploy([lakehouse.contract])
    lakehouse.sql(f"INSERT INTO {lakehouse.names.table(lakehouse.contract)} (ID) SELECT 4711")
    if record == "kept":
        lakehouse.sql(f"DELETE FROM {lakehouse.names.sql['ops']}.DEPLOYED_OBJECTS")
    else:
        lakehouse.sql(f"DROP SCHEMA {lakehouse.names.sql['ops']} CASCADE")
    table = lakehouse.names.table(lakehouse.contract)
    planned = lakehouse.handoff.plan([lakehouse.contract])
    assert [(p.object, p.reason) for p in planned if p.kind == "breaking"] == [
        (table, "holds 1 rows that no hand-off brought, so it is not ours")
    ]
    with pytest.raises(LakehouseError, match="not ours"):
        lakehouse.handoff.deploy([lakehouse.contract])
    assert [r[0] for r in lakehouse.sql(f"SELECT ID FROM {table}")] == [4711]
    lakehouse.handoff.deploy([lakehouse.contract], allow_breaking=True)
    lakehouse.add(D1)
    lakehouse.hand_off()
    assert_equal(lakehouse)


def test_a_deployment_that_died_takes_its_own_table_for_its_own(lakehouse: Lakehouse) -> None:
    """It has removed the fingerprint before the table was made anew, and the rows are those of hand-offs."""
    lakehouse.add(D1)
    lakehouse.hand_off()
    lakehouse.sql(f"DELETE FROM {lakehouse.names.sql['ops']}.DEPLOYED_OBJECTS")
    assert not [p for p in lakehouse.handoff.plan([lakehouse.contract]) if p.kind == "breaking"]
    lakehouse.handoff.deploy([lakehouse.contract])
    lakehouse.hand_off()
    assert_equal(lakehouse)


def test_the_lakehouse_is_the_one_of_its_journal(tmp_path: Any) -> None:
    """An id of the machine or the folder would refuse a lakehouse that was moved or restored from its backup."""
    from lakehouse_assets.core.contracts import CONTRACTS
    from lakehouse_assets.definitions import resources
    from lakehouse_assets.settings import Settings

    def id_of(folder: Any) -> str:
        settings = Settings(_env_file=None, home=tmp_path / "home", tables=str(folder))  # type: ignore[call-arg]
        resource = resources(settings)["handoff"]
        with resource.open() as handoff:
            assert isinstance(handoff, Handoff)
            first = handoff.owner.id
            resource.lakehouse.tables.store.create(CONTRACTS["bronze.landings"])
            assert first in ("", handoff.owner.id)
            return handoff.owner.id

    one = id_of(tmp_path / "one")
    shutil.copytree(tmp_path / "one" / "bronze", tmp_path / "restored" / "bronze")
    assert len({one, id_of(tmp_path / "one"), id_of(tmp_path / "restored")}) == 1
    assert id_of(tmp_path / "new") != one
