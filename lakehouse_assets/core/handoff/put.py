"""Step 4, PUT: what of a hand-off's files the stage lacks, and sending it. Does not belong here: the statements
(`stage.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from lakehouse_assets.core.handoff import export, faults, stage
from lakehouse_assets.core.handoff.attempt import Attempt
from lakehouse_assets.core.handoff.manifest import Manifest, StagedFile
from lakehouse_assets.core.handoff.stage import StageEntry
from lakehouse_assets.errors import LakehouseError

logger = logging.getLogger(__name__)


def put(attempt: Attempt, manifest: Manifest) -> int:
    """Send what the stage lacks, then the manifest; returns the bytes of data files sent."""
    if not manifest.files:
        return 0
    attempt.listed = stage.list_files(attempt.session, attempt.names.directory(attempt.contract))
    faults.crash_point("listed")
    missing = _lacking(attempt, manifest, attempt.listed)
    attempt.reused = len(missing) < len(manifest.files)
    for file in set(manifest.files) - set(missing):
        (attempt.folder / file.name).unlink(missing_ok=True)
    name, size, target = attempt.contract.name, sum(f.bytes for f in missing), attempt.target(manifest)
    there = len(manifest.files) - len(missing)
    logger.info("%s: sending %d files of %d bytes to %s; %d lie there already", name, len(missing), size, target, there)
    for path, file in ((attempt.folder / f.name, f) for f in missing):
        if path.exists() and export.digest(path) != file.sha256:
            raise LakehouseError(
                f"{path} is not as it was written, so nothing of {name} was sent; run again, it is exported anew."
            )
    if missing:
        attempt.sent = attempt.directory(manifest)
        stage.put_files(attempt.session, attempt.folder, target, len(missing))
    stage.put_manifest(attempt.session, attempt.folder / f"{attempt.id}.json", target)
    return size


def missing_files(attempt: Attempt, manifest: Manifest) -> list[StagedFile]:
    """The files of a hand-off that are not on the stage now."""
    return _lacking(attempt, manifest, stage.list_files(attempt.session, attempt.target(manifest)))


def _lacking(attempt: Attempt, manifest: Manifest, entries: Collection[StageEntry]) -> list[StagedFile]:
    there = {e.name for e in entries if e.directory == attempt.directory(manifest)}
    return [f for f in manifest.files if f.name not in there]
