"""Steps that talk to the Snowflake account and are tried again when their connection breaks.

Belongs here: asking Dagster for it. Does not belong here: which errors are worth it (`core/handoff/trouble.py`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dagster as dg

from lakehouse_assets.core.handoff.trouble import is_transient

RETRIES = 3
"""How often a step is tried again after its connection broke."""

FIRST_PAUSE = 5.0
"""How many seconds are waited before the first of them; before each further one, three times as long."""


@contextmanager
def retried(tried: int, close: Callable[[], Any] = lambda: None, pause: float = FIRST_PAUSE) -> Iterator[None]:
    """Ask Dagster to try the step again where the connection broke inside. The last time the error itself is raised,
    for it says what is wrong.

    tried: how often the step was tried before. close: ends the session that has broken.
    """
    try:
        yield
    except Exception as error:
        if not is_transient(error):
            raise
        with suppress(Exception):  # the session is broken already, and that is what is raised
            close()
        if tried >= RETRIES:
            raise
        raise dg.RetryRequested(RETRIES, pause * 3**tried) from error
