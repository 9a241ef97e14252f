"""Messages → rows of a bronze table. Does not belong here: brokers, commits, what a value says."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.sources.blocks import block_path, content_hash, first_of

if TYPE_CHECKING:
    from confluent_kafka import Message

_NOT_TEXT = "row.encoding"


def bronze_rows(
    source: Source, messages: Sequence[Message], keys: Mapping[int, str], days: Mapping[str, str]
) -> pa.Table:
    """keys: partition → its name with its generation; days: that name → the batch date of its messages."""
    partitions: list[Any] = [m.partition() for m in messages]
    offsets: list[Any] = [m.offset() for m in messages]
    paths = [(keys[p], first_of(o)) for p, o in zip(partitions, offsets, strict=True)]
    of = {at: block_path(source, at[0], days[at[0]], at[1]) for at in set(paths)}
    hashes = {at: content_hash(path) for at, path in of.items()}
    values = [m.value() for m in messages]
    texts = [_text(value) for value in values]
    unread = [value is not None and text is None for value, text in zip(values, texts, strict=True)]
    columns = {
        "topic": pa.repeat(pa.scalar(source.topic), len(messages)),
        "partition": pa.array(partitions, pa.int64()).cast(pa.string()),
        "offset": pa.array(offsets, pa.int64()).cast(pa.string()),
        "timestamp": _instants(messages),
        "key": pa.array([_readable(m.key()) for m in messages], pa.string()),
        "value": pa.array(texts, pa.string()),
        "_malformed": pa.array([_NOT_TEXT if bad else None for bad in unread], pa.string()),
        "_detail": pa.array(
            ["The value is not UTF-8; send it as JSON." if bad else None for bad in unread], pa.string()
        ),
        "_raw": pa.array(
            [_readable(value) if bad else None for bad, value in zip(unread, values, strict=True)], pa.string()
        ),
        "path": pa.array([of[at] for at in paths], pa.string()),
        "content_hash": pa.array([hashes[at] for at in paths], pa.string()),
        "row_number": pa.array([o - at[1] + 1 for o, at in zip(offsets, paths, strict=True)], pa.int64()),
        "batch_date": pa.array([days[at[0]] for at in paths], pa.string()).cast(pa.date32()),
    }
    schema = pa.schema([pa.field(f.name, f.type) for f in source.bronze_contract.arrow_schema])
    nothing = pa.nulls(len(messages), pa.string())
    return pa.table([columns.get(f.name, nothing).cast(f.type) for f in schema], schema=schema)


def _instants(messages: Sequence[Message]) -> pa.Array:
    """The time of each message, as 2026-09-01T12:00:00.000Z; null where the broker gives none."""
    stamps = [stamp if kind else None for kind, stamp in (m.timestamp() for m in messages)]
    options = pc.StrftimeOptions(format="%Y-%m-%dT%H:%M:%SZ")
    return pc.call_function("strftime", [pa.array(stamps, pa.timestamp("ms", "UTC"))], options)


def _text(value: Any) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _readable(value: Any) -> str | None:
    """A key or value as text, whatever its bytes are."""
    if value is None or isinstance(value, str):
        return value
    text = _text(value)
    return "base64:" + base64.b64encode(value).decode() if text is None else text
