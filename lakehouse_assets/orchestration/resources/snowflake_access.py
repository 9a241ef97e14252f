"""Connections to the Snowflake account, embedded or real.

What belongs here: how a connection is made, in one place for both accounts. What does not: SQL, the embedded account's
server (`embedded_snowflake/`), Dagster (`snowflake.py` makes a resource of it): commands that run nothing do without.

Importing this module is cheap on purpose: the connector takes seconds to import, dagster-snowflake several more, and
every process that loads the definitions would pay for them. They are imported with the first connection, which also
starts the embedded account.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, Field

from lakehouse_assets.embedded_snowflake import connection_arguments, ensure_running
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.lean import import_connector
from lakehouse_assets.settings import Settings

if TYPE_CHECKING:
    from dagster_snowflake import SnowflakeResource
    from snowflake.connector import SnowflakeConnection

Mode = Literal["embedded", "account"]

# The variable that each field of a real account is read from; Dagster resolves them when a run needs them, so that no
# secret enters the definitions.
VARIABLES = {
    "account": "SNOWFLAKE_ACCOUNT",
    "user": "SNOWFLAKE_USER",
    "private_key_path": "SNOWFLAKE_PRIVATE_KEY_PATH",
    "private_key_passphrase": "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE",
    "password": "SNOWFLAKE_PASSWORD",
    "role": "SNOWFLAKE_ROLE",
    "warehouse": "SNOWFLAKE_WAREHOUSE",
    "authenticator": "SNOWFLAKE_AUTHENTICATOR",
}


LOCK_TIMEOUT_SECONDS = 600
"""How long a statement waits for a lock of another session: longer than the five minutes after which Snowflake ends the
transaction of a client that died, and far shorter than its default of twelve hours.
"""


MEANING = {
    "TIMEZONE": "UTC",
    "AUTOCOMMIT": True,
    "TRANSACTION_ABORT_ON_ERROR": False,
    "DATE_INPUT_FORMAT": "YYYY-MM-DD",
    "TIME_INPUT_FORMAT": "AUTO",
    "TIMESTAMP_INPUT_FORMAT": "AUTO",
    "DATE_OUTPUT_FORMAT": "YYYY-MM-DD",
    "TIME_OUTPUT_FORMAT": "HH24:MI:SS",
    "TIMESTAMP_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF6 TZHTZM",
    "TIMESTAMP_NTZ_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF6",
    "TIMESTAMP_TYPE_MAPPING": "TIMESTAMP_NTZ",
    "BINARY_INPUT_FORMAT": "HEX",
    "BINARY_OUTPUT_FORMAT": "HEX",
    "QUOTED_IDENTIFIERS_IGNORE_CASE": False,
    "ROWS_PER_RESULTSET": 0,
    "USE_CACHED_RESULT": True,
}
"""The session parameters under which a statement means something else, or gives fewer rows, each with the value that
the statements are written for. An account or a user may have set others; those of the login win.

