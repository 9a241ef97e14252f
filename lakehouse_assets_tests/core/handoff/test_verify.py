"""Reconciliation finds every difference, names the rows, and repair fixes exactly those slices."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from lakehouse_assets.core.handoff import slices
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.core.handoff.conftest import FIRST_DAY, Everything, Hashed, Lakehouse, Undivided, contract
from lakehouse_assets_tests.core.handoff.test_handoff import assert_equal, assert_tidy

D1, D2, D3 = (FIRST_DAY + timedelta(days=i) for i in range(3))


@pytest.mark.parametrize("model", [Everything, Hashed, Undivided])
def test_every_kind_of_damage_is_found_named_and_repaired(lakehouse_of: Any, model: Any) -> None:
    """A number that finance cannot trust must come with the rows that are wrong."""
    lakehouse: Lakehouse = lakehouse_of(model)
    lakehouse.add(D1, D2, None, D3)
    lakehouse.hand_off()
    table = lakehouse.names.table(lakehouse.contract)
    damage = [
        (f"UPDATE {table} SET AMOUNT = COALESCE(AMOUNT, 0) + 0.001, FLAG = NULL WHERE ID = 0", "changed", 0),
        (f"DELETE FROM {table} WHERE ID = 4", "missing", 4),
        (f"INSERT INTO {table} (ID, DAY) SELECT 99, NULL", "foreign", 99),
        (f"INSERT INTO {table} (ID, DAY) SELECT 98, '2031-01-01'::DATE", "foreign", 98),
        (f"INSERT INTO {table} SELECT * FROM {table} WHERE ID = 10", "often", 10),
    ]
    for statement, _, _ in damage:
        lakehouse.sql(statement)
    found = lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract)
    assert not found.equal
    assert {(d.kind, d.key["id"]) for d in found.row_differences} == {(kind, key) for _, kind, key in damage}
    changed = next(d for d in found.row_differences if d.kind == "changed")
    assert "amount" in changed.columns
    assert set(changed.columns) <= {"amount", "flag"}
    assert len(lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract, limit=2).row_differences) == 2
    repaired = lakehouse.handoff.repair(lakehouse.spark, lakehouse.contract)
    assert (repaired.outcome, set(repaired.slices)) == ("published", {d.slice for d in found.slices})
    assert_equal(lakehouse)
    assert_tidy(lakehouse)
    assert lakehouse.handoff.repair(lakehouse.spark, lakehouse.contract).outcome == "unchanged"


def test_the_ledger_proves_it_after_the_snapshot_is_gone(lakehouse: Lakehouse) -> None:
    """Auditors come after VACUUM."""
    lakehouse.add(D1, D2)
    lakehouse.hand_off()
    lakehouse.replace(D1)
    DeltaTable(lakehouse.store.uri("gold.things")).optimize.compact()
    lakehouse.store.vacuum("gold.things", 0)
    found = lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract)
    assert (found.equal, found.snapshot_readable) == (True, False)
    lakehouse.sql(f"DELETE FROM {lakehouse.names.table(lakehouse.contract)} WHERE ID = 4")
    found = lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract)
    assert [(d.slice, d.snapshot) for d in found.slices] == [(D2.isoformat(), None)]
    lakehouse.handoff.repair(lakehouse.spark, lakehouse.contract)
    assert_equal(lakehouse)


def test_a_ledger_that_was_tampered_with_is_found(lakehouse: Lakehouse) -> None:
    """The proof must not rest on one record alone while the snapshot can be read."""
    lakehouse.add(D1, D2)
    lakehouse.hand_off()
    lakehouse.sql(f"UPDATE {lakehouse.names.sql['ops']}.HANDOFF_SLICES SET ROW_HASH = 1 WHERE SLICE = '{D1}'")
    found = lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract)
    assert [d.slice for d in found.slices] == [D1.isoformat()]
    assert found.slices[0].snapshot == found.slices[0].snowflake
    assert found.row_differences == ()
    lakehouse.handoff.repair(lakehouse.spark, lakehouse.contract)
    assert_equal(lakehouse)


def test_a_view_in_the_place_of_a_table_is_named_with_its_remedy(lakehouse: Lakehouse) -> None:
    """It holds the same rows, so that the proof passes while every later hand-off fails without naming the cause."""
    lakehouse.add(D1)
    lakehouse.hand_off()
    table = lakehouse.names.table(lakehouse.contract)
    lakehouse.sql(f"ALTER TABLE {table} RENAME TO {table}_OLD")
    lakehouse.sql(f"CREATE VIEW {table} AS SELECT * FROM {table}_OLD")
    assert set(lakehouse.handoff.replaced([lakehouse.contract])) == {"things"}
    named = (
        rf"^{table} is a view where the served table belongs, so nothing can be published to it; drop the view, rename"
        r" the table back where it is still there, and run again\.$"
    )
    for asked in (lakehouse.handoff.verify, lakehouse.handoff.repair):
        with pytest.raises(LakehouseError, match=named):
            asked(lakehouse.spark, lakehouse.contract)
    lakehouse.add(D2)
    with pytest.raises(LakehouseError, match=named):
        lakehouse.hand_off()
    lakehouse.sql(f"DROP VIEW {table}")
    lakehouse.sql(f"ALTER TABLE {table}_OLD RENAME TO {table}")
    assert lakehouse.handoff.replaced([lakehouse.contract]) == {}
    assert lakehouse.hand_off().outcome == "published"
    assert_equal(lakehouse)
    assert_tidy(lakehouse)


def test_repair_keeps_changes_that_are_still_to_come(lakehouse: Lakehouse) -> None:
    """Fixing yesterday's snapshot must not acknowledge what has not travelled."""
    handed = lakehouse.add(D1, D2)
    lakehouse.hand_off()
    lakehouse.add(D3)
    lakehouse.sql(f"DELETE FROM {lakehouse.names.table(lakehouse.contract)} WHERE ID = 0")
    repaired = lakehouse.handoff.repair(lakehouse.spark, lakehouse.contract)
    assert (repaired.version, repaired.slices) == (handed, (D1.isoformat(),))
    assert lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract).equal
    assert lakehouse.hand_off().outcome == "published"
    assert_equal(lakehouse)


