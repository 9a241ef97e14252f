"""DDL as its own step: what is to be there, what is there, the statements between, and their class.

Belongs here: planning and executing definitions, fingerprints of what is deployed, the script for roles. Does not belong here: rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.contracts import Column, ColumnType, Contract
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.handoff import slices, sql
from lakehouse_assets.handoff.names import TargetNames
from lakehouse_assets.handoff.session import Session

Class = Literal["safe", "rebuild", "breaking"]

VIEWS = {"sales": {"SALES_LINES", "DIM_PRODUCTS", "DIM_CUSTOMERS"}, "freshness": set()}
"""The views of `sql/views.sql`, and the served tables each needs."""


@dataclass(frozen=True)
class PlannedStatement:
    """One pending definition. `safe`: rows and readers stay; `rebuild`: the table is empty until its next hand-off; `breaking`: readers lose something."""

    sql: str
    kind: Class
    object: str
    reason: str


class _Object(NamedTuple):
    """An object that is to be there: its name, the statement that creates it, the fingerprint of its definition."""

    name: str
    statement: str
    fingerprint: str


class _Deployed(NamedTuple):
    """A column as the account describes it."""

    type: str
    precision: int | None
    scale: int | None
    nullable: bool
    comment: str


def fits(session: Session, names: TargetNames, contracts: Collection[Contract]) -> bool:
    """Whether the recorded fingerprints are those of today's definitions; one statement, which needs no right but to read OPS."""
    deployed = _read_fingerprints(session, names)
    return all(deployed.get(o.name) == o.fingerprint for o in _wanted(names, contracts))


def plan(session: Session, names: TargetNames, contracts: Collection[Contract]) -> list[PlannedStatement]:
    """The statements that bring the account to the contracts, in order; none where everything is as it should be. Executes none."""
    deployed = _read_fingerprints(session, names)
    served = {names.table(c): c for c in contracts}
    present = _read_columns(session, names) if deployed else {}
    planned: list[PlannedStatement] = []
    for wanted in _wanted(names, contracts):
        same = deployed.get(wanted.name) == wanted.fingerprint
        if contract := served.get(wanted.name):
            columns = present.get(contract.table.upper())
            if columns is None:
                planned.append(PlannedStatement(wanted.statement, "safe", wanted.name, "the table is not there"))
            else:
                planned.extend(_evolve(names, contract, columns, comments=not same))
        elif not same:
            planned.append(PlannedStatement(wanted.statement, "safe", wanted.name, "not deployed in this form"))
    return planned


def deploy(
    session: Session, names: TargetNames, contracts: Collection[Contract], *, allow_breaking: bool = False
) -> list[PlannedStatement]:
    """Execute the plan, then record fingerprints. Repeating it after a crash finishes it.

    Raises `LakehouseError` where the plan breaks readers and that is not allowed; nothing is executed then.
    """
    planned = plan(session, names, contracts)
    breaking = [p for p in planned if p.kind == "breaking"]
    if breaking and not allow_breaking:
        said = "; ".join(f"{p.object}: {p.reason} ({' '.join(p.sql.split())})" for p in breaking)
        raise LakehouseError(
            f"The contracts take something away from readers, so nothing was deployed: {said}; keep the columns, or deploy with breaking changes allowed."
        )
    wanted = _wanted(names, contracts)
    tables = {names.table(c): c.table.upper() for c in contracts}
    emptied = [tables[p.object] for p in planned if p.object in tables and p.sql.startswith("CREATE")]
    ready = bool(_read_fingerprints(session, names)) if emptied else False
    if ready:
        # Before the table is made anew: were it the other way round, a crash between would leave an empty table that counts as handed off.
        for table in emptied:
            session.run(sql.statement("state", "forget_state", **names.sql), table)
            session.run(sql.statement("state", "forget_slices", **names.sql), table)
    for statement in planned:
        session.run(statement.sql)
    for table in emptied:
        # Here and not at the first hand-off, where two publishers might do it at once.
        session.run(sql.statement("state", "register", **names.sql), table, table)
    recorded = _read_fingerprints(session, names)
    changed = [o for o in wanted if recorded.get(o.name) != o.fingerprint]
    if changed:
        objects = ", ".join(sql.text(o.name) for o in changed)
        rows = ", ".join(f"({sql.text(o.name)}, {sql.text(o.fingerprint)})" for o in changed)
        session.run(sql.statement("tables", "forget_fingerprints", objects=objects, **names.sql))
        session.run(sql.statement("tables", "record_fingerprints", rows=rows, **names.sql))
    return planned


