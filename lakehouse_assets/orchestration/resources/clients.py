"""How a client of one's own connects to the Snowflake account: the text of `lakehouse account`. Does not belong here:
connecting (`snowflake.py`).
"""

from __future__ import annotations

import os
from textwrap import dedent

from lakehouse_assets.embedded_snowflake import USER, account_directory, ensure_running
from lakehouse_assets.orchestration.resources.snowflake_access import VARIABLES
from lakehouse_assets.settings import Settings

HIDDEN = "<password>"


def how_to_connect(settings: Settings, show_secret: bool) -> str:
    """What to give to Python, DBeaver and dbt. The embedded account is started if it does not run, for its port is part
    of the answer.

    show_secret: write its password into the text, which is otherwise a placeholder. Of a real account no value is ever
    reported. Raises LakehouseError when the embedded account does not start.
    """
    if settings.snowflake == "account":
        return _real_account()
    address = ensure_running(settings.home, settings.account_idle_seconds)
    password = address.secret if show_secret else HIDDEN
    where = (
        "Whoever has this password reads and writes everything in the account."
        if show_secret
        else (
            f"The password is in {account_directory(settings.home) / 'secret'}; `lakehouse account --show-secret`"
            f" prints it in place of {HIDDEN}."
        )
    )
    database, schema = settings.database, settings.analytics_schema
    return dedent(f"""\
        The embedded account listens at {address.host}:{address.port}. {where}
        The lines for Python are tried by a test; those for JDBC and dbt are not.
        It has another port after each start, and stops after {settings.account_idle_seconds} s without a request;
        this command starts it and says the port.

        Python:
          import snowflake.connector
          snowflake.connector.connect(
              host="{address.host}", port={address.port}, protocol="http", account="embedded",
              user="{USER}", password="{password}",
              database="{database}", schema="{schema}")

        DBeaver and other JDBC clients (driver Snowflake):
          URL       jdbc:snowflake://{address.host}:{address.port}/?account=embedded&ssl=off&db={database}&schema={schema}
          user      {USER}
          password  {password}

        dbt (profiles.yml; adapter dbt-snowflake):
          lakehouse:
            target: embedded
            outputs:
              embedded:
                type: snowflake
                account: embedded
                host: {address.host}
                port: {address.port}
                protocol: http
                user: {USER}
                password: "{password}"
                database: {database}
                schema: {schema}""")


def _real_account() -> str:
    """Which variable gives which value, and whether it is set."""
    lines = [
        f"  {field:22} {name:34} {'is set' if os.environ.get(name) else 'is not set'}"
        for field, name in VARIABLES.items()
    ]
    return "\n".join(
        [
            (
                "LAKEHOUSE_SNOWFLAKE=account: a real account. Its values come from the environment or from .env, and"
                " are not shown here:"
            ),
            *lines,
            (
                "Give the same values to your client; database and schema are LAKEHOUSE_DATABASE and"
                " LAKEHOUSE_ANALYTICS_SCHEMA."
            ),
        ]
    )
