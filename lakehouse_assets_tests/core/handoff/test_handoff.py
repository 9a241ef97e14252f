"""The straight path: what travels, what does not, and that Snowflake equals the snapshot afterwards."""

import shutil
from datetime import timedelta
from typing import Any

import pandera.polars as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from lakehouse_assets.core.contracts.types import Whole
from lakehouse_assets.core.delta.change_feed import HistoryUnavailableError
from lakehouse_assets.core.handoff import publish, stage
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.core.handoff.conftest import FIRST_DAY, Everything, Hashed, Lakehouse, Undivided, contract

D1, D2, D3, D4 = (FIRST_DAY + timedelta(days=i) for i in (0, 1, 2, 9))


def assert_equal(lakehouse: Lakehouse) -> None:
    assert lakehouse.snowflake_rows() == lakehouse.lakehouse_rows()
    assert lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract).equal
    known = lakehouse.handoff.read_state().tables["THINGS"]
    sums = lakehouse.sql(
        "SELECT COALESCE(SUM(ROW_COUNT), 0), COALESCE(SUM(ROW_HASH), 0) FROM"
        f" {lakehouse.names.sql['ops']}.HANDOFF_SLICES"
    )
    assert (known.rows, known.hash) == tuple(map(int, sums[0]))
    assert known.rows == len(lakehouse.lakehouse_rows())


@pytest.mark.parametrize("model", [Everything, Hashed, Undivided])
def test_snowflake_equals_the_snapshot_after_every_change(lakehouse_of: Any, model: Any) -> None:
    """What finance reads must be what the lakehouse holds: rows added, replaced, without a date, deleted, all deleted,
    and back again.
    """
    lakehouse: Lakehouse = lakehouse_of(model)
    changes = [
        lambda: lakehouse.add(D1, D2, D4, None, number=20),
        lambda: lakehouse.add(D2, D3),
        lambda: lakehouse.replace(D1, 2),
        lambda: lakehouse.delete("day IS NULL"),
        lambda: lakehouse.delete(f"day = '{D4}'"),
        lambda: lakehouse.delete(),
        lambda: lakehouse.add(None, D3),
    ]
    for change in changes:
        change()
        assert lakehouse.hand_off().outcome == "published"
        assert_equal(lakehouse)


def test_only_slices_that_differ_travel(lakehouse: Lakehouse) -> None:
    """The cost of a hand-off would otherwise grow with the history."""
    lakehouse.add(D1, D2, D3, None)
    assert lakehouse.hand_off().compared == "whole"
    lakehouse.add(D2)
    lakehouse.delete("day IS NULL")
    result = lakehouse.hand_off()
    assert (result.compared, set(result.slices), result.rows) == ("history", {D2.isoformat(), "null"}, 6)
    assert_equal(lakehouse)


