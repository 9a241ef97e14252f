"""Scripts for an administrator or a pipeline: a whole deployment, the roles, the lane over an external stage.

Belongs here: rendering, from contracts and settings alone. Does not belong here: executing anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.handoff import sql
from lakehouse_assets.core.handoff.definitions import record_fingerprints, wanted
from lakehouse_assets.core.handoff.names import TargetNames


def roles_script(
    names: TargetNames,
    deployer: str = "LAKEHOUSE_DEPLOYER",
    loader: str = "LAKEHOUSE_LOADER",
    reader: str = "LAKEHOUSE_READER",
    warehouse: str = "LAKEHOUSE_WH",
) -> str:
    """A script that makes the database, its schemas and a deploying, a loading and a reading role with least privilege;
    what is deployed already becomes the deploying role's. For an administrator.
    """
    fields = {**names.sql, "deployer": deployer, "loader": loader, "reader": reader, "warehouse": warehouse}
    return _script(sql.statement("roles", name, **fields) for name in sql.names("roles"))


def external_lane_script(
    names: TargetNames, contracts: Collection[Contract], url: str, integration: str, loader: str = "LAKEHOUSE_LOADER"
) -> str:
    """The other lane, for an account whose files come over a bucket: an external stage, and for each contract an
    external table over its files, which the role `loader` may read.

    Rendered, for an administrator; the embedded account has no external stages, and an external table cannot read an
    internal one.
    """
    statements = [sql.statement("external", "stage", url=sql.literal(url), integration=integration, **names.sql)]
    for contract in contracts:
        columns = ",\n    ".join(
            f"{c.name.upper()} {c.type.snowflake} AS (VALUE:{c.name}::{c.type.snowflake})" for c in contract.columns
        )
        fields = {
            **names.sql,
            "table": contract.table,
            "external": f"{contract.table.upper()}_EXTERNAL",
            "columns": columns,
            "loader": loader,
        }
        statements += [sql.statement("external", name, **fields) for name in ("table", "grant", "refresh")]
    return _script(statements)


def script(names: TargetNames, contracts: Collection[Contract]) -> str:
    """All that a deployment executes in an account that has nothing yet, with the record of it: after this script,
    nothing is left to deploy.
    """
    objects = wanted(names, contracts)
    register = sql.statement("state", "register", **names.sql)
    registered = [register % ((sql.literal(c.table.upper()),) * 2) for c in contracts]
    return _script([*(o.first for o in objects), *registered, record_fingerprints(names, objects)])


def _script(statements: Iterable[str]) -> str:
    return "\n\n".join(f"{s};" for s in statements) + "\n"
