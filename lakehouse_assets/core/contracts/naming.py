"""Which names a table and its columns may have, so that Delta Lake, Spark and Snowflake all take them for the same.

Snowflake folds an unquoted name to upper case and does not take its reserved words; Spark ignores case and Delta does
not. Belongs here: what a name may be. Does not belong here: the quoting of names in SQL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lakehouse_assets.errors import LakehouseError

LONGEST = 128
"""Characters; Snowflake allows 255, and a table's name is lengthened by suffixes in folders and views."""

_NAME = re.compile(r"[a-z_][a-z0-9_]*")

# https://docs.snowflake.com/en/sql-reference/reserved-keywords, for columns or for tables.
_BY_SNOWFLAKE = """
all alter and any as between by case cast check column connect constraint create cross current current_date
current_time current_timestamp
current_user delete distinct drop else exists false following for from full grant group having ilike in increment
inner insert intersect
into is join lateral left like localtime localtimestamp minus natural not null of on or order qualify regexp revoke
right rlike row rows
sample select set some start table tablesample then to trigger true try_cast union unique update using values view
when whenever where with
"""
# The parser of the embedded account takes them for no name.
_BY_OTHERS = "except exclude fetch glob if notnull outer returning unknown"
RESERVED = frozenset(f"{_BY_SNOWFLAKE} {_BY_OTHERS}".split())
"""Words that cannot be the name of a column or table everywhere."""


def refuse_names(contract: str, table: str, columns: Iterable[str]) -> None:
    """Raises `LakehouseError` for the first name that one of the platforms would fold, reserve or refuse."""
    for what, name in (("is named", table), *(("has a column", column) for column in columns)):
        if name in RESERVED:
            raise LakehouseError(
                f"The contract of {contract} {what} {name!r}, a word that SQL reserves; choose another name."
            )
        if len(name) > LONGEST or not _NAME.fullmatch(name):
            shown = name if len(name) <= LONGEST else f"{name[:40]}… ({len(name)} characters)"
            raise LakehouseError(
                f"The contract of {contract} {what} {shown!r}, which the platforms would not all take for the same; "
                f"write at most {LONGEST} small letters, digits and underscores, not beginning with a digit."
            )
