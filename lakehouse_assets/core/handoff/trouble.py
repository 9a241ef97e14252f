"""What an account raises, sorted by what helps: another session, planning again, or a person.

Belongs here: classes and numbers of errors. Does not belong here: what is done about them.
"""

from __future__ import annotations

from snowflake.connector import errors

from lakehouse_assets.errors import AccountStoppedError, AccountUnavailableError, LakehouseError

TROUBLE = (errors.Error, LakehouseError)
"""What an account raises, and the embedded one where it has stopped."""

CONFLICT = 625
"""The number of the error by which an account refuses a statement because of a transaction of another session."""

MISSING = (904, 2003, 2043)
"""Error numbers by which Snowflake says that a column or an object does not exist or may not be seen."""

_TRANSIENT = (
    errors.OperationalError,
    errors.InterfaceError,
    errors.InternalServerError,
    errors.ServiceUnavailableError,
    errors.GatewayTimeoutError,
    errors.BadGatewayError,
    errors.RequestTimeoutError,
    errors.TooManyRequests,
    errors.OtherHTTPRetryableError,
    errors.RequestExceedMaxRetryError,
    AccountStoppedError,
    ConnectionError,
    TimeoutError,
)
"""What the connector says of a network or a service that fails, and of nothing else: a statement that the account
refuses is a `ProgrammingError`, a login a `DatabaseError`, and both fail again.
"""
_LASTING = (errors.RevocationCheckError, errors.NonRetryableTlsError)
"""Among them, what time does not cure."""
_SESSION_ENDED = {250002, 390111, 390112, 390113, 390114, 390115}
"""Numbers by which connector and account say that a session or its tokens have ended. Their class is that of a refused
statement, but a new session has what it needs.
"""


def is_transient(error: BaseException | None) -> bool:
    """Whether the same may succeed over a new session. A connection that could not be made is judged by its cause."""
    if isinstance(error, AccountUnavailableError):
        return is_transient(error.__cause__)
    if isinstance(error, errors.Error) and error.errno in _SESSION_ENDED:
        return True
    return isinstance(error, _TRANSIENT) and not isinstance(error, _LASTING)
