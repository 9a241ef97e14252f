"""DDL as its own step: what is applied of a plan, in which order, and the record of it.

Belongs here: executing definitions, recording fingerprints, forgetting what is known of a table made anew. Does not
belong here: what is to be done (`plan.py`), rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.handoff import faults, sql
from lakehouse_assets.core.handoff.catalog import read_fingerprints
from lakehouse_assets.core.handoff.definitions import record_fingerprints, wanted
from lakehouse_assets.core.handoff.evolve import PlannedStatement
from lakehouse_assets.core.handoff.names import TargetNames
from lakehouse_assets.core.handoff.plan import plan, refuse_breaking, refuse_foreign, refuse_unlike
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.core.handoff.state import Owner


def deploy(
    session: Session,
    names: TargetNames,
    contracts: Collection[Contract],
    owner: Owner | None = None,
    *,
    allow_breaking: bool = False,
    take_over: bool = False,
    again: Collection[str] = (),
    containers: bool = True,
) -> list[PlannedStatement]:
    """Execute the plan, then record fingerprints; returns what was executed. Repeating it after a crash finishes it.

    again: tables, by their contracts' names, whose rows are not what was handed off; what is known of them is
    forgotten, so that the next hand-off sends them whole. containers: as in `plan`.

    Raises `LakehouseError` where the plan breaks readers, or takes the database from another lakehouse, and that is not
    allowed; nothing is executed then.
    """
    recorded = read_fingerprints(session, names)
    planned = [
        p
        for p in plan(session, names, contracts, owner, deployed=recorded or {}, containers=containers)
        if p.kind != "left"
    ]
    refuse_unlike(planned)
    if not take_over:
        refuse_foreign(names, planned)
    if not allow_breaking:
        refuse_breaking(planned)
    created = {p.object for p in planned if p.sql.startswith("CREATE")}
    # A table without a fingerprint was being made when a deployment died.
    remade = {
        n: c for c in contracts if (n := names.table(c)) in created or n not in (recorded or {}) or c.table in again
    }
    known = _known(session, names, remade, planned) if recorded is not None else {}
    if known:
        # Before the table is made: were it the other way round, a crash between would leave a table that counts as
        # handed off and is not.
        _forget(session, names, known)
        faults.crash_point("forgotten")
    for statement in planned:
        session.run(statement.sql)
        if statement.kind == "rebuild":
            faults.crash_point("rebuilt")
    faults.crash_point("described")
    # Once more: a hand-off may have published between what the new table was read from and its taking the old one's
    # place.
    _forget(session, names, known)
    for contract in remade.values():
        # Here and not at the first hand-off, where two publishers might do it at once.
        session.run(sql.statement("state", "register", **names.sql), contract.table.upper(), contract.table.upper())
    faults.crash_point("registered")
    changed = [o for o in wanted(names, contracts) if o.name in known or (recorded or {}).get(o.name) != o.fingerprint]
    if changed:
        _forget_fingerprints(session, names, [o.name for o in changed])
        session.run(record_fingerprints(names, changed))
    return planned


def _known(
    session: Session, names: TargetNames, remade: Mapping[str, Contract], planned: Collection[PlannedStatement]
) -> dict[str, Contract]:
    """Of the tables that are made anew, those of which something is known: they have a row in the state, or have taken
    an old table's place. Of a table that is new nothing can be: only a deployment gives it a row, after it is made, and
    making it again changes nothing.
    """
    if not remade:
        return {}
    replaced = {p.object for p in planned if p.kind in ("rebuild", "breaking")}
    registered = {row[0] for row in session.run(sql.statement("state", "registered", **names.sql))}
    return {n: c for n, c in remade.items() if n in replaced or c.table.upper() in registered}


def _forget(session: Session, names: TargetNames, tables: Mapping[str, Contract]) -> None:
    """What is known of tables that are made anew: the next hand-off sends them whole.

    State and slices in one transaction, the state first and set back, not deleted, for its row is the lock: a hand-off
    publishes before both or after both. Between them, it would lose its slices, and what is deleted later would count
    as equal, for nothing equals nothing.
    """
    if tables:
        _forget_fingerprints(session, names, tables)
    for contract in tables.values():
        with session.transaction():
            session.run(sql.statement("state", "reset_state", **names.sql), contract.table.upper())
            session.run(sql.statement("state", "forget_slices", **names.sql), contract.table.upper())


def _forget_fingerprints(session: Session, names: TargetNames, objects: Collection[str]) -> None:
    session.run(
        sql.statement("tables", "forget_fingerprints", objects=", ".join(map(sql.literal, objects)), **names.sql)
    )
