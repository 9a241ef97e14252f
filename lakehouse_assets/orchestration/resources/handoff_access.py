"""The hand-off: a Snowflake connection and the lakehouse, joined from settings.

Does not belong here: the protocol (`core/handoff/`), connecting (`snowflake_access.py`), Dagster
(`handoff_resource.py` makes a resource of it): commands that run nothing do without.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel

from lakehouse_assets.core.contracts import CONTRACTS, Contract
from lakehouse_assets.core.delta.evolution import PlannedChange
from lakehouse_assets.core.delta.evolution import refuse_breaking as refuse_lost_rows
from lakehouse_assets.core.delta.findings import DamagedTableError, Finding
from lakehouse_assets.core.delta.staging import JOURNAL
from lakehouse_assets.core.handoff.attempt import HandoffResult
from lakehouse_assets.core.handoff.diff import short_of
from lakehouse_assets.core.handoff.evolve import PlannedStatement
from lakehouse_assets.core.handoff.handoff import Handoff
from lakehouse_assets.core.handoff.names import TargetNames
from lakehouse_assets.core.handoff.plan import refuse_breaking as refuse_lost_columns
from lakehouse_assets.core.handoff.plan import refuse_foreign, refuse_unlike
from lakehouse_assets.core.handoff.remedies import LOGIN, remedy
from lakehouse_assets.core.handoff.state import Owner, State
from lakehouse_assets.core.handoff.trouble import MISSING
from lakehouse_assets.core.sources.progress import complete_through, included
from lakehouse_assets.errors import AccountUnavailableError, LakehouseError
from lakehouse_assets.orchestration.graph import served
from lakehouse_assets.orchestration.resources.lakehouse_access import LakehouseAccess
from lakehouse_assets.orchestration.resources.snowflake_access import SnowflakeAccess
from lakehouse_assets.settings import Settings


@dataclass(frozen=True)
class Plan:
    """What is pending on either side, in the order in which it is done."""

    delta: list[PlannedChange]
    snowflake: list[PlannedStatement]

    def of(self, kind: str) -> int:
        """How many are of a class."""
        return sum(p.kind == kind for p in (*self.delta, *self.snowflake))


class HandoffAccess(BaseModel):
    """Opens hand-offs against the account of the settings. Names only; secrets stay with the account resource."""

    lakehouse: LakehouseAccess
    account: SnowflakeAccess
    database: str
    analytics_schema: str
    ops_schema: str
    staging_schema: str
    file_mb: int
    retention_hours: int

    @classmethod
    def of(cls, settings: Settings, lakehouse: LakehouseAccess, account: SnowflakeAccess) -> Self:
        return cls(
            lakehouse=lakehouse,
            account=account,
            database=settings.database,
            analytics_schema=settings.analytics_schema,
            ops_schema=settings.ops_schema,
            staging_schema=settings.staging_schema,
            # On the local disk, for the connector sends from there, wherever slices are staged.
            file_mb=settings.handoff_file_mb,
            retention_hours=settings.stage_retention_hours,
        )

    @contextmanager
    def open(self) -> Iterator[Handoff]:
        """A hand-off with a session of its own, closed at the end. Its first statement connects, and raises
        `AccountUnavailableError` where it cannot.
        """
        from snowflake.connector.errors import Error

        with ExitStack() as stack:

            def connect() -> Any:
                try:
                    return stack.enter_context(self.account.get_connection())
                except (Error, LakehouseError, OSError) as error:
                    reason = remedy(error, LOGIN) or " ".join(str(error).split()).rstrip(".")
                    raise AccountUnavailableError(f"The Snowflake account cannot be reached: {reason}.") from error

            handoff = Handoff(
                connect,
                self.lakehouse.tables.store,
                TargetNames(self.database, self.analytics_schema, self.ops_schema, self.staging_schema),
                self.lakehouse.local_staging / "handoff",
                file_bytes=self.file_mb * 1024 * 1024,
                retention_hours=self.retention_hours,
                owner=Owner(self._journal_id, self._table_ids),
            )
            stack.callback(handoff.close)
            yield handoff

    def _journal_id(self) -> str:
        store = self.lakehouse.tables.store
        return store.table_id(JOURNAL) if store.exists(JOURNAL) else ""

    def _table_ids(self) -> list[str]:
        store = self.lakehouse.tables.store
        return [store.table_id(c.name) for c in served().values() if store.exists(c.name)]

    def state(self, handoff: Handoff) -> State | None:
        """What Snowflake has acknowledged, and with it a look at what is served; None where nothing is deployed yet, or
        a record that lacks columns. One statement where nothing is missing.
        """
        from snowflake.connector.errors import ProgrammingError

        try:
            return handoff.read_state(list(served().values()))
        except ProgrammingError as error:
            if error.errno in MISSING:
                return None
            raise

    def ready(self, handoff: Handoff, table: Contract | None = None, state: State | None = None) -> State:
        """The state, with everything deployed that the contracts ask for, and what somebody else has changed put right.
        Where the fingerprints fit and nothing was changed, it is one statement and nothing is created.

        table: what is about to be handed off. Of tables that were never deployed it alone is, so that none is served
        empty. state: as the run has read and checked it before. Where a deployment died, fingerprints are missing, so
        that its work is finished here, before a table that it was making is handed off.
        """
        known, state = state, state or self.state(handoff)
        deployed = state.objects if state else {}
        contracts = [c for c in served().values() if table in (None, c) or handoff.names.table(c) in deployed]
        altered = self.altered(handoff, state) if state and not known else {}
        if state is None or altered or not handoff.deployed(contracts, state):
            # What is around the tables has been looked at where the run has read the state before.
            handoff.deploy(contracts, again=altered, containers=known is None)
            state = handoff.read_state()
        return state

    def altered(self, handoff: Handoff, state: State) -> dict[str, str]:
        """Deployed table or view in lower case → what somebody else has done to it. Looked at twice before it counts: a
        hand-off may have published between what the state says and what the table holds.
        """
        contracts = list(served().values())
        found = handoff.altered(contracts, state)
        if not found:
            return {}
        again = self.state(handoff) or State()
        moved = {n.lower() for n, t in again.tables.items() if t != state.tables.get(n)}
        return {
            name: why for name, why in handoff.altered(contracts, again).items() if name in found and name not in moved
        }

    def plan(self, handoff: Handoff) -> Plan:
        """What brings both sides to the contracts. Executes nothing."""
        store = self.lakehouse.tables.store
        return Plan(
            [change for c in CONTRACTS.values() for change in store.plan(c)], handoff.plan(list(served().values()))
        )

    def deploy(self, handoff: Handoff, *, allow_breaking: bool = False, take_over: bool = False) -> Plan:
        """Do what `plan` says, lakehouse first; returns what was done.

        Raises `LakehouseError` where the plan takes something away from Snowflake's readers, or the database from
        another lakehouse, and that is not allowed, or asks rows of the lakehouse for what they cannot follow, which
        never is; nothing is done then.
        """
        store, planned = self.lakehouse.tables.store, self.plan(handoff)
        for name in {change.object for change in planned.delta}:
            refuse_lost_rows([change for change in planned.delta if change.object == name], store.uri(name))
        refuse_unlike(planned.snowflake)
        if not take_over:
            refuse_foreign(handoff.names, planned.snowflake)
        if not allow_breaking:
            refuse_lost_columns(planned.snowflake)
        for name in dict.fromkeys(change.object for change in planned.delta):
            store.evolve(CONTRACTS[name])
        return Plan(
            planned.delta, handoff.deploy(list(served().values()), allow_breaking=allow_breaking, take_over=take_over)
        )

    def hand_off_whole(self, handoff: Handoff, contract: Contract) -> HandoffResult:
        """Hand the newest snapshot of a table off, as a run does."""
        lakehouse = self.lakehouse.tables
        head, through = lakehouse.upstream_heads([contract.name])[contract.name], included(lakehouse, contract.name)
        complete = complete_through(lakehouse, through)
        with handoff.session.labelled(table=contract.table.upper()):
            return handoff.hand_off(lakehouse.spark, contract, head.version, through, complete=complete)

    def short(self, state: State | None) -> dict[str, Finding]:
        """Gold table → what is wrong with it, where it is behind what Snowflake has acknowledged of it: its log ends
        early.
        """
        found = {}
        for contract in served().values():
            with suppress(DamagedTableError):  # as above
                head = self.lakehouse.tables.store.head(contract.name)
                known = state.tables.get(contract.table.upper()) if state else None
                if head and known and (finding := short_of(contract.name, head.table_id, head.version, known)):
                    found[contract.name] = finding
        return found

    def behind(self, handoff: Handoff, state: State | None = None) -> dict[str, str]:
        """Snowflake table → why it is behind its Delta table; Delta tables that do not exist yet are passed over.
        state: read here if None.
        """
        state = state or self.state(handoff) or State()
        found = self.altered(handoff, state)
        for name, contract in served().items():
            try:
                head = self.lakehouse.tables.store.head(contract.name)
            except DamagedTableError:
                continue  # whoever asks what is pending learns it from the table itself
            if head is not None and (acknowledged := handoff.acknowledged(contract, state)) < head.data_version:
                known = state.tables.get(contract.table.upper())
                if name in found:
                    continue
                if acknowledged >= 0:
                    found[name] = f"at version {acknowledged} of {head.data_version}"
                else:
                    found[name] = (
                        "of another schema or history" if known and known.version >= 0 else "not yet handed off"
                    )
        return found
