"""Spark Connect endpoints: their URL, the token, and a session on one.

Belongs here: what may stand in LAKEHOUSE_ENGINE as a URL, and what an endpoint is sent. Does not belong here: the
embedded engine (`spark_embedded.py`), which is reached in the same way.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import lakehouse_assets
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.resources.spark_settings import own_settings
from lakehouse_assets.settings import Settings

CONNECT_PORT = 15002
"""The port of an endpoint whose URL names none, as pyspark has it."""


def start_remote(engine: str) -> Any:
    """A session on a Spark Connect endpoint, with what LAKEHOUSE_SPARK_CONF says."""
    url = remote_url(engine)
    _refuse_silence(engine)
    session = connect(url)
    _send_parsers(session)
    set_own(session, engine)
    return session


def connect(url: str) -> Any:
    """A session on the endpoint of that URL."""
    from dagster_pyspark import LazyPySparkResource

    return LazyPySparkResource(spark_config={"spark.remote": url}).spark_session


def set_own(session: Any, engine: str) -> None:
    """Give a session of an endpoint what LAKEHOUSE_SPARK_CONF says. Raises `LakehouseError` for a setting that it does
    not take.
    """
    from pyspark.errors import PySparkException

    for key, value in own_settings().items():
        try:
            session.conf.set(key, value)
        except PySparkException as error:
            condition = error.getCondition()
            if condition is None:  # it is not the setting that is wrong
                raise
            remedy = (
                "set it where the endpoint is started" if condition.startswith("CANNOT_MODIFY") else "fix its value"
            )
            raise LakehouseError(
                f"LAKEHOUSE_SPARK_CONF sets {key}, which {engine} does not take ({condition}); {remedy}."
            ) from None


def refuse_url(engine: str) -> None:
    """Raise `LakehouseError` where the URL of an engine names no host, or holds a token: it is shown in places where no
    secret may be.
    """
    if re.search(r";\s*token=", engine, re.IGNORECASE):
        raise LakehouseError(
            "LAKEHOUSE_ENGINE holds a token, and is shown in the UI; take it out and set LAKEHOUSE_SPARK_TOKEN instead."
        )
    if engine.startswith("sc://"):
        _address(engine)


def _address(engine: str) -> tuple[str, int]:
    """Host and port of an endpoint. Raises `LakehouseError` where its URL names none."""
    where = urlsplit(f"//{re.split('[/;]', engine.removeprefix('sc://'))[0]}")
    try:
        host, port = where.hostname, where.port or CONNECT_PORT
    except ValueError:  # the port is no number, or none that there is
        host, port = None, 0
    if not host:
        raise LakehouseError(
            f"LAKEHOUSE_ENGINE is {engine!r}, which names no host and port; write it as sc://host:15002."
        )
    return host, port


def _refuse_silence(engine: str) -> None:
    """Raise `LakehouseError` where nothing answers at an endpoint: the client would try again for many minutes without
    a word.
    """
    if any(os.environ.get(name) for name in ("grpc_proxy", "https_proxy", "http_proxy")):
        return  # whether it answers is then for the proxy to say
    host, port = _address(engine)
    try:
        socket.create_connection((host, port), timeout=30).close()
    except OSError as error:
        raise LakehouseError(
            f"Nothing answers at {host}:{port}, which LAKEHOUSE_ENGINE names ({error}); start the endpoint, or fix the"
            " URL."
        ) from error


def remote_url(engine: str) -> str:
    """The Connect URL with the token of LAKEHOUSE_SPARK_TOKEN, where there is one."""
    refuse_url(engine)
    token = Settings.model_validate({}).spark_token
    if token is None:
        return engine
    where, slash, options = engine.removeprefix("sc://").partition("/")
    return f"sc://{where}/{options if slash else ''};token={token.get_secret_value()}"


def _send_parsers(session: Any) -> None:
    """Send our modules to the workers of a cluster, which map the parsers over drops: they need no more than Python and
    pyarrow.
    """
    package = Path(lakehouse_assets.__file__).resolve().parent
    with tempfile.TemporaryDirectory() as folder:
        archive = shutil.make_archive(f"{folder}/lakehouse_assets", "zip", package.parent, package.name)
        session.addArtifacts(archive, pyfile=True)
