"""Sessions: fakesnow's connection, with Snowflake's transactions.

What belongs here: what a login has until it ends: the current database and schema, parameters, the open transaction.
What does not: its statements (`statement.py`), the protocol (`protocol/`), the files behind the catalogue
(`catalogue.py`).
"""

import secrets
import threading
from collections.abc import Callable
from typing import Any

import duckdb
from fakesnow.conn import FakeSnowflakeConnection
from snowflake.connector.errors import ProgrammingError
from sqlglot import Expr, exp

from lakehouse_assets.embedded_snowflake.names import Context
from lakehouse_assets.embedded_snowflake.privileges.store import ADMIN, Privileges
from lakehouse_assets.embedded_snowflake.stages.file_statements import Listing
from lakehouse_assets.embedded_snowflake.stages.parquet import Schemas

LOCK_TIMEOUT = 5  # seconds, where a session sets none; Snowflake's twelve hours would only hide a stuck writer


class Session(FakeSnowflakeConnection):
    """One login. Statements of one session run one at a time; `in_transaction` and `failed` follow what the client
    began and what broke.
    """

    def __init__(self, *arguments: Any, shared: "Shared", **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.shared = shared
        self.lock = threading.Lock()
        self.in_transaction = self.failed = False
        # whether the open transaction has changed anything, so that it cannot simply be begun again
        self.touched = False
        self.ending = False  # whether the session is being closed under a running statement
        self.autocommits = True
        self.parameters: dict[str, Any] = {}
        self.role = ADMIN
        self.warehouse: str | None = None
        self.name = secrets.token_hex(6)
        self.tag = ""  # of the statement that runs, or ran last
        self.changes: set[str] = set()  # what the open transaction has changed

    @property
    def context(self) -> Context:
        """The current database and schema."""
        return Context(self.database, self._schema if self.schema_set else None)

    @property
    def lock_timeout(self) -> float:
        """Seconds for which a statement waits for locks of other sessions."""
        return float(self.parameters.get("LOCK_TIMEOUT", LOCK_TIMEOUT))

    @property
    def restricted(self) -> bool:
        """Whether the session's role may not do everything."""
        return self.role != ADMIN

    def take_role(self, role: str) -> None:
        """Act under another role from now on."""
        self.role = role

    @property
    def uses_results(self) -> bool:
        """Whether a query may be answered by an earlier result."""
        return str(self.parameters.get("USE_CACHED_RESULT", True)).upper() == "TRUE"

    def values(self) -> dict[type[Expr], str | None]:
        """What the context functions answer."""
        return {
            exp.CurrentRole: self.role,
            exp.CurrentWarehouse: self.warehouse,
            exp.CurrentUser: "EMBEDDED",
            exp.CurrentAccount: "EMBEDDED",
            exp.CurrentRegion: "EMBEDDED",
            exp.CurrentDatabase: self.database,
            exp.CurrentSchema: self.schema if self.schema_set else None,
            exp.CurrentSession: str(id(self)),
        }

    def create_database(self, database: str, exists: bool, replace: bool) -> bool:
        """Create a database and make it the session's, with its schema PUBLIC; False if it was there already."""
        if replace:
            self.shared.drop_database(self._duck_conn, database, True)
        if not self.shared.create_database(self._duck_conn, database, exists):
            return False
        self._duck_conn.execute(f"SET schema = '{database}.PUBLIC'")
        self.database, self._schema = database, "PUBLIC"
        self.database_set = self.schema_set = True
        return True

    def drop_database(self, database: str, exists: bool) -> None:
        """Drop a database; a session in it is in none afterwards."""
        self.shared.drop_database(self._duck_conn, database, exists)
        if self.database == database:
            self.database = self._schema = None
            self.database_set = self.schema_set = False

    def begin(self) -> None:
        """Begin a transaction."""
        self._duck_conn.begin()
        self.in_transaction, self.touched = True, False

    def commit(self) -> None:
        """Commit the open transaction, if any. Raises ProgrammingError when a statement of it failed: then nothing of
        it is kept.
        """
        if not self.in_transaction:
            return
        if self.failed:
            self.rollback()
            raise ProgrammingError(
                msg="The transaction was rolled back: a statement in it had failed.", errno=90232, sqlstate="40000"
            )
        try:
            self._duck_conn.commit()
        finally:
            self.in_transaction = False

    def rollback(self) -> None:
        """Roll the open transaction back, if any."""
        if self.in_transaction:
            self.in_transaction = self.failed = False
            self._duck_conn.rollback()

    def autocommit(self, mode: bool) -> None:
        """Switch AUTOCOMMIT; like any change of it, this commits what is open."""
        self.commit()
        self.autocommits = mode

    def close(self, retry: bool = True) -> None:
        """End the session; what it has not committed is rolled back."""
        self._duck_conn.close()
        self._is_closed = True


class Shared:
    """What all sessions of the account share: memories about staged files, who may what, and the catalogue's ways to
    create and drop a database.
    """

    def __init__(
        self,
        create_database: Callable[[duckdb.DuckDBPyConnection, str, bool], bool],
        drop_database: Callable[[duckdb.DuckDBPyConnection, str, bool], None],
        privileges: Privileges,
    ) -> None:
        self.schemas = Schemas()
        self.listing = Listing()
        self.privileges = privileges
        self.create_database = create_database
        self.drop_database = drop_database
