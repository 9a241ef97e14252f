"""Whether the log of a table is complete and as it was committed.

Belongs here: comparing entries and checkpoints with their sums, finding gaps. Does not belong here: data files
(`proof.py`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lakehouse_assets.core.delta.findings import Finding
from lakehouse_assets.core.delta.log_files import (
    LOG,
    checkpoint_version,
    checkpoints,
    entries,
    entry_path,
    is_readable,
)
from lakehouse_assets.core.delta.sums import KeptSums, mark

logger = logging.getLogger(__name__)

_BROKEN = ".damaged"
"""The ending of a file of the log that was put aside."""


class LogProof:
    """The proof of the log of one table."""

    def __init__(self, name: str, folder: Path, sums: KeptSums):
        self.name, self.folder, self._sums = name, folder, sums
        self._readable: dict[int, tuple[int, ...]] = {}

    def findings(self) -> list[Finding]:
        """What is wrong with the log: entries that are gone, empty, cut or another's, and a checkpoint that is not as
        it was written.

        Files are hashed once a process, so that asking again costs two listings. A checkpoint, or the note which is the
        last, that is broken while the entries can do without it is put aside: readers then replay them.
        """
        recorded = self._sums.all()
        there, kept = entries(self.folder), checkpoints(self.folder)
        if not there and not kept and not recorded.entries:
            return []
        found = [f for v in sorted(there) if (f := self._of_entry(v, recorded.entries.get(v)))]
        known = recorded.checkpoints
        good = {n for n in kept if n not in known or self._sums.of(f"{LOG}/{n}") == known[n]}
        base = max(map(checkpoint_version, good), default=-1)
        newest = max([*there, base])
        found += self._gaps(there, base, newest)
        proven = max(recorded.entries, default=-1)
        if proven > newest:
            what = f"is gone: the log ends at version {newest}, and {proven} was committed"
            found.append(self._lost(range(newest + 1, proven + 1), what))
        for name in sorted(kept - good):
            if found:
                found.append(Finding(self.name, f"{LOG}/{name}", "is not as it was written", "all rows"))
            else:
                self._put_aside(name)
        self._remove_wrong_note(good)
        return found

    def _of_entry(self, version: int, recorded: str | None) -> Finding | None:
        file, rows = entry_path(version), f"the rows of version {version}"
        with suppress(FileNotFoundError):  # cleaned meanwhile
            if recorded is not None:
                return Finding(self.name, file, self._is_other(file), rows) if self._sums.of(file) != recorded else None
            seen = mark(self.folder / file)
            if self._readable.get(version) != seen:
                if not is_readable((self.folder / file).read_bytes()):
                    return Finding(self.name, file, self._is_other(file), rows)
                self._readable[version] = seen
        return None

    def _is_other(self, file: str) -> str:
        content = (self.folder / file).read_bytes()
        return (
            "is empty" if not content else "is another one than was committed" if is_readable(content) else "is broken"
        )

    def _gaps(self, there: set[int], base: int, newest: int) -> list[Finding]:
        """The entries that are missing. base: the version of the newest checkpoint that is good."""
        oldest = min(there, default=base + 1)
        missing = [v for v in (*range(base + 1, newest + 1), *range(oldest, base + 1)) if v not in there]
        if not missing:
            return []
        where = "middle" if missing[0] > min(there, default=0) else "beginning"
        return [self._lost(missing, f"is gone from the {where} of the log")]

    def _lost(self, versions: Sequence[int], what: str) -> Finding:
        rows = f"version {versions[0]}" if len(versions) == 1 else f"{len(versions)} versions from {versions[0]} on"
        return Finding(self.name, entry_path(versions[0]), what, f"the rows of {rows}")

    def _put_aside(self, name: str) -> None:
        file = self.folder / LOG / name
        logger.warning(
            "%s: %s is not as it was written; it is put aside, for the entries of the log say the same", self.name, file
        )
        with suppress(FileNotFoundError):
            file.rename(file.with_name(name + _BROKEN))

    def _remove_wrong_note(self, good: set[str]) -> None:
        """Remove the note which checkpoint is the last, where it names none that is good. Readers go by it, and look
        for themselves without it.
        """
        note = self.folder / LOG / "_last_checkpoint"
        with suppress(FileNotFoundError):
            try:
                said = json.loads(note.read_bytes())
                named = said.get("version") if isinstance(said, dict) else None
            except ValueError:
                named = None
            if named not in set(map(checkpoint_version, good)):
                logger.warning("%s: %s names no checkpoint that is there; it is removed", self.name, note)
                note.unlink()
