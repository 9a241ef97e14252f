"""What somebody else has done to what is deployed: by one look at all of it, which an account answers from metadata.

Does not belong here: what was changed inside rows (`verify.py`), putting it right (`deploy.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.handoff import sql
from lakehouse_assets.core.handoff.catalog import DeployedColumn, read_columns
from lakehouse_assets.core.handoff.definitions import Object, views
from lakehouse_assets.core.handoff.names import TargetNames
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.core.handoff.state import State
from lakehouse_assets.core.handoff.trouble import MISSING


def altered(session: Session, names: TargetNames, contracts: Collection[Contract], state: State) -> dict[str, str]:
    """Deployed table or view, without schema and in lower case → what somebody else has done to it; by one statement
    where nothing was done.

    That statement is answered from metadata and can be cached: whether every object is there with its columns, and
    every table has as many rows as its last hand-off left. What was changed inside rows, `verify` finds.
    """
    known = [c for c in contracts if names.table(c) in state.objects]
    known_views = [v for v in views(names, known) if v.name in state.objects]
    looks = [_look("count_named", c.table, table=names.table(c)) for c in known]
    looks += [
        _look("compiles", "", object=names.table(c), columns=", ".join(n.upper() for n in c.names)) for c in known
    ]
    looks += [_look("compiles", "", object=v.view, columns="*") for v in known_views]
    if not looks:
        return {}
    try:
        rows = {name: int(count) for name, count in session.run("\nUNION ALL\n".join(looks)) if name}
    except ProgrammingError as error:
        if error.errno not in MISSING:
            raise
        return _lacking(read_columns(session, names), names, known, known_views)
    published = {name.lower(): table for name, table in state.tables.items() if table.version >= 0}
    return {
        name: f"changed by somebody else: it has {count:,} rows where the last hand-off left {published[name].rows:,}"
        for name, count in rows.items()
        if name in published and count != published[name].rows
    }


def _look(which: str, label: str, **fields: str) -> str:
    return sql.statement("tables", which, label=sql.literal(label), **fields)


def _lacking(
    present: Mapping[str, Mapping[str, DeployedColumn]],
    names: TargetNames,
    contracts: Collection[Contract],
    known_views: Collection[Object],
) -> dict[str, str]:
    found: dict[str, str] = {}
    for c in contracts:
        columns = present.get(names.table(c))
        if columns is None:
            found[c.table] = "dropped by somebody else"
        elif lost := [n.upper() for n in c.names if n.upper() not in columns]:
            found[c.table] = f"changed by somebody else: it has no {', '.join(lost)}"
    for v in known_views:
        if v.view not in present or v.reads & {names.table(c) for c in contracts if c.table in found}:
            found[v.view.rpartition(".")[2].lower()] = (
                "a view that was dropped, or reads a table that was, by somebody else"
            )
    # Something is missing all the same, as a column that a view reads.
    return found or {c.table: "changed by somebody else" for c in contracts}
