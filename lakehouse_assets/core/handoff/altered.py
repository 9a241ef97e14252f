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


def looks(names: TargetNames, contracts: Collection[Contract], deployed: Collection[str] | None = None) -> list[str]:
    """Queries for name and number of rows of served tables, which an account answers from metadata and can cache. They
    compile where every table and view is there with its columns; of what merely compiles the name is empty.
    deployed: objects outside of which no view is looked at.
    """
    found = [_look("count_named", c.table, table=names.table(c)) for c in contracts]
    found += [
        _look("compiles", "", object=names.table(c), columns=", ".join(n.upper() for n in c.names)) for c in contracts
    ]
    known = [v for v in views(names, contracts) if deployed is None or v.name in deployed]
    return found + [_look("compiles", "", object=v.view, columns="*") for v in known]


def altered(session: Session, names: TargetNames, contracts: Collection[Contract], state: State) -> dict[str, str]:
    """Deployed table or view, without schema and in lower case → what somebody else has done to it: an object or column
    that is not there, or another number of rows than the last hand-off left. What was changed inside rows, `verify`
    finds.

    No statement where the state was read with these looks and they compiled.
    """
    known = [c for c in contracts if names.table(c) in state.objects]
    rows, asked = state.counted, looks(names, known, state.objects)
    if rows is None and not asked:
        return {}
    try:
        rows = dict(session.run("\nUNION ALL\n".join(asked))) if rows is None else rows
    except ProgrammingError as error:
        if error.errno not in MISSING:
            raise
        known_views = [v for v in views(names, known) if v.name in state.objects]
        return _lacking(read_columns(session, names), names, known, known_views)
    published = {name.lower(): table for name, table in state.tables.items() if table.version >= 0}
    return {
        name: f"changed by somebody else: it has {int(count):,} rows where the last hand-off left"
        f" {published[name].rows:,}"
        for name, count in rows.items()
        if name in published and int(count) != published[name].rows
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
