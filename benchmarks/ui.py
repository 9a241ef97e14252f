"""How long `make ui` takes until it can be used: `dagster dev` on a fresh instance of this project, asked every tenth
of a second.

    python benchmarks/ui.py [--repeat 1]

Prints one line of JSON a start: the seconds until the web server answers, until the code location is loaded, and until
the daemons have reported that they live; and the CPU seconds of all processes until then, which say more on a busy
machine.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from lakehouse_assets.orchestration.instance.local import ensure_instance, environment

PROJECT = Path(__file__).resolve().parents[1]
LOCATION = """{ workspaceOrError { ... on Workspace { locationEntries { loadStatus locationOrLoadError { __typename } } } }
    instance { daemonHealth { allDaemonStatuses { daemonType healthy required } } } }"""  # noqa: E501


def measure() -> dict[str, float]:
    """One start."""
    with tempfile.TemporaryDirectory() as home, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        given = {
            **os.environ,
            **environment(ensure_instance(Path(home))),
            "LAKEHOUSE_HOME": home,
            "PYTHONPATH": str(PROJECT),
        }
        command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-p", str(port)]
        began = time.perf_counter()
        server = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=given,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            with urllib.request.urlopen(f"{url}/server_info", timeout=60) as answer:
                return bool(json.load(answer)["dagster_version"])

        def ask() -> Any:
            body = json.dumps({"query": LOCATION}).encode()
            request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["data"]

        def loaded() -> bool:
            entries = ask()["workspaceOrError"]["locationEntries"]
            return [e["locationOrLoadError"]["__typename"] for e in entries if e["locationOrLoadError"]] == [
                "RepositoryLocation"
            ]

        def lives() -> bool:
            daemons = [d for d in ask()["instance"]["daemonHealth"]["allDaemonStatuses"] if d["required"]]
            return bool(daemons) and all(d["healthy"] for d in daemons)

        try:
            found = {
                name: _seconds(began, condition, server)
                for name, condition in (
                    ("web_server_answers", answers),
                    ("code_location_is_loaded", loaded),
                    ("daemons_live", lives),
                )
            }
            times = [
                p.cpu_times()
                for p in [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
            ]
            return {**found, "cpu_seconds": round(sum(t.user + t.system for t in times), 1)}
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(60)


def _seconds(began: float, condition: Callable[[], bool], server: subprocess.Popen[bytes]) -> float:
    while True:
        with suppress(OSError):
            if condition():
                return round(time.perf_counter() - began, 1)
        if server.poll() is not None or time.perf_counter() - began > 600:
            raise SystemExit("dagster dev has ended, or does not come up within ten minutes")
        time.sleep(0.1)


def main() -> None:
    """Measure as often as asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    for _ in range(options.repeat):
        print(json.dumps({**measure(), "load_average": round(os.getloadavg()[0], 1)}), flush=True)


if __name__ == "__main__":
    main()
