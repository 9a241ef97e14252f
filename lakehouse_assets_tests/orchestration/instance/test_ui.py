"""What the UI makes of runs that a command made: a real web server and daemon, asked by GraphQL, on the instance of the
command.
"""

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from dagster import AssetKey, DagsterInstance, DagsterRun, DagsterRunStatus

from lakehouse_assets.orchestration.instance.local import ensure_instance, environment
from lakehouse_assets.orchestration.instance.runs import RunResult, execute_range
from lakehouse_assets.orchestration.instance.sweep import sweep_dead_runs
from lakehouse_assets_tests.orchestration.instance import toy
from lakehouse_assets_tests.orchestration.instance.conftest import ROOT, TOY, wait_for

TOTALS = AssetKey(["gold", "totals"])
DAYS = {f"2024-01-0{day}" for day in range(3, 8)}


class Ui:
    """Dagster's servers on an instance of its own, beside which this process executes runs.

    instance: the environment that names it. commands: the servers, without workspace and port; the first of them is
    asked.
    """

    def __init__(self, folder: Path, instance: Mapping[str, str], *commands: Sequence[str]):
        self.signal = folder / "signal"
        self.instance = DagsterInstance.from_config(instance["DAGSTER_HOME"])
        workspace = folder / "workspace.yaml"
        workspace.write_text(
            f"load_from:\n  - python_module:\n      module_name: {TOY}\n      location_name: lakehouse_assets\n     "
            f" working_directory: {ROOT}\n"
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/graphql"
        self.log = folder / "dagster-dev.log"
        env = {**os.environ, **instance, "LAKEHOUSE_TOY_SIGNAL": str(self.signal), "PYTHONWARNINGS": "ignore"}
        self.servers = []
        with self.log.open("w") as log:
            for first, command in enumerate(commands):
                where = [] if first else ["-h", "127.0.0.1", "-p", str(port)]
                words = [sys.executable, "-m", *command, "-w", str(workspace), *where]
                self.servers.append(
                    subprocess.Popen(
                        words, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                    )
                )
        wait_for(self.is_up, "the web server")

    def is_up(self) -> bool:
        assert all(server.poll() is None for server in self.servers), self.log.read_text()
        with suppress(OSError):
            return bool(self.ask("{ version }"))
        return False

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def reexecute(self, run_id: str, strategy: str) -> DagsterRun:
        mutation = """
            mutation($params: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $params) {
                __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
        """
        answer = self.ask(mutation, params={"parentRunId": run_id, "strategy": strategy})["launchRunReexecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return self.run(answer["run"]["runId"])

    def run(self, run_id: str) -> DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def command_runs(self) -> RunResult:
        return execute_range(
            self.instance,
            job_name="load_all",
            asset_keys=None,
            start_key="2024-01-03",
            end_key="2024-01-07",
            defs=toy.defs,
            module=TOY,
        )

    def kill(self) -> None:
        """What a power cut does: every process at once, none given the chance to clean up."""
        everybody = []
        for server in self.servers:
            with suppress(psutil.NoSuchProcess):
                everybody += [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        for process in everybody:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(everybody, timeout=30)


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("ui")
        patch.setenv("LAKEHOUSE_TOY_SIGNAL", str(folder / "signal"))
        for name, value in environment(folder / "dagster").items():
            patch.setenv(name, value)
        started = Ui(folder, environment(ensure_instance(folder)), ["dagster", "dev"])
        yield started
        started.kill()
        started.instance.dispose()


def test_a_commands_run_is_reexecuted_over_its_range(ui: Ui):
    """Otherwise a load that failed overnight could not be taken up where everybody looks, or would be repeated for
    other days.
    """
    ui.signal.write_text("fail")
    failed = ui.command_runs()
    assert not failed.success
    assert ui.instance.get_materialized_partitions(TOTALS) == set()
    ui.signal.unlink()

    again = ui.reexecute(failed.run_id, "FROM_FAILURE")
    whole = ui.reexecute(failed.run_id, "ALL_STEPS")
    for run in (again, whole):
        wait_for(lambda run=run: ui.run(run.run_id).is_finished, "the re-execution")
        assert ui.run(run.run_id).status == DagsterRunStatus.SUCCESS, ui.log.read_text()
        assert ui.run(run.run_id).tags["dagster/asset_partition_range_start"] == "2024-01-03"
        assert ui.run(run.run_id).tags["dagster/asset_partition_range_end"] == "2024-01-07"

    steps = {run.run_id: {s.step_key for s in ui.instance.get_run_step_stats(run.run_id)} for run in (again, whole)}
    assert steps[again.run_id] == {"gold__totals", "gold__totals_agrees"}
    assert steps[whole.run_id] == {"bronze__orders", "silver__lines", "gold__totals", "gold__totals_agrees"}
    assert ui.instance.get_materialized_partitions(TOTALS) == DAYS


def test_a_run_that_the_servers_launched_is_closed_when_all_of_them_died(ui: Ui):
    """Otherwise it would be shown as running for ever: the code server that would have noticed is gone too."""
    first = ui.command_runs()
    ui.signal.write_text("hang")
    ui.signal.with_suffix(".hanging").unlink(missing_ok=True)
    launched = ui.reexecute(first.run_id, "ALL_STEPS")
    wait_for(ui.signal.with_suffix(".hanging").exists, "the step to hang")
    assert sweep_dead_runs(ui.instance) == []  # it carries the tags of its parent too, whose process still lives
    ui.kill()
    assert ui.run(launched.run_id).status == DagsterRunStatus.STARTED
    assert sweep_dead_runs(ui.instance) == [launched.run_id]
    assert ui.run(launched.run_id).status == DagsterRunStatus.FAILURE