def test_more_slices_than_one_list_holds_are_replaced(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snowflake refuses lists of more than 16,384 values; years of days must travel all the same."""
    monkeypatch.setattr(publish, "LIST_CHUNK", 2)
    days = [FIRST_DAY + timedelta(days=2 * i) for i in range(7)]
    for _ in range(2):
        lakehouse.add(None, *days, number=2)
        lakehouse.hand_off()
        assert_equal(lakehouse)


def test_a_table_made_anew_with_the_same_rows_is_acknowledged_once(lakehouse: Lakehouse) -> None:
    """A lakehouse restored from its backup would otherwise be pending for ever, and the sensor would start run after
    run.
    """
    lakehouse.add(D1, D2)
    lakehouse.hand_off()
    rows = lakehouse.arrow()
    shutil.rmtree(lakehouse.store.uri(lakehouse.contract.name))
    lakehouse.store.create(lakehouse.contract)
    write_deltalake(lakehouse.store.uri(lakehouse.contract.name), rows, mode="append")
    assert lakehouse.hand_off().outcome == "acknowledged"
    assert lakehouse.handoff.acknowledged(lakehouse.contract, lakehouse.handoff.read_state()) == lakehouse.version
    assert lakehouse.hand_off().outcome == "unchanged"
    assert_equal(lakehouse)


def test_a_table_that_snowflake_has_costs_no_statement(lakehouse: Lakehouse) -> None:
    """A run without change must not wake a warehouse."""
    version = lakehouse.add(D1)
    lakehouse.hand_off()
    state = lakehouse.handoff.read_state()
    again = lakehouse.hand_off(state=state)
    assert (again.outcome, again.statements, again.version) == ("unchanged", 0, version)
    older = lakehouse.handoff.hand_off(lakehouse.spark, lakehouse.contract, version - 1, state=state)
    assert (older.outcome, older.statements) == ("unchanged", 0)


def test_a_hand_off_takes_few_statements(lakehouse: Lakehouse) -> None:
    """Each costs a round trip, and on a real account warehouse time."""
    lakehouse.add(D1, D2)
    assert lakehouse.hand_off(state=lakehouse.handoff.read_state()).statements == 18, "the whole table"
    lakehouse.add(D2)
    assert lakehouse.hand_off(state=lakehouse.handoff.read_state()).statements == 19, "a slice"
    lakehouse.delete(f"day = '{D1}'")
    assert lakehouse.hand_off(state=lakehouse.handoff.read_state()).statements == 14, "no file"


def test_a_version_without_other_rows_is_acknowledged_by_one_update(lakehouse: Lakehouse) -> None:
    """Commits that only record what was consumed, and compaction, must neither travel nor stay pending."""
    lakehouse.add(D1)
    lakehouse.add(D1)
    lakehouse.hand_off(through=4)
    before = lakehouse.handoff.read_state().tables["THINGS"]
    table = DeltaTable(lakehouse.store.uri(lakehouse.contract.name))
    table.create_write_transaction(
        [], "append", table.schema(), commit_properties=CommitProperties(custom_metadata={"note": "x"})
    )
    table.optimize.compact()
    result = lakehouse.hand_off(state=lakehouse.handoff.read_state(), through=9)
    assert (result.outcome, result.statements, result.bytes_put) == ("acknowledged", 1, 0)
    after = lakehouse.handoff.read_state().tables["THINGS"]
    assert (after.version, after.through) == (lakehouse.version, 9)
    assert (after.handoff_id, after.rows, after.hash, after.published_at) == (
        before.handoff_id,
        before.rows,
        before.hash,
        before.published_at,
    )
    assert_equal(lakehouse)


def test_a_later_batch_date_of_an_unchanged_table_is_recorded_by_one_update(lakehouse: Lakehouse) -> None:
    """Readers must see that the table is up to date although nothing in it has changed, and the warehouse must not wake
    for nothing.
    """
    lakehouse.add(D1)
    lakehouse.hand_off(complete=D1)
    for complete, outcome, statements in [(D1, "unchanged", 0), (D2, "acknowledged", 1), (D2, "unchanged", 0)]:
        result = lakehouse.hand_off(state=lakehouse.handoff.read_state(), complete=complete)
        assert (result.outcome, result.statements) == (outcome, statements)
    shown = lakehouse.sql(f"SELECT COMPLETE_THROUGH FROM {lakehouse.names.sql['ops']}.FRESHNESS")
    assert [tuple(r) for r in shown] == [(D2,)]
    lakehouse.sql(f"DELETE FROM {lakehouse.names.table(lakehouse.contract)}")
    lakehouse.handoff.repair(lakehouse.spark, lakehouse.contract)
    assert lakehouse.handoff.read_state().tables["THINGS"].complete_through == D2
    assert_equal(lakehouse)


def test_a_slice_that_changed_and_changed_back_does_not_travel(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts and hashes have the last word over the log, which may name more rows than differ."""
    version = lakehouse.add(D1, D2)
    lakehouse.hand_off()
    lakehouse.delete(f"day = '{D1}'")
    lakehouse.store.restore(lakehouse.contract.name, version)

    def everything(spark: Any, name: str, since: int, until: int) -> Any:
        return lakehouse.store.frame(spark, name, until).selectExpr("*", "'insert' AS _change")

    monkeypatch.setattr(lakehouse.store, "changes", everything)
    assert lakehouse.hand_off().outcome == "acknowledged"
    assert_equal(lakehouse)


def test_slices_are_compared_where_the_history_is_gone(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vacuumed or truncated log must cost a comparison, not a full load, and must not lose a change."""
    lakehouse.add(D1, D2, D3)
    lakehouse.hand_off()
    lakehouse.replace(D2)
    lakehouse.delete(f"day = '{D3}'")

    def gone(*_: Any) -> Any:
        raise HistoryUnavailableError("vacuumed")

    monkeypatch.setattr(lakehouse.store, "changes", gone)
    result = lakehouse.hand_off()
    assert (result.compared, set(result.slices)) == ("sums", {D2.isoformat(), D3.isoformat()})
    assert_equal(lakehouse)


def test_a_table_made_anew_is_compared_and_not_mistaken_for_the_old_one(lakehouse: Lakehouse) -> None:
    """Versions begin at 0 again; taking them for the old ones would leave Snowflake as it is."""
    for _ in range(3):
        lakehouse.add(D1, D2)
    lakehouse.hand_off()
    kept = lakehouse.arrow().filter(pc.field("day") == D1)
    shutil.rmtree(lakehouse.store.uri(lakehouse.contract.name))
    lakehouse.store.create(lakehouse.contract)
    write_deltalake(lakehouse.store.uri(lakehouse.contract.name), kept, mode="append")
    result = lakehouse.hand_off()
    assert (result.outcome, result.compared, result.slices) == ("published", "sums", (D2.isoformat(),))
    assert_equal(lakehouse)


def test_another_schema_sends_the_whole_table(lakehouse: Lakehouse) -> None:
    """Hashes over other columns say nothing about each other."""

    class Wider(Everything):
        """With a column more."""

        extra: Whole = pa.Field(nullable=True)

        class Config:
            metadata = {"key": ["id"], "handoff": {"kind": "column", "column": "day"}}  # noqa: RUF012

    lakehouse.add(D1, D2)
    lakehouse.hand_off()
    lakehouse.contract = contract(Wider)
    write_deltalake(
        lakehouse.store.uri(lakehouse.contract.name), lakehouse.rows(D3), mode="append", schema_mode="merge"
    )
    assert {p.kind for p in lakehouse.handoff.deploy([lakehouse.contract])} == {"safe"}
    result = lakehouse.hand_off()
    assert (result.compared, result.rows) == ("whole", 9)
    assert_equal(lakehouse)


def test_files_that_lie_on_the_stage_are_not_sent_again(lakehouse: Lakehouse) -> None:
    """After a crash behind the upload, gigabytes would travel twice."""
    lakehouse.add(D1, D2, number=50)
    first = lakehouse.hand_off()
    assert first.bytes_put > 0
    lakehouse.sql(f"UPDATE {lakehouse.names.sql['ops']}.HANDOFF_STATE SET ACKNOWLEDGED_VERSION = -1")
    again = lakehouse.hand_off()
    assert (again.outcome, again.rows, again.bytes_put) == ("published", first.rows, 0)
    assert_equal(lakehouse)


def test_rows_that_arrive_differently_are_not_published(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file damaged or exchanged on its way must leave the last good state live, and name what is wrong."""
    lakehouse.add(D1, D2)
    lakehouse.hand_off()
    good = lakehouse.snowflake_rows()
    lakehouse.replace(D2, 4)
    send = stage.put_files

    def damage(session: Any, folder: Any, target: str, expected: int) -> None:
        for path in folder.glob("*.parquet"):
            pq.write_table(pq.read_table(path).slice(1), path, store_schema=False)
        send(session, folder, target, expected)

    monkeypatch.setattr(stage, "put_files", damage)
    message = (
        rf"THINGS.*slice {D2} was sent with 4 rows of hash \d+ and arrived with 3 rows of hash \d+; for example missing"
        r" {'id': \d+}; look at"
    )
    with pytest.raises(LakehouseError, match=message):
        lakehouse.hand_off()
    assert lakehouse.snowflake_rows() == good
    state = lakehouse.handoff.read_state()
    assert state.tables["THINGS"].version < lakehouse.version
    assert not state.intents
    monkeypatch.undo()
    assert (lakehouse.hand_off().outcome, lakehouse.hand_off().outcome) == ("published", "unchanged")
    assert_equal(lakehouse)
    assert_tidy(lakehouse)


def test_the_ledger_tells_what_was_handed_off(lakehouse: Lakehouse) -> None:
    """An auditor asks Snowflake alone which snapshot a row comes from."""
    lakehouse.add(D1, D2)
    one = lakehouse.hand_off(through=1)
    lakehouse.add(D2)
    two = lakehouse.hand_off(through=2)
    rows = lakehouse.sql(
        "SELECT HANDOFF_ID, SINCE_VERSION, UNTIL_VERSION, THROUGH, SLICES, ROW_COUNT, FILES FROM"
        f" {lakehouse.names.sql['ops']}.HANDOFF_LEDGER ORDER BY UNTIL_VERSION"
    )
    assert [tuple(r) for r in rows] == [(one.handoff_id, -1, 1, 1, 2, 6, 1), (two.handoff_id, 1, 2, 2, 1, 6, 1)]


def test_old_files_leave_the_stage_and_young_ones_stay(lakehouse: Lakehouse) -> None:
    """Storage would grow for ever; but what was sent lately is what an operator looks into."""
    lakehouse.add(D1)
    lakehouse.hand_off()
    lakehouse.add(D2)
    lakehouse.hand_off()
    assert lakehouse.handoff.status().stage_files == 2
    lakehouse.add(D3)
    with lakehouse.publisher(retention_hours=0) as impatient:
        impatient.hand_off(lakehouse.spark, lakehouse.contract, lakehouse.version)
        assert impatient.status().stage_files == 0
    assert_equal(lakehouse)


def test_nothing_is_left_behind(lakehouse: Lakehouse) -> None:
    """Neither a view, nor an intent, nor a local file."""
    lakehouse.add(D1)
    lakehouse.hand_off()
    assert_tidy(lakehouse)


def assert_tidy(lakehouse: Lakehouse) -> None:
    assert not lakehouse.handoff.read_state().intents
    views = lakehouse.sql(
        f"SELECT COUNT(*) FROM {lakehouse.names.database}.INFORMATION_SCHEMA.VIEWS WHERE TABLE_SCHEMA = 'STAGING'"
    )
    assert int(views[0][0]) == 0
    assert not [p for p in lakehouse.staging.rglob("*") if p.is_file()]
    assert lakehouse.handoff.status().stage_orphaned == 0


def test_a_row_that_breaks_the_tables_definition_names_the_table_and_publishes_nothing(lakehouse: Lakehouse) -> None:
    """An error of the warehouse must come with the table and the remedy."""
    lakehouse.add(D1)
    lakehouse.hand_off()
    lakehouse.sql(f"ALTER TABLE {lakehouse.names.table(lakehouse.contract)} DROP COLUMN LABEL")
    lakehouse.add(D2)
    with pytest.raises(LakehouseError, match=r"gold\.things.*THINGS failed, so nothing was published"):
        lakehouse.hand_off()
    assert not lakehouse.handoff.read_state().intents
