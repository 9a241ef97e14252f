"""Serving an account: catalogue and protocol put together, until the server is told to stop or idle.

What belongs here: what is done once, before the first request and after the last. What does not: the process
(`__main__.py`).
"""

import logging
import os
import signal
import threading
import warnings
from pathlib import Path

from lakehouse_assets.embedded_snowflake.address import (
    HOST,
    AccountAddress,
    account_secret,
    read_address,
    write_address,
)
from lakehouse_assets.embedded_snowflake.catalogue import Catalogue
from lakehouse_assets.embedded_snowflake.protocol.handler import Handler
from lakehouse_assets.embedded_snowflake.protocol.server import AccountServer

logger = logging.getLogger(__name__)


def serve(directory: Path, idle_seconds: int) -> None:
    """Serve the account of a directory until it is told to stop (SIGTERM, SIGINT) or is idle. The caller holds the
    server's lock.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    warnings.filterwarnings("ignore", message="Arrow output on a DB-API result")
    logging.getLogger("snowflake").setLevel(logging.WARNING)
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    uploads = directory / "uploads"
    account_secret(directory)
    uploads.mkdir(exist_ok=True)
    for left_over in uploads.iterdir():
        left_over.unlink()
    catalogue = Catalogue(directory)
    server = AccountServer(catalogue, directory, Handler)
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: threading.Thread(target=server.shutdown).start())
    threading.Thread(target=server.housekeeping, args=(idle_seconds,), daemon=True).start()
    write_address(directory, AccountAddress(HOST, server.server_port, os.getpid()))
    logger.info("listening on port %s", server.server_port)
    try:
        server.serve_forever(poll_interval=0.2)
    finally:
        server.closing = True
        if (address := read_address(directory)) and address.pid == os.getpid():
            (directory / "server.json").unlink(missing_ok=True)
        for client in list(server.clients.values()):
            client.close()
        server.history.close()
        catalogue.close()
        logger.info("stopped")
