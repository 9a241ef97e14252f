"""A fault-injection hook: dies at a named point, so that tests can prove that every crash is recovered from. Inert
unless asked.

`LAKEHOUSE_KILL_AT=<name>` kills this process with SIGKILL the first time it passes the crash point of that name,
`<name>:<n>` the n-th time.
"""

from __future__ import annotations

import os
import signal

CRASH_POINTS = (
    "diffed", "recorded", "writing", "exporting", "exported", "listed", "uploaded", "viewed",
    "begun", "locked", "deleted", "inserted", "counted", "compared", "entered", "acknowledged",
    "committed", "dropped", "swept", "tidied",
)  # fmt: skip
"""Every crash point that a hand-off with new rows passes, in this order."""

DEPLOY_CRASH_POINTS = ("forgotten", "rebuilt", "described", "registered")
"""Every crash point that a deployment passes that makes a table anew, in this order."""

_passed: dict[str, int] = {}


def crash_point(name: str) -> None:
    """Mark a place at which a process may die without harm."""
    wanted, _, nth = os.environ.get("LAKEHOUSE_KILL_AT", "").partition(":")
    if wanted == name:
        _passed[name] = _passed.get(name, 0) + 1
        if _passed[name] == int(nth or 1):
            os.kill(os.getpid(), signal.SIGKILL)
