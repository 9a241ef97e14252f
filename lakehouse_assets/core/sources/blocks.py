"""The messages of a topic as drops without a file: a block is what of some consecutive offsets of one partition was
taken in on one day.

Belongs here: the paths of blocks, how far a topic has been taken in, and which blocks the journal does not know as they
are. Does not belong here: brokers and the process that appends messages (`streams/`).

A message never changes, so a block has one content for ever, and its hash is that of its path. Only the last block of a
partition grows: each run that finds it grown lands it again, and so it is judged again. Its batch date is the day on
which the stream took it in, UTC, and never an earlier one than that of the message before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final

from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.delta.commits import PARTITIONS
from lakehouse_assets.core.delta.heads import Head
from lakehouse_assets.core.delta.staging import JOURNAL, Lakehouse
from lakehouse_assets.core.names import TOPICS
from lakehouse_assets.core.sources.journal import Entry, by_path, is_withdrawn
from lakehouse_assets.core.sources.landing import Drop

OFFSETS: Final = 50_000
"""So many offsets are a block: what is judged again where one message has come."""


@dataclass(frozen=True)
class Position:
    """How far one partition has been taken in. first, offset: the first offset taken in, and the one after the last;
    since, day: their batch dates.
    """

    first: int
    offset: int
    since: str
    day: str


def partition_key(partition: int, generation: int) -> str:
    """The name of a partition. generation: how often the topic was made anew, for offsets begin again at 0 then."""
    return f"{partition:05}.{generation}"


def parts_of(key: str) -> tuple[int, int]:
    """Partition and generation of such a name."""
    partition, _, generation = key.partition(".")
    return int(partition), int(generation)


def block_path(source: Source, key: str, day: str, offset: int) -> str:
    """The path of the block of a message. The day comes first, so that files can be passed over by their paths."""
    return f"{source.name}/{TOPICS}/{source.topic}/{day}/{key}/{first_of(offset):019}"


def first_of(offset: int) -> int:
    """The first offset of a block."""
    return offset // OFFSETS * OFFSETS


def content_hash(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()


def is_block(path: str) -> bool:
    """Whether a drop is a block of a topic."""
    return path.split("/")[1:2] == [TOPICS]


def positions(head: Head | None) -> dict[str, Position]:
    """How far a topic has been taken in, by partition: the newest commit of its bronze table says it."""
    said = head.consumed.watermark.get(PARTITIONS, {}) if head and head.consumed else {}
    return {key: Position(**position) for key, position in said.items()}


def watermark(found: Mapping[str, Position]) -> dict[str, Any]:
    """What a commit says of that."""
    return {PARTITIONS: {key: asdict(position) for key, position in sorted(found.items())}}


def journaled(lakehouse: Lakehouse) -> Mapping[str, Any]:
    """Source → how far the journal knows its topic, as the journal's commits keep it."""
    head = lakehouse.store.head(JOURNAL)
    return head.consumed.watermark if head and head.consumed else {}


def grown(
    lakehouse: Lakehouse, source: Source, journal: Iterable[Entry], now: Mapping[str, Position] | None = None
) -> list[Drop]:
    """The blocks that hold messages of which the journal does not know, but for withdrawn ones. Starts no engine.

    now: how far the topic counts as taken in; default: as it is. What stands for the hash of each is that of its path
    and size, so that a block that has grown again is other work for whoever asks what is to be done.
    """
    now = positions(lakehouse.store.head(source.bronze)) if now is None else now
    before = {key: Position(**said) for key, said in journaled(lakehouse).get(source.name, {}).items()}
    may = {
        block_path(source, key, str(date.fromordinal(day)), block)
        for key, position in now.items()
        if (was := before.get(key)) is None or was.offset < position.offset
        for block in range(first_of(was.offset if was else position.first), position.offset, OFFSETS)
        for day in range(_day(was.day if was else position.since), _day(position.day) + 1)
    }
    if not may:
        return []
    there = lakehouse.store.counts(source.bronze, "path", min(may), max(may))
    withdrawn = {
        path for path, of_path in by_path(e for e in journal if e.path in may).items() if is_withdrawn(of_path)
    }
    found = sorted(may & there.keys() - withdrawn)
    return [
        Drop(source.name, path, content_hash(f"{path} {there[path]}"), date.fromisoformat(path.split("/")[3]), 0.0)
        for path in found
    ]


def _day(text: str) -> int:
    return date.fromisoformat(text).toordinal()


def batch_day(today: date, before: Position | None) -> str:
    """The batch date of messages that are taken in today: a clock that was set back moves no message to the day
    before.
    """
    return max(today.isoformat(), before.day) if before else today.isoformat()
