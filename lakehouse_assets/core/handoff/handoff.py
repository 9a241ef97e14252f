"""The hand-off: diff, record, export, PUT, view, publish, tidy. The protocol, with what happens when a process dies in
it: docs/handoff.md.

Belongs here: the order of the steps, races and recovery. Does not belong here: SQL text (`sql/`), DDL (`deploy.py`),
comparing (`verify.py`).
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from snowflake.connector.errors import DatabaseError

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.delta.change_feed import HistoryUnavailableError
from lakehouse_assets.core.delta.files import Span
from lakehouse_assets.core.delta.findings import DamagedTableError, Finding
from lakehouse_assets.core.delta.store import DeltaStore
from lakehouse_assets.core.handoff import deploy, export, slices, sql, stage, sums, verify
from lakehouse_assets.core.handoff.faults import point
from lakehouse_assets.core.handoff.manifest import Manifest
from lakehouse_assets.core.handoff.names import TargetNames
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.core.handoff.state import (
    Intent,
    Owner,
    Published,
    State,
    TableState,
    own_name,
    read_published,
    read_slices,
    read_state,
    refuse_another,
)
from lakehouse_assets.core.handoff.sums import NOTHING, SliceSum
from lakehouse_assets.errors import LakehouseError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)

STEPS = ("diff", "record", "export", "put", "view", "lock", "publish", "tidy")
"""What `HandoffResult.seconds` tells apart; `lock` is part of `publish`."""

LOCK_SECONDS = 5.0
"""A wait for the lock that is longer than this is worth a warning."""

SHOWN_SLICES, SHOWN_ROWS = 5, 10
"""So many slices and rows an error names where what arrived is not what was sent."""

_TROUBLE = (DatabaseError, LakehouseError)
"""What an account raises, and the embedded one where it has stopped."""

CONFLICT = 625
"""The number of the error by which an account refuses a statement because of a transaction of another session."""

LIST_CHUNK = 5_000
"""So many slice names stand in one IN list; Snowflake takes 16,384."""


@dataclass(frozen=True)
class HandoffResult:
    """What a hand-off did.

    outcome: `published` (rows travelled), `acknowledged` (version or batch date are recorded, no row differs),
    `unchanged` (nothing to do). compared: how the slices were told: `history` (the table's log), `sums` (counts and
    hashes of all slices), `whole` (first hand-off, or another schema), `request` (repair), empty where nothing was to
    be told. rows: rows handed off. table_rows: what the table then holds. bytes_put: bytes of data files that
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


@dataclass(frozen=True)
class HandoffStatus:
    """tables: what is acknowledged. pending: hand-offs recorded and not published. Data files and their bytes on the
    stage, of which each is loaded (published from, and kept for a while), pending (of a hand-off under way) or
    orphaned; oldest: since when the oldest one lies there.
    """

    tables: tuple[TableState, ...]
    pending: tuple[Intent, ...]
    stage_files: int
    stage_bytes: int
    stage_orphaned: int
    stage_loaded: int = 0
    stage_pending: int = 0
    stage_oldest: datetime | None = None


def short_of(name: str, table_id: str, version: int, known: TableState) -> Finding | None:
    """What is wrong with a Delta table that is behind what Snowflake has acknowledged of it. table_id, version: of the
    table as it is.
    """
    if known.delta_table_id != table_id or known.version <= version:
        return None
    what = f"ends early: the table is at version {version}, and Snowflake has version {known.version}"
    return Finding(name, "_delta_log", what, f"the rows of {known.version - version} versions")


class _MovedOnError(Exception):
    """Somebody else published, or holds the lock, or the staged files are not what they were: plan again."""

    def __init__(self, said: str, distrusted: str = ""):
        super().__init__(said)
        self.distrusted = distrusted
        """A stage directory that is to be removed before."""


@dataclass(frozen=True)
class _Difference:
    """The slices to replace with their new sums, and what was published of the table before."""

    compared: str
    whole: bool
    slices: Mapping[str, SliceSum]
    published: Mapping[str, SliceSum]


