"""The errors that are meant for the user. What belongs here: exception classes only; no I/O, no Dagster.

A `LakehouseError` carries one sentence that says what is wrong, where, and what to do; the command line prints it
without a traceback.
"""


class LakehouseError(Exception):
    """Something the user can act on. The message is one sentence: what is wrong, where, what to do."""


class StaleSliceError(LakehouseError):
    """A publish found that its table has moved on since the slice was staged; the caller stages again."""


class AccountUnavailableError(LakehouseError):
    """The Snowflake account gives no connection now; the lakehouse is loaded all the same."""


class SourceUnavailableError(LakehouseError):
    """A source that is asked, not sent, cannot be read now; what else there is to load is loaded."""


class AccountStoppedError(LakehouseError):
    """The embedded account has stopped in the middle of a session; over a new one it starts anew."""
