"""How the embedded account words its refusals. What belongs here: building the ProgrammingErrors that the client sees; no SQL, no files."""

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
