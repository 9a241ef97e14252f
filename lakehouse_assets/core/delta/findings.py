"""What is said of a table that is not as it was committed: findings, their sentences, the error that carries them.

Does not belong here: finding the damage (`proof.py`, `log_proof.py`, `check.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lakehouse_assets.errors import LakehouseError

SIDES = ("_quarantine", "_verdicts")
"""The endings of side tables, which are made with the silver table that they are named after."""

GONE = "is gone"
"""What is said of a data file that is not there."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was committed. file: below the table's folder; rows: how many rows it concerns, in
    words; cure: what to do, where that is not to make the table anew.
    """

    table: str
    file: str
    what: str
    rows: str
    cure: str = ""

    def sentence(self) -> str:
        """One line: table, file, what is wrong, rows concerned, remedy."""
        return f"{self.table}: {self.file} {self.what} ({self.rows}); {self.cure or remedy(self.table)}"


class DamagedTableError(LakehouseError):
    """Nothing may be read from or written to a table, for it is not as it was committed."""

    def __init__(self, findings: Sequence[Finding]):
        more = f"; and {len(findings) - 1} more, see `lakehouse check {findings[0].table}`" if len(findings) > 1 else ""
        super().__init__(f"{findings[0].sentence()}{more}.")
        self.findings = tuple(findings)


def made_with(table: str) -> str:
    """The table with which another is made: a side table with its silver table, every other with itself."""
    return next((table.removesuffix(side) for side in SIDES if table.endswith(side)), table)


def remedy(table: str) -> str:
    """What to do about a damaged table, in words."""
    return f"run `lakehouse rebuild {made_with(table)}`, then `lakehouse run`"
