"""The instance of a team, on a real PostgreSQL."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import AssetKey, DagsterEventType, DagsterInstance
from dagster._core.events.log import EventLogEntry

from lakehouse_assets.instance.runs import execute_range
from lakehouse_assets_tests.instance import toy
from lakehouse_assets_tests.instance.conftest import ROOT, TOY

USER, PASSWORD = "dagster", "not-a-secret"


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A server of our own; yields its URL."""
    pytest.importorskip("dagster_postgres", reason="the extra `postgres` is not installed")
    if not (shutil.which("initdb") and shutil.which("pg_ctl")):
        pytest.skip("PostgreSQL's initdb and pg_ctl are not on the PATH")
    folder = Path(tempfile.mkdtemp(prefix="lakehouse-postgres-"))  # pytest's own folders are closed to the other user
    as_user: dict[str, int] = {}
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        nobody = 65534
        os.chown(folder, nobody, nobody)
        as_user = {"user": nobody, "group": nobody}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data, password = folder / "data", folder / "password"
    password.write_text(PASSWORD)

    def run(*command: str | Path) -> None:
        done = subprocess.run(
            command, cwd=folder, env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, capture_output=True, text=True, **as_user
        )
        assert done.returncode == 0, done.stderr

    run("initdb", "-D", data, "-U", USER, f"--pwfile={password}", "-A", "scram-sha-256", "--no-sync")
    run(
        "pg_ctl",
        "-D",
        data,
        "-w",
        "-l",
        folder / "log",
        "-o",
        f"-k {folder} -c listen_addresses=127.0.0.1 -c port={port} -c fsync=off",
        "start",
    )
    yield f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"
    run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    shutil.rmtree(folder)


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
