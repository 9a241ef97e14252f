"""File formats and stages as objects: describing them, and altering a file format.

What belongs here: DESCRIBE FILE FORMAT, DESCRIBE STAGE, ALTER FILE FORMAT, which fakesnow does not have. What does not:
reading files by a format (`parquet.py`), CREATE and DROP (`definitions.py`).
"""

import json
import re
from typing import Any

import sqlglot
from duckdb import DuckDBPyConnection
from fakesnow.transforms.file_format import lookup_file_format
from fakesnow.transforms.options import parse_options
from sqlglot import Expr, exp

from lakehouse_assets.embedded_snowflake.errors import compilation_error, does_not_exist
from lakehouse_assets.embedded_snowflake.names import Context, ObjectName

_SCHEMA = "_fs_global._fs_information_schema"
_ALTER = re.compile(r"ALTER\s+FILE\s+FORMAT\s+(?P<name>\S+)\s+SET\s+(?P<options>.+)", re.IGNORECASE | re.DOTALL)
_FORMAT = ("property", "property_type", "property_value", "property_default")
_PARQUET: dict[str, Any] = {
    "TRIM_SPACE": False,
    "NULL_IF": ["\\\\N"],
    "COMPRESSION": "AUTO",
    "BINARY_AS_TEXT": True,
    "USE_LOGICAL_TYPE": False,
    "USE_VECTORIZED_SCANNER": False,
    "REPLACE_INVALID_CHARACTERS": False,
}
"""The options of a Parquet format with their defaults."""

Described = tuple[tuple[str, ...], list[tuple]]


def describe(duck: DuckDBPyConnection, expression: Expr, context: Context) -> Described | None:
    """Names of columns and rows of DESCRIBE FILE FORMAT or DESCRIBE STAGE; None if it is another statement."""
    kind = str(expression.args.get("kind")).upper() if isinstance(expression, exp.Describe) else ""
    if kind not in ("FILE FORMAT", "STAGE"):
        return None
    name = ObjectName.of(expression.this, context)
    if kind == "FILE FORMAT":
        return _FORMAT, _rows(lookup_file_format(duck, str(name), None, None))
    found = duck.execute(
        f"SELECT url FROM {_SCHEMA}._fs_stages WHERE database_name = ? AND schema_name = ? AND name = ?", list(name)
    ).fetchone()
    if found is None:
        raise does_not_exist("Stage", str(name))
    return ("parent_property", *_FORMAT), [("STAGE_LOCATION", "URL", "String", found[0] or "", "")]


def _rows(options: dict[str, Any]) -> list[tuple]:
    defaults = {"TYPE": "CSV"} | (_PARQUET if options.get("TYPE") == "PARQUET" else {})
    return [
        (name, _type(value), _text(value), _text(defaults.get(name, "")))
        for name, value in {**defaults, **options}.items()
    ]


def _type(value: Any) -> str:
    return {bool: "Boolean", list: "List", int: "Integer"}.get(type(value), "String")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def altered(text: str, context: Context) -> ObjectName | None:
    """The file format that ALTER FILE FORMAT is about; None if it is another statement."""
    if not (match := _ALTER.fullmatch(text)):
        return None
    return ObjectName.of(exp.to_table(match["name"], dialect="snowflake"), context)


def alter(duck: DuckDBPyConnection, text: str, context: Context) -> bool:
    """Whether a statement is ALTER FILE FORMAT … SET; then it is done. Raises ProgrammingError where there is none, or
    another type is asked for.
    """
    if not (match := _ALTER.fullmatch(text)):
        return False
    created = sqlglot.parse_one(f"CREATE FILE FORMAT {match['name']} {match['options']}", read="snowflake")
    name = ObjectName.created(created, context)
    properties = created.args.get("properties")
    set_ = parse_options(properties.expressions if properties else [])
    options = lookup_file_format(duck, str(name), None, None)
    if set_.pop("TYPE", options["TYPE"]) != options["TYPE"]:
        raise compilation_error(f"File format type of {name} cannot be changed.")
    duck.execute(
        f"UPDATE {_SCHEMA}._fs_file_formats SET options = ? WHERE database_name = ? AND schema_name = ? AND name = ?",
        [json.dumps({**options, **set_}), *name],
    )
    return True