def test_a_table_never_handed_off_is_equal_while_it_is_empty(lakehouse: Lakehouse) -> None:
    """A fresh deployment is not a failure, but rows of unknown origin are."""
    lakehouse.add(D1)
    found = lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract)
    assert (found.equal, found.version) == (True, -1)
    lakehouse.sql(f"INSERT INTO {lakehouse.names.table(lakehouse.contract)} (ID) SELECT 1")
    assert not lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract).equal


def test_a_hand_off_that_publishes_meanwhile_is_no_difference(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alert at night that is gone in the morning teaches people to ignore alerts."""
    lakehouse.add(D1)
    lakehouse.hand_off()
    lakehouse.add(D1)
    execute, once = Session._execute, iter([True])

    def overtaken(self: Session, statement: str, *rest: Any) -> Any:
        answer = execute(self, statement, *rest)
        if statement.startswith("SELECT SLICE, ROW_COUNT") and next(once, False):
            with lakehouse.publisher() as other:
                assert other.hand_off(lakehouse.spark, lakehouse.contract, lakehouse.version).outcome == "published"
        return answer

    monkeypatch.setattr(Session, "_execute", overtaken)
    found = lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract)
    assert (found.equal, found.version, found.rows) == (True, lakehouse.version, 6)


def test_a_snapshot_that_cannot_be_read_for_another_reason_is_told(lakehouse: Lakehouse) -> None:
    """Trouble of the storage must not turn a proof against the snapshot into one against the ledger, without a word."""
    lakehouse.add(D1)
    handed = set(DeltaTable(lakehouse.store.uri("gold.things")).file_uris())
    lakehouse.hand_off()
    lakehouse.replace(D1)
    for file in handed:
        Path(file).write_bytes(b"no Parquet")
    with pytest.raises(Exception, match=r"(?i)parquet|magic|footer"):
        lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract)
    for file in handed:
        Path(file).unlink()
    found = lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract)
    assert (found.equal, found.snapshot_readable) == (True, False)


@pytest.mark.parametrize(("model", "text"), [(Everything, f"{D1}..{D2}"), (Hashed, "0..3"), (Undivided, "all")])
def test_a_range_of_slices_is_proved_and_repaired_alone(lakehouse_of: Any, model: Any, text: str) -> None:
    """A month of a table of ten years must be provable without reading ten years."""
    lakehouse: Lakehouse = lakehouse_of(model)
    lakehouse.add(D1, D2, D3, None, number=9)
    lakehouse.hand_off()
    chosen = slices.between(lakehouse.contract, text)
    table = lakehouse.names.table(lakehouse.contract)
    lakehouse.sql(f"DELETE FROM {table} WHERE MOD(ID, 2) = 0")
    everything = lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract)
    found = lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract, limit=100, slices=chosen)
    inside = {d.slice for d in everything.slices} & {*chosen}
    assert inside
    assert {d.slice for d in found.slices} == inside
    assert found.slices_compared == len(inside)
    assert {d.key["id"] % 2 for d in found.row_differences} == {0}
    repaired = lakehouse.handoff.repair(lakehouse.spark, lakehouse.contract, chosen)
    assert set(repaired.slices) == inside
    assert lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract, slices=chosen).equal
    assert {d.slice for d in lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract).slices} == {
        d.slice for d in everything.slices
    } - inside


def test_a_range_without_slices_is_refused_with_what_to_write() -> None:
    """A typing error must not pass for proof."""
    for model, text, wanted in [
        (Everything, "2010-12-31..2010-12-01", "dates as"),
        (Everything, "december", "dates as"),
        (Hashed, "7..9", "buckets as"),
        (Undivided, "1..2", "give all"),
    ]:
        with pytest.raises(LakehouseError, match=rf"'{text}' names no hand-off slices of gold\.things; .*{wanted}"):
            slices.between(contract(model), text)
    assert slices.between(contract(Everything), "null") == ["null"]
    assert slices.between(contract(Hashed), "5..9") == ["5", "6"]
