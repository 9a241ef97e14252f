"""What is written beside a commit, and what the history of a table says of it.

Belongs here: the metadata of commits, the same for every store. Does not belong here: making commits (the stores),
where a table is now (`heads.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lakehouse_assets.errors import StaleSliceError

APPLICATION = "lakehouse_assets"
"""The application whose transaction number every commit carries, so that the protocol refuses the second of two
publishers.
"""

METADATA = "userMetadata"
"""The key under which a commit keeps what its publisher writes beside it, on every engine."""

TIDYING = frozenset({"OPTIMIZE", "VACUUM START", "VACUUM END"})
"""Operations that change no row, whoever ran them."""

RESTORE = "RESTORE"
"""The operation that makes an earlier version the current one."""


PARTITIONS = "partitions"
"""The key of a watermark under which a table that a topic fills says how far each partition has been taken in."""


@dataclass(frozen=True)
class Consumed:
    """What a commit was computed from; travels in the commit's metadata.

    `upstreams`: version of each upstream table; `ids`: table id of each; `contract`, `transform`: fingerprints;
    `through`: the version of the journal that the state includes; `watermark`: how far a source that is asked, not
    sent, has been read (`core/sources/pull.py`); `unshown`: batch dates that a refused drop kept red until a run over
    other dates accepted it, so that a run over them is still to come (ISO, sorted).
    """

    upstreams: Mapping[str, int] = field(default_factory=dict)
    ids: Mapping[str, str] = field(default_factory=dict)
    contract: str = ""
    transform: str = ""
    through: int = -1
    watermark: Mapping[str, Any] = field(default_factory=dict)
    unshown: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True)
class Commit:
    """One entry of a table's history. `metadata` is what the publisher wrote, `{}` for a foreign commit."""

    version: int
    timestamp_ms: int
    operation: str
    metadata: Mapping[str, Any]
    metrics: Mapping[str, Any]

    @property
    def consumed(self) -> Consumed | None:
        """What it says that it was computed from."""
        return Consumed(**self.metadata["consumed"]) if "consumed" in self.metadata else None


def written(consumed: Consumed | None, extra: Mapping[str, Any] | None = None, data_version: int | None = None) -> str:
    """What a publisher writes beside a commit, the same from every store. data_version: given where no row changes."""
    metadata = dict(extra or {})
    if consumed is not None:
        metadata["consumed"] = asdict(consumed)
        if data_version is not None:
            metadata["data_version"] = data_version
    return json.dumps(metadata, sort_keys=True)


def read_back(text: str | None) -> Mapping[str, Any]:
    """What `written` gave; `{}` for the text of a foreign commit, which may be anything."""
    try:
        metadata = json.loads(text or "{}")
    except json.JSONDecodeError:
        return {}
    return metadata if isinstance(metadata, dict) else {}


def overtaken(name: str, by: object) -> StaleSliceError:
    """The error for the second of two publishers. by: what the protocol said to it."""
    return StaleSliceError(f"{name} was published by somebody else at the same time: {by}")
