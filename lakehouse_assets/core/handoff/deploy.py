"""DDL as its own step: what is to be there, what is there, the statements between, and their class.

Belongs here: planning and executing definitions, fingerprints of what is deployed, the script for roles. Does not
belong here: rows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.core.contracts import Column, ColumnType, Contract
from lakehouse_assets.core.handoff import slices, sql
from lakehouse_assets.core.handoff.faults import point
from lakehouse_assets.core.handoff.names import TargetNames
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.core.handoff.state import Owner, State, refuse_another
from lakehouse_assets.errors import LakehouseError

Class = Literal["safe", "rebuild", "breaking", "foreign", "left"]

VIEWS = {"sales": {"SALES_LINES", "DIM_PRODUCTS", "DIM_CUSTOMERS"}, "freshness": set()}
"""The views of `sql/views.sql`, and the served tables each needs."""


@dataclass(frozen=True)
class PlannedStatement:
    """One pending definition. `safe`: altered in place; `rebuild`: the table is made anew of its own rows, in one
    statement; `breaking`: readers lose something; `foreign`: another lakehouse is served there; `left`: for a person to
    do, and never executed here.
    """

    sql: str
    kind: Class
    object: str
    reason: str


class _Object(NamedTuple):
    """An object that is to be there: its name, the statement that creates it, the fingerprint of its definition, its
    qualified name if it is a table, the served tables that it reads and its qualified name if it is a view.
    """

    name: str
    statement: str
    fingerprint: str
    table: str
    reads: frozenset[str]
    view: str


class _Deployed(NamedTuple):
    """A column as the account describes it."""

    type: str
    precision: int | None
    scale: int | None
    nullable: bool
    comment: str


def fits(recorded: Mapping[str, str], names: TargetNames, contracts: Collection[Contract]) -> bool:
    """Whether recorded fingerprints are those of today's definitions. No statement."""
    return all(recorded.get(o.name) == o.fingerprint for o in _wanted(names, contracts))


def plan(
    session: Session, names: TargetNames, contracts: Collection[Contract], owner: Owner | None = None
) -> list[PlannedStatement]:
    """The statements that bring the account to the contracts, in order; none where everything is as it should be.
    Executes none.

    owner: the lakehouse that is to be served; a database serves one.
    """
    deployed = read_fingerprints(session, names) or {}
    served = {names.table(c): c for c in contracts}
    present = _read_columns(session, names)
    planned = list(_take_over(session, names, present, owner or Owner()))
    wanted = _wanted(names, contracts)
    for o in wanted:
        same = deployed.get(o.name) == o.fingerprint
        columns = present.get(o.table)
        if contract := served.get(o.name):
            if columns is None:
                planned.append(PlannedStatement(o.statement, "safe", o.name, "the table is not there"))
            elif o.name not in deployed and (rows := _foreign_rows(session, names, contract, present)):
                reason = f"holds {rows} rows that no hand-off brought, so it is not ours"
                planned.append(PlannedStatement(_create(names, contract, "replace"), "breaking", o.name, reason))
            else:
                planned.extend(_evolve(names, contract, columns, comments=not same))
        elif columns is not None:
            planned.extend(_migrate(o, columns))
        elif not same or {p.object for p in planned} & o.reads or (o.view and o.view not in present):
            # A view keeps the types that it was made with.
            reads = {p.object for p in planned} & o.reads
            reason = (
                "not deployed in this form" if not same else "reads what changes" if reads else "the view is not there"
            )
            planned.append(PlannedStatement(o.statement, "safe", o.name, reason))
    for orphan in sorted(deployed.keys() & present.keys() - {o.name for o in wanted}):
        statement = sql.statement("tables", "drop_table", table=orphan)
        planned.append(
            PlannedStatement(
                statement, "left", orphan, "no contract says it any more; it is served as it stands until it is dropped"
            )
        )
    return planned


