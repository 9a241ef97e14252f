"""What each table promises: one pandera model a table, and what follows from it without I/O.

Belongs here: the reading of a model into a `Contract` (`contract.py`, `parts.py`, `reading.py`), the column types
(`types.py`), the models of bronze and of side tables (`bronze.py`, `side_tables.py`). Does not belong here: judging
rows (`core/quality/`), business logic and the models of a domain (`domains/`), anything that touches a table.
"""

# ruff: noqa: E402 -- pandera is imported before anything that imports it
from lakehouse_assets.lean import import_contracts

import_contracts()

from lakehouse_assets.core.contracts.contract import Contract
from lakehouse_assets.core.contracts.parts import Column, ColumnType, HandoffSlice, Rule, TableRule
from lakehouse_assets.core.contracts.registry import CONTRACTS, contract

__all__ = ["CONTRACTS", "Column", "ColumnType", "Contract", "HandoffSlice", "Rule", "TableRule", "contract"]
