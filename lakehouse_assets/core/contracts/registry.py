"""All contracts by table name, as the declarations of sources and tables give them; `declarations/registry.py` fills
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from lakehouse_assets.core.contracts.contract import Contract
from lakehouse_assets.errors import LakehouseError

if TYPE_CHECKING:
    from _collections_abc import dict_items, dict_keys, dict_values

_Value = TypeVar("_Value")


class Registered(dict[str, _Value]):
    """What the areas declare, by name. Asked before they are loaded it raises `LakehouseError`: it would be empty, and
    whoever asks would find that there is nothing to do.
    """

    loaded = False

    def _here(self) -> Registered[_Value]:
        if not self.loaded:
            raise LakehouseError("No areas are loaded yet; import lakehouse_assets.areas first.")
        return self

    def put(self, found: Mapping[str, _Value]) -> None:
        """Hold these instead."""
        self.clear()
        super().update(found)
        self.loaded = True

    def __getitem__(self, name: str) -> _Value:
        return dict.__getitem__(self._here(), name)

    def get(self, name: str, default: Any = None) -> Any:
        return dict.get(self._here(), name, default)

    def __len__(self) -> int:
        return dict.__len__(self._here())

    def __iter__(self) -> Iterator[str]:
        return dict.__iter__(self._here())

    def __contains__(self, name: object) -> bool:
        return dict.__contains__(self._here(), name)

    def keys(self) -> dict_keys[str, _Value]:
        return dict.keys(self._here())

    def values(self) -> dict_values[str, _Value]:
        return dict.values(self._here())

    def items(self) -> dict_items[str, _Value]:
        return dict.items(self._here())


CONTRACTS: Registered[Contract] = Registered()
"""Every table of the lakehouse by its name `layer.table`."""


def contract(name: str) -> Contract:
    """The contract of a table, by its name `layer.table`. Raises `LakehouseError` for an unknown name."""
    if name not in CONTRACTS:
        raise LakehouseError(f"There is no table {name}; the tables are {', '.join(sorted(CONTRACTS))}.")
    return CONTRACTS[name]
