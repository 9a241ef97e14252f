"""What the account says is deployed: the columns of tables, the recorded fingerprints.

Belongs here: asking. Does not belong here: what is to be there (`definitions.py`), what follows (`plan.py`).
"""

from __future__ import annotations

from typing import NamedTuple

from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.core.handoff import sql
from lakehouse_assets.core.handoff.names import TargetNames
from lakehouse_assets.core.handoff.session import Session

MISSING = (904, 2003, 2043)
"""Error numbers by which Snowflake says that a column or an object does not exist or may not be seen."""


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
    except ProgrammingError:
        # Not there, or not for this role to see: Snowflake answers both alike. Creating what is missing tells them
        # apart.
        return None


def read_columns(session: Session, names: TargetNames) -> dict[str, dict[str, DeployedColumn]]:
    """The columns of every table of the served and the record's schema, by its qualified name."""
    tables: dict[str, dict[str, DeployedColumn]] = {}
    try:
        rows = session.run(sql.statement("tables", "read_columns", **names.sql), names.analytics, names.ops)
    except ProgrammingError:
        # No such database, or none for this role to see: creating it tells them apart.
        return {}
    for schema, table, column, kind, precision, scale, nullable, comment in rows:
        number = (int(precision), int(scale or 0)) if precision is not None else (None, None)
        columns = tables.setdefault(f"{names.database}.{schema}.{table}", {})
        columns[column] = DeployedColumn(kind.upper(), *number, str(nullable).upper() != "NO", comment or "")
    return tables
