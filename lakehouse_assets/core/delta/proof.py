"""The proof of a table on a local disk: the content sum of every file, recorded when it is committed, compared before
anything is read from it.

Belongs here: where sums lie, recording, comparing, whether the log is complete. Does not belong here: what tables say
of each other, remedies (`check.py`).

The sums of a commit lie in the table, in `_sums/<version>.json`: of its log entry, of the data and change files that it
adds, of a checkpoint that was made with it. Readers of Delta pass that folder over, and a merge, a checkpoint, a
restore, a vacuum and the cleaning of the log leave it alone. Files never change, so a sum once recorded is true for
ever. A process that dies between its commit and the sums leaves files without proof: the next commit does not record
them, only `adopt` does, which reads them whole first. Object stores keep sums of their own, so tables elsewhere than on
a local disk have no proof here.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse_assets.errors import LakehouseError

logger = logging.getLogger(__name__)

SUMS = "_sums"
FOLD_AT = 64
"""From so many files of sums on, they are written together into one."""

SIDES = ("_quarantine", "_verdicts")
"""The endings of side tables, which are made with the silver table that they are named after."""

GONE = "is gone"
"""What is said of a data file that is not there."""

_LOG = "_delta_log"
_ENTRY = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"\d{20}\.checkpoint\.(.*\.)?parquet")
_BROKEN = ".damaged"
"""The ending of a file of the log that was put aside."""


class Span(NamedTuple):
    """The rows of a table whose `column` lies between two values, both included."""

    column: str
    least: Any
    greatest: Any

    @property
    def sql(self) -> str:
        return f"`{self.column}` BETWEEN {_literal(self.least)} AND {_literal(self.greatest)}"


class DataFile(NamedTuple):
    """A data file of a snapshot: its path as the log writes it, its size in bytes, its rows (None where the log does
    not say).
    """

    path: str
    size: int
    rows: int | None


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was committed. file: below the table's folder; rows: how many rows it concerns, in
    words; cure: what to do, where that is not to make the table anew.
    """

    table: str
    file: str
    what: str
    rows: str
    cure: str = ""

    def sentence(self) -> str:
        """One line: table, file, what is wrong, rows concerned, remedy."""
        return f"{self.table}: {self.file} {self.what} ({self.rows}); {self.cure or remedy(self.table)}"


class DamagedTableError(LakehouseError):
    """Nothing may be read from or written to a table, for it is not as it was committed."""

    def __init__(self, findings: Sequence[Finding]):
        more = f"; and {len(findings) - 1} more, see `lakehouse check {findings[0].table}`" if len(findings) > 1 else ""
        super().__init__(f"{findings[0].sentence()}{more}.")
        self.findings = tuple(findings)


def made_with(table: str) -> str:
    """The table with which another is made: a side table with its silver table, every other with itself."""
    return next((table.removesuffix(side) for side in SIDES if table.endswith(side)), table)


def remedy(table: str) -> str:
    """What to do about a damaged table, in words."""
    return f"run `lakehouse rebuild {made_with(table)}`, then `lakehouse run`"


