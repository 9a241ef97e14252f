"""The manifest: what one hand-off carries, as a versioned JSON document. Does not belong here: files and statements."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from lakehouse_assets.core.handoff.sums import SliceSum

FORMAT = 1
LISTED_SLICES = 10_000
"""Up to so many slices are spelled out; Snowflake keeps 1 MB of a statement. HANDOFF_SLICES has them all."""


@dataclass(frozen=True)
class StagedFile:
    """A Parquet file of a hand-off. The name holds the beginning of the content's SHA-256, `bytes` is its size."""

    name: str
    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True)
class Manifest:
    """What a hand-off carries. `slices` are the new state of the slices it replaces, empty ones included; `whole`: it
    replaces the table.
    """

    handoff_id: str
    table: str
    delta_table_id: str
    since: int
    until: int
    through: int
    schema_fingerprint: str
    whole: bool
    slices: Mapping[str, SliceSum]
    files: tuple[StagedFile, ...]

    @property
    def directory(self) -> str:
        """The folder on the stage: a name that the same files always get."""
        return hashlib.sha256("\n".join(sorted(f.sha256 for f in self.files)).encode()).hexdigest()[:24]

    @property
    def rows(self) -> int:
        return sum(s.rows for s in self.slices.values())

    @property
    def hash(self) -> int:
        return sum(s.hash for s in self.slices.values())

    @property
    def bytes(self) -> int:
        return sum(f.bytes for f in self.files)

    def json(self) -> str:
        """The document. Hashes are strings, for JSON readers keep 53 bits."""
        slices = [{"slice": n, "rows": s.rows, "hash": str(s.hash)} for n, s in sorted(self.slices.items())]
        return json.dumps(
            {
                "format": FORMAT,
                "handoff_id": self.handoff_id,
                "table": self.table,
                "delta_table_id": self.delta_table_id,
                "since_version": self.since,
                "until_version": self.until,
                "through": self.through,
                "schema_fingerprint": self.schema_fingerprint,
                "whole_table": self.whole,
                "rows": self.rows,
                "hash": str(self.hash),
                "slice_count": len(slices),
                "slices": slices if len(slices) <= LISTED_SLICES else [],
                "directory": self.directory,
                "files": [asdict(f) for f in self.files],
            }
        )
