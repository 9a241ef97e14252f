"""What a table on a local disk proves of itself, whichever way it was written, and how it is healed where nothing is
lost by that.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake

from lakehouse_assets.core.delta.change_feed import HistoryUnavailableError
from lakehouse_assets.core.delta.check import check
from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.files import Span
from lakehouse_assets.core.delta.findings import DamagedTableError
from lakehouse_assets.core.delta.rs import DeltaRsStore
from lakehouse_assets.core.delta.sums import FOLD_AT
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.core.delta.conftest import FEBRUARY, JANUARY, ORDERED_THINGS, THINGS, Workbench, _rs, thing

NAME = THINGS.name


@pytest.fixture
def rs(request: pytest.FixtureRequest, tmp_path: Path) -> Workbench:
    """A table with a row in each of two partitions."""
    bench = _rs(request, tmp_path)
    bench.store.create(THINGS)
    bench.commit(("I", thing(1)), ("I", thing(2, month=FEBRUARY)), append=True)
    return bench


def folder(bench: Workbench) -> Path:
    return bench.place


def files(bench: Workbench) -> list[Path]:
    return [folder(bench) / f.path for f in bench.store.files(NAME)]


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


WRITES: dict[str, Callable[[Workbench], object]] = {
    "append": lambda b: b.commit(("I", thing(3)), append=True),
    "merge": lambda b: b.commit(("U", thing(1, note="n")), ("D", thing(2, month=FEBRUARY))),
    "record": lambda b: b.store.commit(THINGS, None, base_version=1, consumed=Consumed({"x": 1})),
    "rewrite": lambda b: b.store.rewrite(THINGS),
    "optimize": lambda b: (b.commit(("I", thing(3)), append=True), b.store.optimize(NAME)),
    "z-order": lambda b: b.store.z_order(b.spark, ORDERED_THINGS),
    "restore": lambda b: (b.commit(("U", thing(1, note="n"))), b.store.restore(NAME, 1)),
    "vacuum": lambda b: (b.commit(("U", thing(1, note="n"))), b.store.vacuum(NAME, 0)),
}


@pytest.mark.parametrize("write", WRITES)
def test_every_way_to_write_leaves_a_proof_of_all_files_and_entries(rs: Workbench, write: str):
    """Else rot in what was written that way goes unnoticed."""
    WRITES[write](rs)
    proof = rs.store.proof(NAME)
    assert proof
    assert not proof.unproven(rs.store.files(NAME))
    assert not proof.log_findings()
    for entry in (folder(rs) / "_delta_log").glob("*.json"):
        whole = entry.read_bytes()
        entry.write_bytes(whole.replace(b"a", b"b", 1))
        with pytest.raises(DamagedTableError, match=r"lakehouse rebuild gold\.things"):
            rs.store.head(NAME)
        entry.write_bytes(whole)
    for file in files(rs):
        whole = file.read_bytes()
        flip(file)
        with pytest.raises(
            DamagedTableError, match=r"is not as it was committed \(1 rows\)|is not as it was committed \(2 rows\)"
        ):
            rs.store.frame(rs.spark, NAME)
        file.write_bytes(whole)


READS: dict[str, Callable[[Workbench], object]] = {
    "frame": lambda b: b.store.frame(b.spark, NAME),
    "read": lambda b: b.store.read(NAME),
    "counts": lambda b: b.store.counts(NAME, "id", 1, 2),
    "merge": lambda b: b.commit(("U", thing(1, note="n"))),
    "rewrite": lambda b: b.store.rewrite(THINGS),
    "optimize": lambda b: b.store.optimize(NAME),
    "z-order": lambda b: b.store.z_order(b.spark, ORDERED_THINGS),
    "restore": lambda b: b.store.restore(NAME, 2),
}


@pytest.mark.parametrize("read", READS)
def test_nothing_is_read_or_written_anew_from_a_file_that_differs(rs: Workbench, read: str):
    """Else it is published, or gets a new proof."""
    rs.commit(("I", thing(3)), append=True)
    for file in files(rs):
        flip(file)
    with pytest.raises(DamagedTableError):
        READS[read](rs)
    assert rs.store.version(NAME) == 2


def test_only_the_files_that_may_hold_what_is_asked_for_are_proven(rs: Workbench):
    """Else a day costs the proof of the history."""
    flip(next(f for f in files(rs) if "2026-02" in str(f)))
    assert rs.store.frame(rs.spark, NAME, within=Span("month", JANUARY, JANUARY)).count() == 1
    assert rs.store.frame(rs.spark, NAME, within=Span("id", 1, 1)).count() == 1
    with pytest.raises(DamagedTableError):
        rs.store.frame(rs.spark, NAME, within=Span("id", 1, 2))


def test_changes_that_differ_are_found_by_comparing_everything(rs: Workbench):
    rs.commit(("U", thing(1, note="n")))
    for file in (folder(rs) / "_change_data").rglob("*.parquet"):
        flip(file)
    with pytest.raises(HistoryUnavailableError):
        rs.changes(1)


def test_a_commit_that_died_before_its_proof_is_not_blessed_by_the_next(rs: Workbench):
    """Else what rotted in between is taken for good. Upkeep gives a proof, after reading each file whole."""
    write_deltalake(rs.store.uri(NAME), DeltaTable(rs.store.uri(NAME)).to_pyarrow_table().slice(0, 1), mode="append")
    rs.commit(("I", thing(7)), append=True)
    proof = rs.store.proof(NAME)
    assert proof
    assert len(proof.unproven(rs.store.files(NAME))) == 1
    assert rs.store.adopt(NAME) == 1
    assert not proof.unproven(rs.store.files(NAME))


def test_a_file_without_proof_that_cannot_be_read_gets_none(rs: Workbench):
    write_deltalake(rs.store.uri(NAME), DeltaTable(rs.store.uri(NAME)).to_pyarrow_table().slice(0, 1), mode="append")
    proof = rs.store.proof(NAME)
    assert proof
    new = folder(rs) / proof.unproven(rs.store.files(NAME))[0].path
    new.write_bytes(new.read_bytes()[:-200])
    with pytest.raises(DamagedTableError, match="cannot be read"):
        rs.store.adopt(NAME)


def test_files_of_sums_stay_few_and_say_the_same(rs: Workbench):
    for version in range(1, FOLD_AT + 5):
        rs.store.commit(THINGS, None, base_version=version, consumed=Consumed({"x": version}))
    proof = rs.store.proof(NAME)
    assert proof
    assert len(list((folder(rs) / "_sums").iterdir())) < FOLD_AT
    assert not proof.unproven(rs.store.files(NAME))
    assert not proof.log_findings()
    (folder(rs) / f"_delta_log/{FOLD_AT + 5:020}.json").unlink()
    with pytest.raises(DamagedTableError, match=f"ends at version {FOLD_AT + 4}"):
        rs.store.head(NAME)


def test_a_broken_file_of_sums_proves_nothing_and_is_said(rs: Workbench):
    flip(folder(rs) / "_sums" / f"{1:020}.json")
    proof = rs.store.proof(NAME)
    assert proof
    assert proof.broken_sums() == [f"_sums/{1:020}.json"]
    assert len(rs.rows()) == 2


FOUR = {"empty": b"", "foreign": b"<html>no</html>", "other": b"[]", "cut": b'{"version":1'}


@pytest.mark.parametrize("content", FOUR.values(), ids=FOUR)
def test_a_checkpoint_and_its_note_that_are_broken_are_put_aside_while_the_entries_do_without(
    rs: Workbench, content: bytes
):
    DeltaTable(rs.store.uri(NAME)).create_checkpoint()
    rs.store.adopt(NAME)
    log = folder(rs) / "_delta_log"
    (log / "_last_checkpoint").write_bytes(content)
    (log / f"{1:020}.checkpoint.parquet").write_bytes(content)
    assert len(rs.rows()) == 2
    assert rs.store.frame(rs.spark, NAME).count() == 2
    assert not (log / "_last_checkpoint").exists()
    assert (log / f"{1:020}.checkpoint.parquet.damaged").exists()


def test_tables_elsewhere_have_no_proof(tmp_path: Path):
    assert DeltaRsStore("s3://bucket/tables", str(tmp_path)).proof(NAME) is None


def test_sums_are_written_with_a_sum_of_their_own(rs: Workbench):
    written = json.loads((folder(rs) / "_sums" / f"{1:020}.json").read_text())
    assert set(written) == {"sum", "said"}
    assert set(json.loads(written["said"])) == {"entries", "files", "checkpoints"}
    assert issubclass(DamagedTableError, LakehouseError)


def test_a_table_in_the_place_of_another_is_named(rs: Workbench):
    """A copy that went to the wrong folder is sound in itself, and the rows of another table would be read from it."""
    other = "gold.others"
    shutil.copytree(folder(rs), rs.store.uri(other))
    (found,) = check(rs.store, other).findings
    assert (found.table, found.what) == (other, f"is that of the table {NAME}")
    assert not check(rs.store, NAME).findings
