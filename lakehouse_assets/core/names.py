"""Table names: `layer.table`, made and read here.

Does not belong here: which names are allowed (`contracts/naming.py`), asset keys of Dagster (`orchestration/keys.py`).
"""

from __future__ import annotations

LAYERS = ("bronze", "silver", "gold")

PULLS = "_database"
"""The folder of a source in which its pulls from a database are, which are drops without a file."""

TOPICS = "_topic"
"""The folder of a source in which the blocks of a topic are, which are drops without a file, too."""


def layer_of(table: str) -> str:
    """The layer of a table."""
    return table.partition(".")[0]


def is_bronze(table: str) -> bool:
    """Whether a table holds what landed: the rows of a source, or the journal."""
    return layer_of(table) == "bronze"


def short_name(table: str) -> str:
    """A table without its layer, as Snowflake calls it."""
    return table.partition(".")[2]
