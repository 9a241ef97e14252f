"""What the steps of a hand-off share: the session with its limits, what one pass through the steps knows, its result.

Belongs here: what more than one step reads, and the error after which a pass begins again. Does not belong here: the
steps.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.delta.files import Span
from lakehouse_assets.core.delta.store import DeltaStore
from lakehouse_assets.core.handoff import slices, sums
from lakehouse_assets.core.handoff.manifest import Manifest
from lakehouse_assets.core.handoff.names import TargetNames
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.core.handoff.stage import StageEntry
from lakehouse_assets.core.handoff.state import Intent, Owner, State, own_name
from lakehouse_assets.core.handoff.sums import SliceSum

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

STEPS = ("diff", "record", "export", "put", "view", "lock", "publish", "tidy")
"""What `HandoffResult.seconds` tells apart; `lock` is part of `publish`."""


@dataclass(frozen=True)
class HandoffResult:
    """What a hand-off did.

    outcome: `published` (rows travelled), `acknowledged` (version or batch date are recorded, no row differs),
    `unchanged` (nothing to do). compared: how the slices were found: `history` (the table's log), `sums` (counts and
    hashes of all slices), `whole` (first hand-off, or another schema), `request` (repair), empty where nothing was
    compared. rows: rows handed off. table_rows: what the table then holds. bytes_put: bytes of data files that
    travelled, so 0 where they lay on the stage already. seconds: per step.
    """

    table: str
    outcome: Literal["published", "acknowledged", "unchanged"]
    version: int
    handoff_id: str | None = None
    compared: str = ""
    slices: tuple[str, ...] = ()
    rows: int = 0
    table_rows: int = 0
    files: int = 0
    bytes_put: int = 0
    attempts: int = 1
    statements: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def total_seconds(self) -> float:
        """Over all steps; the wait for the lock is part of publishing."""
        return sum(spent for step, spent in self.seconds.items() if step != "lock")


class MovedOnError(Exception):
    """Somebody else published, or holds the lock, or the staged files are not what they were: plan again."""

    def __init__(self, reason: str, distrusted: str = ""):
        super().__init__(reason)
        self.distrusted = distrusted
        """A stage directory that is to be removed before."""


@dataclass(frozen=True)
class Context:
    """What all hand-offs of one session share; its fields are described at `handoff.Handoff`."""

    session: Session
    names: TargetNames
    store: DeltaStore
    owner: Owner
    staging: Path
    file_bytes: int
    group_rows: int
    retention: timedelta
    abandoned_seconds: float

    def local_folder(self, table: str, handoff_id: str) -> Path:
        """Where the files of a hand-off lie before they travel."""
        return self.staging / table.lower() / handoff_id


@dataclass(frozen=True)
class Difference:
    """The slices to replace with their new sums, and what was published of the table before. compared: as in
    `HandoffResult`.
    """

    compared: str
    whole: bool
    slices: Mapping[str, SliceSum]
    published: Mapping[str, SliceSum]

    def after(self) -> list[SliceSum]:
        """The sums of all slices of the table after this hand-off."""
        return list({**self.published, **self.slices}.values())


@dataclass
class Attempt:
    """One pass through the seven steps, from one read of the state.

    listed: what lay on the stage of the table. seconds: per step. sent: the stage directory into which files were sent.
    reused: some files lay on the stage already. published: the transaction was committed. dead: hand-offs of the table
    that nobody works on any more. snapshot: table id, digest of the commit and version, as the state row holds them.
    """

    context: Context
    spark: SparkSession
    contract: Contract
    version: int
    through: int
    complete: date | None
    state: State
    force: frozenset[str]
    id: str = field(default_factory=lambda: uuid4().hex)
    listed: list[StageEntry] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    sent: str = ""
    reused: bool = False
    published: bool = False

    def __post_init__(self) -> None:
        self.session, self.names, self.store = self.context.session, self.context.names, self.context.store
        self.table = self.contract.table.upper()
        self.known = self.state.tables.get(self.table)
        self.since = self.known.version if self.known else -1
        self.delta_table_id = self.store.table_id(self.contract.name)
        self.snapshot = (self.delta_table_id, self.store.digest(self.contract.name, self.version), self.version)
        self.fingerprint = sums.schema_fingerprint(self.contract)
        self.intent = Intent(self.id, self.table, self.since, self.version, own_name(), 0, False)
        self.folder = self.context.local_folder(self.table, self.id)
        limit = self.context.abandoned_seconds
        self.dead = [i for i in self.state.intents if i.table == self.table and i.abandoned(limit)]

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Counts the seconds of a step."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def frame(self, names: Collection[str] | None = None) -> DataFrame:
        """The snapshot; where only some slices are read, of files that may hold them, so that a day does not cost the
        proof of the history.
        """
        within = slices.span(self.contract, names) if names is not None else None
        return self.store.frame(self.spark, self.contract.name, self.version, Span(*within) if within else None)

    def directory(self, manifest: Manifest) -> str:
        """The directory of the files, below the stage."""
        return f"{self.contract.table}/{manifest.directory}"

    def target(self, manifest: Manifest) -> str:
        """The same as a stage path."""
        return self.names.directory(self.contract, manifest.directory)
