"""How the connector is told to connect to the embedded account.

What belongs here: the arguments of `snowflake.connector.connect`. What does not: making a connection.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lakehouse_assets.embedded_snowflake.address import AccountAddress
from lakehouse_assets.embedded_snowflake.lifecycle import answers, last_line
from lakehouse_assets.errors import AccountStoppedError

USER = "embedded"
STATEMENT_SECONDS = 3600
_GAVE_UP = re.compile(r" CRITICAL [\w.]+: (.*)")  # what a server that gave itself up wrote last


@dataclass(frozen=True)
class _WhileItRuns:
    """The pauses, in seconds, between repetitions of a request that got no answer: an end to them when the server is
    gone.

    A class, so that connection arguments can be sent to another process.
    """

    address: AccountAddress

    def __call__(self) -> Iterator[int]:
        yield 0
        for pause in itertools.chain((0, 1, 2, 4), itertools.repeat(8)):
            if not answers(self.address):
                lost = _GAVE_UP.search(last_line(Path(self.address.directory)))
                raise AccountStoppedError(
                    "The embedded Snowflake account has stopped while it was being"
                    f" used{f', for {lost[1]}' if lost else ''}: run the command again, it starts anew."
                )
            yield pause


def connection_arguments(
    address: AccountAddress, database: str | None = None, schema: str | None = None
) -> dict[str, Any]:
    """Keyword arguments for `snowflake.connector.connect`. The password is the secret of the home; the user is a name
    only.

    `database` and `schema` are created when they do not exist.
    """
    arguments: dict[str, Any] = {
        "user": USER,
        "password": address.secret,
        "account": "embedded",
        "host": address.host,
        "port": address.port,
        "protocol": "http",
        "login_timeout": 30,
        # The connector cancels a statement after this time, and repeats a request for as long; that it does not repeat
        # one to a stopped account for an hour is the back-off's doing.
        "network_timeout": STATEMENT_SECONDS,
        "backoff_policy": _WhileItRuns(address),
        # The connector otherwise asks three clouds at every login whether it runs on one of them.
        "platform_detection_timeout_seconds": 0.0,
        "session_parameters": {"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False},
    }
    if database:
        arguments["database"] = database
    if schema:
        arguments["schema"] = schema
    return arguments
