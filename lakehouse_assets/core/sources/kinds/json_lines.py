"""Drops of JSON lines, one object a line (https://jsonlines.org). Reads values as they landed; whether a key must be
there is the contract's business.

A number lands as the text it was written as, a boolean as true or false, a nested value as JSON text, null as null.
Upper and lower case and blanks around a key make no difference, nor does the order of keys. Keys that are not known go
to `_rescued`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from lakehouse_assets.core.format import Landed
from lakehouse_assets.core.sources.drift import column_drift
from lakehouse_assets.core.sources.lines import (
    JSON_LINES,
    MAX_COLUMNS,
    BadLine,
    as_text,
    drop_body,
    readable,
    truncated_line,
    visible,
)
from lakehouse_assets.core.sources.rows import DropProblem, NumberText, RowBuilder, as_json, rescued_json

_NOT_TEXT: Final = frozenset({"row.nul", "row.encoding"})
_ESCAPED_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*+\\u0000")


@dataclass(frozen=True)
class JsonLines:
    """One JSON object a line, UTF-8, gzipped or not."""

    def parse(self, content: bytes, columns: Sequence[Landed]) -> pa.Table:
        """The records of a drop; raises `DropProblem` where no line of it is text."""
        body, remainder = drop_body(content, JSON_LINES)
        spellings = {column.name: column.written for column in columns}
        column_of = columns_by_key(columns)
        rows = RowBuilder(list(spellings))
        text_seen = False
        keys: dict[str, None] = {}
        for line in body.splitlines():
            if not line.strip():
                continue
            try:
                record, known, rescued = read_object(line, column_of)
            except BadLine as problem:
                rows.bad(problem.rule, problem.detail, problem.raw)
                text_seen |= problem.rule not in _NOT_TEXT
            else:
                rows.good([known.get(name) for name in spellings], rescued)
                keys.update(dict.fromkeys(visible(key) for key in record))
                text_seen = True
        if not text_seen:
            raise DropProblem(
                "drop.unreadable", "No line of the drop is UTF-8 text; send it as JSON lines, encoded as UTF-8."
            )
        if remainder is not None:
            lost = truncated_line(remainder)
            rows.bad(lost.rule, lost.detail, lost.raw)
        optional = [column.name for column in columns if column.optional]
        drift = column_drift(list(keys), spellings, optional=optional, ordered=False) if keys else None
        return rows.table(drift)


def columns_by_key(columns: Sequence[Landed]) -> dict[str, str]:
    """Every spelling of a key in lower case → its column."""
    return {written.lower(): column.name for column in columns for written in column.written}


def read_object(line: bytes, column_of: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str | None], str | None]:
    """The object of a line, its values by column as they landed, and its unexpected keys as JSON. Raises `BadLine`."""
    record = _record(as_text(line), line)
    return record, *_values(record, column_of, line)


def _record(text: str, line: bytes) -> dict[str, Any]:
    """The object of a line. Raises `BadLine` (`row.json`)."""
    try:
        record = _DECODER.decode(text)
        if not isinstance(record, dict):
            raise ValueError("it is not a JSON object")
        return record
    except (ValueError, RecursionError) as error:
        raise _not_json(error, line) from error


def _values(
    record: dict[str, Any], column_of: Mapping[str, str], line: bytes
) -> tuple[dict[str, str | None], str | None]:
    """The values of a record by column as they landed, and its unexpected keys as JSON. Raises `BadLine` (`row.json`
    where two keys name one column or an escape is half a character, `row.nul`).
    """
    known: dict[str, str | None] = {}
    unexpected: dict[str, Any] = {}
    try:
        for key, value in record.items():
            column = column_of.get(visible(key).lower())
            if column is None:
                unexpected[key] = value
            elif column in known:
                raise ValueError(f"it holds the key {json.dumps(column)} more than once")
            else:
                known[column] = _as_landed(value)
        rescued = rescued_json(unexpected)
        if b"\\u" in line:
            # half a character cannot be encoded: a ValueError
            "".join(value for value in [*known.values(), rescued] if value is not None).encode()
            if _ESCAPED_NUL.search(line.decode()):
                raise BadLine("row.nul", "The line holds an escaped NUL character; remove it.", readable(line))
    except (ValueError, RecursionError) as error:
        raise _not_json(error, line) from error
    return known, rescued


def _not_json(error: Exception, line: bytes) -> BadLine:
    return BadLine(
        "row.json", f"The line is not one JSON object: {_reason(error)}; send one object a line.", readable(line)
    )


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
