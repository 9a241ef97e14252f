"""The rows of a parsed drop: their columns and how they are collected. No format, no I/O.

Every landed row is one row here, in the order of the drop, numbered from 1. A row that cannot be read has only nulls
for values, and says why; a drop that cannot be read is a single such row with the number 0.
"""

import json
from collections.abc import Container, Sequence
from json.encoder import encode_basestring
from typing import Any, Final

import pyarrow as pa

_AFTER_VALUES: Final = (
    pa.field("_rescued", pa.string()),
    pa.field("row_number", pa.int64()),
    pa.field("_malformed", pa.string()),
    pa.field("_detail", pa.string()),
    pa.field("_raw", pa.string()),
    pa.field("_drift", pa.string()),
)

_PACKED: Final = 50_000
"""So many rows are collected before they are packed."""


class DropProblem(Exception):
    """A drop of which no row can be read: the rule it breaks, one sentence for the person who must fix it, and what is
    other about its columns.
    """

    def __init__(self, rule: str, detail: str, drift: str | None = None):
        super().__init__(detail)
        self.rule = rule
        self.detail = detail
        self.drift = drift


def drop_schema(values: Sequence[str]) -> pa.Schema:
    """The Arrow schema of a parsed drop: the value columns, then `_rescued`, `row_number`, `_malformed`, `_detail`,
    `_raw` and `_drift`; all texts but the number.
    """
    return pa.schema([pa.field(name, pa.string()) for name in values] + list(_AFTER_VALUES))


def drift_column(drift: str | None, rows: int) -> pa.Array:
    """The column `_drift` of a drop: on its first row what is other about its columns, for it is said of the drop and
    not of a row.
    """
    said = pa.array([drift][:rows], pa.string())
    return pa.concat_arrays([said, pa.nulls(rows - len(said), pa.string())])


def rescued_json(unexpected: dict[str, Any]) -> str | None:
    """Unexpected columns that hold a value as a JSON object with sorted keys; None where no such column holds one."""
    held = {name: value for name, value in unexpected.items() if value is not None}
    return as_json(held) if held else None


def unused_key(name: str, position: int, used: Container[str]) -> str:
    """The key of an unexpected column in `_rescued`: its name, made unique by its position where it has none or another
    column took it.
    """
    key = name or f"column_{position + 1}"
    while key in used:
        key = f"{key}_{position + 1}"
    return key


class NumberText(str):
    """A JSON number kept as the text it landed as, so that 1.10 stays 1.10."""


def as_json(value: Any) -> str:
    """JSON text of a value made of str, `NumberText`, bool, None, list and dict; compact, keys sorted, numbers as they
    landed.
    """
    if isinstance(value, NumberText):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{as_json(key)}:{as_json(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(as_json, value)) + "]"
    if isinstance(value, str):
        return encode_basestring(value)
    return json.dumps(value, ensure_ascii=False)


class RowBuilder:
    """Collects the rows of one drop, in order, and hands them out as a table."""

    def __init__(self, values: Sequence[str]):
        self._schema = pa.schema(list(drop_schema(values))[:-1])
        self._width = len(values)
        self._rows: list[tuple[Any, ...]] = []
        self._tables: list[pa.Table] = []
        self._count = 0

    def good(self, values: Sequence[str | None], rescued: str | None = None) -> None:
        """Add a row that could be read; `values` in the order of the value columns."""
        self._add((*values, rescued, self._count + 1, None, None, None))

    def bad(self, rule: str, detail: str, raw: str, row_number: int | None = None) -> None:
        """Add a row that could not be read; `row_number` only where it is not the next."""
        self._add(
            (*[None] * self._width, None, self._count + 1 if row_number is None else row_number, rule, detail, raw)
        )

    def table(self, drift: str | None = None) -> pa.Table:
        """All rows added so far, in the schema of the source; `drift` is what is other about the columns of the
        drop.
        """
        self._pack()
        rows = pa.concat_tables(self._tables) if self._tables else self._schema.empty_table()
        return rows.append_column(_AFTER_VALUES[-1], drift_column(drift, self._count))

    def _add(self, row: tuple[Any, ...]) -> None:
        self._rows.append(row)
        self._count += 1
        if len(self._rows) == _PACKED:
            self._pack()

    def _pack(self) -> None:
        """Turn what was collected into Arrow, which takes a tenth of the memory of Python's objects."""
        if self._rows:
            columns = zip(*self._rows, strict=True)
            self._tables.append(
                pa.table([pa.array(c, f.type) for c, f in zip(columns, self._schema, strict=True)], schema=self._schema)
            )
            self._rows = []
