"""Worlds for this room, a sensor that is asked tick by tick, and a receiver of webhooks."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from lakehouse_assets.orchestration.instance.runs import RunResult, execute_range
from lakehouse_assets_tests.pipeline.conftest import NewWorld, make_world, shared
from lakehouse_assets_tests.pipeline.world import World, line, order_csv, rates_csv

__all__ = ["make_world", "shared"]

DAYS = [f"2026-09-{day:02}" for day in range(1, 29)]


def orders(day: str, lines: int = 6, quantity: Any = 6) -> str:
    """An order drop of a day; a quantity that is no number has the drop refused."""
    return order_csv(
        [line(500_000 + 100 * int(day[-2:]) + n, day, quantity, code=f"{85000 + n}A") for n in range(lines)]
    )


@pytest.fixture
def world(make_world: NewWorld) -> World:
    """An empty lakehouse with a rate, so that amounts have their euros."""
    made = make_world()
    made.drop("fx/rates_2026-09-01.csv", rates_csv({"2026-09-01": "0.85"}))
    return made


@dataclass
class Ticker:
    """A sensor of a world, tick by tick, with the cursor that the daemon would keep."""

    world: World
    name: str
    resources: dict[str, Any] = field(default_factory=dict)
    cursor: str | None = None

    def tick(self) -> dg.SensorResult:
        sensor = self.world.definitions.get_repository_def().get_sensor_def(self.name)
        names = {"landing_sensor": ("lakehouse", "handoff"), "watch": ("lakehouse", "alert_sink")}[self.name]
        given = {**self.world.resources, **self.resources}
        with dg.build_sensor_context(
            self.world.instance, cursor=self.cursor, resources={n: given[n] for n in names}
        ) as context:
            result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor or self.cursor
        return result

    def request(self) -> dg.RunRequest:
        """The one run that this tick requests."""
        result = self.tick()
        assert result.run_requests is not None, result.skip_reason
        (request,) = result.run_requests
        return request

    def says(self) -> str:
        """Why this tick requests nothing."""
        result = self.tick()
        assert not result.run_requests, result.run_requests
        assert result.skip_reason is not None
        return result.skip_reason.skip_message or ""

    def execute(self, request: dg.RunRequest, definitions: dg.Definitions | None = None) -> RunResult:
        """Do what the daemon would: a run with the tags of the request."""
        return execute_range(
            self.world.instance,
            job_name=request.job_name or "load_all",
            asset_keys=None,
            start_key=request.tags["dagster/asset_partition_range_start"],
            end_key=request.tags["dagster/asset_partition_range_end"],
            tags=request.tags,
            defs=definitions or self.world.definitions,
        )


@pytest.fixture
def landing(world: World) -> Ticker:
    return Ticker(world, "landing_sensor")


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the sensor's clock so many seconds ahead."""
    passed = [0.0]
    clock = type("Clock", (), {"time": staticmethod(lambda: time.time() + passed[0])})
    monkeypatch.setattr("lakehouse_assets.orchestration.automation.sensor.time", clock)

    def let_pass(seconds: float) -> None:
        passed[0] = seconds

    return let_pass


class Receiver:
    """A real HTTP server that takes webhooks. `status` is what it answers."""

    def __init__(self) -> None:
        self.status = 200
        self.taken: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if receiver.status == 200:
                    receiver.taken.append(body)
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks/s3cret"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def alerts(self) -> list[tuple[str, str]]:
        """(status, key) of everything taken since the last look."""
        found = [(a["status"], a["key"]) for message in self.taken for a in message["alerts"]]
        self.taken.clear()
        return found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


def ruined(file: Path) -> None:
    """Make a drop one that is refused: no quantity is a number."""
    file.write_text(file.read_text().replace(",6,", ",many,"))
