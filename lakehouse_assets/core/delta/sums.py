"""The content sums of a table's files, kept in the table's folder `_sums/`.

Belongs here: hashing files, writing and reading sums. Does not belong here: comparing files with their sums
(`proof.py`, `log_proof.py`).

The sums of a commit are in `_sums/<version>.json`: of its log entry, of the data and change files that it adds, of a
checkpoint that was made with it. Readers of Delta ignore that folder, and a merge, a checkpoint, a restore, a vacuum
and the cleaning of the log leave it alone. Files never change, so a sum once recorded is true for ever.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from lakehouse_assets.core.delta.log_files import LOG, entry_path, names

SUMS = "_sums"
FOLD_AT = 64
"""From so many files of sums on, they are written together into one."""


@dataclass
class Sums:
    """What has been recorded of a table. entries: version → sum of its log entry; files, checkpoints: path or name →
    sum; broken: the files of sums that do not hold what was written, below the table's folder.
    """

    entries: dict[int, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    checkpoints: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def add(self, said: Mapping[str, Any]) -> None:
        self.entries |= {int(v): s for v, s in said["entries"].items()}
        self.files |= said["files"]
        self.checkpoints |= said["checkpoints"]


class KeptSums:
    """The sums of one table, which lies in `folder`. What is read or hashed is remembered for the process."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._hashed: dict[str, tuple[tuple[int, ...], str]] = {}
        self._read: dict[str, tuple[tuple[int, ...], dict[str, Any] | None]] = {}
        self._together: tuple[dict[str, tuple[int, ...]], Sums] = ({}, Sums())

    def all(self) -> Sums:
        """Everything that has been recorded; a file of sums is read once a process."""
        for _ in range(10):
            try:
                return self._all_now()
            except FileNotFoundError:
                continue  # folded meanwhile: look again
        return self._all_now()

    def _all_now(self) -> Sums:
        marks = {file.name: mark(file) for file in self._files()}
        if marks == self._together[0]:
            return self._together[1]
        sums, read = Sums(), {}
        for name, seen in marks.items():
            known = self._read.get(name)
            read[name] = (
                known if known and known[0] == seen else (seen, _parsed((self.folder / SUMS / name).read_bytes()))
            )
            if (said := read[name][1]) is None:
                sums.broken.append(f"{SUMS}/{name}")
            else:
                sums.add(said)
        self._read, self._together = read, (marks, sums)
        return sums

    def write(self, name: str, sums: Sums) -> Path:
        """Write a file of sums, with a sum of its own."""
        said = {
            "entries": {str(v): s for v, s in sums.entries.items()},
            "files": sums.files,
            "checkpoints": sums.checkpoints,
        }
        text = json.dumps(said, sort_keys=True)
        file = self.folder / SUMS / name
        file.parent.mkdir(exist_ok=True)
        torn = file.with_name(f".{name}.{uuid4().hex}")
        torn.write_text(json.dumps({"sum": sum_of(text.encode()), "said": text}), encoding="utf-8")
        torn.replace(file)
        return file

    def fold_many(self) -> None:
        """Fold the files of sums where there are many."""
        if len(self._files()) > FOLD_AT:
            self.fold()

    def fold(self) -> None:
        """Write all sums into one file, without those of files and entries that are gone. Another process may do the
        same at the same time.
        """
        read = self._files()
        sums = self.all()
        if sums.broken:
            return  # what they said is not to be lost before somebody has seen it
        newest = max(sums.entries, default=-1)
        kept = Sums(
            {v: s for v, s in sums.entries.items() if v == newest or (self.folder / entry_path(v)).exists()},
            {p: s for p, s in sums.files.items() if self.path(p).exists()},
            {n: s for n, s in sums.checkpoints.items() if (self.folder / LOG / n).exists()},
        )
        written = self.write(f"folded-{newest:020}-{uuid4().hex}.json", kept)
        for file in read:
            if file != written:
                file.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return [self.folder / SUMS / n for n in sorted(names(self.folder / SUMS)) if n.endswith(".json")]

    def path(self, path: str) -> Path:
        """A file by its path as the log writes it."""
        return self.folder / unquote(path)

    def of(self, path: str) -> str:
        """The sum of a file as it is now; hashed once a process, and again where its size, time or place have
        changed.
        """
        file = self.path(path)
        seen = mark(file)
        known = self._hashed.get(path)
        if known is None or known[0] != seen:
            known = self._hashed[path] = (seen, _sum_of_file(file))
        return known[1]


def sums_of(folder: Path) -> dict[str, str]:
    """The content sum of every file below a folder, by its path there."""
    return {p.relative_to(folder).as_posix(): _sum_of_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def sum_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sum_of_file(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def mark(file: Path) -> tuple[int, ...]:
    """What tells whether a file has been changed: size, times, place."""
    stat = file.stat()
    return (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def _parsed(content: bytes) -> dict[str, Any] | None:
    """What a file of sums says; None where it does not hold what was written."""
    try:
        written = json.loads(content)
        return json.loads(written["said"]) if sum_of(written["said"].encode()) == written["sum"] else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
