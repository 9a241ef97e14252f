"""Tables as Dagster knows them: asset keys, step keys and input names, made and read here.

Does not belong here: which tables there are.
"""

from __future__ import annotations

import dagster as dg

SNOWFLAKE = "snowflake"
"""The first part of the key of a served table."""


def asset_key(table: str) -> dg.AssetKey:
    """`layer.table` → the asset key `[layer, table]`."""
    return dg.AssetKey(table.split("."))


def snowflake_key(table: str) -> dg.AssetKey:
    """The asset of a Snowflake table, by its name in lower case."""
    return dg.AssetKey([SNOWFLAKE, table])


def table_of(key: dg.AssetKey) -> str:
    """An asset key → `layer.table`; `snowflake.<table>` of a served one."""
    return ".".join(key.path)


def step_name(table: str) -> str:
    """`layer.table` as Dagster writes it where dots are not allowed: in step keys and input names."""
    return table.replace(".", "__")


def table_of_step(step: str) -> str:
    """A step key → `layer.table`."""
    return step.replace("__", ".")
