"""The transfer of a file to a stage: what a client is told to send by a PUT, and what it then sends.

What belongs here: tickets, and writing what comes. What does not: the PUT statement (`stages/file_statements.py`).
"""

import os
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.embedded_snowflake.address import HOST
from lakehouse_assets.embedded_snowflake.history.facts import Facts
from lakehouse_assets.embedded_snowflake.protocol.requests import RefusedError
from lakehouse_assets.embedded_snowflake.protocol.server import AccountServer, Client
from lakehouse_assets.embedded_snowflake.stages.file_statements import Put, upload_target


def invitation(server: AccountServer, client: Client, put: Put) -> dict[str, Any]:
    """Tell the client to send a file here. Of the locations a connector knows, a signed cloud address is the one it
    sends to by plain HTTP.
    """
    ticket = secrets.token_urlsafe(16)
    with server.mutex:
        server.tickets[ticket] = client, put
    address = f"http://{HOST}:{server.server_port}/uploads/{ticket}/{quote(Path(put.source).name)}"
    return {
        "stageInfo": {
            "locationType": "GCS",
            "location": f"{put.target.reference()}/",
            "creds": {},
            "presignedUrl": address,
        },
        "src_locations": [put.source],
        "parallel": put.parallel,
        "autoCompress": put.auto_compress,
        "sourceCompression": "auto_detect",
        "overwrite": put.overwrite,
        "command": "UPLOAD",
    }


def _redeem(server: AccountServer, path: str) -> tuple[Client, Put, Path]:
    """Whose PUT it is whose ticket the address of an upload shows, and where its file goes; a ticket is good once.
    Raises RefusedError.
    """
    parts = path.split("/", 3)
    with server.mutex:
        ticket = server.tickets.pop(parts[2], None) if len(parts) == 4 and parts[1] == "uploads" else None
        if ticket is None or ticket[0] not in server.clients.values():
            raise RefusedError(403, "There is no such upload.")
    try:
        return *ticket, upload_target(ticket[1], parts[3])
    except ProgrammingError as error:
        raise RefusedError(403, error.raw_msg or "The name of the file leads out of the stage.") from None


def receive(server: AccountServer, path: str, blocks: Iterable[bytes]) -> None:
    """Write a staged file: aside, then renamed, so that a client or server that dies on the way leaves no half file on
    the stage. Raises RefusedError.
    """
    at = time.time()
    client, put, target = _redeem(server, path)
    incoming = server.uploads / secrets.token_hex(16)
    try:
        with incoming.open("xb") as file:
            for block in blocks:
                file.write(block)
            size = file.tell()
            file.flush()
            os.fsync(file.fileno())
        target.parent.mkdir(parents=True, exist_ok=True)
        if put.overwrite or not target.exists():
            incoming.replace(target)
    finally:
        incoming.unlink(missing_ok=True)
    session = client.session
    server.history.add(
        Facts("UPLOAD"),
        "",
        at,
        seconds=round(time.time() - at, 4),
        session=session.name,
        user="EMBEDDED",
        role=session.role or "",
        bytes=size,
        tag=session.tag,
    )