@dataclass
class _Sums:
    """What has been recorded of a table. entries: version → sum of its log entry; files, checkpoints: path or name →
    sum.
    """

    entries: dict[int, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    checkpoints: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    """Files of sums that do not hold what was written, below the table's folder."""

    def add(self, said: Mapping[str, Any]) -> None:
        self.entries |= {int(v): s for v, s in said["entries"].items()}
        self.files |= said["files"]
        self.checkpoints |= said["checkpoints"]


class Proof:
    """The proof of one table. `folder` is where it lies; a table that is not there has none, and nothing is wrong with
    it.
    """

    def __init__(self, name: str, folder: Path):
        self.name, self.folder = name, folder
        self._hashed: dict[str, tuple[tuple[int, ...], str]] = {}
        self._read: dict[str, tuple[tuple[int, ...], dict[str, Any] | None]] = {}
        self._together: tuple[dict[str, tuple[int, ...]], _Sums] = ({}, _Sums())
        self._entries_read: dict[int, tuple[int, ...]] = {}

    # -- recording ---------------------------------------------------------------------------------------------------

    def newest(self) -> int:
        """The newest version in the log, without an engine; -1 where there is none."""
        return max(self._entries(), default=-1)

    def mark(self) -> tuple[int, ...] | None:
        """What tells the newest entry of the log from any other; None where there is none."""
        newest = self.newest()
        try:
            return (newest, *_mark(self._log_file(newest))) if newest >= 0 else None
        except FileNotFoundError:
            return None

    def record(self, since: int) -> None:
        """Record the commits after version `since` that have no sums yet: those of the operation that has just begun
        from it.
        """
        known = self._sums().entries
        for version in sorted(v for v in self._entries() if v > since and v not in known):
            entry = self._log_file(version).read_bytes()
            found = _Sums({version: _sum(entry)})
            # What a restore brings back was there before: with a proof, or without.
            for path in [] if _operation(entry) == "RESTORE" else _added(entry):
                with suppress(FileNotFoundError):  # gone already: nobody will read it
                    found.files[path] = self._sum_of(path)
            for file in self._log(f"{version:020}.checkpoint*.parquet"):
                found.checkpoints[file.name] = self._sum_of(f"{_LOG}/{file.name}")
            self._write(f"{version:020}.json", found)
        if sum(1 for _ in self._sum_files()) > FOLD_AT:
            self.fold()

    def adopt(self, files: Iterable[DataFile]) -> int:
        """Record the files and entries that have no proof, as they are; returns how many files. Each is read whole
        first.

        Raises `DamagedTableError` for one that cannot be read.
        """
        known, found = self._sums(), _Sums()
        for file in files:
            if file.path not in known.files:
                try:
                    for _ in pq.ParquetFile(self._path(file.path), page_checksum_verification=True).iter_batches():
                        pass
                except (OSError, pa.ArrowException) as error:
                    raise DamagedTableError(
                        [self._of_file(file, f"cannot be read: {' '.join(str(error).split())[:120]}")]
                    ) from error
                found.files[file.path] = self._sum_of(file.path)
        found.entries = {v: self._sum_of(f"{_LOG}/{v:020}.json") for v in self._entries() if v not in known.entries}
        found.checkpoints = {n: self._sum_of(f"{_LOG}/{n}") for n in self._checkpoints() if n not in known.checkpoints}
        if found.files or found.entries or found.checkpoints:
            self._write(f"adopted-{uuid4().hex}.json", found)
        return len(found.files)

    def fold(self) -> None:
        """Write all sums into one file, without those of files and entries that are gone. Another process may do the
        same at the same time.
        """
        read = list(self._sum_files())
        sums = self._sums()
        if sums.broken:
            return  # what they said is not to be lost before somebody has seen it
        newest = max(sums.entries, default=-1)
        kept = _Sums(
            {v: s for v, s in sums.entries.items() if v == newest or self._log_file(v).exists()},
            {p: s for p, s in sums.files.items() if self._path(p).exists()},
            {n: s for n, s in sums.checkpoints.items() if (self.folder / _LOG / n).exists()},
        )
        written = self._write(f"folded-{newest:020}-{uuid4().hex}.json", kept)
        for file in read:
            if file != written:
                file.unlink(missing_ok=True)

    # -- comparing ---------------------------------------------------------------------------------------------------

    def log_findings(self) -> list[Finding]:
        """What is wrong with the log: entries that are gone, empty, cut or another's, and a checkpoint that is not as
        it was written.

        Files are hashed once a process, so that asking again costs two listings. A checkpoint, or the note which is the
        last, that is broken while the entries can do without it is put aside: readers then replay them.
        """
        recorded = self._sums()
        entries, checkpoints = self._entries(), self._checkpoints()
        if not entries and not checkpoints and not recorded.entries:
            return []
        found = [f for v in sorted(entries) if (f := self._of_entry(v, recorded.entries.get(v)))]
        good = {
            n
            for n in checkpoints
            if n not in recorded.checkpoints or self._sum_of(f"{_LOG}/{n}") == recorded.checkpoints[n]
        }
        base = max((_version(n) for n in good), default=-1)
        newest = max([*entries, base])
        missing = [v for v in range(base + 1, newest + 1) if v not in entries]
        missing += [v for v in range(min(entries, default=base + 1), base + 1) if v not in entries]
        if missing:
            what = (
                "is gone from the middle of the log"
                if missing[0] > min(entries, default=0)
                else "is gone from the beginning of the log"
            )
            found.append(Finding(self.name, f"{_LOG}/{missing[0]:020}.json", what, f"the rows of {_versions(missing)}"))
        proven = max(recorded.entries, default=-1)
        if proven > newest:
            lost = list(range(newest + 1, proven + 1))
            what = f"is gone: the log ends at version {newest}, and {proven} was committed"
            found.append(Finding(self.name, f"{_LOG}/{lost[0]:020}.json", what, f"the rows of {_versions(lost)}"))
        for name in sorted(checkpoints - good):
            if found:
                found.append(Finding(self.name, f"{_LOG}/{name}", "is not as it was written", "all rows"))
            else:
                self._put_aside(name)
        self._heal_note(good)
        return found

    def unproven(self, files: Iterable[DataFile]) -> list[DataFile]:
        """The files of which no sum was recorded."""
        known = self._sums().files
        return [f for f in files if f.path not in known]

    def broken_sums(self) -> list[str]:
        """The files of sums that do not hold what was written, below the table's folder: what they said proves nothing
        any more.
        """
        return self._sums().broken

    def file_findings(self, files: Iterable[DataFile], *, content: bool = True) -> list[Finding]:
        """What is wrong with data files: gone, of another size, or, with `content`, not as they were committed. Each is
        hashed once a process.
        """
        known, found = self._sums().files, []
        for file in files:
            try:
                size = self._path(file.path).stat().st_size
                if size != file.size:
                    found.append(self._of_file(file, f"has {size:,} bytes and was committed with {file.size:,}"))
                elif content and file.path in known and self._sum_of(file.path) != known[file.path]:
                    found.append(self._of_file(file, "is not as it was committed"))
            except FileNotFoundError:
                found.append(self._of_file(file, GONE))
            except OSError as error:
                found.append(self._of_file(file, f"cannot be read ({error.strerror})"))
        return found

    def differing(self, since: int, until: int) -> list[str]:
        """The files of the commits after `since` up to `until` that are there and not as they were committed."""
        known, found = self._sums().files, []
        for version in range(since + 1, until + 1):
            with suppress(FileNotFoundError):
                for path in _named(self._log_file(version).read_bytes()):
                    with suppress(FileNotFoundError):
                        if path in known and self._sum_of(path) != known[path]:
                            found.append(path)
        return found

    def sound_files(self) -> list[Path]:
        """Every file that is there and as it was committed, of whatever version, change files apart."""
        found = []
        for path, digest in sorted(self._sums().files.items()):
            with suppress(OSError):
                if not path.startswith("_change_data/") and self._sum_of(path) == digest:
                    found.append(self._path(path))
        return found

    # -- looking -----------------------------------------------------------------------------------------------------

    def _of_entry(self, version: int, recorded: str | None) -> Finding | None:
        file, rows = f"{_LOG}/{version:020}.json", f"the rows of version {version}"
        with suppress(FileNotFoundError):  # cleaned meanwhile
            if recorded is not None:
                return Finding(self.name, file, self._is_other(file), rows) if self._sum_of(file) != recorded else None
            mark = _mark(self._log_file(version))
            if self._entries_read.get(version) != mark:
                if not _readable(self._log_file(version).read_bytes()):
                    return Finding(self.name, file, self._is_other(file), rows)
                self._entries_read[version] = mark
        return None

    def _is_other(self, file: str) -> str:
        content = (self.folder / file).read_bytes()
        return "is empty" if not content else "is another one than was committed" if _readable(content) else "is broken"

    def _of_file(self, file: DataFile, what: str) -> Finding:
        return Finding(
            self.name, file.path, what, "an unknown number of rows" if file.rows is None else f"{file.rows:,} rows"
        )

    def _put_aside(self, name: str) -> None:
        file = self.folder / _LOG / name
        logger.warning(
            "%s: %s is not as it was written; it is put aside, for the entries of the log say the same", self.name, file
        )
        with suppress(FileNotFoundError):
            file.rename(file.with_name(name + _BROKEN))

    def _heal_note(self, checkpoints: set[str]) -> None:
        """Remove the note which checkpoint is the last, where it names none that is there. Readers go by it, and look
        for themselves without it.
        """
        note = self.folder / _LOG / "_last_checkpoint"
        with suppress(FileNotFoundError):
            try:
                said = json.loads(note.read_bytes())
                named = said.get("version") if isinstance(said, dict) else None
            except ValueError:
                named = None
            if named not in {_version(n) for n in checkpoints}:
                logger.warning("%s: %s names no checkpoint that is there; it is removed", self.name, note)
                note.unlink()

    def _path(self, path: str) -> Path:
        return self.folder / unquote(path)

    def _log_file(self, version: int) -> Path:
        return self.folder / _LOG / f"{version:020}.json"

    def _log(self, pattern: str) -> Iterator[Path]:
        return (self.folder / _LOG).glob(pattern)

    def _entries(self) -> set[int]:
        return {int(m[1]) for n in _names(self.folder / _LOG) if (m := _ENTRY.fullmatch(n))}

    def _checkpoints(self) -> set[str]:
        return {n for n in _names(self.folder / _LOG) if _CHECKPOINT.fullmatch(n)}

    def _sum_files(self) -> Iterator[Path]:
        return (self.folder / SUMS / n for n in sorted(_names(self.folder / SUMS)) if n.endswith(".json"))

    def _sums(self) -> _Sums:
        """Everything that has been recorded; a file of sums is read once a process."""
        for _ in range(10):
            try:
                return self._sums_now()
            except FileNotFoundError:
                continue  # folded meanwhile: look again
        return self._sums_now()

    def _sums_now(self) -> _Sums:
        marks = {file.name: _mark(file) for file in self._sum_files()}
        if marks == self._together[0]:
            return self._together[1]
        sums, read = _Sums(), {}
        for name, mark in marks.items():
            known = self._read.get(name)
            read[name] = (
                known if known and known[0] == mark else (mark, _parsed((self.folder / SUMS / name).read_bytes()))
            )
            if (said := read[name][1]) is None:
                sums.broken.append(f"{SUMS}/{name}")
            else:
                sums.add(said)
        self._read, self._together = read, (marks, sums)
        return sums

    def _write(self, name: str, sums: _Sums) -> Path:
        said = {
            "entries": {str(v): s for v, s in sums.entries.items()},
            "files": sums.files,
            "checkpoints": sums.checkpoints,
        }
        text = json.dumps(said, sort_keys=True)
        file = self.folder / SUMS / name
        file.parent.mkdir(exist_ok=True)
        torn = file.with_name(f".{name}.{uuid4().hex}")
        torn.write_text(json.dumps({"sum": _sum(text.encode()), "said": text}), encoding="utf-8")
        torn.replace(file)
        return file

    def _sum_of(self, path: str) -> str:
        """The sum of a file, by its path as the log writes it; hashed once a process, and again where its size, time or
        place have changed.
        """
        file = self._path(path)
        mark = _mark(file)
        known = self._hashed.get(path)
        if known is None or known[0] != mark:
            with file.open("rb") as content:
                known = self._hashed[path] = (mark, hashlib.file_digest(content, "sha256").hexdigest())
        return known[1]


def sums_of(folder: Path) -> dict[str, str]:
    """The content sum of every file below a folder, by its path there."""
    found = {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        with file.open("rb") as content:
            found[file.relative_to(folder).as_posix()] = hashlib.file_digest(content, "sha256").hexdigest()
    return found


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _mark(file: Path) -> tuple[int, ...]:
    stat = file.stat()
    return (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def _names(folder: Path) -> list[str]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return [entry.name for entry in folder.iterdir()]
    return []


def _actions(entry: bytes) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in entry.splitlines() if line.strip())


def _added(entry: bytes) -> list[str]:
    """The files that a log entry adds, change files too."""
    return [a[kind]["path"] for a in _actions(entry) for kind in ("add", "cdc") if kind in a]


def _operation(entry: bytes) -> str:
    """What the operation of a log entry calls itself; '' where it does not say."""
    return next((str(a["commitInfo"].get("operation", "")) for a in _actions(entry) if "commitInfo" in a), "")


def _named(entry: bytes) -> list[str]:
    """The files that a log entry speaks of."""
    return [a[kind]["path"] for a in _actions(entry) for kind in ("add", "cdc", "remove") if kind in a]


def _readable(entry: bytes) -> bool:
    """Whether the content of a log entry is one."""
    try:
        return all(isinstance(a, dict) for a in _actions(entry)) and bool(entry.strip())
    except ValueError:
        return False


def _parsed(content: bytes) -> dict[str, Any] | None:
    """What a file of sums says; None where it does not hold what was written."""
    try:
        written = json.loads(content)
        return json.loads(written["said"]) if _sum(written["said"].encode()) == written["sum"] else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _version(checkpoint: str) -> int:
    return int(checkpoint[:20])


def _versions(missing: Sequence[int]) -> str:
    return f"version {missing[0]}" if len(missing) == 1 else f"{len(missing)} versions from {missing[0]} on"


def _literal(value: Any) -> str:
    return (
        str(value)
        if isinstance(value, int)
        else f"DATE '{value.isoformat()}'"
        if hasattr(value, "isoformat")
        else f"'{value}'"
    )
