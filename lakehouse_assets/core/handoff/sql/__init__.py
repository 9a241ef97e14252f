"""Finds statements in the SQL files beside this module.

A file holds statements, each under a line `-- name: <name>`; names in braces are identifiers and generated expressions,
`%s` are values that the connector binds. Does not belong here: executing them.
"""

from __future__ import annotations

import re
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


def text(value: str) -> str:
    """A string as a SQL literal, for places where the connector binds no values (comments in DDL)."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
