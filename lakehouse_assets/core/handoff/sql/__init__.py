"""The text of SQL: the statements for Snowflake in the files beside this module, and how a value is written into one.

A file holds statements, each under a line `-- name: <name>`; names in braces are identifiers and generated expressions,
`%s` are values that the connector binds. Identifiers are never quoted: `TargetNames` and the contracts refuse names
that would need it. Does not belong here: executing statements.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def _file(name: str) -> dict[str, str]:
    parts = _NAME.split(files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8"))
    return {parts[i]: parts[i + 1].strip().removesuffix(";") for i in range(1, len(parts), 2)}


def names(file: str) -> list[str]:
    """The statements of a file, in its order."""
    return list(_file(file))


def statement(file: str, name: str, **fields: str) -> str:
    """The statement `name` of `<file>.sql` with its names in braces filled in. Raises KeyError for an unknown one."""
    return _file(file)[name].format(**fields)


def literal(value: str) -> str:
    """A string as a literal, for places where the connector binds no values (comments in DDL)."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def literals(values: Iterable[str]) -> str:
    """Strings as a list of literals."""
    return ", ".join(map(literal, values))


def date_literal(day: date) -> str:
    """A date as a literal."""
    return f"{literal(day.isoformat())}::DATE"
