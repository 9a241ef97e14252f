"""What is planned: the statements that bring an account to the contracts, in order, each with its class.

Belongs here: comparing what is there with what is to be there, and refusing a plan. Executes nothing that changes
anything. Does not belong here: the columns of a table (`evolve.py`), carrying a plan out (`deploy.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.handoff import sql
from lakehouse_assets.core.handoff.catalog import masked_columns, read_columns, read_fingerprints
from lakehouse_assets.core.handoff.containers import CONTAINERS, plan_containers
from lakehouse_assets.core.handoff.definitions import create_table, wanted
from lakehouse_assets.core.handoff.evolve import PlannedStatement, evolve, migrate
from lakehouse_assets.core.handoff.names import TargetNames
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.core.handoff.state import Owner, refuse_another
from lakehouse_assets.errors import LakehouseError


def plan(
    session: Session,
    names: TargetNames,
    contracts: Collection[Contract],
    owner: Owner | None = None,
    *,
    deployed: Mapping[str, str] | None = None,
    containers: bool = True,
) -> list[PlannedStatement]:
    """The statements that bring the account to the contracts, in order; none where everything is as it should be.
    Executes none.

    owner: the lakehouse that is to be served; a database serves one. deployed: what is recorded of each object, read
    here if None. containers: whether database, schemas, file format and stage are looked at, which this session may
    have done.
    """
    if deployed is None:
        deployed = read_fingerprints(session, names) or {}
    served = {names.table(c): c for c in contracts}
    present = read_columns(session, names)
    planned = list(_take_over(session, names, present, owner or Owner()))
    objects = wanted(names, contracts)
    around = {which: o for o in objects for which in CONTAINERS if o.name == f"{names.database}:{which}"}
    if containers:
        planned.extend(plan_containers(session, names, around))
    for o in objects:
        if o in around.values():
            continue
        same = deployed.get(o.name) == o.fingerprint
        columns = present.get(o.table)
        if contract := served.get(o.name):
            if columns is None:
                planned.append(PlannedStatement(o.statement, "safe", o.name, "the table is not there"))
            elif o.name not in deployed and (rows := _foreign_rows(session, names, contract, present)):
                reason = f"holds {rows} rows that no hand-off brought, so it is not ours"
                planned.append(PlannedStatement(create_table(names, contract, "replace"), "breaking", o.name, reason))
            else:
                planned.extend(_unless_masked(session, list(evolve(names, contract, columns, comments=not same))))
        elif columns is not None:
            planned.extend(migrate(o, columns))
        elif o.view and o.view not in present:
            planned.append(PlannedStatement(o.first, "safe", o.name, "the view is not there"))
        elif not same:
            planned.append(PlannedStatement(o.statement, "safe", o.name, "not deployed in this form"))
        elif {p.object for p in planned} & o.reads:
            # A view keeps the types that it was made with.
            planned.append(PlannedStatement(o.statement, "safe", o.name, "reads what changes"))
    return [*planned, *_orphans(sorted(deployed.keys() & present.keys() - {o.name for o in objects}))]


def _orphans(tables: Collection[str]) -> Iterator[PlannedStatement]:
    for table in tables:
        reason = "no contract says it any more; it is served as it is until it is dropped"
        yield PlannedStatement(sql.statement("tables", "drop_table", table=table), "left", table, reason)


def _unless_masked(session: Session, planned: list[PlannedStatement]) -> list[PlannedStatement]:
    """The statements for a table, or why none of them may be executed: a table with a masking policy that is made anew
    loses the policy, and where it is made of its own rows keeps what this role sees of them.
    """
    anew = next((p for p in planned if p.sql.startswith("CREATE OR REPLACE TABLE")), None)
    if anew is None or not (masked := masked_columns(session, anew.object)):
        return planned
    reason = (
        f"has a masking policy on {', '.join(masked)} and is to be made anew ({anew.reason}), which would lose the"
        " policy and may store masked values; unset the policy until the next hand-off"
    )
    return [PlannedStatement("", "unlike", anew.object, reason)]


def _take_over(
    session: Session, names: TargetNames, present: Mapping[str, Collection[str]], owner: Owner
) -> Iterator[PlannedStatement]:
    """Make the database this lakehouse's, where it is another one's. Its tables follow by their next hand-offs, which
    compare what differs.
    """
    state = f"{names.sql['ops']}.HANDOFF_STATE"
    if "LAKEHOUSE_ID" not in present.get(state, ()):
        return
    found = session.run(sql.statement("state", "read_lakehouses", **names.sql))
    if reason := owner.another((row[0], row[1]) for row in found):
        statement = sql.statement("state", "take_over", lakehouse_id=sql.literal(owner.id), **names.sql)
        yield PlannedStatement(statement, "foreign", state, reason)


def _foreign_rows(session: Session, names: TargetNames, contract: Contract, present: Collection[str]) -> int:
    """How many rows a table without a fingerprint holds that are not ours: of one that was being made anew, the ledger
    names the hand-offs.
    """
    if f"{names.sql['ops']}.HANDOFF_LEDGER" in present:
        entered = session.run(sql.statement("state", "handed_off", **names.sql), contract.table.upper())
        if int(entered[0][0]):
            return 0
    return int(session.run(sql.statement("tables", "count_rows", table=names.table(contract)))[0][0])


def refuse_breaking(planned: Collection[PlannedStatement]) -> None:
    """Raise `LakehouseError` where a plan takes something away from readers."""
    breaking = [p for p in planned if p.kind == "breaking"]
    if breaking:
        reasons = "; ".join(f"{p.object}: {p.reason} ({' '.join(p.sql.split())})" for p in breaking)
        raise LakehouseError(
            f"The contracts take something away from readers, so nothing was deployed: {reasons}; keep the columns, or"
            " deploy with breaking changes allowed."
        )


def refuse_unlike(planned: Collection[PlannedStatement]) -> None:
    """Raise `LakehouseError` where an object has the name of one that is needed and does not serve."""
    for p in planned:
        if p.kind == "unlike":
            raise LakehouseError(f"{p.object} {p.reason}, and deploy again; nothing was deployed.")


def refuse_foreign(names: TargetNames, planned: Collection[PlannedStatement]) -> None:
    """Raise `LakehouseError` where a plan takes the database from another lakehouse."""
    refuse_another(names, next((p.reason for p in planned if p.kind == "foreign"), ""))
