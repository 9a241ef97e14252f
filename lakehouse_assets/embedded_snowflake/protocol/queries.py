"""Statements over the protocol: executed once a request, and their results as the connector reads them.

What belongs here: bindings, waiting for a statement, the form of a result. What does not: what a statement does
(`statement.py`).
"""

import logging
import secrets
import time
from base64 import b64encode
from concurrent.futures import TimeoutError as StillRunning
from dataclasses import replace
from typing import Any

from fakesnow.arrow import to_ipc, to_sf
from fakesnow.converter import from_binding
from fakesnow.statement_type import DML_TYPE_IDS
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.embedded_snowflake.history.facts import of_text
from lakehouse_assets.embedded_snowflake.history.log import MOST_OF_A_TAG
from lakehouse_assets.embedded_snowflake.protocol.requests import failure
from lakehouse_assets.embedded_snowflake.protocol.server import AccountServer, Client
from lakehouse_assets.embedded_snowflake.protocol.uploads import invitation
from lakehouse_assets.embedded_snowflake.session import Session
from lakehouse_assets.embedded_snowflake.statement import Statement, without_values

logger = logging.getLogger(__name__)

POLL_SECONDS = 40.0  # the connector gives a request up after 60 s; a longer statement is polled for


def query(server: AccountServer, client: Client, request_id: str, content: dict[str, Any]) -> dict[str, Any]:
    """The answer to a query request: the result of its statement, or that it is still running."""
    # A client that lost the answer asks again with the same id: it must get that answer, not a second execution.
    with client.session.lock:
        if request_id not in client.statements:
            client.statements = {request_id: client.worker.submit(_execute, server, client, content)}
    return result(client, request_id)


def result(client: Client, request_id: str) -> dict[str, Any]:
    """The answer to who waits for a statement."""
    statement = client.statements.get(request_id)
    if statement is None:
        return failure("000709", f"Statement {request_id} not found", {})
    try:
        return statement.result(timeout=POLL_SECONDS)
    except StillRunning:
        return {
            "success": True,
            "code": "333333",
            "message": "running",
            "data": {"getResultUrl": f"/queries/{request_id}/result"},
        }


def _execute(server: AccountServer, client: Client, content: dict[str, Any]) -> dict[str, Any]:
    text, session = content["sqlText"], client.session
    at, started = time.time(), time.perf_counter()
    statement = Statement(session)
    session.tag = _tag(session, content)
    changed, failed = None, ProgrammingError(errno=9999)
    try:
        changed = _run(statement, text, content)
        data = _data(server, client, statement, changed)
        failed = None
    except ProgrammingError as error:
        server.end_if_lost(error)
        failed = error
        code = f"{error.errno or 0:06d}"
        return failure(code, error.raw_msg, {"errorCode": code, "sqlState": error.sqlstate})
    except Exception as error:
        server.end_if_lost(error)
        logger.exception("result of: %s", without_values(text))
        return failure("009999", f"{type(error).__name__}: {error}", {"errorCode": "009999", "sqlState": "99999"})
    finally:
        client.used = time.monotonic()
        seconds = time.perf_counter() - started
        logger.info("%.1f ms: %s", 1000 * seconds, without_values(text))
        _log(server, statement, content, at, seconds, changed, failed)
    if statement.put:
        return {"success": True, "data": data}
    return {
        "success": True,
        "data": {**data, "finalDatabaseName": session.database, "finalSchemaName": session.schema},
    }


def _tag(session: Session, content: dict[str, Any]) -> str:
    """The query tag of a statement: its own, else the session's."""
    of_statement = content.get("parameters")
    own = of_statement.get("QUERY_TAG") if isinstance(of_statement, dict) else None
    return str(own or session.parameters.get("QUERY_TAG") or "")[:MOST_OF_A_TAG]


def _log(
    server: AccountServer,
    statement: Statement,
    content: dict[str, Any],
    at: float,
    seconds: float,
    changed: int | None,
    failed: ProgrammingError | None,
) -> None:
    """Write a statement into the log of the account. changed: the number of changed rows if it was a batch."""
    session = statement._conn
    facts = statement.facts or of_text(content["sqlText"])
    table = None if failed else statement._arrow_table
    rows = changed if changed is not None else (statement.rowcount or 0) if table is not None else 0
    unchanged = failed or (facts.changes and facts.needs_warehouse and not rows)
    # An error of the compiler comes before a warehouse is asked.
    compiled = failed is None or not str(failed.sqlstate).startswith(("42", "02"))
    described = bool(content.get("describeOnly"))
    cacheable = facts.repeatable and not failed and not described and session.uses_results
    server.history.add(
        replace(
            facts,
            changes=() if unchanged else facts.changes,
            needs_warehouse=facts.needs_warehouse and compiled and not described,
        ),
        server.history.query_code(content) if cacheable else "",
        at,
        seconds=round(seconds, 4),
        session=session.name,
        user="EMBEDDED",
        role=session.role or "",
        warehouse=session.warehouse or "",
        rows=rows,
        bytes=table.nbytes if table is not None and facts.kind == "SELECT" else 0,
        tag=session.tag,
        error=(failed.errno or 0) if failed else 0,
    )


def _run(statement: Statement, text: str, content: dict[str, Any]) -> int | None:
    """Execute with the request's bindings. The number of changed rows if it was a batch, else None."""
    bindings = content.get("bindings") or {}
    describe_only = bool(content.get("describeOnly"))
    if not bindings:
        statement.run(text, describe_only=describe_only)
        return None
    if not all(name.isdigit() for name in bindings):
        statement.run(text, {name: from_binding(binding) for name, binding in bindings.items()}, describe_only)
        return None
    ordered = [bindings[str(position)] for position in range(1, len(bindings) + 1)]
    if not any(isinstance(binding["value"], list) for binding in ordered):
        statement.run(text, tuple(_value(binding) for binding in ordered), describe_only)
        return None
    changed = 0
    for row in zip(
        *[[_value({**binding, "value": value}) for value in binding["value"]] for binding in ordered], strict=True
    ):
        statement.run(text, row)
        changed += statement.rowcount or 0
    return changed


def _data(server: AccountServer, client: Client, statement: Statement, changed: int | None) -> dict[str, Any]:
    if statement.put:
        return invitation(server, client, statement.put)
    table = statement._arrow_table
    common = {
        "parameters": [{"name": "TIMEZONE", "value": "Etc/UTC"}],
        "rowtype": statement.rowtype,
        "total": table.num_rows if table is not None else 0,
        "queryId": statement.sfqid or secrets.token_hex(16),
        "statementTypeId": statement.type_id,
    }
    if changed is not None:
        return {**common, "total": 1, "queryResultFormat": "json", "rowset": [[str(changed)]]}
    if table is not None and statement.type_id in DML_TYPE_IDS:
        rows = [[None if value is None else str(value) for value in row.values()] for row in table.to_pylist()]
        return {**common, "queryResultFormat": "json", "rowset": rows}
    encoded = b64encode(to_ipc(to_sf(table, statement.rowtype))).decode() if table is not None else ""
    return {**common, "queryResultFormat": "arrow", "rowsetBase64": encoded}


def _value(binding: dict[str, Any]) -> Any:
    return None if binding["value"] is None else from_binding(binding)
