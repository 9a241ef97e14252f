"""Which rows and which data files of a table are meant.

Does not belong here: what is wrong with files (`findings.py`), their sums (`sums.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.spark_sql import between, quoted


class Span(NamedTuple):
    """The rows of a table whose `column` lies between two values, both included."""

    column: str
    least: Any
    greatest: Any

    @property
    def sql(self) -> str:
        return between(quoted(self.column), self.least, self.greatest)


class Among(NamedTuple):
    """The rows of a table whose `column` has one of these values, of which None may be one."""

    column: str
    values: Sequence[Any]

    @property
    def span(self) -> Span | None:
        """Where they lie; None where rows without a value may be among them."""
        if None in self.values or not self.values:
            return None
        return Span(self.column, min(self.values), max(self.values))


class DataFile(NamedTuple):
    """A data file of a snapshot: its path as the log writes it, its size in bytes, its rows (None where the log does
    not say).
    """

    path: str
    size: int
    rows: int | None


def span_of(contract: Contract, partitions: Sequence[Any] | None) -> Span | None:
    """Where the rows of these partitions lie; None: anywhere."""
    if not partitions or not contract.partition_by:
        return None
    return Span(contract.partition_by[0], min(partitions), max(partitions))