def altered(session: Session, names: TargetNames, contracts: Collection[Contract], state: State) -> dict[str, str]:
    """Deployed table or view, without schema and in lower case → what somebody else has done to it; by one statement
    where nothing was done.

    That statement is answered from metadata and can be cached: whether every object is there with its columns, and
    every table has as many rows as its last hand-off left. What was changed inside rows, `verify` finds.
    """
    known = [c for c in contracts if names.table(c) in state.objects]
    views = [v for v in _views(names, known) if v.name in state.objects]
    looks = [_look("count_named", c.table, table=names.table(c)) for c in known]
    looks += [
        _look("compiles", "", object=names.table(c), columns=", ".join(n.upper() for n in c.names)) for c in known
    ]
    looks += [_look("compiles", "", object=v.view, columns="*") for v in views]
    if not looks:
        return {}
    try:
        rows = {name: int(count) for name, count in session.run("\nUNION ALL\n".join(looks)) if name}
    except ProgrammingError as error:
        if error.errno not in MISSING:
            raise
        return _lacking(_read_columns(session, names), names, known, views)
    published = {name.lower(): table for name, table in state.tables.items() if table.version >= 0}
    return {
        name: f"changed by somebody else: it has {count:,} rows where the last hand-off left {published[name].rows:,}"
        for name, count in rows.items()
        if name in published and count != published[name].rows
    }


def _look(which: str, label: str, **fields: str) -> str:
    return sql.statement("tables", which, label=sql.text(label), **fields)


def _lacking(
    present: Mapping[str, Mapping[str, _Deployed]],
    names: TargetNames,
    contracts: Collection[Contract],
    views: Collection[_Object],
) -> dict[str, str]:
    found: dict[str, str] = {}
    for c in contracts:
        columns = present.get(names.table(c))
        if columns is None:
            found[c.table] = "dropped by somebody else"
        elif lost := [n.upper() for n in c.names if n.upper() not in columns]:
            found[c.table] = f"changed by somebody else: it has no {', '.join(lost)}"
    for v in views:
        if v.view not in present or v.reads & {names.table(c) for c in contracts if c.table in found}:
            found[v.view.rpartition(".")[2].lower()] = (
                "a view that was dropped, or reads a table that was, by somebody else"
            )
    # Something is missing all the same, as a column that a view reads.
    return found or {c.table: "changed by somebody else" for c in contracts}


def refuse_breaking(planned: Collection[PlannedStatement]) -> None:
    """Raise `LakehouseError` where a plan takes something away from readers."""
    breaking = [p for p in planned if p.kind == "breaking"]
    if breaking:
        said = "; ".join(f"{p.object}: {p.reason} ({' '.join(p.sql.split())})" for p in breaking)
        raise LakehouseError(
            f"The contracts take something away from readers, so nothing was deployed: {said}; keep the columns, or"
            " deploy with breaking changes allowed."
        )


def refuse_foreign(names: TargetNames, planned: Collection[PlannedStatement]) -> None:
    """Raise `LakehouseError` where a plan takes the database from another lakehouse."""
    refuse_another(names, next((p.reason for p in planned if p.kind == "foreign"), ""))


def deploy(
    session: Session,
    names: TargetNames,
    contracts: Collection[Contract],
    owner: Owner | None = None,
    *,
    allow_breaking: bool = False,
    take_over: bool = False,
    again: Collection[str] = (),
) -> list[PlannedStatement]:
    """Execute the plan, then record fingerprints; returns what was executed. Repeating it after a crash finishes it.

    again: tables, by their contracts' names, whose rows are not what was handed off; what is known of them is
    forgotten, so that the next hand-off sends them whole.

    Raises `LakehouseError` where the plan breaks readers, or takes the database from another lakehouse, and that is not
    allowed; nothing is executed then.
    """
    planned = [p for p in plan(session, names, contracts, owner) if p.kind != "left"]
    if not take_over:
        refuse_foreign(names, planned)
    if not allow_breaking:
        refuse_breaking(planned)
    recorded = read_fingerprints(session, names)
    created = {p.object for p in planned if p.sql.startswith("CREATE")}
    # A table without a fingerprint was being made when a deployment died.
    remade = {
        n: c for c in contracts if (n := names.table(c)) in created or n not in (recorded or {}) or c.table in again
    }
    if recorded is not None:
        # Before the table is made: were it the other way round, a crash between would leave a table that counts as
        # handed off and is not.
        _forget(session, names, remade)
        point("forgotten")
    for statement in planned:
        session.run(statement.sql)
        if statement.kind == "rebuild":
            point("rebuilt")
    point("described")
    # Once more: a hand-off may have published between what the new table was read from and its taking the old one's
    # place.
    _forget(session, names, remade)
    for contract in remade.values():
        # Here and not at the first hand-off, where two publishers might do it at once.
        session.run(sql.statement("state", "register", **names.sql), contract.table.upper(), contract.table.upper())
    point("registered")
    recorded = read_fingerprints(session, names) or {}
    changed = [o for o in _wanted(names, contracts) if recorded.get(o.name) != o.fingerprint]
    if changed:
        _forget_fingerprints(session, names, [o.name for o in changed])
        session.run(_record_fingerprints(names, changed))
    return planned


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
    session.run(sql.statement("tables", "forget_fingerprints", objects=", ".join(map(sql.text, objects)), **names.sql))


