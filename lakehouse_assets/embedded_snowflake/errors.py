"""How the embedded account words its refusals. What belongs here: building the ProgrammingErrors that the client sees;
no SQL, no files.
"""

import logging
import re

import duckdb
import snowflake.connector.errors
from snowflake.connector.errors import ProgrammingError
from sqlglot.errors import SqlglotError

logger = logging.getLogger(__name__)

RENDERED_ONLY = "rendered only: not executed on the embedded account"


def compilation_error(message: str, errno: int = 1003, sqlstate: str = "42000") -> ProgrammingError:
    """The error of a statement that Snowflake would not compile either."""
    return ProgrammingError(msg=f"SQL compilation error:\n{message}", errno=errno, sqlstate=sqlstate)


def does_not_exist(kind: str, name: str) -> ProgrammingError:
    """The error for an object that is not there (on a real account also for one that the role may not see)."""
    return compilation_error(f"{kind} '{name}' does not exist or not authorized.", errno=2003, sqlstate="02000")


def rendered_only(what: str) -> ProgrammingError:
    """The answer to a statement that this account cannot execute or enforce: never success."""
    return ProgrammingError(msg=f"{what}: {RENDERED_ONLY}", errno=9999, sqlstate="0A000")


_DAMAGED = re.compile(
    r"Corrupt database file|Could not read enough bytes|not a valid DuckDB database|replaying WAL|deserialize",
    re.IGNORECASE,
)


def damaged(error: Exception) -> str | None:
    """What to do where DuckDB finds that one of its files was damaged, in two sentences; None for another error."""
    if not isinstance(error, duckdb.Error) or not _DAMAGED.search(str(error)):
        return None
    return (
        f"A file of the embedded account is damaged ({str(error).splitlines()[0]}). All that the lakehouse serves can"
        " be brought anew: `lakehouse down`, move the folder `account` below LAKEHOUSE_HOME away, `lakehouse run`."
    )


def conflict(error: Exception) -> bool:
    """Whether a statement met a change of another session: to a row, or to the account's own records of the same
    object, which both were about to make.
    """
    said = str(error)
    if isinstance(error, duckdb.ConstraintException):
        return "ext_table_catalog" in said
    return isinstance(error, duckdb.TransactionException) and ("onflict" in said or "commit: PRIMARY KEY" in said)


def programming_error(error: Exception) -> ProgrammingError:
    """What the client gets of an error, whichever library raised it."""
    if isinstance(error, ProgrammingError):
        return error
    if isinstance(error, snowflake.connector.errors.Error):
        return ProgrammingError(msg=error.msg or str(error), errno=error.errno or -1, sqlstate=error.sqlstate or "n/a")
    if isinstance(error, SqlglotError):
        return compilation_error(str(error).replace("\x1b[4m", "").replace("\x1b[0m", ""))
    if conflict(error):
        return ProgrammingError(
            msg=f"The statement conflicts with a transaction of another session: {error}", errno=625, sqlstate="57014"
        )
    if isinstance(error, duckdb.Error) and "Division by zero" in str(error):
        return ProgrammingError(msg="Division by zero", errno=100051, sqlstate="22012")
    if isinstance(error, duckdb.Error):
        return ProgrammingError(msg=damaged(error) or str(error), errno=100183, sqlstate="22000")
    if not isinstance(error, NotImplementedError):
        logger.exception("unexpected")
    return ProgrammingError(msg=f"{type(error).__name__}: {error}", errno=9999, sqlstate="99999")
