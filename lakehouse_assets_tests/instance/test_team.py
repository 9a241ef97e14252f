"""The instance of a team, on a real PostgreSQL."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import AssetKey, DagsterEventType, DagsterInstance
from dagster._core.events.log import EventLogEntry

from lakehouse_assets.instance.runs import execute_range
from lakehouse_assets_tests.instance import toy
from lakehouse_assets_tests.instance.conftest import ROOT, TOY


@pytest.fixture
def team_instance(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterInstance]:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres)
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")
    shutil.copy(ROOT / "deploy" / "dagster.team.yaml", tmp_path / "dagster.yaml")
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def test_a_range_is_stored_in_batches_on_postgresql(
    team_instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """Otherwise the deployment that is documented for teams would not start, or take a statement for every event."""
    from dagster_postgres import PostgresEventLogStorage

    sizes: list[int] = []
    original = PostgresEventLogStorage.store_event_batch

    def recording(self: PostgresEventLogStorage, events: list[EventLogEntry]) -> None:
        if events[0].dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION:
            sizes.append(len(events))
        original(self, events)

    monkeypatch.setattr(PostgresEventLogStorage, "store_event_batch", recording)
    result = execute_range(
        team_instance, job_name="load_all", asset_keys=None, start_key="2024-01-03", end_key="2024-01-22", defs=toy.defs, module=TOY
    )
    assert result.success
    assert sizes == [20, 20, 20]
    assert len(team_instance.get_materialized_partitions(AssetKey(["silver", "lines"]))) == 20
    latest = team_instance.get_latest_materialization_event(AssetKey(["bronze", "orders"]))
    assert latest is not None
    assert latest.asset_materialization is not None
    assert latest.asset_materialization.partition == "2024-01-22"
    assert "Exception while storing event batch" not in capfd.readouterr().err
