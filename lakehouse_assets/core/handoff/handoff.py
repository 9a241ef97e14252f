"""The hand-off as a protocol: diff, record, export, PUT, view, publish, tidy; then verify and repair. What happens when
a process dies in it: docs/handoff.md.

Belongs here: what is offered, and beginning again after a lost race. Does not belong here: the order of the steps
(`one_pass.py`), SQL text (`sql/`), DDL (`deploy.py`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.delta.store import DeltaStore
from lakehouse_assets.core.handoff import (
    altered,
    catalog,
    definitions,
    deploy,
    diff,
    plan,
    stage,
    status,
    tidy,
    verify,
)
from lakehouse_assets.core.handoff.attempt import (
    STEPS,
    Attempt,
    Context,
    HandoffResult,
    MovedOnError,
)
from lakehouse_assets.core.handoff.evolve import PlannedStatement
from lakehouse_assets.core.handoff.names import TargetNames
from lakehouse_assets.core.handoff.one_pass import one_pass
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.core.handoff.state import (
    Owner,
    Published,
    State,
    read_published,
    read_state,
    refuse_another,
)
from lakehouse_assets.core.handoff.status import HandoffStatus
from lakehouse_assets.core.handoff.trouble import TROUBLE, is_transient
from lakehouse_assets.core.handoff.verify import VerifyResult
from lakehouse_assets.errors import LakehouseError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)


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
        self.session, self.store = Session(connect), store
        self.names, self.owner, self.attempts = names or TargetNames(), owner or Owner(), attempts
        self.context = Context(
            self.session,
            self.names,
            store,
            self.owner,
            Path(staging).absolute(),
            file_bytes,
            group_rows,
            timedelta(hours=retention_hours),
            abandoned_hours * 3600,
        )

    def close(self) -> None:
        """End the session."""
        self.session.close()

    def __enter__(self) -> Handoff:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read_state(self, contracts: Collection[Contract] = ()) -> State:
        """What Snowflake has acknowledged of every table, the intents, what is deployed; one statement, to be read once
        a run. contracts: of served tables, which that statement looks at too, for `altered`.
        """
        return read_state(self.session, self.names, altered.looks(self.names, contracts))

    def published(self, contract: Contract) -> Published | None:
        """What the last hand-off of the table sent, and what arrived; None before the first. One statement."""
        return read_published(self.session, self.names, contract.table.upper())

    def acknowledged(self, contract: Contract, state: State) -> int:
        """The Delta version that Snowflake has of a table, -1 for none or for one of another table id, schema or
        history. No statement.
        """
        known = state.tables.get(contract.table.upper())
        return known.version if known and diff.continues(self.store, contract, known) else -1

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
        tried: list[Attempt] = []
        for _ in range(self.attempts):
            state = state or self.read_state()
            refuse_another(
                self.names, self.owner.another((t.lakehouse_id, t.delta_table_id) for t in state.tables.values())
            )
            tried.append(Attempt(self.context, spark, contract, version, through, complete, state, frozenset(force)))
            try:
                result = one_pass(tried[-1])
            except MovedOnError as error:
                logger.info("%s: %s; planning again", contract.name, error)
                lost, state = error, None
                if error.distrusted:
                    stage.remove(self.session, self.names.stage_path, [error.distrusted])
                # Whoever holds the lock needs time to finish; on a real account the lock itself has waited already.
                time.sleep(0.1 * 2 ** len(tried))
                continue
            try:
                tidy.clear_up(tried)
            except TROUBLE as error:
                name = contract.name
                logger.warning(
                    "%s: could not clear up after other hand-offs of it, the next one tries again: %s", name, error
                )
            seconds = {step: round(sum(a.seconds.get(step, 0.0) for a in tried), 4) for step in STEPS}
            return replace(result, attempts=len(tried), statements=self.session.statements - before, seconds=seconds)
        if lost and is_transient(lost.__cause__):
            raise lost.__cause__  # type: ignore[misc]
        raise LakehouseError(
            f"Handing {contract.name} off to {self.names.table(contract)} lost the race with another publisher"
            f" {self.attempts} times ({lost}); see in OPS.HANDOFF_PENDING who works on it and run again."
        ) from lost

    def verify(
        self, spark: SparkSession, contract: Contract, limit: int = 20, slices: Collection[str] | None = None
    ) -> VerifyResult:
        """Compare the Snowflake table, or some slices of it, with the ledger and, while it is readable, with the Delta
        snapshot; names up to `limit` differing rows.
        """
        with self.session.labelled(table=contract.table.upper()):
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
        recorded = state.objects if state else catalog.read_fingerprints(self.session, self.names)
        return definitions.fits(recorded or {}, self.names, contracts)

    def plan(self, contracts: Collection[Contract]) -> list[PlannedStatement]:
        """The DDL that is pending, each with its class."""
        return plan.plan(self.session, self.names, contracts, self.owner)

    def altered(self, contracts: Collection[Contract], state: State) -> dict[str, str]:
        """Deployed table or view in lower case → what somebody else has done to it; no statement where the state was
        read with these contracts and nothing was done.
        """
        return altered.altered(self.session, self.names, contracts, state)

    def replaced(self, contracts: Collection[Contract]) -> dict[str, str]:
        """Served table in lower case → what has its name and is no table; one statement."""
        return catalog.replaced(self.session, self.names, contracts)

    def deploy(
        self,
        contracts: Collection[Contract],
        *,
        allow_breaking: bool = False,
        take_over: bool = False,
        again: Collection[str] = (),
        containers: bool = True,
    ) -> list[PlannedStatement]:
        """Execute what `plan` says; returns it. again: tables that the next hand-off is to send whole. containers:
        whether database, schemas, file format and stage are looked at.

        Raises `LakehouseError` for breaking changes and for another lakehouse's database unless they are allowed, and
        executes nothing then.
        """
        return deploy.deploy(
            self.session,
            self.names,
            contracts,
            self.owner,
            allow_breaking=allow_breaking,
            take_over=take_over,
            again=again,
            containers=containers,
        )

    def sweep(self) -> int:
        """Clear up after dead hand-offs of all tables, and on the stage; returns the number of directories removed."""
        return tidy.sweep(self.context)

    def status(self) -> HandoffStatus:
        """What Snowflake has acknowledged, what is under way, what lies on the stage."""
        return status.status(self.context)
