"""What a hand-off carried: the manifest in the ledger and beside the files, and how few bytes that are."""

import hashlib
import json
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lakehouse_assets.core.handoff import export, stage, sums
from lakehouse_assets_tests.core.handoff.conftest import FIRST_DAY, Lakehouse

D1, D2 = FIRST_DAY, FIRST_DAY + timedelta(days=1)


def on_stage(lakehouse: Lakehouse) -> dict[str, stage.StageEntry]:
    entries = stage.list_files(lakehouse.handoff.session, lakehouse.names.stage_path)
    return {e.path: e for e in entries}


def test_the_manifest_stands_in_the_ledger_and_beside_the_files(lakehouse: Lakehouse, account_home: Path) -> None:
    """Whoever finds files on the stage must be able to tell which rows of which snapshot they hold, without this
    application.
    """
    lakehouse.add(D1, D2, None)
    result = lakehouse.hand_off(through=7)
    [[text]] = lakehouse.sql(f"SELECT MANIFEST FROM {lakehouse.names.sql['ops']}.HANDOFF_LEDGER")
    manifest = json.loads(text)
    assert set(manifest) == {
        *(
            "format",
            "handoff_id",
            "table",
            "delta_table_id",
            "since_version",
            "until_version",
            "through",
            "schema_fingerprint",
        ),
        *("whole_table", "rows", "hash", "slice_count", "slices", "directory", "files"),
    }
    assert (manifest["format"], manifest["handoff_id"], manifest["table"]) == (1, result.handoff_id, "gold.things")
    assert (manifest["since_version"], manifest["until_version"], manifest["through"]) == (-1, lakehouse.version, 7)
    assert (manifest["whole_table"], manifest["rows"], manifest["slice_count"]) == (True, 9, 3)
    counted = [(s["slice"], s["rows"]) for s in manifest["slices"]]
    assert counted == [(D1.isoformat(), 3), (D2.isoformat(), 3), ("null", 3)]
    assert manifest["hash"] == str(sum(int(s["hash"]) for s in manifest["slices"]))
    staged = on_stage(lakehouse)
    beside = f"things/{manifest['directory']}.manifest/{result.handoff_id}.json"
    assert set(staged) == {beside, *(f"things/{manifest['directory']}/{f['name']}" for f in manifest["files"])}
    [copy] = account_home.rglob(f"{result.handoff_id}.json")
    assert copy.read_text(encoding="utf-8") == text
    for file in manifest["files"]:
        [path] = account_home.rglob(file["name"])
        content = path.read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    status = lakehouse.handoff.status()
    assert (status.stage_files, status.stage_loaded, status.stage_orphaned) == (1, 1, 0)


def test_a_manifest_leaves_the_stage_with_its_files(lakehouse: Lakehouse) -> None:
    """Ten years of manifests beside no files would tell of nothing."""
    lakehouse.add(D1)
    with lakehouse.publisher(retention_hours=0) as impatient:
        impatient.hand_off(lakehouse.spark, lakehouse.contract, lakehouse.version)
    assert on_stage(lakehouse) == {}


def test_export_and_upload_say_how_far_they_are(lakehouse_of: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Ten million rows take minutes, in which an operator wants to see that something happens."""
    lakehouse: Lakehouse = lakehouse_of(group_rows=4)
    lakehouse.add(D1, D2)
    with caplog.at_level(logging.INFO, logger="lakehouse_assets.core.handoff"):
        lakehouse.hand_off()
    messages = [r.message for r in caplog.records]
    assert [m for m in messages if "exported" in m] == [f"gold.things: exported {n} of 6 rows" for n in (3, 6)]
    assert any(m.startswith("gold.things: sending 1 files of") for m in messages)


def test_a_hundredth_of_a_day_in_a_year_sends_that_day_and_next_to_nothing_else(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    """What travels must follow what changed. Measured against the changed slice exported alone; all that reaches the
    stage counts, the manifest too.
    """
    days = [FIRST_DAY + timedelta(days=n) for n in range(365)]
    changed = days[200]
    lakehouse.add(*days, number=4)
    lakehouse.add(changed, number=400)
    whole = lakehouse.hand_off()
    lakehouse.delete(f"day = '{changed}' AND id >= {365 * 4 + 396}")
    before = on_stage(lakehouse)
    result = lakehouse.hand_off()
    frame = lakehouse.store.frame(lakehouse.spark, lakehouse.contract.name, lakehouse.version)
    alone = export.write_files(
        lambda names: export.rows_of(frame, lakehouse.contract, names),
        lakehouse.contract,
        sums.spark_sums(frame, lakehouse.contract, [changed.isoformat()]),
        tmp_path / "alone",
        file_bytes=10**9,
        group_rows=10**6,
    )
    arrived = sum(e.bytes for path, e in on_stage(lakehouse).items() if path not in before)
    assert (result.slices, result.rows) == ((changed.isoformat(),), 400)
    assert 0 < result.bytes_put <= arrived <= 1.1 * sum(f.bytes for f in alone) < whole.bytes_put
