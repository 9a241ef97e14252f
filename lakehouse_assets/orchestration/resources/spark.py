"""The engine that computes: Sail in this process (embedded), Apache Spark in this process (local), or any Spark Connect
endpoint.

Belongs here: starting, sharing and stopping one session a process. Does not belong here: how each kind is started
(`spark_embedded.py`, `spark_local.py`, `spark_endpoint.py`), what is computed.
"""

from __future__ import annotations

import atexit
import re
import threading
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.resources.spark_embedded import start_embedded
from lakehouse_assets.orchestration.resources.spark_endpoint import start_remote
from lakehouse_assets.orchestration.resources.spark_local import start_local
from lakehouse_assets.orchestration.resources.spark_settings import SESSION_SETTINGS

start_seconds: dict[str, float] = {}
"""How long each engine that this process has started took for it."""

_lock = threading.Lock()

_sessions: dict[str, Any] = {}

_used: dict[str, float] = {}
"""When each was last handed out."""

ASKED_AFTER = 60.0
"""Seconds after which a session of an endpoint is asked whether it is still there before it is handed out."""
_ENDED = re.compile(
    r"INVALID_HANDLE\.SESSION|SESSION_(CLOSED|NOT_FOUND|EXPIRED)|session \S+ is not running", re.IGNORECASE
)
"""What endpoints say of a session that they have ended because it was idle."""


@dataclass(frozen=True)
class SparkEngine:
    """Hands out the one Spark session of this process.

    engine: `embedded`, `local` or `sc://…`. jars: a folder with the Delta jars, empty to bring them from Maven; mirror:
    the URL of a Maven repository to use in place of Maven Central; memory: of a local Spark, as `2g`; log: the file
    into which a local Spark speaks.
    """

    engine: str = "embedded"
    jars: str = ""
    mirror: str = ""
    memory: str = "2g"
    log: str = ""

    @property
    def session(self) -> Any:
        """The `pyspark.sql.SparkSession`; started when first asked for. Raises `LakehouseError` where it cannot be."""
        with _lock:
            self._forget_ended()
            _used[self.engine] = time.monotonic()
            if self.engine not in _sessions:
                began = time.perf_counter()
                _sessions[self.engine] = self._start()
                start_seconds[self.engine] = time.perf_counter() - began
            return _sessions[self.engine]

    def _forget_ended(self) -> None:
        """Forget a session that its endpoint has ended meanwhile, as they do after an idle hour, or minutes."""
        held = _sessions.get(self.engine)
        if held is None or not self.engine.startswith("sc://"):
            return
        if time.monotonic() - _used.get(self.engine, 0.0) < ASKED_AFTER:
            return
        try:
            held.conf.get("spark.sql.session.timeZone")
        except Exception as error:
            if _ENDED.search(str(error)):
                with suppress(Exception):  # there is nothing left to stop, and the next would be this one again
                    held.stop()
                del _sessions[self.engine]
            # Whatever else is wrong is for the next statement to say.

    def _start(self) -> Any:
        # pyspark 4.2 imports its pandas layer and warns of pandas 3, which nothing here uses.
        warnings.filterwarnings("ignore", message=".*pandas.*", category=FutureWarning, module="pyspark.*")
        if self.engine == "local":
            if _sessions:
                raise LakehouseError(
                    "This process computes on a Spark Connect session already; run what needs LAKEHOUSE_ENGINE=local in"
                    " one of its own."
                )
            session = start_local(self.jars, self.mirror, self.memory, self.log)
        elif self.engine == "embedded":
            session = start_embedded()
        elif self.engine.startswith("sc://"):
            session = start_remote(self.engine)
        else:
            raise LakehouseError(
                f"LAKEHOUSE_ENGINE is {self.engine!r}; set it to embedded, local, or a Spark Connect URL sc://…."
            )
        for key, value in SESSION_SETTINGS.items():
            session.conf.set(key, value)
        atexit.register(session.stop)
        return session