def roles_script(
    names: TargetNames,
    loader: str = "LAKEHOUSE_LOADER",
    reader: str = "LAKEHOUSE_READER",
    warehouse: str = "LAKEHOUSE_WH",
) -> str:
    """A script that makes a loading and a reading role with least privilege. For an administrator; the embedded account
    has no roles.
    """
    fields = {**names.sql, "loader": loader, "reader": reader, "warehouse": warehouse}
    return _script(sql.statement("roles", name, **fields) for name in sql.names("roles"))


def external_lane_script(names: TargetNames, contracts: Collection[Contract], url: str, integration: str) -> str:
    """The other lane, for an account whose files come over a bucket: an external stage, and for each contract an
    external table over its files.

    Rendered, for an administrator; the embedded account has no external stages, and an external table cannot read an
    internal one.
    """
    statements = [sql.statement("external", "stage", url=sql.text(url), integration=integration, **names.sql)]
    for contract in contracts:
        columns = ",\n    ".join(
            f"{c.name.upper()} {c.type.snowflake} AS (VALUE:{c.name}::{c.type.snowflake})" for c in contract.columns
        )
        fields = {
            **names.sql,
            "table": contract.table,
            "external": f"{contract.table.upper()}_EXTERNAL",
            "columns": columns,
        }
        statements += [sql.statement("external", name, **fields) for name in ("table", "refresh")]
    return _script(statements)


def script(names: TargetNames, contracts: Collection[Contract]) -> str:
    """All that a deployment executes in an account that has nothing yet, with the record of it: after this script,
    nothing is left to deploy.
    """
    wanted = _wanted(names, contracts)
    register = sql.statement("state", "register", **names.sql)
    registered = [register % ((sql.text(c.table.upper()),) * 2) for c in contracts]
    return _script([*(o.statement for o in wanted), *registered, _record_fingerprints(names, wanted)])


def _script(statements: Iterable[str]) -> str:
    return "\n\n".join(f"{s};" for s in statements) + "\n"


def _record_fingerprints(names: TargetNames, objects: Collection[_Object]) -> str:
    rows = ", ".join(f"({sql.text(o.name)}, {sql.text(o.fingerprint)})" for o in objects)
    return sql.statement("tables", "record_fingerprints", rows=rows, **names.sql)


def _wanted(names: TargetNames, contracts: Collection[Contract]) -> list[_Object]:
    """Everything that is to be there, in the order of creation."""
    objects = [
        _object(f"{names.database}:{name}", sql.statement("objects", name, **names.sql))
        for name in sql.names("objects")
    ]
    objects += [_object(names.table(c), _create(names, c, "create")) for c in contracts]
    served = {c.table.upper(): names.table(c) for c in contracts}
    objects += [
        _object(
            f"{names.database}:view_{name}",
            sql.statement("views", name, **names.sql),
            frozenset(served[n] for n in needed),
        )
        for name, needed in VIEWS.items()
        if needed <= served.keys()
    ]
    return objects


def _views(names: TargetNames, contracts: Collection[Contract]) -> list[_Object]:
    return [o for o in _wanted(names, contracts) if o.view]


MISSING = (904, 2003, 2043)
"""Error numbers by which Snowflake says that a column or an object does not exist or may not be seen."""

