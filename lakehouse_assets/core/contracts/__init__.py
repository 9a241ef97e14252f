"""What each table promises: one pandera model a table, and what follows from it without I/O.

Belongs here: the models (`bronze.py`, `silver.py`, `gold.py`), the reading of a model into a `Contract`
(`contract.py`), the column types (`types.py`). Does not belong here: judging rows (`core/quality/`), business logic
(`transforms/`), anything that touches a table.
"""

from lakehouse_assets.core.contracts.contract import Column, ColumnType, Contract, HandoffSlice, Rule, TableRule
from lakehouse_assets.core.contracts.registry import CONTRACTS, contract

__all__ = ["CONTRACTS", "Column", "ColumnType", "Contract", "HandoffSlice", "Rule", "TableRule", "contract"]
