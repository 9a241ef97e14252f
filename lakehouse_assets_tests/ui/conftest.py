"""The real thing: `dagster dev` as `make ui` starts it, on the history of a command, and a browser in front of it. One
for the room, for it takes its time.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import psutil
import pytest

from lakehouse_assets.embedded_snowflake import stop
from lakehouse_assets.orchestration.automation.inflight import under_way
from lakehouse_assets.orchestration.instance.local import environment
from lakehouse_assets.orchestration.resources.snowflake_access import connect
from lakehouse_assets.sample.generate import generate
from lakehouse_assets_tests.orchestration.instance.conftest import wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]
FIRST = date(2026, 9, 1)
BATCHES = 32
CANARIES = {
    "SNOWFLAKE_PASSWORD": "canary-password-5f1d",
    "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE": "canary-passphrase-77aa",
    "LAKEHOUSE_EMAIL_KEY": "canary-email-key-e0b9",
    "LAKEHOUSE_ALERT_WEBHOOK": "http://127.0.0.1:9/canary-webhook-31c4",
}
"""Secrets that must not be seen anywhere; the webhook answers nobody."""
CHROMIUM = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
CHROMIUM += ("--disable-component-update", "--disable-sync")
NO_GREETING = """localStorage.setItem('communityNux', '"1"')"""
"""Keeps away the invitation that greets new users."""


def day(n: int) -> str:
    """The n-th batch date, from 0."""
    return (FIRST + timedelta(days=n)).isoformat()


class Site:
    """A project folder with a landing zone of `BATCHES` days, and servers on it. The command has loaded the first two
    days.

    sample: False for an empty landing zone. apart: web server and daemon as two processes, as supervisors of a team
    start them, instead of one `dagster dev`, which goes down with either. more: further environment variables.
    """

    def __init__(self, folder: Path, sample: bool = True, apart: bool = False, **more: str):
        self.folder = folder
        self.servers: dict[str, subprocess.Popen[bytes]] = {}
        self.home = folder / ".lakehouse"
        self.landing = folder / "landing"
        self.landing.mkdir(parents=True)
        if sample:
            generate(self.landing, FIRST, BATCHES, 20, 5, dirt=())
        outside = {k: v for k, v in os.environ.items() if not k.startswith(("LAKEHOUSE_", "DAGSTER_", "SNOWFLAKE_"))}
        self.environment = {
            **outside,
            **CANARIES,
            "LAKEHOUSE_LANDING": str(self.landing),
            "LAKEHOUSE_PARTITIONS_START": "2009-11-01",
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            **more,
        }
        workspace = (ROOT / "workspace.yaml").read_text()
        account = (
            "  - python_module:\n      module_name: lakehouse_assets_tests.ui.real_account\n      location_name:"
            " real_account\n"
        )
        (folder / "workspace.yaml").write_text(workspace.rstrip("\n") + "\n" + account)
        # what make does: the instance, and the .env by which dagster finds it
        self.python("-m", "lakehouse_assets.orchestration.instance.local")
        if sample:
            self.python("-m", "lakehouse_assets.cli", "run", "--end", day(1))
        self.instance = dg.DagsterInstance.from_config(str(self.home / "dagster"))
        self.first_run = next((run.run_id for run in self.instance.get_runs()), "")
        self.log = folder / "dagster.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        where = ["-w", "workspace.yaml"]
        self.commands = {"dev": ["dagster", "dev", *where, "-p", str(port)]}
        if apart:
            self.environment |= environment(self.home / "dagster")
            self.commands = {
                "webserver": ["dagster_webserver", *where, "-p", str(port)],
                "daemon": ["dagster._daemon", "run", *where],
            }
        self.start()

    def python(self, *arguments: str, expect: Collection[int] = (0,)) -> str:
        """What Python says in the project's folder; fails where its exit code is not among those expected."""
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=self.environment, text=True, capture_output=True
        )
        assert done.returncode in expect, done.stderr
        return done.stdout

    def start(self) -> None:
        """Start the servers that do not run, and wait until the UI answers."""
        for name, words in self.commands.items():
            if name not in self.servers:
                with self.log.open("a") as log:
                    command = [sys.executable, "-m", *words]
                    self.servers[name] = subprocess.Popen(
                        command, cwd=self.folder, env=self.environment, stdout=log, stderr=subprocess.STDOUT
                    )
        wait_for(self.is_up, "the web server", 300)

    def is_up(self) -> bool:
        assert all(server.poll() is None for server in self.servers.values()), self.log.read_text()
        with suppress(OSError):
            return bool(self.ask("{ version }"))
        return False

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            said = json.load(answer)
        assert "errors" not in said, said["errors"]
        return said["data"]

    def run(self, run_id: str) -> dg.DagsterRun:
        found = self.instance.get_run_by_id(run_id)
        assert found is not None
        return found

    def ended(self, run_id: str) -> dg.DagsterRunStatus:
        """Wait for the end of a run."""
        wait_for(lambda: self.run(run_id).is_finished, f"the end of run {run_id}", 300)
        return self.run(run_id).status

    def new_run(self, before: set[str], **tags: str) -> str:
        """Wait for the one run that was not there before."""

        def new() -> list[str]:
            return [r.run_id for r in self.instance.get_runs(dg.RunsFilter(tags=tags)) if r.run_id not in before]

        wait_for(new, "a new run", 300)
        (run_id,) = new()
        return run_id

    def switch_on(self, sensor: str) -> None:
        selector = {
            "repositoryLocationName": "lakehouse_assets",
            "repositoryName": "__repository__",
            "sensorName": sensor,
        }
        mutation = (
            "mutation($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename ... on PythonError { message"
            " } } }"
        )
        assert self.ask(mutation, s=selector)["startSensor"]["__typename"] == "Sensor"

    def assets(self) -> list[dict[str, list[str]]]:
        """The keys of all assets."""
        return [node["assetKey"] for node in self.ask("{ assetNodes { assetKey { path } } }")["assetNodes"]]

    def backfill(self, params: dict[str, Any]) -> str:
        """Launch a backfill, as the dialog does; returns its id."""
        mutation = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
            __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
        launched = self.ask(mutation, params=params)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return launched["backfillId"]

    def backfill_status(self, backfill: str) -> str:
        query = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
            ... on PartitionBackfill { status } } }"""
        return self.ask(query, id=backfill)["partitionBackfillOrError"]["status"]

    def loaded(self) -> bool:
        """Whether nothing is pending and nothing under way."""
        return not under_way(self.instance) and "Nothing is pending." in self.python(
            "-m", "lakehouse_assets.cli", "status"
        )

    def settled(self) -> bool:
        """Whether everything is loaded and Snowflake proven equal."""
        return self.loaded() and "DIFFERS" not in self.python("-m", "lakehouse_assets.cli", "verify", expect=(0, 1))

    def land_many(self, of: str, lines: int) -> None:
        """A drop of so many new lines, large enough to be met while it is loaded."""
        header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
        rows = (
            f"{600000 + n // 20},85123A,THING,{n % 20 + 1},{of} 08:26:00,2.55,17850.0,United Kingdom"
            for n in range(lines)
        )
        (self.landing / "orders" / f"orders_{of}_many.csv").write_text("\n".join([header, *rows]) + "\n")

    @contextmanager
    def account(self) -> Iterator[Any]:
        """A cursor in the embedded account, as somebody who may do everything has one."""
        with connect(home=self.home, database="LAKEHOUSE") as connection, connection.cursor() as cursor:
            yield cursor

    def run_ids(self) -> set[str]:
        return {run.run_id for run in self.instance.get_runs()}

    def green(self, asset: str) -> set[str]:
        return set(self.instance.get_materialized_partitions(dg.AssetKey(asset.split("."))))

    def kill(self) -> None:
        """What a power cut does to the servers and to what they launched."""
        for name in list(self.servers):
            server = self.servers.pop(name)
            with suppress(psutil.NoSuchProcess):
                for process in (psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)):
                    # The embedded account is a server of its own, that the command uses too.
                    with suppress(psutil.NoSuchProcess):
                        if "embedded_snowflake" not in " ".join(process.cmdline()):
                            process.kill()
            server.wait()

    def kill_server(self, name: str) -> None:
        """Kill one server alone, as the kernel does when memory runs out; what it launched lives on."""
        server = self.servers.pop(name)
        server.kill()
        assert server.wait() == -signal.SIGKILL

    def close(self) -> None:
        self.kill()
        self.instance.dispose()
        stop(self.home)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def open_page(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], "Page"]]:
    """Opens a path of the UI in a headless Chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on the PATH; as root, `make browser` installs it")
    with api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")),
            executable_path=chromium,
            headless=True,
            args=["--headless", *CHROMIUM],
            viewport={"width": 1600, "height": 1000},
        )
        context.set_default_timeout(90_000)
        context.add_init_script(NO_GREETING)
        page = context.new_page()

        def go(path: str) -> "Page":
            page.goto(site.url + path, wait_until="load")
            return page

        yield go
        context.close()


def pytest_collection_modifyitems(items):
    """Real servers and a browser take minutes: `make test-all` runs them."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.heavy)
