"""What a staged slice must be, whichever store publishes it, and which rows of its table it meets.

Belongs here: its columns and their names, the errors for a slice that is refused. Does not belong here: writing a slice
(`staging.py`), what its rows must say (`core/quality/`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.spark_sql import quoted
from lakehouse_assets.errors import LakehouseError, StaleSliceError

OPERATION = "_op"
"""The column of a staged slice that says what becomes of the row: `I` insert, `U` update, `D` delete."""

ORIGIN = "_from"
"""The column that a staged slice may have beside it: the partition in which the row is before; null for a row that is
new.
"""


def refuse_moved(name: str, base_version: int, version: int) -> None:
    """Raise `StaleSliceError` where a table is no longer at the version that a slice was computed against."""
    if version != base_version:
        raise StaleSliceError(f"{name} has moved from version {base_version} to {version} meanwhile.")


def refuse_columns(contract: Contract, found: Iterable[str]) -> None:
    """Raise `LakehouseError` where a slice has other columns than its contract, `_op` and perhaps `_from`."""
    wanted, have = {*contract.names, OPERATION}, set(found) - {ORIGIN}
    if wanted != have:
        said = [f"lacks {', '.join(sorted(wanted - have))}"] if wanted - have else []
        said += [f"also has {', '.join(sorted(have - wanted))}"] if have - wanted else []
        raise LakehouseError(
            f"The slice for {contract.name} {' and '.join(said)}; stage exactly the columns of its contract."
        )


def refuse_types(contract: Contract, found: Mapping[str, str]) -> None:
    """Raise `LakehouseError` where a slice has other types than its contract.

    found: the type of each column in Spark SQL. A table would cast them, and lose what its type cannot hold.
    """
    wrong = [
        f"{c.name} is {found[c.name]}, not {c.type.spark}" for c in contract.columns if found[c.name] != c.type.spark
    ]
    if wrong:
        raise LakehouseError(
            f"In the slice for {contract.name} {' and '.join(wrong)}; cast to the types of its contract in its"
            " transform."
        )


def required(contract: Contract) -> list[str]:
    """The columns that are never null."""
    return [c.name for c in contract.columns if not c.nullable]


def refuse_nulls(contract: Contract, nulls: Mapping[str, int]) -> None:
    """Raise `LakehouseError` where a slice has nulls in columns that may have none.

    nulls: how many there are in each column that its contract says is never null. The table itself does not refuse
    them: Sail 0.7.2 cannot read a column that is NOT NULL once delta-rs has merged into it.
    """
    broken = [f"{n} in {c}" for c, n in nulls.items() if n]
    if broken:
        raise LakehouseError(
            f"The slice for {contract.name} holds nulls that its contract does not allow ({', '.join(broken)}); nothing"
            " was published, fix its transform."
        )


UNWRITABLE = ("", "__HIVE_DEFAULT_PARTITION__")
"""Texts that Delta and its readers take for null where they are the value of a partition. Source: the Delta protocol,
"Partition Value Serialization".
"""


def partition_text(contract: Contract) -> str | None:
    """The partition column, where it is one of texts."""
    return next((c for c in contract.partition_by if contract.column(c).type.kind == "string"), None)


def refuse_unwritable(contract: Contract, rows: int) -> None:
    """Raise `LakehouseError` where a slice has texts in its partition column that would come back as null. rows: how
    many.
    """
    if rows:
        raise LakehouseError(
            f"In the slice for {contract.name} {rows} rows have an empty text, or {UNWRITABLE[1]}, in"
            f" {partition_text(contract)}, by which the table is partitioned: Delta takes that for null; nothing was"
            " published, put another value there in its transform."
        )


def doubled_key(contract: Contract) -> LakehouseError:
    """The error for a slice that has a key more than once. An engine refuses a key that updates a row twice, but
    inserts one that is new as often as it comes.
    """
    return LakehouseError(
        f"The slice for {contract.name} holds a key ({', '.join(contract.key)}) more than once; nothing was published,"
        " fix its transform."
    )


def meeting(contract: Contract, partitions: Sequence[Any] | None, literal: Callable[[Any], str]) -> str:
    """The predicate by which a merge finds the row `t` of a table for the row `s` of a slice; partitions: where to
    look, None for everywhere. literal: how the engine writes a value.
    """
    on = [f"t.{quoted(k)} = s.{quoted(k)}" for k in contract.key]
    if partitions is not None and contract.partition_by:
        on.append(f"t.{quoted(contract.partition_by[0])} IN ({', '.join(map(literal, partitions))})")
    return " AND ".join(on)
