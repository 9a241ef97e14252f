"""Customer drops: change records of the CRM as JSON lines, one object a line. Reads values as they landed; whether a
key must be there is the contract's business.

A number lands as the text it was written as, a boolean as true or false, a nested value as JSON text, null as null.
Upper and lower case and blanks around a key make no difference, nor does the order of keys. Keys that are not known go
to `_rescued`.
"""

import json
import re
from typing import Any, Final

import pyarrow as pa

from lakehouse_assets.sources.drift import column_drift
from lakehouse_assets.sources.lines import (
    JSON_LINES,
    MAX_COLUMNS,
    BadLine,
    as_text,
    drop_body,
    readable,
    truncated_line,
    visible,
)
from lakehouse_assets.sources.rows import BRONZE_VALUES, DropProblem, NumberText, RowBuilder, as_json, rescued_json

_VALUES: Final = BRONZE_VALUES["customers"]
_KEYS: Final = {name: (name,) for name in _VALUES}
_OPTIONAL: Final = ("deleted",)
"""Keys that may be missing from every record: most customers are never ended."""
_NOT_TEXT: Final = frozenset({"row.nul", "row.encoding"})
_ESCAPED_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*+\\u0000")


def parse_customers(content: bytes) -> pa.Table:
    """The change records of a drop; raises `DropProblem` where no line of it is text."""
    body, remainder = drop_body(content, JSON_LINES)
    rows = RowBuilder("customers")
    text_seen = False
    keys: dict[str, None] = {}
    for line in body.splitlines():
        if not line.strip():
            continue
        try:
            record = _record(as_text(line), line, keys)
        except BadLine as problem:
            rows.bad(problem.rule, problem.detail, problem.raw)
            text_seen |= problem.rule not in _NOT_TEXT
        else:
            rows.good(*record)
            text_seen = True
    if not text_seen:
        raise DropProblem(
            "drop.unreadable", "No line of the drop is UTF-8 text; send it as JSON lines, encoded as UTF-8."
        )
    if remainder is not None:
        lost = truncated_line(remainder)
        rows.bad(lost.rule, lost.detail, lost.raw)
    return rows.table(column_drift(list(keys), _KEYS, optional=_OPTIONAL, ordered=False) if keys else None)


def _record(text: str, line: bytes, keys: dict[str, None]) -> tuple[list[str | None], str | None]:
    """The values of a line and its unexpected keys as JSON; notes its keys, blanks taken off, in `keys`. Raises
    `BadLine` (`row.json`, `row.nul`).
    """
    try:
        record = _DECODER.decode(text)
        if not isinstance(record, dict):
            raise ValueError("it is not a JSON object")
        known, unexpected = _by_column(record)
        values = [_as_landed(known.get(name)) for name in _VALUES]
        rescued = rescued_json(unexpected)
        if "\\u" in text:
            # half a character cannot be encoded: a ValueError
            "".join(value for value in [*values, rescued] if value is not None).encode()
            if _ESCAPED_NUL.search(text):
                raise BadLine("row.nul", "The line holds an escaped NUL character; remove it.", readable(line))
    except (ValueError, RecursionError) as error:
        raise BadLine(
            "row.json", f"The line is not one JSON object: {_reason(error)}; send one object a line.", readable(line)
        ) from error
    keys.update(dict.fromkeys(visible(key) for key in record))
    return values, rescued


def _by_column(record: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of a record by column, and those of its unexpected keys; raises `ValueError` where two keys name one
    column.
    """
    known: dict[str, Any] = {}
    unexpected: dict[str, Any] = {}
    for key, value in record.items():
        column = visible(key).lower()
        if column not in _KEYS:
            unexpected[key] = value
        elif column in known:
            raise ValueError(f"it holds the key {json.dumps(column)} more than once")
        else:
            known[column] = value
    return known, unexpected


def _as_landed(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return None if value is None else str(value)
    return as_json(value)


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg[0].lower()}{error.msg[1:]} (character {error.pos + 1})"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeEncodeError):
        return "an escape names half a character"
    return str(error)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_COLUMNS:
        raise ValueError(f"it holds {len(pairs):,} keys, more than {MAX_COLUMNS:,}")
    record = dict(pairs)
    if len(record) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"it holds the key {json.dumps(twice[0])} more than once")
    return record


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_once, parse_int=NumberText, parse_float=NumberText, parse_constant=_no_constant
)
