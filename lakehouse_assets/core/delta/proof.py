"""The proof of a table on a local disk: the content sum of every file, recorded when it is committed, compared before
anything is read from it.

Belongs here: recording the files of commits, comparing data files. Does not belong here: how sums are kept (`sums.py`),
whether the log is complete (`log_proof.py`), what tables say of each other (`check.py`).

A process that dies between its commit and the sums leaves files without proof: the next commit does not record them,
only `adopt` does, which reads them whole first. Object stores keep sums of their own, so tables elsewhere than on a
local disk have no proof here.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse_assets.core.delta.commits import RESTORE
from lakehouse_assets.core.delta.files import DataFile
from lakehouse_assets.core.delta.findings import GONE, DamagedTableError, Finding
from lakehouse_assets.core.delta.log_files import LOG, checkpoints, entries, entry_path, files_in, operation
from lakehouse_assets.core.delta.log_proof import LogProof
from lakehouse_assets.core.delta.sums import KeptSums, Sums, mark, sum_of


class Proof:
    """The proof of one table. `folder` is where it lies; a table that is not there has none, and nothing is wrong with
    it.
    """

    def __init__(self, name: str, folder: Path):
        self.name, self.folder = name, folder
        self._sums = KeptSums(folder)
        self._log = LogProof(name, folder, self._sums)

    # -- recording ---------------------------------------------------------------------------------------------------

    def newest(self) -> int:
        """The newest version in the log, without an engine; -1 where there is none."""
        return max(entries(self.folder), default=-1)

    def mark(self) -> tuple[int, ...] | None:
        """What tells the newest entry of the log from any other; None where there is none."""
        newest = self.newest()
        try:
            return (newest, *mark(self.folder / entry_path(newest))) if newest >= 0 else None
        except FileNotFoundError:
            return None

    def record(self, since: int) -> None:
        """Record the commits after version `since` that have no sums yet: those of the operation that has just begun
        from it.
        """
        known = self._sums.all().entries
        for version in sorted(v for v in entries(self.folder) if v > since and v not in known):
            self._record(version)
        self._sums.fold_many()

    def record_one(self, version: int) -> None:
        """Record a commit of which is known that it has no sums yet, without a look at the whole log."""
        self._record(version)
        self._sums.fold_many()

    def _record(self, version: int) -> None:
        entry = (self.folder / entry_path(version)).read_bytes()
        found = Sums({version: sum_of(entry)})
        # What a restore brings back was there before: with a proof, or without.
        for path in [] if operation(entry) == RESTORE else files_in(entry, "add", "cdc"):
            with suppress(FileNotFoundError):  # gone already: nobody will read it
                found.files[path] = self._sums.of(path)
        for file in (self.folder / LOG).glob(f"{version:020}.checkpoint*.parquet"):
            found.checkpoints[file.name] = self._sums.of(f"{LOG}/{file.name}")
        self._sums.write(f"{version:020}.json", found)

    def adopt(self, files: Iterable[DataFile]) -> int:
        """Record the files and entries that have no proof, as they are, and fold all sums; returns how many files. Each
        is read whole first.

        Raises `DamagedTableError` for one that cannot be read.
        """
        known, found = self._sums.all(), Sums()
        for file in self.unproven(files):
            try:
                for _ in pq.ParquetFile(self._sums.path(file.path), page_checksum_verification=True).iter_batches():
                    pass
            except (OSError, pa.ArrowException) as error:
                what = f"cannot be read: {' '.join(str(error).split())[:120]}"
                raise DamagedTableError([self._of_file(file, what)]) from error
            found.files[file.path] = self._sums.of(file.path)
        found.entries = {v: self._sums.of(entry_path(v)) for v in entries(self.folder) if v not in known.entries}
        found.checkpoints = {
            n: self._sums.of(f"{LOG}/{n}") for n in checkpoints(self.folder) if n not in known.checkpoints
        }
        if found.files or found.entries or found.checkpoints:
            self._sums.write(f"adopted-{uuid4().hex}.json", found)
        self._sums.fold()
        return len(found.files)

    # -- comparing ---------------------------------------------------------------------------------------------------

    def log_findings(self) -> list[Finding]:
        """What is wrong with the log."""
        return self._log.findings()

    def unproven(self, files: Iterable[DataFile]) -> list[DataFile]:
        """The files of which no sum was recorded."""
        known = self._sums.all().files
        return [f for f in files if f.path not in known]

    def broken_sums(self) -> list[str]:
        """The files of sums that do not hold what was written, below the table's folder: what they said proves nothing
        any more.
        """
        return self._sums.all().broken

    def file_findings(self, files: Iterable[DataFile], *, content: bool = True) -> list[Finding]:
        """What is wrong with data files: gone, of another size, or, with `content`, not as they were committed. Each is
        hashed once a process.
        """
        known, found = self._sums.all().files, []
        for file in files:
            try:
                size = self._sums.path(file.path).stat().st_size
                if size != file.size:
                    found.append(self._of_file(file, f"has {size:,} bytes and was committed with {file.size:,}"))
                elif content and file.path in known and self._sums.of(file.path) != known[file.path]:
                    found.append(self._of_file(file, "is not as it was committed"))
            except FileNotFoundError:
                found.append(self._of_file(file, GONE))
            except OSError as error:
                found.append(self._of_file(file, f"cannot be read ({error.strerror})"))
        return found

    def differing(self, since: int, until: int) -> list[str]:
        """The files of the commits after `since` up to `until` that are there and not as they were committed."""
        known, found = self._sums.all().files, []
        for version in range(since + 1, until + 1):
            with suppress(FileNotFoundError):
                entry = (self.folder / entry_path(version)).read_bytes()
                for path in files_in(entry, "add", "cdc", "remove"):
                    with suppress(FileNotFoundError):
                        if path in known and self._sums.of(path) != known[path]:
                            found.append(path)
        return found

    def sound_files(self) -> list[Path]:
        """Every file that is there and as it was committed, of whatever version, change files apart."""
        found = []
        for path, digest in sorted(self._sums.all().files.items()):
            with suppress(OSError):
                if not path.startswith("_change_data/") and self._sums.of(path) == digest:
                    found.append(self._sums.path(path))
        return found

    def _of_file(self, file: DataFile, what: str) -> Finding:
        return Finding(
            self.name, file.path, what, "an unknown number of rows" if file.rows is None else f"{file.rows:,} rows"
        )
