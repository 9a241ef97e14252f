"""How the embedded account words its refusals. What belongs here: building the ProgrammingErrors that the client sees;
no SQL, no files.
"""

import re

import duckdb
from snowflake.connector.errors import ProgrammingError

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
