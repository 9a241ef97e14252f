"""What a `Contract` consists of: columns, types, rules, the slice in which a table travels, how many bad
rows a drop may hold.

Belongs here: values, and what follows from one alone (its Arrow, Spark and Snowflake type). Does not belong here: how
they are read from a model (`reading.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as arrow

Severity = Literal["quarantine", "block", "warn"]

Kind = Literal["string", "bigint", "boolean", "date", "timestamp", "timestamp_ntz", "decimal", "list"]


@dataclass(frozen=True)
class ColumnType:
    """A logical column type; `precision` and `scale` are set for decimals only. `list` is a list of strings."""

    kind: Kind
    precision: int = 0
    scale: int = 0

    @property
    def arrow(self) -> arrow.DataType:
        return {
            "string": arrow.string(),
            "bigint": arrow.int64(),
            "boolean": arrow.bool_(),
            "date": arrow.date32(),
            "timestamp": arrow.timestamp("us", "UTC"),
            "timestamp_ntz": arrow.timestamp("us"),
            "list": arrow.list_(arrow.string()),
        }.get(self.kind) or arrow.decimal128(self.precision, self.scale)

    @property
    def spark(self) -> str:
        """The type in Spark SQL, as used by `cast`."""
        return {"decimal": f"decimal({self.precision},{self.scale})", "list": "array<string>"}.get(self.kind, self.kind)

    @property
    def snowflake(self) -> str:
        """The type in Snowflake DDL."""
        return {
            "string": "VARCHAR",
            "bigint": "NUMBER(38,0)",
            "boolean": "BOOLEAN",
            "date": "DATE",
            "timestamp": "TIMESTAMP_TZ",
            "timestamp_ntz": "TIMESTAMP_NTZ",
            "decimal": f"NUMBER({self.precision},{self.scale})",
            "list": "ARRAY",
        }[self.kind]


@dataclass(frozen=True)
class Rule:
    """One row rule of a contract.

    `name` is `<column>.<check>` (or `row.<check>` for a rule over the whole row); `check` and `statistics` are
    pandera's own.
    """

    name: str
    column: str | None
    check: str
    statistics: tuple[tuple[str, Any], ...]
    severity: Severity
    description: str
    derived: bool = False
    """The column is computed from others, so the rule is judged only on rows that break no rule of a landed column."""


@dataclass(frozen=True)
class TableRule:
    """One rule over a whole table, beside those over its rows.

    kind: `rows` (there are from `least` to `most` of them), `references` (`column` holds only keys of the table
    `other`), `agrees` (`column`, summed by the columns `by`, is the sum of the column `of` of `other` by `theirs` over
    its rows that hold the values `where`), `single` (rows with the same values of `by` have the same `column`). gate:
    the upstream, which has the same columns as `other`, against which the step judges the sums of the days it touches.
    Severity `block` makes its check red, `warn` amber.
    """

    name: str
    kind: Literal["rows", "references", "agrees", "single"]
    severity: Severity
    column: str = ""
    other: str = ""
    by: tuple[str, ...] = ()
    of: str = ""
    where: tuple[tuple[str, Any], ...] = ()
    least: int = 0
    most: int | None = None
    theirs: tuple[str, ...] = ()
    gate: str = ""


@dataclass(frozen=True)
class Column:
    name: str
    type: ColumnType
    nullable: bool
    description: str
    personal: bool = False
    derived: bool = False


@dataclass(frozen=True)
class HandoffSlice:
    """The unit in which a table travels to Snowflake.

    `kind`: `column` (one slice a value of `column`, a date), `hash` (`hash(key) mod buckets`), `whole` (the table is
    one slice).
    """

    kind: Literal["column", "hash", "whole"]
    column: str | None = None
    buckets: int = 0

    def can_be(self, names: Collection[str]) -> bool:
        """Whether a table of these columns can travel so."""
        return (self.kind, self.column in names, self.buckets > 0) in (
            ("column", True, False),
            ("hash", False, True),
            ("whole", False, False),
        )


@dataclass(frozen=True)
class Blocking:
    """A drop is refused when its bad rows, or those that break one rule, are more than `rows` and more than `share` of
    its rows.
    """

    rows: int = 0
    share: float = 0.0
