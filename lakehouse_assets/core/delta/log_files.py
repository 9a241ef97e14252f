"""The log of a table as files on a local disk, and what its entries say. No engine is needed.

Does not belong here: whether the log is complete (`log_proof.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

LOG = "_delta_log"
_ENTRY = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"\d{20}\.checkpoint\.(.*\.)?parquet")


def entry_path(version: int) -> str:
    """The log entry of a version, below the table's folder."""
    return f"{LOG}/{version:020}.json"


def entries(table: Path) -> set[int]:
    """The versions whose log entries are there."""
    return {int(m[1]) for n in names(table / LOG) if (m := _ENTRY.fullmatch(n))}


def checkpoints(table: Path) -> set[str]:
    """The names of the checkpoints that are there."""
    return {n for n in names(table / LOG) if _CHECKPOINT.fullmatch(n)}


def checkpoint_version(name: str) -> int:
    """The version of a checkpoint."""
    return int(name[:20])


def names(folder: Path) -> list[str]:
    """What a folder holds; nothing where it is not there."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return [entry.name for entry in folder.iterdir()]
    return []


def actions(entry: bytes) -> Iterator[dict[str, Any]]:
    """The actions of a log entry."""
    return (json.loads(line) for line in entry.splitlines() if line.strip())


def is_readable(entry: bytes) -> bool:
    """Whether the content of a log entry is one."""
    try:
        return all(isinstance(a, dict) for a in actions(entry)) and bool(entry.strip())
    except ValueError:
        return False


def files_in(entry: bytes, *kinds: str) -> list[str]:
    """The files that a log entry names, by kind of action: `add`, `cdc`, `remove`."""
    return [a[kind]["path"] for a in actions(entry) for kind in kinds if kind in a]


def operation(entry: bytes) -> str:
    """The operation of a log entry; '' where it does not say."""
    return next((str(a["commitInfo"].get("operation", "")) for a in actions(entry) if "commitInfo" in a), "")
