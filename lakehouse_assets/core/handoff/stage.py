"""The internal stage: what lies on it, sending files, removing old ones. Does not belong here: which hand-offs the
files are of.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

from snowflake.connector.errors import Error

from lakehouse_assets.core.handoff import sql
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.core.handoff.trouble import is_transient
from lakehouse_assets.errors import LakehouseError

MANIFESTS = ".manifest"
"""Manifests lie in a directory of that ending beside the one of their files: a view reads all that lies in one."""


@dataclass(frozen=True)
class StageEntry:
    """A file on the stage: its path below the stage, its size as the stage keeps it (padded on a real account), when it
    came.

    directory: the one of the hand-off's data files, for its manifest too.
    """

    path: str
    bytes: int
    modified: datetime

    @property
    def directory(self) -> str:
        return self.path.rpartition("/")[0].removesuffix(MANIFESTS)

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def is_manifest(self) -> bool:
        return self.path.rpartition("/")[0].endswith(MANIFESTS)


def list_files(session: Session, path: str) -> list[StageEntry]:
    """The files below a stage path that begins with @."""
    # LIST answers `<stage>/<table>/<directory>/<file>`, the stage in lower case.
    return [
        StageEntry(row[0].partition("/")[2], int(row[1]), parsedate_to_datetime(row[3]))
        for row in session.run(f"LIST {path}")
    ]


def put_files(session: Session, folder: Path, target: str, expected: int) -> None:
    """Send the Parquet files of a local folder. Raises `LakehouseError` unless `expected` files arrive."""
    # One statement: the connector sends the files of a wildcard in parallel. OVERWRITE is not needed, for names hold
    # the content's hash.
    _put(session, folder / "*.parquet", target, expected)


def put_manifest(session: Session, file: Path, target: str) -> None:
    """Send a manifest, named by its hand-off, beside the stage directory of the files it tells of."""
    _put(session, file, f"{target.rstrip('/')}{MANIFESTS}/", 1)


def _put(session: Session, files: Path, target: str, expected: int) -> None:
    source = sql.literal(f"file://{files.as_posix()}")
    try:
        rows = session.run(f"PUT {source} {target} AUTO_COMPRESS=FALSE OVERWRITE=FALSE PARALLEL=8")
    except Error as error:
        if is_transient(error):
            raise
        raise LakehouseError(
            f"Sending {expected} files from {files.parent} to the stage directory {target} failed: {error}; see that"
            " the files are there and the role may write, and run again."
        ) from error
    failed = [row for row in rows if str(row[6]).upper() not in ("UPLOADED", "SKIPPED")]
    if failed or len(rows) != expected:
        reason = f" ({failed[0][-1]})" if failed else ""
        raise LakehouseError(
            f"Of {expected} files, {len(rows) - len(failed)} reached the stage directory {target}{reason}; look at the"
            " role's right to write and run again."
        )


def outlived(entries: Iterable[StageEntry], retention: timedelta) -> list[str]:
    """The directories whose newest file is older than `retention`."""
    newest: dict[str, datetime] = {}
    for entry in entries:
        newest[entry.directory] = max(entry.modified, newest.get(entry.directory, entry.modified))
    limit = datetime.now(UTC) - retention
    return sorted(d for d, modified in newest.items() if modified <= limit)


def remove(session: Session, stage_path: str, directories: Iterable[str]) -> None:
    """Remove directories from the stage with their manifests; one that is not there is none to remove."""
    for directory in sorted(directories):
        session.run(f"REMOVE {stage_path}/{directory}/")
        session.run(f"REMOVE {stage_path}/{directory}{MANIFESTS}/")
