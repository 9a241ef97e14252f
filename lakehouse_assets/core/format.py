"""How the drops of a source are written: its columns as they land, and the kind that reads them.

It travels by value to the workers of an engine, which have Python and pyarrow and need no more. Does not belong here:
what a landed row means (`declarations/source.py`), reading (`sources/kinds/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow


@dataclass(frozen=True)
class Landed:
    """A column of a source as it lands: always a text, nothing judged.

    spellings: how a drop may write its name, none: as `name`. optional: a drop may leave it out without being reported.
    """

    name: str
    description: str
    spellings: tuple[str, ...] = ()
    personal: bool = False
    optional: bool = False

    @property
    def written(self) -> tuple[str, ...]:
        return self.spellings or (self.name,)


class Kind(Protocol):
    """How the drops of a source are written."""

    def parse(self, content: bytes, columns: Sequence[Landed]) -> pyarrow.Table:
        """The rows of a drop, in the schema of `rows.drop_schema`; raises `DropProblem` where no row can be read."""
        ...


@dataclass(frozen=True)
class Format:
    """What a worker needs to read a drop; it travels to the workers by value."""

    kind: Kind
    columns: tuple[Landed, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """The names of the value columns."""
        return tuple(column.name for column in self.columns)
