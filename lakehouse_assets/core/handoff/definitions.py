"""What is to be there: of each object the statement that creates it, from the SQL files and contracts, and its
fingerprint.

Belongs here: definitions. Does not belong here: what is there (`catalog.py`), executing statements.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

from lakehouse_assets.core.contracts import Column, Contract
from lakehouse_assets.core.handoff import slices, sql
from lakehouse_assets.core.handoff.names import TargetNames

VIEWS = {"sales": {"SALES_LINES", "DIM_PRODUCTS", "DIM_CUSTOMERS"}, "freshness": set()}
"""The views of `sql/views.sql`, and the served tables each needs."""

_TABLE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\S+) \(")
_VIEW = re.compile(r"CREATE OR REPLACE VIEW (\S+)")


class Object(NamedTuple):
    """An object that is to be there: its name, the statement that creates it, the fingerprint of its definition, its
    qualified name if it is a table, the served tables that it reads and its qualified name if it is a view.
    """

    name: str
    statement: str
    fingerprint: str
    table: str
    reads: frozenset[str]
    view: str

    @property
    def first(self) -> str:
        """The statement where the object is not there yet. Under COPY GRANTS a view gets none of the grants that are
        to reach future views, so that no other role would see it.
        """
        return self.statement.replace("COPY GRANTS\n", "", 1)


def fits(recorded: Mapping[str, str], names: TargetNames, contracts: Collection[Contract]) -> bool:
    """Whether recorded fingerprints are those of today's definitions. No statement."""
    return all(recorded.get(o.name) == o.fingerprint for o in wanted(names, contracts))


def wanted(names: TargetNames, contracts: Collection[Contract]) -> list[Object]:
    """Everything that is to be there, in the order of creation."""
    objects = [
        _object(f"{names.database}:{name}", sql.statement("objects", name, **names.sql))
        for name in sql.names("objects")
    ]
    objects += [_object(names.table(c), create_table(names, c, "create")) for c in contracts]
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


def views(names: TargetNames, contracts: Collection[Contract]) -> list[Object]:
    """The views over served tables, and those of the record."""
    return [o for o in wanted(names, contracts) if o.view]


def _object(name: str, statement: str, reads: frozenset[str] = frozenset()) -> Object:
    table, view = _TABLE.match(statement), _VIEW.match(statement)
    fingerprint = hashlib.sha256(statement.encode()).hexdigest()[:12]
    return Object(name, statement, fingerprint, table[1] if table else "", reads, view[1] if view else "")


def create_table(names: TargetNames, contract: Contract, which: Literal["create", "replace"]) -> str:
    """The statement that creates a served table, or makes it anew without rows."""
    slices.handoff_slice(contract)
    columns = ",\n    ".join(
        f"{c.name.upper()} {c.type.snowflake}{'' if c.nullable else ' NOT NULL'}"
        f" COMMENT {sql.literal(column_comment(c))}"
        for c in contract.columns
    )
    comment = sql.literal(table_comment(contract))
    return sql.statement("tables", which, table=names.table(contract), columns=columns, comment=comment)


def column_comment(column: Column) -> str:
    """What the account says of a column."""
    return column.description + (" [personal data]" if column.personal else "")


def table_comment(contract: Contract) -> str:
    """What the account says of a table."""
    key = f" Key: {', '.join(k.upper() for k in contract.key)}." if contract.key else ""
    return " ".join(contract.description.split()) + key


def record_fingerprints(names: TargetNames, objects: Collection[Object]) -> str:
    """The statement that records what is deployed."""
    rows = ", ".join(f"({sql.literal(o.name)}, {sql.literal(o.fingerprint)})" for o in objects)
    return sql.statement("tables", "record_fingerprints", rows=rows, **names.sql)
