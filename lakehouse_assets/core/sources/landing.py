"""The landing zone: which files are drops, what they contain by hash, and to which batch date they belong.

Belongs here: looking at files. Does not belong here: what is in them (`parse.py`), what has landed before
(`journal.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from stat import S_ISREG
from zoneinfo import ZoneInfo

from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.sources.lines import MAX_UNPACKED_MB
from lakehouse_assets.errors import LakehouseError

_TICK_SECONDS = 2.0
"""The coarsest clock of a file system in use (FAT)."""
_PARTIAL = (".tmp", ".part", ".crdownload")
_DATE = re.compile(r"(?<![0-9])([0-9]{4})-([0-9]{2})-([0-9]{2})(?![0-9])")


@dataclass(frozen=True)
class Drop:
    """A file in the landing zone. `path` is below the landing zone; `modified_at` in seconds since 1970."""

    source: str
    path: str
    content_hash: str
    batch_date: date
    modified_at: float


class Unread(str):
    """Why a file cannot be read that would be taken in: an error, unlike what a name or a setting keeps out."""


@dataclass(frozen=True)
class LandingZone:
    """`root` holds one folder for each source. `cache` remembers hashes by size and time of change; it may be deleted
    at any time.
    """

    root: Path
    timezone: str
    partitions_start: date
    cache: Path
    settle_seconds: float = 0.0
    """A file younger than this is treated as incomplete."""
    follow_links: bool = False
    """Whether links that lead out of the landing zone are followed. Those within it always are."""
    checksum: bool = False
    """Whether every file is hashed at every look."""

    def today(self) -> date:
        return datetime.now(ZoneInfo(self.timezone)).date()

    def scan(self, source: str | None = None) -> tuple[list[Drop], dict[str, str]]:
        """The drops that lie there now, and the files that are not taken in, each with the reason in a sentence: an
        `Unread` where the file cannot be read, else what its name or a setting says.

        Files that have not settled, hidden files and those that end in .tmp, .part or .crdownload are treated as
        incomplete, and so is what lies in a folder of such a name. A folder that is reached in several ways is looked
        at once. Raises `LakehouseError` where the landing zone is no folder.
        """
        if not self.root.is_dir():
            raise LakehouseError(
                f"The landing zone {self.root} is not a folder; create it or set LAKEHOUSE_LANDING (`lakehouse"
                " generate` writes a sample)."
            )
        known = self._load_cache()
        seen: dict[str, list] = {}
        drops: list[Drop] = []
        refused = self._foreign() if source is None else {}
        now = datetime.now().timestamp()
        for folder in [source] if source else [s.name for s in SOURCES.values() if not s.topic]:
            for file in self.files(folder, refused):
                path = file.relative_to(self.root).as_posix()
                if (spelled := path.encode(errors="backslashreplace").decode()) != path:
                    refused[spelled] = Unread(f"{spelled} has a name that is not UTF-8; rename it.")
                    continue
                looked = self._look(file, path, known.get(path), now, refused)
                if looked is None:
                    continue
                modified_at, seen[path] = looked
                batch_date = self.batch_date(path)
                if why := self._out_of_range(path, batch_date):
                    refused[path] = why
                else:
                    drops.append(Drop(folder, path, seen[path][-1], batch_date, modified_at))
        self._save_cache({**known, **seen} if source else seen)
        return drops, refused

    def _look(
        self, file: Path, path: str, known: list | None, now: float, refused: dict[str, str]
    ) -> tuple[float, list] | None:
        """When a file was last modified, and what the cache is to remember of it: its mark and, at last, its hash. None
        where it has not settled, has gone, or is added to `refused`.
        """
        try:
            stat = file.stat()
            if not S_ISREG(stat.st_mode):
                refused[path] = Unread(f"{path} is a pipe, socket or device, and no file; remove it.")
                return None
            # A time in the future, as a copy from a machine whose clock is ahead has it, says nothing.
            if abs(now - stat.st_mtime) < self.settle_seconds:
                return None
            if stat.st_size > MAX_UNPACKED_MB * 1_000_000:
                refused[path] = Unread(f"{path} is larger than {MAX_UNPACKED_MB} MB; send it in several drops.")
                return None
            # The time of the last change cannot be set by whoever writes the file, other than that of its content.
            mark = [stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_dev, stat.st_ctime_ns]
            if known and known[:-1] == mark and not self.checksum:
                return stat.st_mtime, known
            with file.open("rb") as stream:
                content_hash = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            if os.path.lexists(file):  # else it was taken away in this moment
                refused[path] = _unreadable(path, error)
            return None
        if abs(now - stat.st_ctime) < _TICK_SECONDS:
            mark = []  # it may be written again in the same tick of the file system's clock
        return stat.st_mtime, [*mark, content_hash]

    def _out_of_range(self, path: str, batch_date: date) -> str | None:
        """Why a drop of that batch date is not taken in; None where it is."""
        if batch_date < self.partitions_start:
            return (
                f"{path} is dated {batch_date}, before the first partition {self.partitions_start}; rename it, or set"
                " LAKEHOUSE_PARTITIONS_START and reload the code location."
            )
        if batch_date > self.today():
            return f"{path} is dated {batch_date}, in the future; rename it or wait for that day."
        return None

    def batch_date(self, path: str) -> date:
        """The date in the drop's name, else today."""
        return date_in(path) or self.today()

    def _foreign(self) -> dict[str, str]:
        """A sentence about what lies at the top of the landing zone and is the folder of no source, as in one that is
        the wrong folder.
        """
        names = [
            p.name
            for p in sorted(self.root.iterdir())
            if p.name not in (*SOURCES, "lost+found") and not _is_partial(p.name)
        ]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        sources = ", ".join(f"{name}/" for name in SOURCES)
        said = (
            f"The landing zone {self.root} holds {', '.join(names[:3])}{more}, which no source has; drops lie in its"
            f" folders {sources}."
        )
        return {".": said} if names else {}

    def files(self, folder: str, refused: dict[str, str]) -> Iterator[Path]:
        """What lies below a source's folder and is not half written; a folder that cannot be looked into is added to
        `refused`.
        """

        def complain(error: OSError) -> None:
            path = Path(error.filename).relative_to(self.root).as_posix()
            if not isinstance(error, FileNotFoundError):
                refused[path] = _unreadable(path, error)

        found: list[Path] = []
        links: list[Path] = [self.root / folder]
        visited: set[tuple[int, int]] = set()
        # those found on the way wait until all real folders were looked at, so that a folder goes by its own name
        while links:
            top = links.pop(0)
            if not self._leads_inside(top, refused):
                continue
            for where, folders, files in os.walk(top, onerror=complain):
                stat = Path(where).stat()
                if (stat.st_dev, stat.st_ino) in visited:
                    folders.clear()
                    continue
                visited.add((stat.st_dev, stat.st_ino))
                folders[:] = sorted(name for name in folders if not _is_partial(name))
                links += [Path(where, name) for name in folders if Path(where, name).is_symlink()]
                found += [
                    f for name in files if not _is_partial(name) and self._leads_inside(f := Path(where, name), refused)
                ]
        yield from sorted(found)

    def _leads_inside(self, path: Path, refused: dict[str, str]) -> bool:
        """Whether what lies there may be looked at: links that lead nowhere or, unless a setting allows it, out of the
        landing zone are added to `refused`.
        """
        if not path.is_symlink():
            return True
        name, target = path.relative_to(self.root).as_posix(), Path(os.path.realpath(path))
        if not target.exists():
            refused[name] = Unread(f"{name} is a link to {target}, which is not there; fix the link, or remove it.")
        elif not self.follow_links and not target.is_relative_to(self.root):
            refused[name] = (
                f"{name} is a link out of the landing zone, to {target}; set LAKEHOUSE_FOLLOW_LINKS=true to follow it."
            )
        else:
            return True
        return False

    def _load_cache(self) -> dict[str, list]:
        try:
            written = json.loads(self.cache.read_text())
            if hashlib.sha256(written["said"].encode()).hexdigest() != written["sum"]:
                return {}
            return json.loads(written["said"]).get(str(self.root), {})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}  # a cache that is lost, torn or another's only costs hashing again

    def _save_cache(self, seen: dict[str, list]) -> None:
        self.cache.parent.mkdir(parents=True, exist_ok=True)
        torn = self.cache.with_suffix(f".{datetime.now().timestamp()}.tmp")
        said = json.dumps({str(self.root): seen})
        # With its sum: a hash in which a bit has turned over would be the hash of a drop that has never been.
        torn.write_text(json.dumps({"sum": hashlib.sha256(said.encode()).hexdigest(), "said": said}))
        torn.replace(self.cache)


def _is_partial(name: str) -> bool:
    return name.startswith((".", "_")) or name.endswith(_PARTIAL)


def _unreadable(path: str, error: OSError) -> Unread:
    return Unread(f"{path} cannot be read ({error.strerror or type(error).__name__}); fix that, or remove it.")


def date_in(path: str) -> date | None:
    """The date in the name of a drop; None where there is none, so that its batch date is the day of first sight."""
    for match in _DATE.finditer(path.rsplit("/", 1)[-1]):
        try:
            return date(int(match[1]), int(match[2]), int(match[3]))
        except ValueError:
            continue  # digits that are no day of the calendar are no date
    return None
