"""The persistent catalogue of the embedded account: fakesnow's instance on DuckDB files instead of memory.

What belongs here: which files make up the account, attaching and dropping databases, opening sessions. What does not:
statements (`statement.py`).
"""

import logging
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import duckdb
import fakesnow.copy_into
import fakesnow.transforms.stage
from fakesnow import info_schema, macros
from fakesnow.instance import GLOBAL_DATABASE_NAME, FakeSnow
from fakesnow.transforms import show
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.embedded_snowflake import refusals, rewrites
from lakehouse_assets.embedded_snowflake.errors import compilation_error, does_not_exist
from lakehouse_assets.embedded_snowflake.names import literal
from lakehouse_assets.embedded_snowflake.privileges.store import Privileges
from lakehouse_assets.embedded_snowflake.session import Session, Shared
from lakehouse_assets.embedded_snowflake.stages import views
from lakehouse_assets.embedded_snowflake.stages.paths import clear_stages

RESULTS_KEPT = 16

logger = logging.getLogger(__name__)

# fakesnow makes a folder for stages when it is imported, and leaves it behind; the stages of this account have their
# own place.
Path(fakesnow.transforms.stage.LOCAL_BUCKET_PATH).rmdir()

# fakesnow keeps table comments apart from the tables, so that they outlive a replaced table; here they are the table's
# own.
_COMMENT = """coalesce((SELECT comment FROM (
  SELECT database_name AS d, schema_name AS s, table_name AS t, comment FROM duckdb_tables()
  UNION ALL SELECT database_name, schema_name, view_name, comment FROM duckdb_views()
) WHERE d = table_catalog AND s = table_schema AND t = table_name), '') as comment"""

_TABLES = """
CREATE OR REPLACE VIEW {catalog}._fs_information_schema._fs_tables AS
SELECT database_name AS "TABLE_CATALOG", schema_name AS "TABLE_SCHEMA", table_name AS "TABLE_NAME",
  'SYSADMIN' AS "TABLE_OWNER", kind AS "TABLE_TYPE",
  'NO' AS "IS_TRANSIENT", NULL::VARCHAR AS "CLUSTERING_KEY", size AS "ROW_COUNT", 0 AS "BYTES", 1 AS "RETENTION_TIME",
  to_timestamp(0)::TIMESTAMPTZ AS "CREATED", to_timestamp(0)::TIMESTAMPTZ AS "LAST_ALTERED", comment AS "COMMENT"
FROM (
  SELECT database_name, schema_name, table_name, 'BASE TABLE' AS kind, estimated_size AS size, comment
  FROM duckdb_tables()
  UNION ALL SELECT database_name, schema_name, view_name, 'VIEW', NULL, comment FROM duckdb_views() WHERE NOT internal
) WHERE database_name = '{catalog}' AND schema_name != '_fs_information_schema'
"""

# INTEGER and its like are NUMBER(38,0) too, not types of their own.
_INTEGERS = "('BIGINT', 'INTEGER', 'SMALLINT', 'TINYINT', 'HUGEINT', 'UBIGINT')"


class _Results(OrderedDict):
    """The last results, for RESULT_SCAN: fakesnow keeps every result for ever, which a server that lives for days
    cannot.
    """

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        while len(self) > RESULTS_KEPT:
            self.popitem(last=False)


