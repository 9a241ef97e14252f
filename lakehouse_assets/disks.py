"""A disk that is full, in one sentence, whichever library met it. Belongs here: telling that an error comes of one. No
Dagster, no settings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lakehouse_assets.errors import LakehouseError

_FULL = re.compile(r"no space left|os error 28\b|disk is full|quota exceeded", re.IGNORECASE)
_LEAST_BYTES = 1 << 20
"""With less than this SQLite says `disk I/O error`, and others say other things."""


def full_disk(error: BaseException, folders: Iterable[Path]) -> str | None:
    """What to tell the user of an error that comes of a full disk; None for another error. folders: where this
    application writes.
    """
    places = {folder: os.statvfs(next(f for f in (folder, *folder.parents) if f.exists())) for folder in folders}
    folder, disk = min(places.items(), key=lambda place: (place[1].f_bavail * place[1].f_frsize, place[1].f_favail))
    free = disk.f_bavail * disk.f_frsize
    if not _FULL.search(str(error)) and free >= _LEAST_BYTES:
        return None
    return (
        f"The disk of {folder} is full ({free // 1000:,} kB and {disk.f_favail:,} files are free): free some space"
        " there and run again, by the command or in the UI; nothing is lost, and what is pending is then finished."
    )


@contextmanager
def full_disk_told(folders: Iterable[Path]) -> Iterator[None]:
    """Raise `LakehouseError` where an error inside comes of a full disk: Dagster shows it instead of a library's."""
    try:
        yield
    except LakehouseError:
        raise
    except Exception as error:
        if reason := full_disk(error, folders):
            raise LakehouseError(reason) from error
        raise
