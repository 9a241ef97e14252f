"""Sessions that nobody has used for a while: engines end them, and steps go on all the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from pyspark.sql import SparkSession

from lakehouse_assets.orchestration.resources import spark, spark_endpoint
from lakehouse_assets.orchestration.resources.spark import SparkEngine

IDLE = """
import time
from lakehouse_assets.orchestration.resources.spark import SparkEngine
session = SparkEngine().session
session.range(1).count()
time.sleep(4)
print(session.range(3).count())
"""


def test_an_embedded_session_that_was_idle_is_still_there():
    """Else a step that waited some minutes for Snowflake fails when it goes on."""
    environment = {**os.environ, "SAIL_SPARK__SESSION_TIMEOUT_SECS": "1"}
    done = subprocess.run([sys.executable, "-c", IDLE], env=environment, text=True, capture_output=True, check=False)
    assert done.stdout == "3\n", done.stderr


def test_a_session_that_its_endpoint_has_ended_is_opened_again(connect_url: str, monkeypatch: pytest.MonkeyPatch):
    """Else a process that was idle for an hour fails at everything it does from then on."""
    monkeypatch.setattr(spark, "ASKED_AFTER", 0.0)
    monkeypatch.setattr(spark, "_sessions", {})
    monkeypatch.setattr(spark_endpoint, "connect", lambda url: SparkSession.builder.remote(url).create())
    engine = SparkEngine(engine=connect_url)
    first = engine.session
    assert first.range(2).count() == 2
    assert engine.session is first
    first.client.release_session()
    second = engine.session
    assert second is not first
    assert second.range(3).count() == 3
    second.stop()