_TABLE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\S+) \(")
_VIEW = re.compile(r"CREATE OR REPLACE VIEW (\S+)")
_COLUMN = re.compile(r"^    ([A-Z_]+) ([A-Z_]+(?:\(\d+,\d+\))?),?$", re.MULTILINE)
"""Name and column of a table as `sql/objects.sql` defines it."""


def _object(name: str, statement: str, reads: frozenset[str] = frozenset()) -> _Object:
    table, view = _TABLE.match(statement), _VIEW.match(statement)
    fingerprint = hashlib.sha256(statement.encode()).hexdigest()[:12]
    return _Object(name, statement, fingerprint, table[1] if table else "", reads, view[1] if view else "")


def read_fingerprints(session: Session, names: TargetNames) -> dict[str, str] | None:
    """What is recorded of each object; None before the first deployment."""
    try:
        return dict(session.run(sql.statement("tables", "read_fingerprints", **names.sql)))
    except ProgrammingError:
        # Not there, or not for this role to see: Snowflake answers both alike. Creating what is missing tells them
        # apart.
        return None


def _read_columns(session: Session, names: TargetNames) -> dict[str, dict[str, _Deployed]]:
    """The columns of every table of the served and the record's schema, by its qualified name."""
    tables: dict[str, dict[str, _Deployed]] = {}
    try:
        rows = session.run(sql.statement("tables", "read_columns", **names.sql), names.analytics, names.ops)
    except ProgrammingError:
        # No such database, or none for this role to see: creating it tells them apart.
        return {}
    for schema, table, column, kind, precision, scale, nullable, comment in rows:
        number = (int(precision), int(scale or 0)) if precision is not None else (None, None)
        columns = tables.setdefault(f"{names.database}.{schema}.{table}", {})
        columns[column] = _Deployed(kind.upper(), *number, str(nullable).upper() != "NO", comment or "")
    return tables


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
    if said := owner.another((row[0], row[1]) for row in found):
        yield PlannedStatement(
            sql.statement("state", "take_over", lakehouse_id=sql.text(owner.id), **names.sql), "foreign", state, said
        )


def _foreign_rows(session: Session, names: TargetNames, contract: Contract, present: Collection[str]) -> int:
    """How many rows a table without a fingerprint holds that are not ours: of one that was being made anew, the ledger
    names the hand-offs.
    """
    if f"{names.sql['ops']}.HANDOFF_LEDGER" in present:
        entered = session.run(sql.statement("state", "handed_off", **names.sql), contract.table.upper())
        if int(entered[0][0]):
            return 0
    return int(session.run(sql.statement("tables", "count_rows", table=names.table(contract)))[0][0])


def _create(names: TargetNames, contract: Contract, which: Literal["create", "replace"]) -> str:
    slices.handoff_slice(contract)
    columns = ",\n    ".join(
        f"{c.name.upper()} {c.type.snowflake}{'' if c.nullable else ' NOT NULL'} COMMENT {sql.text(_comment(c))}"
        for c in contract.columns
    )
    return sql.statement(
        "tables", which, table=names.table(contract), columns=columns, comment=sql.text(_table_comment(contract))
    )


def _comment(column: Column) -> str:
    return column.description + (" [personal data]" if column.personal else "")


def _table_comment(contract: Contract) -> str:
    key = f" Key: {', '.join(k.upper() for k in contract.key)}." if contract.key else ""
    return " ".join(contract.description.split()) + key


def _evolve(
    names: TargetNames, contract: Contract, present: dict[str, _Deployed], *, comments: bool
) -> Iterator[PlannedStatement]:
    """From the deployed columns to the contract's. Where a type cannot be altered the table is made anew: of its own
    rows if they fit.
    """
    table = names.table(contract)
    changes = [(c, present[c.name.upper()]) for c in contract.columns if c.name.upper() in present]
    retyped = {c.name: how for c, was in changes if (how := _retype(c.type, was))}
    lost = [n for n in present if n.lower() not in contract.names]
    rebuilt = "rebuild" in retyped.values()
    if rebuilt or "breaking" in retyped.values():
        said = ", ".join(
            f"{n.upper()} from {_type(present[n.upper()])} to {contract.column(n).type.snowflake}" for n in retyped
        )
        gained = [c.name.upper() for c in contract.columns if c.name.upper() not in present]
        reason = (
            f"changes {said}"
            + (f", adds {', '.join(gained)}" if gained else "")
            + (f", drops {', '.join(lost)}" if lost else "")
        )
        if lost or "breaking" in retyped.values():
            yield PlannedStatement(_create(names, contract, "replace"), "breaking", table, reason)
            return
        yield PlannedStatement(_rebuild(table, contract, present, retyped), "rebuild", table, reason)
    for column in contract.columns:
        name = column.name.upper()
        was = present.get(name)
        fields = {"table": table, "column": name, "type": column.type.snowflake, "comment": sql.text(_comment(column))}
        if was is None and not rebuilt:
            # Nullable whatever the contract says: the rows that are there have no value until they are handed off
            # again.
            yield PlannedStatement(sql.statement("tables", "add_column", **fields), "safe", table, f"adds {name}")
            continue
        if was and retyped.get(column.name) == "safe" and not rebuilt:
            statement = sql.statement("tables", "widen_column", **fields)
            yield PlannedStatement(
                statement, "safe", table, f"widens {name} from {_type(was)} to {column.type.snowflake}"
            )
        if was and column.nullable and not was.nullable:
            yield PlannedStatement(
                sql.statement("tables", "drop_not_null", **fields), "safe", table, f"allows null in {name}"
            )
        elif was and rebuilt and not was.nullable:
            yield PlannedStatement(
                sql.statement("tables", "set_not_null", **fields), "safe", table, f"keeps null out of {name}"
            )
        # A rebuilt table has no comments.
        if (comments or rebuilt) and (was.comment if was and not rebuilt else "") != _comment(column):
            yield PlannedStatement(
                sql.statement("tables", "comment_column", **fields), "safe", table, f"describes {name}"
            )
    for name in lost:
        yield PlannedStatement(
            sql.statement("tables", "drop_column", table=table, column=name), "breaking", table, f"drops {name}"
        )
    if comments or rebuilt:
        statement = sql.statement("tables", "comment_table", table=table, comment=sql.text(_table_comment(contract)))
        yield PlannedStatement(statement, "safe", table, "describes the table")


def _rebuild(table: str, contract: Contract, present: Collection[str], retyped: Collection[str]) -> str:
    """A table made of its own rows: columns of another type cast, new ones null. One statement, so that readers see all
    rows or all rows.
    """

    def value(column: Column) -> str:
        name = column.name.upper()
        if name in present and column.name not in retyped:
            return name
        return f"CAST({name if name in present else 'NULL'} AS {column.type.snowflake}) AS {name}"

    return sql.statement("tables", "rebuild", table=table, columns=",\n    ".join(map(value, contract.columns)))


def _migrate(wanted: _Object, present: Mapping[str, _Deployed]) -> Iterator[PlannedStatement]:
    """From a table of the record as it is to its definition. Columns are added; anything else is left to a person, for
    its rows are the proof.
    """
    said: list[str] = []
    columns = dict(_COLUMN.findall(wanted.statement))
    for column, type_ in columns.items():
        if column not in present:
            statement = sql.statement("tables", "add_record_column", table=wanted.table, column=column, type=type_)
            yield PlannedStatement(statement, "safe", wanted.table, f"adds {column}")
        elif (was := _type(present[column])) != type_:
            said.append(f"{column} is {was}, not {type_}")
    said += [f"{n} is not known" for n in present if n not in columns]
    if said:
        yield PlannedStatement(
            "",
            "left",
            wanted.table,
            f"{', '.join(said)} to this version; migrate it by hand, its rows are the record of hand-offs",
        )


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
    if column.precision is not None:
        return f"{column.type}({column.precision},{column.scale})"
    return "VARCHAR" if column.type == "TEXT" else column.type


def _retype(wanted: ColumnType, was: _Deployed) -> Class | None:
    """How a column gets its new type: not at all, altered in place, with the table made anew, or at the readers'
    cost.
    """
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
    return (
        "rebuild"
        if (family, wanted.kind) in {("date", "timestamp_ntz"), ("number", "string"), ("date", "string")}
        else "breaking"
    )