class Catalogue(FakeSnow):
    """The databases, stages and file formats below one directory. Holds DuckDB's lock on the files until closed."""

    def __init__(self, directory: Path) -> None:
        self.databases = directory / "databases"
        self.stages = directory / "stages"
        for folder in (self.databases, self.stages, directory / "temporary"):
            folder.mkdir(parents=True, exist_ok=True)
        self.create_database_on_connect = self.create_schema_on_connect = True
        self.db_path = self.databases
        self.nop_regexes = None
        self.results_cache = _Results()
        rewrites.install()
        fakesnow.transforms.stage.LOCAL_BUCKET_PATH = str(self.stages)
        self.shared = Shared(self.create_database, self.drop_database, Privileges(directory))
        self._attaching = threading.Lock()
        self.duck_conn = duckdb.connect(
            ":memory:",
            config={
                "lambda_syntax": "ENABLE_SINGLE_ARROW",  # as fakesnow sets it: its SQL writes lambdas with arrows
                "temp_directory": str(directory / "temporary"),
                "autoinstall_known_extensions": False,
            },
        )
        self.duck_conn.execute(f"ATTACH {literal(self._file(GLOBAL_DATABASE_NAME))} AS {GLOBAL_DATABASE_NAME}")
        self.duck_conn.execute(info_schema.fs_global_creation_sql())
        self.duck_conn.execute(show.fs_global_creation_sql())
        comment = ("'' as comment", _COMMENT)
        self._replace_view(show.SQL_CREATE_VIEW_SHOW_TABLES, comment)
        self._replace_view(show.SQL_CREATE_VIEW_SHOW_OBJECTS, comment)
        self._replace_view(
            show.SQL_CREATE_VIEW_SHOW_VIEWS,
            comment,
            ("view_definition as text", f"{views.STATEMENT.format(sql='view_definition')} as text"),
        )
        self._replace_view(
            info_schema.SQL_CREATE_GLOBAL_INFORMATION_SCHEMA_COLUMNS_VIEW,
            ("columns.data_type='BIGINT'", f"columns.data_type IN {_INTEGERS}"),
        )
        self.duck_conn.execute(f"CREATE OR REPLACE MACRO {rewrites.AS_ARGUMENT}(x, d DATE) AS x::DATE, (x, d) AS x")
        self.duck_conn.execute("SET GLOBAL TimeZone = 'UTC'")
        # a division by zero is an error, as in Snowflake
        self.duck_conn.execute("SET GLOBAL ieee_floating_point_ops = false")
        for file in sorted(self.databases.glob("*.db")):
            if file.stem == GLOBAL_DATABASE_NAME:
                continue
            try:
                refusals.check_container("database", file.stem)
            except ProgrammingError:  # of an earlier version; nothing can be in it, for it was never attached again
                logger.warning("%s is passed over: no database can have that name", file)
                continue
            self.attach(self.duck_conn, file.stem)
        self._shut(directory)

    def _shut(self, directory: Path) -> None:
        """Leave SQL nothing but the account's own folders. What this leaves open is refused by statement
        (`refusals.py`); the order matters to DuckDB.
        """
        own = ", ".join(literal(folder) for folder in (self.databases, self.stages, directory / "temporary"))
        for setting in (
            f"allowed_directories = [{own}]",
            "enable_external_access = false",
            "autoload_known_extensions = false",
            "allow_community_extensions = false",
            "allow_persistent_secrets = false",
            "allow_extension_repositories = 'forbidden'",
            "python_enable_replacements = false",
            "allowed_configs = ['schema', 'search_path']",
            "lock_configuration = true",
        ):
            self.duck_conn.execute(f"SET GLOBAL {setting}")

    def attach(self, duck: duckdb.DuckDBPyConnection, database: str) -> None:
        """Attach a database, created if it does not exist, with fakesnow's information schema and macros in it."""
        refusals.check_container("database", database)
        new = not (self.databases / f"{database}.db").exists()
        file = self._file(database)
        try:
            duck.execute(f"ATTACH IF NOT EXISTS {literal(file)} AS {database}")
        except duckdb.Error:
            if new:  # the next start would fail on it
                file.unlink()
            raise
        try:
            duck.execute(info_schema.per_db_creation_sql(database))
            duck.execute(macros.creation_sql(database))
            duck.execute(_TABLES.format(catalog=database))
            definition = info_schema.SQL_CREATE_INFORMATION_SCHEMA_VIEWS_VIEW.substitute(catalog=database)
            self._replace_view(
                definition, ("sql as VIEW_DEFINITION", f"{views.STATEMENT.format(sql='sql')} as VIEW_DEFINITION")
            )
        except duckdb.Error:
            duck.execute(f"DETACH {database}")  # else it would be taken for whole from now on
            raise

    def _file(self, database: str) -> Path:
        """The file of a database. A new one is made aside: on a full disk, and when the server dies, DuckDB leaves a
        file that it does not open again.
        """
        file = self.databases / f"{database}.db"
        if not file.exists():
            made = file.with_suffix(".new")
            made.unlink(missing_ok=True)
            duckdb.connect(made).close()
            made.replace(file)
        return file

    def create_database(self, duck: duckdb.DuckDBPyConnection, database: str, exists: bool) -> bool:
        """Create a database; False if it exists already and `exists` allows that. Raises ProgrammingError when it does
        not.
        """
        with self._attaching:
            if self._attached(duck, database):
                if exists:
                    return False
                raise compilation_error(f"Object '{database}' already exists.", errno=2002, sqlstate="42710")
            self.attach(duck, database)
            duck.execute(f"CREATE SCHEMA {database}.PUBLIC")
        return True

    @staticmethod
    def _attached(duck: duckdb.DuckDBPyConnection, database: str) -> bool:
        return (
            duck.execute(
                "SELECT 1 FROM duckdb_databases() WHERE upper(database_name) = upper(?)", [database]
            ).fetchone()
            is not None
        )

    def drop_database(self, duck: duckdb.DuckDBPyConnection, database: str, exists: bool) -> None:
        """Drop a database and its file. Raises ProgrammingError when it does not exist, unless `exists` allows that."""
        refusals.check_container("database", database)
        file = self.databases / f"{database}.db"
        if not file.is_file():
            if exists:
                return
            raise does_not_exist("Database", database)
        if duck.execute("SELECT current_database()").fetchone() == (database,):
            duck.execute("USE memory")
        duck.execute(f'DETACH "{database}"')
        for part in self.databases.glob(f"{database}.db*"):
            part.unlink()
        for table in ("_fs_stages", "_fs_file_formats"):
            duck.execute(
                f"DELETE FROM {GLOBAL_DATABASE_NAME}._fs_information_schema.{table} WHERE database_name = ?", [database]
            )
        clear_stages(database)

    def connect(
        self,
        database: str | None = None,
        schema: str | None = None,
        nop_regexes: list[str] | None = None,
        **keywords: Any,
    ) -> Session:
        """Open a session; its database and schema are created when they do not exist. Raises ProgrammingError for a
        name that is none.
        """
        for kind, name in (("database", database), ("schema", schema)):
            if name:  # fakesnow writes both into SQL as they are
                refusals.check_container(kind, name)
        with self._attaching:  # two sessions that create the same schema at once would fail each other
            duck = self.duck_conn.cursor()
            if database and not self._attached(duck, database):
                self.attach(duck, database.upper())
            return Session(
                duck, self.results_cache, database, schema, db_path=self.db_path, shared=self.shared, **keywords
            )

    def close(self) -> None:
        """Write everything into the database files and let go of them."""
        self.duck_conn.close()

    def _replace_view(self, definition: str, *changes: tuple[str, str]) -> None:
        """Create one of fakesnow's views with changes to its definition, each of which must find what it changes."""
        for old, new in (("create view if not exists", "create or replace view"), *changes):
            if old not in definition:
                raise RuntimeError(f"fakesnow's view no longer has {old!r}: {definition}")
            definition = definition.replace(old, new)
        self.duck_conn.execute(definition)