def roles_script(
    names: TargetNames, loader: str = "LAKEHOUSE_LOADER", reader: str = "LAKEHOUSE_READER", warehouse: str = "LAKEHOUSE_WH"
) -> str:
    """A script that makes a loading and a reading role with least privilege. For an administrator; the embedded account has no roles."""
    fields = {**names.sql, "loader": loader, "reader": reader, "warehouse": warehouse}
    return "\n\n".join(sql.statement("roles", name, **fields) + ";" for name in sql.names("roles")) + "\n"


def external_lane_script(names: TargetNames, contract: Contract, url: str, integration: str) -> str:
    """The other lane, for an account whose files come over a bucket: an external stage and an external table over a hand-off's directory.

    Rendered, for an administrator; the embedded account has no external stages, and an external table cannot read an internal one.
    """
    columns = ",\n    ".join(f"{c.name.upper()} {c.type.snowflake} AS (VALUE:{c.name}::{c.type.snowflake})" for c in contract.columns)
    fields = {
        **names.sql,
        "table": contract.table,
        "external": f"{contract.table.upper()}_EXTERNAL",
        "columns": columns,
        "url": sql.text(url),
        "integration": integration,
    }
    return "\n\n".join(sql.statement("external", name, **fields) + ";" for name in sql.names("external")) + "\n"


def _wanted(names: TargetNames, contracts: Collection[Contract]) -> list[_Object]:
    """Everything that is to be there, in the order of creation."""
    objects = [_object(f"{names.database}:{name}", sql.statement("objects", name, **names.sql)) for name in sql.names("objects")]
    objects += [_object(names.table(c), _create(names, c, "create")) for c in contracts]
    served = {c.table.upper() for c in contracts}
    objects += [
        _object(f"{names.database}:view_{name}", sql.statement("views", name, **names.sql))
        for name, needed in VIEWS.items()
        if needed <= served
    ]
    return objects


def _object(name: str, statement: str) -> _Object:
    return _Object(name, statement, hashlib.sha256(statement.encode()).hexdigest()[:12])


def _read_fingerprints(session: Session, names: TargetNames) -> dict[str, str]:
    try:
        return dict(session.run(sql.statement("tables", "read_fingerprints", **names.sql)))
    except ProgrammingError:
        # Not there, or not for this role to see: Snowflake answers both alike. Creating what is missing tells them apart.
        return {}


def _read_columns(session: Session, names: TargetNames) -> dict[str, dict[str, _Deployed]]:
    tables: dict[str, dict[str, _Deployed]] = {}
    for table, column, kind, precision, scale, nullable, comment in session.run(
        sql.statement("tables", "read_columns", **names.sql), names.analytics
    ):
        number = (int(precision), int(scale or 0)) if precision is not None else (None, None)
        tables.setdefault(table, {})[column] = _Deployed(kind.upper(), *number, str(nullable).upper() != "NO", comment or "")
    return tables


def _create(names: TargetNames, contract: Contract, which: Literal["create", "rebuild"]) -> str:
    slices.handoff_slice(contract)
    columns = ",\n    ".join(
        f"{c.name.upper()} {c.type.snowflake}{'' if c.nullable else ' NOT NULL'} COMMENT {sql.text(_comment(c))}" for c in contract.columns
    )
    return sql.statement("tables", which, table=names.table(contract), columns=columns, comment=sql.text(_table_comment(contract)))


def _comment(column: Column) -> str:
    return column.description + (" [personal data]" if column.personal else "")


