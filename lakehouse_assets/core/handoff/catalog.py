"""What the account says is deployed: the columns of tables, what kind an object is, the recorded fingerprints.

Belongs here: asking. Does not belong here: what is to be there (`definitions.py`), what follows (`plan.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.handoff import sql
from lakehouse_assets.core.handoff.names import TargetNames
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.core.handoff.trouble import MISSING
from lakehouse_assets.errors import LakehouseError


class DeployedColumn(NamedTuple):
    """A column as the account describes it."""

    type: str
    precision: int | None
    scale: int | None
    nullable: bool
    comment: str


def read_fingerprints(session: Session, names: TargetNames) -> dict[str, str] | None:
    """What is recorded of each object; None before the first deployment."""
    try:
        return dict(session.run(sql.statement("tables", "read_fingerprints", **names.sql)))
    except ProgrammingError as error:
        if error.errno not in MISSING:
            raise
        # Not there, or not for this role to see: Snowflake answers both alike. Creating what is missing tells them
        # apart.
        return None


def read_columns(session: Session, names: TargetNames) -> dict[str, dict[str, DeployedColumn]]:
    """The columns of every table of the served and the record's schema, by its qualified name."""
    tables: dict[str, dict[str, DeployedColumn]] = {}
    try:
        rows = session.run(sql.statement("tables", "read_columns", **names.sql), names.analytics, names.ops)
    except ProgrammingError as error:
        if error.errno not in MISSING:
            raise
        # No such database, or none for this role to see: creating it tells them apart.
        return {}
    for schema, table, column, kind, precision, scale, nullable, comment in rows:
        number = (int(precision), int(scale or 0)) if precision is not None else (None, None)
        columns = tables.setdefault(f"{names.database}.{schema}.{table}", {})
        columns[column] = DeployedColumn(kind.upper(), *number, str(nullable).upper() != "NO", comment or "")
    return tables


_POLICY = 10
"""In which column DESCRIBE TABLE names the masking policy of a column."""


def masked_columns(session: Session, table: str) -> list[str]:
    """The columns of a table that have a masking policy; one statement, which needs no warehouse."""
    rows = session.run(sql.statement("tables", "describe_table", table=table))
    return [row[0] for row in rows if len(row) > _POLICY and row[_POLICY]]


class ReplacedTableError(LakehouseError):
    """Something that is no table has the name of a served one."""


def replaced(session: Session, names: TargetNames, contracts: Collection[Contract]) -> dict[str, str]:
    """Served table in lower case → what has its name and is no table, with the remedy; one statement.

    Readers and counts find no difference between a table and a view of its name. Only DELETE does.
    """
    kinds = dict(session.run(sql.statement("tables", "read_kinds", **names.sql), names.analytics))
    found = {c.table: kinds.get(c.table.upper(), "BASE TABLE") for c in contracts}
    return {
        table: f"a {kind.lower()} where the served table belongs, so nothing can be published to it; drop the"
        f" {kind.lower()}, rename the table back where it is still there, and run again"
        for table, kind in found.items()
        if kind != "BASE TABLE"
    }


def refuse_replaced(session: Session, names: TargetNames, contract: Contract) -> None:
    """Raise `ReplacedTableError` where something else has the name of the served table."""
    for reason in replaced(session, names, [contract]).values():
        raise ReplacedTableError(f"{names.table(contract)} is {reason}.")
