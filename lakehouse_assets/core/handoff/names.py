"""Where things are in the Snowflake account: the names of database, schemas, stage and tables, as settings.

Does not belong here: connecting, SQL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.contracts.naming import RESERVED
from lakehouse_assets.errors import LakehouseError

_UNQUOTED = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")


@dataclass(frozen=True)
class TargetNames:
    """Unquoted Snowflake identifiers, kept in upper case.

    Raises `LakehouseError` for a name that would need quotes, and where two of the schemas are one, for then a reader
    of the served tables sees others among them.
    """

    database: str = "LAKEHOUSE"
    analytics: str = "ANALYTICS"
    ops: str = "OPS"
    staging: str = "STAGING"
    stage: str = "LAKEHOUSE_STAGE"
    file_format: str = "LAKEHOUSE_PARQUET"

    def __post_init__(self) -> None:
        for field, name in vars(self).items():
            setting = f"LAKEHOUSE_{field.upper()}{'' if field == 'database' else '_SCHEMA'}"
            if not _UNQUOTED.fullmatch(name):
                raise LakehouseError(f"{setting} is {name!r}, which needs quotes; use letters, digits and underscores.")
            if name.lower() in RESERVED:
                raise LakehouseError(f"{setting} is {name!r}, a word that SQL reserves; choose another name.")
            object.__setattr__(self, field, name.upper())
        if len({self.analytics, self.ops, self.staging}) < 3:
            raise LakehouseError(
                f"Two of the Snowflake schemas are one ({self.analytics}, {self.ops}, {self.staging}); give"
                " LAKEHOUSE_ANALYTICS_SCHEMA, LAKEHOUSE_OPS_SCHEMA and LAKEHOUSE_STAGING_SCHEMA different names."
            )

    def table(self, contract: Contract) -> str:
        """The qualified name of the served table of a contract."""
        return f"{self.database}.{self.analytics}.{contract.table.upper()}"

    def view(self, handoff_id: str) -> str:
        """The qualified name of the view through which a hand-off reads its files in place."""
        return f"{self.database}.{self.staging}.HANDOFF_{handoff_id.upper()}"

    def directory(self, contract: Contract, directory: str = "") -> str:
        """The stage path below which the files of a table lie, or one directory of it; with the leading @ and a closing
        slash.
        """
        return f"{self.stage_path}/{contract.table}/{directory}{'/' if directory else ''}"

    @property
    def stage_path(self) -> str:
        return f"@{self.database}.{self.staging}.{self.stage}"

    @property
    def sql(self) -> dict[str, str]:
        """What the SQL files may name in braces."""
        return {
            "database": self.database,
            "analytics": f"{self.database}.{self.analytics}",
            "ops": f"{self.database}.{self.ops}",
            "staging": f"{self.database}.{self.staging}",
            "stage": f"{self.database}.{self.staging}.{self.stage}",
            "file_format": f"{self.database}.{self.staging}.{self.file_format}",
        }