class Handoff:
    """Hands snapshots of gold tables off to Snowflake. One object for one thread: it holds one session.

    connect: opens a connection, in UTC and with a bounded wait for locks (`orchestration/resources/snowflake.py`).
    staging: a local folder for files on their way. file_bytes: size at which a file is closed and the next begun.
    group_rows: rows in memory at a time. retention_hours: age at which files of done hand-offs leave the stage.
    abandoned_hours: age at which an intent of another host counts as dead. attempts: how often a lost race is begun
    again. owner: the lakehouse; a database serves one.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        store: DeltaStore,
        names: TargetNames | None = None,
        staging: Path | str = ".lakehouse/staging/handoff",
        *,
        file_bytes: int = 128 * 1024 * 1024,
        group_rows: int = 500_000,
        retention_hours: float = 24,
        abandoned_hours: float = 6,
        attempts: int = 5,
        owner: Owner | None = None,
    ):
        self.session = Session(connect)
        self.store = store
        self.names = names or TargetNames()
        self.staging = Path(staging).absolute()
        self.file_bytes = file_bytes
        self.group_rows = group_rows
        self.retention = timedelta(hours=retention_hours)
        self.abandoned_seconds = abandoned_hours * 3600
        self.attempts = attempts
        self.owner = owner or Owner()

    def close(self) -> None:
        """End the session."""
        self.session.close()

    def __enter__(self) -> Handoff:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read_state(self) -> State:
        """What Snowflake has acknowledged of every table, the intents, what is deployed; one statement, to be read once
        a run.
        """
        return read_state(self.session, self.names)

    def published(self, contract: Contract) -> Published | None:
        """What the last hand-off of the table sent, and what arrived; None before the first. One statement."""
        return read_published(self.session, self.names, contract.table.upper())

    def hand_off(
        self,
        spark: SparkSession,
        contract: Contract,
        version: int,
        through: int = -1,
        state: State | None = None,
        *,
        complete: date | None = None,
        force: Collection[str] = (),
    ) -> HandoffResult:
        """Make the Snowflake table of `contract` equal to its Delta table at `version`, which includes the journal up
        to `through`.

        complete: the batch date up to which it includes everything; where nothing else is new, it is recorded by one
        UPDATE. state: from `read_state`, read here if None. force: slices to hand off though nothing says that they
        differ. Where Snowflake has that version or a newer one already, no statement is sent. Raises `LakehouseError`
        when the database serves another lakehouse, when what arrived is not what was sent (nothing is published then),
        or when the race with other publishers is lost `attempts` times.
        """
        before = self.session.statements
        lost: BaseException | None = None
        tried: list[_Attempt] = []
        for _ in range(self.attempts):
            state = state or self.read_state()
            refuse_another(
                self.names, self.owner.another((t.lakehouse_id, t.delta_table_id) for t in state.tables.values())
            )
            tried.append(_Attempt(self, spark, contract, version, through, complete, state, frozenset(force)))
            try:
                result = tried[-1].run()
            except _MovedOnError as error:
                logger.info("%s: %s; planning again", contract.name, error)
                lost, state = error, None
                if error.distrusted:
                    stage.remove(self.session, self.names.stage_path, [error.distrusted])
                # Whoever holds the lock needs time to finish; on a real account the lock itself has waited already.
                time.sleep(0.1 * 2 ** len(tried))
                continue
            try:
                self._clear_up(contract, tried)
            except _TROUBLE as error:
                logger.warning(
                    "%s: could not clear up after other hand-offs of it, the next one tries again: %s",
                    contract.name,
                    error,
                )
            seconds = {step: round(sum(a.seconds.get(step, 0.0) for a in tried), 4) for step in STEPS}
            return replace(result, attempts=len(tried), statements=self.session.statements - before, seconds=seconds)
        raise LakehouseError(
            f"Handing {contract.name} off to {self.names.table(contract)} lost the race with another publisher"
            f" {self.attempts} times ({lost}); see in OPS.HANDOFF_PENDING who works on it and run again."
        ) from lost

    def _clear_up(self, contract: Contract, tried: list[_Attempt]) -> None:
        """Clear up after lost attempts and dead hand-offs; no statement where there was neither.

        Only now, for this hand-off may have had use for the files they sent. Another publisher may be about to read
        files that are removed here, if it sends the same rows: it will find that they are missing, and send them.
        """
        table = contract.table.upper()
        dead = {i.handoff_id: i for a in tried for i in a.dead}
        lost = {a.sent for a in tried if a.sent and not a.published}
        others = False
        if lost or not all(i.published for i in dead.values()):
            # In this order: what was sent before the listing has its intent or its ledger row when these are read.
            there = {e.directory for e in stage.list_files(self.session, self.names.directory(contract))}
            others = any(i.table == table and i.handoff_id not in dead for i in self.read_state().intents)
            stage.remove(
                self.session, self.names.stage_path, self._unpublished(there & lost if others else there, table)
            )
        for intent in dead.values():
            # The intent of one that sent files stays until these have been cleared up.
            if intent.published or not others:
                self.try_settle(intent)

    def _unpublished(self, directories: Collection[str], tables: str = "%") -> set[str]:
        """Those of some stage directories that no hand-off published from."""
        entered = self.session.run(sql.statement("state", "directories", **self.names.sql), tables)
        return set(directories) - {row[0] for row in entered}

    def acknowledged(self, contract: Contract, state: State) -> int:
        """The Delta version that Snowflake has of a table, -1 for none or for one of another table id, schema or
        history. No statement.
        """
        known = state.tables.get(contract.table.upper())
        return known.version if known and self.continues(contract, known) else -1

    def continues(self, contract: Contract, known: TableState) -> bool:
        """Whether what Snowflake has acknowledged is a version of this very table and history, so that versions may be
        compared.

        The id alone does not tell: a table put back from a copy keeps it, and counts the same versions again for other
        rows. No statement.
        """
        if known.fingerprint != sums.schema_fingerprint(contract) or known.delta_table_id != self.store.table_id(
            contract.name
        ):
            return False
        digest = self.store.digest(contract.name, known.version)
        # Where the log had let go of the commit already when it was acknowledged, there is nothing to compare but the
        # versions.
        return digest == known.delta_commit and (digest != "" or known.version <= self.store.version(contract.name))

    def verify(
        self, spark: SparkSession, contract: Contract, limit: int = 20, slices: Collection[str] | None = None
    ) -> verify.VerifyResult:
        """Compare the Snowflake table, or some slices of it, with the ledger and, while it is readable, with the Delta
        snapshot; names up to `limit` differing rows.
        """
        return verify.verify(self.session, self.names, self.store, spark, contract, limit, slices)

    def repair(self, spark: SparkSession, contract: Contract, slices: Collection[str] | None = None) -> HandoffResult:
        """Hand the slices that `verify` finds to differ off again: from the acknowledged snapshot, or from the current
        one where it is gone.
        """
        for _ in range(self.attempts):
            found = self.verify(spark, contract, limit=0, slices=slices)
            state = self.read_state()
            known = state.tables.get(contract.table.upper())
            if found.equal or known is None or known.version < 0:
                return HandoffResult(contract.name, "unchanged", found.version)
            version = found.version if found.snapshot_readable else self.store.version(contract.name)
            differing = [d.slice for d in found.slices]
            result = self.hand_off(
                spark, contract, version, known.through, state, complete=known.complete_through, force=differing
            )
            if result.outcome != "unchanged":
                return result
            # Another publisher was first, with a newer version, of which this knows nothing: look again.
        raise LakehouseError(
            f"Repairing {self.names.table(contract)} lost the race with other publishers {self.attempts} times; wait"
            " until they are done and run again."
        )

    def deployed(self, contracts: Collection[Contract], state: State | None = None) -> bool:
        """Whether what was deployed fits the contracts, by fingerprints, for roles that may not create anything. state:
        read here if None.
        """
        recorded = state.objects if state else deploy.read_fingerprints(self.session, self.names)
        return deploy.fits(recorded or {}, self.names, contracts)

    def plan(self, contracts: Collection[Contract]) -> list[deploy.PlannedStatement]:
        """The DDL that is pending, each with its class."""
        return deploy.plan(self.session, self.names, contracts, self.owner)

    def altered(self, contracts: Collection[Contract], state: State) -> dict[str, str]:
        """Deployed table or view in lower case → what somebody else has done to it; one statement where nothing was
        done.
        """
        return deploy.altered(self.session, self.names, contracts, state)

    def deploy(
        self,
        contracts: Collection[Contract],
        *,
        allow_breaking: bool = False,
        take_over: bool = False,
        again: Collection[str] = (),
    ) -> list[deploy.PlannedStatement]:
        """Execute what `plan` says; returns it. again: tables that the next hand-off is to send whole. Raises
        `LakehouseError` for breaking changes and for another lakehouse's database unless they are allowed, and executes
        nothing then.
        """
        return deploy.deploy(
            self.session,
            self.names,
            contracts,
            self.owner,
            allow_breaking=allow_breaking,
            take_over=take_over,
            again=again,
        )

    def settle(self, intent: Intent) -> None:
        """Clear up after a hand-off that is over or dead: its view, its local files, its intent; in this order, so that
        each can be repeated.
        """
        self.drop_view(intent)
        self.forget(intent)

    def drop_view(self, intent: Intent) -> None:
        """Drop the view of a hand-off, if it is there."""
        self.session.run(sql.statement("publish", "drop_view", view=self.names.view(intent.handoff_id)))

    def forget(self, intent: Intent) -> None:
        """Remove the local files of a hand-off, then its intent."""
        shutil.rmtree(self.local_folder(intent.table, intent.handoff_id), ignore_errors=True)
        self.session.run(sql.statement("state", "settle", **self.names.sql), intent.handoff_id)

    def local_folder(self, table: str, handoff_id: str) -> Path:
        """Where the files of a hand-off lie before they travel."""
        return self.staging / table.lower() / handoff_id

    def try_settle(self, intent: Intent) -> None:
        """`settle`, where failing is no more than a warning: what is left hinders nobody, and the next run tries
        again.
        """
        try:
            self.settle(intent)
        except _TROUBLE as error:
            logger.warning("%s: could not clear up after hand-off %s: %s", intent.table, intent.handoff_id, error)

    def sweep(self) -> int:
        """Clear up after dead hand-offs of all tables; remove stage files that nobody published from and those that
        retention lets go.

        Returns the number of directories removed. Each hand-off does this for its own table; this is for tables that no
        longer are handed off.
        """
        for intent in self.read_state().intents:
            if intent.abandoned(self.abandoned_seconds):
                self.try_settle(intent)
        entries = stage.list_files(self.session, self.names.stage_path)
        busy = {i.table for i in self.read_state().intents}
        going = {*stage.outlived(entries, self.retention), *self._unpublished({e.directory for e in entries})}
        removed = [d for d in going if d.partition("/")[0].upper() not in busy]
        stage.remove(self.session, self.names.stage_path, removed)
        return len(removed)

    def status(self) -> HandoffStatus:
        """What Snowflake has acknowledged, what is under way, what lies on the stage."""
        entries = stage.list_files(self.session, self.names.stage_path)
        state = self.read_state()
        pending = tuple(i for i in state.intents if not i.published)
        under_way = {i.table for i in pending}
        unpublished = self._unpublished({e.directory for e in entries})
        orphaned = {d for d in unpublished if d.partition("/")[0].upper() not in under_way}
        data = [e for e in entries if not e.is_manifest]
        return HandoffStatus(
            tuple(t for _, t in sorted(state.tables.items())),
            pending,
            len(data),
            sum(e.bytes for e in data),
            sum(e.directory in orphaned for e in data),
            sum(e.directory not in unpublished for e in data),
            sum(e.directory in unpublished - orphaned for e in data),
            min((e.modified for e in data), default=None),
        )


class _Attempt:
    """One pass through the seven steps, from one read of the state.

    seconds: per step. dead: hand-offs of the table that nobody works on any more. sent: the stage directory into which
    files were sent.
    """

    def __init__(
        self,
        parent: Handoff,
        spark: SparkSession,
        contract: Contract,
        version: int,
        through: int,
        complete: date | None,
        state: State,
        force: frozenset[str],
    ):
        self.parent, self.spark, self.contract, self.version, self.through = parent, spark, contract, version, through
        self.complete, self.state, self.force = complete, state, force
        self.session, self.names, self.store = parent.session, parent.names, parent.store
        self.table = contract.table.upper()
        self.known = state.tables.get(self.table)
        self.delta_table_id = self.store.table_id(contract.name)
        self.delta_commit = self.store.digest(contract.name, version)
        self.fingerprint = sums.schema_fingerprint(contract)
        self.id = uuid4().hex
        self.own = Intent(self.id, self.table, self.since, version, own_name(), 0, False)
        self.listed: list[stage.StageEntry] = []
        self.seconds: dict[str, float] = {}
        self.sent = ""
        self.reused = self.published = False
        self.dead = [i for i in state.intents if i.table == self.table and i.abandoned(parent.abandoned_seconds)]

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    @property
    def since(self) -> int:
        return self.known.version if self.known else -1

    def run(self) -> HandoffResult:
        known = self.known
        if known and (
            finding := short_of(self.contract.name, self.delta_table_id, self.store.version(self.contract.name), known)
        ):
            raise DamagedTableError([finding])
        fits = known is not None and self.parent.continues(self.contract, known)
        # What is asked for by force is of this version too: over a newer one it would publish rows of the past.
        if (
            known is not None
            and fits
            and (self.version < known.version or (self.version == known.version and not self.force))
        ):
            if self.version == known.version and self.complete not in (None, known.complete_through):
                with self._step("publish"):
                    self._acknowledge()
                return HandoffResult(self.contract.name, "acknowledged", known.version, table_rows=known.rows)
            return HandoffResult(self.contract.name, "unchanged", known.version, table_rows=known.rows)
        with self._step("diff"):
            difference = self._diff(fits)
        point("diffed")
        if not difference.whole and not difference.slices:
            with self._step("publish"):
                self._acknowledge()
            rows = known.rows if known else 0
            return HandoffResult(
                self.contract.name, "acknowledged", self.version, compared=difference.compared, table_rows=rows
            )
        try:
            self._record()  # within, for it may be there although its answer was lost
            point("recorded")
            manifest, put = self._carry(difference)
        except BaseException:
            # Died of an error, not of SIGKILL: leave nothing for the next run to clear up.
            self.parent.try_settle(self.own)
            raise
        try:
            with self._step("tidy"):
                self._tidy(manifest)
        except _TROUBLE as error:
            # The rows are published. The intent is still there, so the next hand-off of the table clears up.
            logger.warning(
                "%s: published, but could not clear up after hand-off %s: %s", self.contract.name, self.id, error
            )
        return HandoffResult(
            self.contract.name,
            "published",
            self.version,
            handoff_id=self.id,
            compared=difference.compared,
            slices=tuple(sorted(manifest.slices, key=slices.order(self.contract))),
            rows=manifest.rows,
            table_rows=sum(s.rows for s in self._after(manifest, difference)),
            files=len(manifest.files),
            bytes_put=put,
        )

    # --- 1. diff ---

    def _diff(self, fits: bool) -> _Difference:
        """The slices whose rows differ. Counts and hashes have the last word, so that a slice that changed and changed
        back stays.
        """
        same_schema = self.known is not None and self.known.version >= 0 and self.known.fingerprint == self.fingerprint
        if not same_schema:
            return _Difference("whole", True, sums.spark_sums(self._frame(), self.contract), {})
        compared, touched = "sums", None
        if fits and self.since <= self.version:
            try:
                changes = self.store.changes(self.spark, self.contract.name, self.since, self.version)
                compared, touched = "history", export.touched_slices(changes, self.contract)
            except HistoryUnavailableError as error:
                logger.info("%s: comparing all slices, for the history is gone (%s)", self.contract.name, error)
        if touched is not None:
            touched = sorted({*touched, *self.force})
            if not touched:
                return _Difference(compared, False, {}, {})
        published = read_slices(self.session, self.names, self.table)
        held = sums.spark_sums(self._frame(touched), self.contract, touched)
        candidates = touched if touched is not None else sorted({*held, *published, *self.force})
        differing = {
            n: held.get(n, NOTHING)
            for n in candidates
            if n in self.force or held.get(n, NOTHING) != published.get(n, NOTHING)
        }
        return _Difference("request" if self.force else compared, False, differing, published)

    def _frame(self, names: Collection[str] | None = None) -> DataFrame:
        """The snapshot; where only some slices are read, of files that may hold them, so that a day does not cost the
        proof of the history.
        """
        within = slices.span(self.contract, names) if names is not None else None
        return self.store.frame(self.spark, self.contract.name, self.version, Span(*within) if within else None)

    def _acknowledge(self) -> None:
        assert self.known is not None
        try:
            touched = self.session.count(
                sql.statement("state", "acknowledge", **self.names.sql),
                self.delta_table_id,
                self.delta_commit,
                self.version,
                self.through,
                self.complete,
                self.parent.owner.id,
                self.table,
                self.known.handoff_id,
                self.known.version,
                self.known.lakehouse_id,
            )
        except DatabaseError as error:
            if error.errno == CONFLICT:
                raise _MovedOnError(f"another transaction is in the way: {error}") from error
            raise
        if touched == 0:
            raise _MovedOnError("another publisher acknowledged a version meanwhile")

    # --- 2. record ---

    def _record(self) -> None:
        with self._step("record"):
            if self.known is None:
                self.session.run(sql.statement("state", "register", **self.names.sql), self.table, self.table)
            own = self.own
            self.session.run(
                sql.statement("state", "record", **self.names.sql),
                own.handoff_id,
                own.table,
                own.since,
                own.until,
                own.owner,
            )

    # --- 3. export, 4. PUT, 5. view, 6. publish ---

    def _carry(self, difference: _Difference) -> tuple[Manifest, int]:
        folder = self.parent.local_folder(self.table, self.id)
        with self._step("export"):
            frame = self._frame(None if difference.whole else list(difference.slices))
            files = export.write_files(
                frame,
                self.contract,
                difference.slices,
                folder,
                file_bytes=self.parent.file_bytes,
                group_rows=self.parent.group_rows,
            )
            manifest = Manifest(
                self.id,
                self.contract.name,
                self.delta_table_id,
                self.since,
                self.version,
                self.through,
                self.fingerprint,
                difference.whole,
                difference.slices,
                files,
            )
            (folder / f"{self.id}.json").write_text(manifest.json(), encoding="utf-8")
        point("exported")
        with self._step("put"):
            put = self._put(manifest, folder)
        point("uploaded")
        if manifest.files:
            with self._step("view"):
                self.session.run(self._view_statement(manifest))
        point("viewed")
        with self._step("publish"):
            self._publish(manifest, difference)
        point("committed")
        return manifest, put

    def _put(self, manifest: Manifest, folder: Path) -> int:
        """Send what the stage lacks; returns the bytes sent."""
        if not manifest.files:
            return 0
        self.listed = stage.list_files(self.session, self.names.directory(self.contract))
        point("listed")
        there = self._names_on_stage(self.listed, manifest)
        missing = [f for f in manifest.files if f.name not in there]
        self.reused = len(missing) < len(manifest.files)
        for file in manifest.files:
            if file.name in there:
                (folder / file.name).unlink(missing_ok=True)
        size, target = sum(f.bytes for f in missing), self.names.directory(self.contract, manifest.directory)
        logger.info(
            "%s: sending %d files of %d bytes to %s; %d lie there already",
            self.contract.name,
            len(missing),
            size,
            target,
            len(manifest.files) - len(missing),
        )
        if wrong := [
            f.name for f in missing if (folder / f.name).exists() and export.digest(folder / f.name) != f.sha256
        ]:
            raise LakehouseError(
                f"{folder / wrong[0]} is not as it was written, so nothing of {self.contract.name} was sent; run again,"
                " it is exported anew."
            )
        if missing:
            self.sent = f"{self.contract.table}/{manifest.directory}"
            stage.put_files(self.session, folder, target, len(missing))
        stage.put_manifest(self.session, folder / f"{self.id}.json", target)
        return size

    def _names_on_stage(self, entries: Collection[stage.StageEntry], manifest: Manifest) -> set[str]:
        directory = f"{self.contract.table}/{manifest.directory}"
        return {e.name for e in entries if e.directory == directory}

    def _view_statement(self, manifest: Manifest) -> str:
        columns = ",\n    ".join(f"$1:{c.name}::{c.type.snowflake} AS {c.name.upper()}" for c in self.contract.columns)
        return sql.statement(
            "publish",
            "create_view",
            view=self.names.view(self.id),
            columns=columns,
            directory=self.names.directory(self.contract, manifest.directory),
            file_format=self.names.sql["file_format"],
        )

    def _publish(self, manifest: Manifest, difference: _Difference) -> None:
        """The one transaction. Races show as a conflict, as an error of the lock or of COMMIT, or as another version
        behind the lock.
        """
        locked = finished = False
        try:
            with self.session.transaction():
                point("begun")
                # It writes the version too, as every UPDATE of the row does: the embedded account sees a conflict only
                # where two write the same column.
                with self._step("lock"):
                    self.session.run(sql.statement("publish", "lock", **self.names.sql), self.id, self.table)
                locked = True
                if self.seconds["lock"] > LOCK_SECONDS:
                    logger.warning(
                        "%s: waited %.1f s for the lock on its state row in OPS.HANDOFF_STATE",
                        self.contract.name,
                        self.seconds["lock"],
                    )
                point("locked")
                # A statement of its own, for it then sees what was committed while the lock was waited for.
                found = self.session.run(sql.statement("publish", "check", **self.names.sql), self.table)
                expected = (self.known.handoff_id, self.known.version) if self.known else ("", -1)
                if not found or (found[0][0], int(found[0][1])) != expected:
                    raise _MovedOnError("another publisher was first")
                if self.parent.owner.another((row[2], row[3]) for row in found):
                    raise _MovedOnError("another lakehouse took the database over")
                self._replace(manifest)
                self._enter(manifest, difference)
                finished = True
            self.published = True
        except _MovedOnError:
            raise
        except DatabaseError as error:
            if not locked or finished or error.errno == CONFLICT:
                raise _MovedOnError(f"another transaction is in the way: {error}") from error
            if not self._is_readable(manifest):
                raise _MovedOnError("the view or staged files were removed before they were read") from error
            raise LakehouseError(
                f"Publishing {self.contract.name} version {self.version} to {self.names.table(self.contract)} failed,"
                f" so nothing was published: {error}; mend the cause (`lakehouse plan` shows pending DDL) and run"
                " again."
            ) from error

    def _is_readable(self, manifest: Manifest) -> bool:
        """Whether the view and the staged files are where they were left; True as well where that cannot be told."""
        if not manifest.files:
            return True
        _, schema, view = self.names.view(self.id).split(".")
        try:
            found = self.session.run(sql.statement("publish", "find_view", **self.names.sql), schema, view)
            entries = stage.list_files(self.session, self.names.directory(self.contract, manifest.directory))
        except DatabaseError as error:
            logger.warning(
                "%s: could not look for the view and the files of hand-off %s: %s", self.contract.name, self.id, error
            )
            return True
        return bool(found) and len(self._names_on_stage(entries, manifest)) == len(manifest.files)

    def _replace(self, manifest: Manifest) -> None:
        names, table = list(manifest.slices), self.names.table(self.contract)
        predicate = "1 = 1" if manifest.whole else slices.snowflake_predicate(self.contract, names)
        columns = ", ".join(c.upper() for c in self.contract.names)
        self.session.run(sql.statement("publish", "delete", table=table, predicate=predicate))
        point("deleted")
        if manifest.files:
            self.session.run(
                sql.statement("publish", "insert", table=table, columns=columns, view=self.names.view(self.id))
            )
        point("inserted")
        for chunk in (
            [names[i : i + LIST_CHUNK] for i in range(0, len(names), LIST_CHUNK)] if not manifest.whole else [None]
        ):
            which = "1 = 1" if chunk is None else f"SLICE IN ({', '.join(sql.text(n) for n in chunk)})"
            self.session.run(sql.statement("publish", "delete_slices", predicate=which, **self.names.sql), self.table)
        query = sums.snowflake_query(self.names, self.contract, predicate)
        self.session.run(sql.statement("publish", "count_slices", sums=query, **self.names.sql), self.table, self.id)
        point("counted")
        counted = sql.statement("publish", "counted_slices", **self.names.sql)
        self._compare(manifest, sums.snowflake_sums(self.session, counted, self.table, self.id))
        point("compared")

    def _compare(self, manifest: Manifest, arrived: Mapping[str, SliceSum]) -> None:
        differing = sorted(
            n for n in {*manifest.slices, *arrived} if manifest.slices.get(n, NOTHING) != arrived.get(n, NOTHING)
        )
        if not differing:
            return
        entries = stage.list_files(self.session, self.names.directory(self.contract, manifest.directory))
        if len(self._names_on_stage(entries, manifest)) < len(manifest.files):
            raise _MovedOnError("staged files were removed before they were read")
        if self.reused:
            raise _MovedOnError(
                "files found on the stage do not hold what their names say",
                f"{self.contract.table}/{manifest.directory}",
            )
        shown = "; ".join(
            f"slice {n} was sent with {manifest.slices.get(n, NOTHING)} and arrived with {arrived.get(n, NOTHING)}"
            for n in differing[:SHOWN_SLICES]
        )
        more = len(differing) - SHOWN_SLICES
        raise LakehouseError(
            f"What arrived in {self.names.table(self.contract)} is not what {self.contract.name} version {self.version}"
            f" holds, so nothing was published: {shown}{f', and {more} more slices' if more > 0 else ''};"
            f" {self._differing_rows(differing[:SHOWN_SLICES])}look at"
            f" {self.names.directory(self.contract, manifest.directory)} and run again."
        )

    def _differing_rows(self, names: list[str]) -> str:
        """The rows that arrived otherwise, by key and columns. Asked within the transaction, where the table shows what
        is not to be published.
        """
        try:
            rows = verify.row_differences(
                self.session, self.names, self.store, self.spark, self.contract, self.version, names, limit=SHOWN_ROWS
            )
        except Exception as error:  # of the engine or of the account; what is wrong is told without the rows as well
            return f"its rows could not be compared ({error}); "
        said = [
            " ".join([r.kind, str(dict(r.key)), *(["in", ", ".join(r.columns)] if r.columns else [])]) for r in rows
        ]
        return f"for example {'; '.join(said)}; " if said else ""

    @staticmethod
    def _after(manifest: Manifest, difference: _Difference) -> list[SliceSum]:
        """The sums of all slices of the table after this hand-off."""
        return [*{**difference.published, **manifest.slices}.values()]

    def _enter(self, manifest: Manifest, difference: _Difference) -> None:
        self.session.run(
            sql.statement("publish", "enter", **self.names.sql),
            self.id,
            self.table,
            self.contract.name,
            self.delta_table_id,
            manifest.since,
            manifest.until,
            manifest.through,
            self.fingerprint,
            len(manifest.slices),
            manifest.rows,
            manifest.hash,
            len(manifest.files),
            manifest.bytes,
            f"{self.contract.table}/{manifest.directory}" if manifest.files else "",
            manifest.json(),
        )
        point("entered")
        total = self._after(manifest, difference)
        self.session.run(
            sql.statement("publish", "advance", **self.names.sql),
            self.delta_table_id,
            self.delta_commit,
            self.version,
            self.fingerprint,
            self.id,
            self.through,
            sum(s.rows for s in total),
            sum(s.hash for s in total),
            self.complete,
            self.parent.owner.id,
            self.table,
        )
        point("acknowledged")

    # --- 7. tidy ---

    def _tidy(self, manifest: Manifest) -> None:
        self.parent.drop_view(self.own)
        point("dropped")
        self._sweep(manifest)
        point("swept")
        # The intent goes last: while it is there, the next run knows what may be left.
        self.parent.forget(self.own)
        point("tidied")

    def _sweep(self, manifest: Manifest) -> None:
        """Remove directories of this table that are older than retention allows, unless a hand-off of it is under
        way.
        """
        own = f"{self.contract.table}/{manifest.directory}"
        old = [d for d in stage.outlived(self.listed, self.parent.retention) if d != own]
        if manifest.files and not self.parent.retention:
            old.append(own)
        # One intent is this hand-off's own.
        if old and self.session.run(sql.statement("state", "rivals", **self.names.sql), self.table)[0][0] <= 1 + len(
            self.dead
        ):
            stage.remove(self.session, self.names.stage_path, old)
