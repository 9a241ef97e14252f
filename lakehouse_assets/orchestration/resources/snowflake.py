"""The Snowflake account as a Dagster resource.

Does not belong here: how a connection is made (`snowflake_access.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dagster import ConfigurableResource, EnvVar
from pydantic import Field

from lakehouse_assets.orchestration.resources.snowflake_access import (
    LOCK_TIMEOUT_SECONDS,
    VARIABLES,
    Mode,
    SnowflakeAccess,
)


class SnowflakeAccount(ConfigurableResource, SnowflakeAccess):
    """The Snowflake account of a run. Of a real one the fields name the variables from which Dagster reads a login."""

    account: str | None = Field(None, description="account identifier")
    user: str | None = Field(None, description="login name")
    private_key_path: str | None = Field(None, description="path of the PEM file with the private key")
    private_key_passphrase: str | None = Field(None, description="passphrase of the private key, if it has one")
    password: str | None = Field(None, description="password or programmatic access token")
    role: str | None = Field(None, description="role of a connection")
    warehouse: str | None = Field(None, description="warehouse of a connection")
    authenticator: str | None = Field(None, description="authenticator of the connector, if not implied")

    def _login(self) -> dict[str, str | None]:
        """The values of a login. In a run Dagster has put those of the environment in; for a command the fields still
        name their variables.
        """
        fields = {name: getattr(self, name) for name in VARIABLES}
        return {name: value.get_value() if isinstance(value, EnvVar) else value for name, value in fields.items()}


def snowflake_resource(
    *,
    mode: Mode = "embedded",
    home: Path | None = None,
    database: str | None = None,
    schema: str | None = None,
    query_tag: str | None = None,
    lock_timeout_seconds: int = LOCK_TIMEOUT_SECONDS,
    idle_seconds: int = 1800,
    role: str | None = None,
) -> SnowflakeAccount:
    """The resource for `mode`. Starts nothing and connects to nothing; values of a real account, its role among them,
    stay environment variables until a run needs them. role: of the embedded account, if not the all-powerful one.
    """
    common: dict[str, Any] = {
        "mode": mode,
        "database": database,
        "schema_name": schema,
        "query_tag": query_tag,
        "lock_timeout_seconds": lock_timeout_seconds,
    }
    if mode == "embedded":
        return SnowflakeAccount(home=str(home) if home else None, idle_seconds=idle_seconds, role=role, **common)
    # An EnvVar whose variable is not set fails every run, so only those are named that are set; which ones a login
    # lacks is said when it is made.
    present = {field: EnvVar(name) for field, name in VARIABLES.items() if EnvVar(name).get_value() is not None}
    return SnowflakeAccount(**{**common, **present})
