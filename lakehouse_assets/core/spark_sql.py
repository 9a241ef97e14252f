"""Spark's SQL text: how names, values and lists are written in it.

Belongs here: quoting and the few predicates that are made of it. Does not belong here: whole statements (they are with
what they do), the SQL of Snowflake and of delta-rs.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any


def quoted(name: str) -> str:
    """A name or a path as an identifier, whatever characters it has."""
    return "`" + name.replace("`", "``") + "`"


def quoted_list(names: Iterable[str]) -> str:
    """Names as identifiers, with commas between them."""
    return ", ".join(map(quoted, names))


def delta_table(uri: str) -> str:
    """The Delta table at a place."""
    return "delta." + quoted(uri)


def literal(value: Any) -> str:
    """A text, a date, a whole number, a decimal or a truth value. Raises `TypeError` for anything else."""
    if isinstance(value, str):
        # Doubled quotes would be read as two literals side by side, and ${…} as a variable of the session.
        escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0").replace("${", "\\u0024{")
        return f"'{escaped}'"
    if type(value) is date:
        return f"DATE '{value.isoformat()}'"
    if isinstance(value, int):
        return str(value).lower()
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise TypeError(f"{value!r} has no literal in Spark SQL here.")


def in_list(expression: str, values: Iterable[Any]) -> str:
    """Whether an expression is one of some values, in their order; false where there are none."""
    listed = ", ".join(map(literal, values))
    return f"{expression} IN ({listed})" if listed else "false"


def between(expression: str, least: Any, greatest: Any) -> str:
    """Whether an expression lies between two values, both included."""
    return f"{expression} BETWEEN {literal(least)} AND {literal(greatest)}"
