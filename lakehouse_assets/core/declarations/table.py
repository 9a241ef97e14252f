"""What a table is: a contract, the tables that it is computed from, and the transform; one declaration.

Belongs here: the declaration of a table that is computed from others. Does not belong here: tables that drops feed
(`source.py`), how a table is brought up to date (`core/delta/staging.py`), any particular table (`domains/`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandera.polars as pa

from lakehouse_assets.core.contracts.contract import Contract
from lakehouse_assets.core.declarations.fingerprint import fingerprint
from lakehouse_assets.core.frames import Inputs, Recomputed, Transform
from lakehouse_assets.errors import LakehouseError


@dataclass(frozen=True)
class Table:
    """A table that is computed from others. Called, it is its transform."""

    contract: Contract
    upstreams: tuple[str, ...]
    transform: Transform

    def __call__(self, inputs: Inputs) -> Recomputed:
        return self.transform(inputs)

    @property
    def name(self) -> str:
        return self.contract.name

    @property
    def code(self) -> Transform:
        """The function that says what a row means."""
        return self.transform

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.transform)


def table(model: type[pa.DataFrameModel], *, upstreams: Sequence[str]) -> Callable[[Transform], Table]:
    """Declare a table: its contract is a pandera model that names it in `Config.name`, as `layer.table`; the decorated
    function is its transform.

    upstreams: the tables whose changes the transform consumes. Raises `LakehouseError` where the contract cannot be
    kept, or gates its sums against a table that is no upstream.
    """
    contract = Contract.of(model)
    if elsewhere := sorted({rule.gate for rule in contract.table_rules if rule.gate} - set(upstreams)):
        raise LakehouseError(
            f"The sums of {contract.name} are gated against {', '.join(elsewhere)}, which is no upstream; name one of"
            f" {', '.join(upstreams)}."
        )
    return lambda transform: Table(contract, tuple(upstreams), transform)