DEFAULT_DDL_COLLATION is not among them: it belongs to account, database, schema or table, and no session sets it.
"""

EXACT = {"arrow_number_to_decimal": True}
"""The connector otherwise gives a decimal as a float, which holds 15 digits."""


def session_parameters(query_tag: str | None, lock_timeout_seconds: int) -> dict[str, Any]:
    """The session parameters of every connection: those that change a statement's meaning, and a bounded wait for
    locks.
    """
    parameters: dict[str, Any] = {**MEANING, "LOCK_TIMEOUT": lock_timeout_seconds}
    if query_tag:
        parameters["QUERY_TAG"] = query_tag
    return parameters


@contextmanager
def connect(
    *,
    mode: Mode = "embedded",
    home: Path | None = None,
    database: str | None = None,
    schema: str | None = None,
    query_tag: str | None = None,
    lock_timeout_seconds: int = LOCK_TIMEOUT_SECONDS,
    idle_seconds: int = 1800,
    account: str | None = None,
    user: str | None = None,
    private_key_path: str | None = None,
    private_key_passphrase: str | None = None,
    password: str | None = None,
    role: str | None = None,
    warehouse: str | None = None,
    authenticator: str | None = None,
) -> Iterator[SnowflakeConnection]:
    """A connection of the Snowflake connector, closed at the end; what was not committed is then rolled back.

    `mode="embedded"` needs `home` and starts the embedded account if it does not run; `mode="account"` needs `account`,
    `user` and a key, password or authenticator. `lock_timeout_seconds` bounds how long a statement waits for a lock of
    another session. Raises LakehouseError when the embedded account does not start or a value is missing, and the
    connector's errors when an account refuses.
    """
    parameters = session_parameters(query_tag, lock_timeout_seconds)
    if mode == "embedded":
        if home is None:
            raise LakehouseError("The embedded Snowflake account needs the home directory it lives in: pass home.")
        arguments = connection_arguments(ensure_running(home, idle_seconds), database, schema)
        arguments["session_parameters"] |= parameters
        arguments |= EXACT | ({"role": role} if role else {})
    else:
        _check_credentials(account, user, private_key_path or password or authenticator)
        given = {
            "account": account,
            "user": user,
            "private_key_file": private_key_path,
            "private_key_file_pwd": private_key_passphrase,
            "password": password,
            "role": role,
            "warehouse": warehouse,
            "authenticator": authenticator or ("SNOWFLAKE_JWT" if private_key_path else None),
            "database": database,
            "schema": schema,
        }
        arguments = {name: value for name, value in given.items() if value is not None} | {
            "session_parameters": parameters,
            "login_timeout": 60,
            **EXACT,
        }

    import_connector()
    import snowflake.connector

    connection = snowflake.connector.connect(**arguments)
    try:
        yield connection
    finally:
        connection.close()


class SnowflakeAccess(BaseModel):
    """The Snowflake account: the embedded one, or a real one through dagster-snowflake."""

    mode: str = Field("embedded", description="embedded, or account for a real one")
    home: str | None = Field(None, description="directory below which the embedded account lives")
    idle_seconds: int = Field(1800, description="after how long without a request the embedded account stops")
    database: str | None = Field(None, description="current database of a connection")
    schema_name: str | None = Field(None, description="current schema of a connection")
    query_tag: str | None = Field(None, description="QUERY_TAG of a connection")
    role: str | None = Field(None, description="role of a connection to the embedded account, if not all-powerful")
    lock_timeout_seconds: int = Field(
        LOCK_TIMEOUT_SECONDS, description="how long a statement waits for a lock of another session"
    )

    @classmethod
    def of(cls, settings: Settings, **more: Any) -> Self:
        """The account of the settings. more: fields that say what a connection begins with."""
        return cls(mode=settings.snowflake, home=str(settings.home), idle_seconds=settings.account_idle_seconds, **more)

    @contextmanager
    def get_connection(self) -> Iterator[SnowflakeConnection]:
        """A connection, closed at the end; what was not committed is then rolled back. Raises LakehouseError as
        `connect` does.
        """
        if self.mode == "embedded":
            with connect(
                home=Path(self.home) if self.home else None,
                database=self.database,
                schema=self.schema_name,
                query_tag=self.query_tag,
                lock_timeout_seconds=self.lock_timeout_seconds,
                idle_seconds=self.idle_seconds,
                role=self.role,
            ) as connection:
                yield connection
            return
        with self.dagster_resource().get_connection() as connection:
            # dagster-snowflake closes a connection only when nothing was raised; an open one keeps its locks.
            try:
                yield connection  # type: ignore[misc]
            finally:
                connection.close()

    def _login(self) -> dict[str, str | None]:
        """The values of a login, from the environment."""
        return {name: os.environ.get(variable) for name, variable in VARIABLES.items()}

    def dagster_resource(self) -> SnowflakeResource:
        """dagster-snowflake's own resource for a real account, for Snowpark and the like. Raises LakehouseError when a
        value is missing.
        """
        given = self._login()
        _check_credentials(
            given["account"], given["user"], given["private_key_path"] or given["password"] or given["authenticator"]
        )
        from dagster_snowflake import SnowflakeResource

        return SnowflakeResource(
            **{
                "private_key_password" if name == "private_key_passphrase" else name: value
                for name, value in given.items()
            },  # type: ignore[arg-type]
            database=self.database,
            schema=self.schema_name,
            autocommit=True,
            login_timeout=60,
            additional_snowflake_connection_args={
                "session_parameters": session_parameters(self.query_tag, self.lock_timeout_seconds),
                **EXACT,
            },
        )


def _check_credentials(account: str | None, user: str | None, secret: str | None) -> None:
    missing = [name for name, value in ((VARIABLES["account"], account), (VARIABLES["user"], user)) if not value]
    if not secret:
        missing.append(f"{VARIABLES['private_key_path']} (or {VARIABLES['password']}, {VARIABLES['authenticator']})")
    if missing:
        raise LakehouseError(
            f"A real Snowflake account needs {', '.join(missing)}: set it in the environment or in .env."
        )
