"""All contracts by table name, as the declarations of sources and tables give them (`declarations/registry.py` fills it)."""

from lakehouse_assets.core.contracts.contract import Contract
from lakehouse_assets.errors import LakehouseError

CONTRACTS: dict[str, Contract] = {}
"""Every table of the lakehouse by its name `layer.table`."""


def contract(name: str) -> Contract:
    """The contract of a table, by its name `layer.table`. Raises `LakehouseError` for an unknown name."""
    if name not in CONTRACTS:
        raise LakehouseError(f"There is no table {name}; the tables are {', '.join(sorted(CONTRACTS))}.")
    return CONTRACTS[name]
