"""Times as texts, as pulls write and remember them. Does not belong here: asking a database (`dialects.py`)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

INSTANT: Final = r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{6}Z"
"""A time as this module writes it, in UTC."""


def instant(moment: datetime) -> str:
    """A moment as this module writes times; one without a zone is UTC."""
    utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return f"{utc.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
