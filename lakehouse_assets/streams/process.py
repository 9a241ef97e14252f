"""The process that appends the messages of a topic to its bronze table: in micro-batches, exactly once, until it is
told to stop.

Belongs here: where to go on from, what is done about a broker that is down, a topic that lost messages, another
process. Does not belong here: the client of the broker (`broker.py`), the commit (`core/delta/streamed.py`).

- **Where to go on from** says the table alone. A process that dies at any moment leaves a commit or none.
- **Another process on the same table** makes the commit of one of the two fail. That one drops its batch, waits, and
  goes on from where the table is then; so a second process stands by, and takes over.
- **Messages that are gone** before they were taken in are an error that names them; it is an option to go on without.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.delta.streamed import Appender
from lakehouse_assets.core.sources.blocks import Position, batch_day, partition_key, parts_of, positions, watermark
from lakehouse_assets.errors import LakehouseError, SourceUnavailableError, StaleSliceError
from lakehouse_assets.streams.rows import bronze_rows

if TYPE_CHECKING:
    from confluent_kafka import Message

    from lakehouse_assets.core.delta.staging import Lakehouse
    from lakehouse_assets.streams.broker import Broker

_LOOKED_AGAIN_SECONDS = 30.0
"""After so long the partitions of the topic are asked for again, for it may have got more of them."""
_COMPACTED_AFTER = 500
"""After so many commits the small files are written into few: each commit adds one, and a day would have 170,000."""
_BATCHES_SHOWN = 600


@dataclass(frozen=True)
class Limits:
    """every: seconds of a batch. rows, mb: where it ends before. stand_by: seconds that the second of two processes
    waits.
    """

    every: float = 0.5
    rows: int = 50_000
    mb: int = 32
    stand_by: float = 5.0


@dataclass
class Progress:
    """What a process has done so far. lag: messages that the topic has beyond the table. batches: for the last ones,
    when each was committed, its rows, and the seconds that its oldest message had waited then.
    """

    rows: int = 0
    commits: int = 0
    lag: int = 0
    trouble: str = ""
    batches: deque[tuple[float, int, float]] = field(default_factory=lambda: deque(maxlen=_BATCHES_SHOWN))


class Stream:
    """One process on one topic."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        source: Source,
        broker: Broker,
        limits: Limits,
        *,
        accept_loss: bool = False,
        say: Callable[[str], Any] = lambda _: None,
    ):
        self.lakehouse, self.source, self.broker, self.limits = lakehouse, source, broker, limits
        self.accept_loss, self.say = accept_loss, say
        self.progress = Progress()
        self._positions: dict[str, Position] = {}
        self._keys: dict[int, str] = {}
        """Partition → its name with its generation."""

    def run(self, stopped: Callable[[], bool], *, once: bool = False) -> Progress:
        """Append until `stopped`; once: until all is taken in that was there when it began."""
        targets: dict[int, int] | None = None
        while not stopped():
            try:
                appender = self._begin()
                if targets is None:
                    targets = {p: self.broker.bounds(p)[1] for p in self._keys} if once else {}
                if self._follow(appender, stopped, targets if once else None):
                    break
            except StaleSliceError:
                self.say(f"Another process appends to {self.source.bronze}; standing by.")
                _wait(self.limits.stand_by, stopped)
            except SourceUnavailableError as error:
                if once:
                    raise
                self._tell(str(error))
                _wait(self.limits.every, stopped)
        return self.progress

    # -- where to go on from -----------------------------------------------------------------------------------------

    def _begin(self) -> Appender:
        """Go on from where the table is."""
        partitions = self.broker.partitions()
        self._tell("")
        head = self.lakehouse.head(self.source.bronze_contract)
        self._positions = positions(head)
        appender = Appender(self.lakehouse.store, self.source.bronze_contract)
        if any(appender.offset(key) != position.offset for key, position in self._positions.items()):
            raise StaleSliceError(f"{self.source.bronze} was appended to while it was opened.")
        newest = {p: 0 for p in partitions}
        for partition, generation in map(parts_of, self._positions):
            newest[partition] = max(newest.get(partition, 0), generation)
        self._keys = {p: partition_key(p, newest[p]) for p in partitions}
        self.broker.begin({partition: self._first(partition) for partition in partitions})
        return appender

    def _first(self, partition: int) -> int:
        """The offset from which a partition is read. Raises `LakehouseError` where messages before it are lost."""
        low, high = self.broker.bounds(partition)
        position = self._positions.get(self._keys[partition])
        if position is None:
            return low
        table, topic = self.source.bronze, self.source.topic
        if position.offset > high:
            if not self.accept_loss:
                raise LakehouseError(
                    f"Partition {partition} of {topic} ends at offset {high}, and {table} has it up to"
                    f" {position.offset}: the topic was made anew; to take it in from its beginning, run `lakehouse"
                    " stream --accept-loss`."
                )
            number, generation = parts_of(self._keys[partition])
            self._keys[partition] = partition_key(number, generation + 1)
            self.say(f"Partition {partition} of {topic} was made anew; it is taken in from offset {low} on.")
            return low
        if position.offset < low:
            lost = f"{low - position.offset:,} messages of partition {partition} of {topic}"
            gap = f"offsets {position.offset} to {low - 1}"
            if not self.accept_loss:
                raise LakehouseError(
                    f"The broker no longer has {lost} that {table} lacks ({gap}), for their retention has passed; to go"
                    " on without them, run `lakehouse stream --accept-loss`."
                )
            self.say(f"Going on without {lost} ({gap}).")
            return low
        return position.offset

    # -- appending ---------------------------------------------------------------------------------------------------

    def _follow(self, appender: Appender, stopped: Callable[[], bool], targets: Mapping[int, int] | None) -> bool:
        """Append batch after batch; True where all is done, False where the topic is to be looked at again."""
        waits = {p for p, end in (targets or {}).items() if self._reached(p) < end}
        looked = time.monotonic()
        while not stopped():
            if targets is not None and not waits:
                return True
            batch = self.broker.gather(self.limits.every, self.limits.rows, self.limits.mb * 1_000_000)
            if batch.messages:
                self._append(appender, batch.messages)
                if self.progress.commits % _COMPACTED_AFTER == 0:
                    self.lakehouse.store.optimize(self.source.bronze)
            if batch.passed:
                return False
            waits = {p for p in waits if p not in batch.ended and self._reached(p) < (targets or {})[p]}
            self._tell(f"The broker {self.broker.address}: {self.broker.trouble}." if self.broker.trouble else "")
            if targets is not None and self.broker.trouble and not batch.messages:
                raise SourceUnavailableError(
                    f"The broker {self.broker.address} does not answer: {self.broker.trouble}; see that it runs and can"
                    " be reached from here."
                )
            if time.monotonic() - looked > _LOOKED_AGAIN_SECONDS:
                return False
        return True

    def _reached(self, partition: int) -> int:
        position = self._positions.get(self._keys[partition])
        return position.offset if position else -1

    def _append(self, appender: Appender, messages: list[Message]) -> None:
        """One batch: one commit. Raises `StaleSliceError` where another process was first."""
        today, first, last = datetime.now(UTC).date(), dict[str, int](), dict[str, int]()
        for message in messages:
            key, offset = self._keys[message.partition() or 0], message.offset() or 0
            first.setdefault(key, offset)
            last[key] = offset
        days = {key: batch_day(today, self._positions.get(key)) for key in first}
        moved = dict(self._positions)
        spans: dict[str, tuple[int | None, int]] = {}
        for key, end in last.items():
            before = self._positions.get(key)
            spans[key] = (before.offset if before else None, end + 1)
            begun = (before.first, before.since) if before else (first[key], days[key])
            moved[key] = Position(begun[0], end + 1, begun[1], days[key])
        rows = bronze_rows(self.source, messages, self._keys, days)
        appender.append(rows, spans, watermark(moved))
        self._positions = moved
        self._note(messages, last)

    def _note(self, messages: list[Message], last: Mapping[str, int]) -> None:
        now = time.time()
        oldest = min((stamp for kind, stamp in (m.timestamp() for m in messages) if kind), default=int(now * 1000))
        self.progress.rows += len(messages)
        self.progress.commits += 1
        self.progress.batches.append((now, len(messages), now - oldest / 1000))
        self.broker.note({parts_of(key)[0]: offset + 1 for key, offset in last.items()})
        self.progress.lag = self.broker.lag({p: self._reached(p) for p in self._keys if self._reached(p) >= 0})

    def _tell(self, trouble: str) -> None:
        """Say what is wrong once, and once that it is no more."""
        if trouble and not self.progress.trouble:
            self.say(f"{trouble.rstrip('.')}. Trying again; nothing is lost.")
        elif not trouble and self.progress.trouble:
            self.say("The broker answers again.")
        self.progress.trouble = trouble


def _wait(seconds: float, stopped: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stopped():
        time.sleep(min(0.1, seconds))