def _table_comment(contract: Contract) -> str:
    key = f" Key: {', '.join(k.upper() for k in contract.key)}." if contract.key else ""
    return " ".join(contract.description.split()) + key


def _evolve(names: TargetNames, contract: Contract, present: dict[str, _Deployed], *, comments: bool) -> Iterator[PlannedStatement]:
    """From the deployed columns to the contract's. A change of type that cannot be altered replaces the table, which then settles all else."""
    table = names.table(contract)
    changes = [(c, present[c.name.upper()]) for c in contract.columns if c.name.upper() in present]
    retyped = {c.name: _retype(c.type, was) for c, was in changes}
    replaced = {n: how for n, how in retyped.items() if how in ("rebuild", "breaking")}
    lost = [n for n in present if n.lower() not in contract.names]
    if replaced:
        kind: Class = "breaking" if lost or "breaking" in replaced.values() else "rebuild"
        said = ", ".join(f"{n.upper()} from {_type(present[n.upper()])} to {contract.column(n).type.snowflake}" for n in replaced)
        reason = f"changes {said}" + (f" and drops {', '.join(lost)}" if lost else "")
        yield PlannedStatement(_create(names, contract, "rebuild"), kind, table, reason)
        return
    for column in contract.columns:
        name = column.name.upper()
        was = present.get(name)
        if was is None:
            # Nullable whatever the contract says: the rows that are there have no value until they are handed off again.
            statement = sql.statement(
                "tables", "add_column", table=table, column=name, type=column.type.snowflake, comment=sql.text(_comment(column))
            )
            yield PlannedStatement(statement, "safe", table, f"adds {name}")
            continue
        if retyped[column.name] == "safe":
            statement = sql.statement("tables", "widen_column", table=table, column=name, type=column.type.snowflake)
            yield PlannedStatement(statement, "safe", table, f"widens {name} from {_type(was)} to {column.type.snowflake}")
        if column.nullable and not was.nullable:
            yield PlannedStatement(
                sql.statement("tables", "drop_not_null", table=table, column=name), "safe", table, f"allows null in {name}"
            )
        if comments and was.comment != _comment(column):
            statement = sql.statement("tables", "comment_column", table=table, column=name, comment=sql.text(_comment(column)))
            yield PlannedStatement(statement, "safe", table, f"describes {name}")
    for name in lost:
        yield PlannedStatement(sql.statement("tables", "drop_column", table=table, column=name), "breaking", table, f"drops {name}")
    if comments:
        statement = sql.statement("tables", "comment_table", table=table, comment=sql.text(_table_comment(contract)))
        yield PlannedStatement(statement, "safe", table, "describes the table")


_FAMILIES = {
    "TEXT": "string",
    "VARCHAR": "string",
    "NUMBER": "number",
    "DECIMAL": "number",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP_TZ": "timestamp",
    "TIMESTAMP_NTZ": "timestamp_ntz",
    "ARRAY": "list",
}


def _type(column: _Deployed) -> str:
    return f"{column.type}({column.precision},{column.scale})" if column.precision is not None else column.type


def _retype(wanted: ColumnType, was: _Deployed) -> Class | None:
    """How a column gets its new type: not at all, altered in place, with the table made anew, or at the readers' cost."""
    family = _FAMILIES.get(was.type, was.type)
    if wanted.kind in ("bigint", "decimal"):
        precision, scale = (wanted.precision, wanted.scale) if wanted.kind == "decimal" else (38, 0)
        if family != "number" or was.precision is None or was.scale is None:
            return "breaking"
        if (precision, scale) == (was.precision, was.scale):
            return None
        if scale == was.scale and precision > was.precision:
            return "safe"
        # A greater scale takes digits from the whole part, unless the precision grows as much.
        return "rebuild" if scale >= was.scale and precision - scale >= was.precision - was.scale else "breaking"
    if wanted.kind == family:
        return None
    return "rebuild" if (family, wanted.kind) in {("date", "timestamp_ntz"), ("number", "string"), ("date", "string")} else "breaking"
