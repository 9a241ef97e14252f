"""Keeping a home from the other users of the machine. What belongs here: permissions of folders and files. What does
not: what lies in them.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lakehouse_assets.errors import LakehouseError

OURS = frozenset({"tables", "staging", "cache", "dagster", "account", "logs"})
"""The folders that the application makes in a home."""

FOLDER, FILE = 0o700, 0o600
_OTHERS = 0o077


def open_home(home: Path) -> Path:
    """Make a home, or take one that is there, so that no other user of the machine reads it; from here on this process
    makes private files only.

    What an earlier version left open is closed, once. A folder that also holds other things than ours stays as it is,
    but for our folders in it. Where the file system has no permissions, as on some network drives, nothing changes.
    Returns the home. Raises `LakehouseError` where it is no folder.
    """
    if home.exists() and not home.is_dir():
        raise LakehouseError(f"{home} is no folder; set LAKEHOUSE_HOME, or --home, to a folder.")
    os.umask(os.umask(0o077) | _OTHERS)
    home.mkdir(mode=FOLDER, parents=True, exist_ok=True)
    with os.scandir(home) as entries:
        found = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
        alone = {entry.name for entry in os.scandir(home)} <= OURS
    for folder in (*sorted(home / name for name in found & OURS), *([home] if alone else [])):
        _close(folder)
    return home


def _close(folder: Path) -> None:
    """Take a folder and all in it from others. A folder that is closed is passed over: nothing in it can be reached."""
    status = folder.stat()
    if not status.st_mode & _OTHERS or status.st_uid != os.geteuid():
        return
    folder.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS)
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            one = Path(path, name)
            mode = one.lstat().st_mode
            if mode & _OTHERS and not stat.S_ISLNK(mode):
                one.chmod(stat.S_IMODE(mode) & ~_OTHERS)


def opener(path: str, flags: int) -> int:
    """For `open(opener=…)`: the file is readable by its owner alone from the moment in which it exists."""
    return os.open(path, flags, FILE)
