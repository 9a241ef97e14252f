"""A broker that speaks the protocol of Kafka, by its own client: what a topic holds, and its messages.

Belongs here: the settings of the client, its errors as sentences. Does not belong here: tables (`process.py`). No
offset is ever taken from the broker: those of the consumer group are written for people's tools alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from lakehouse_assets.errors import LakehouseError, SourceUnavailableError
from lakehouse_assets.settings import Settings

_ASKED_SECONDS = 10.0
_PIECE = 100
"""So many messages are taken from the client at once, so that a batch ends where it is large enough."""
_LASTING = (KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED)
"""Errors that no waiting heals."""
_REFUSED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


def client_settings(settings: Settings) -> dict[str, Any]:
    """What every client is given. Raises `LakehouseError` where no broker is set, or a setting is none."""
    if not settings.kafka:
        raise LakehouseError("No broker is set; set LAKEHOUSE_KAFKA to its address, as broker.example.com:9092.")
    given = settings.kafka_conf.get_secret_value().split() if settings.kafka_conf else []
    if [pair for pair in given if "=" not in pair]:
        raise LakehouseError("LAKEHOUSE_KAFKA_CONF has a part that is not name=value; divide the pairs by blanks.")
    more = dict(pair.split("=", 1) for pair in given)
    # Errors come to `error_cb`; the client would write them to stderr by itself, every tenth of a second.
    return {"bootstrap.servers": settings.kafka, "log_level": 0, "reconnect.backoff.ms": 500, **more}


@dataclass
class Batch:
    """messages: in the order of each partition. ended: partitions of which nothing more was there. passed: whether the
    broker no longer has what was asked for.
    """

    messages: list[Message] = field(default_factory=list)
    ended: set[int] = field(default_factory=set)
    passed: bool = False
    bytes: int = 0


class Broker:
    """The messages of one topic, from offsets that the caller says."""

    def __init__(self, settings: Settings, topic: str, *, most_mb: int):
        self.topic = topic
        self.trouble = ""
        """What the client complains of, in a sentence; empty where all is well."""
        self._lasting = ""
        conf = client_settings(settings)
        self.address = str(conf["bootstrap.servers"])
        self._secrets = [str(v) for k, v in conf.items() if "password" in k or "secret" in k or k.endswith(".pem")]
        self._consumer = _made(
            Consumer,
            {
                "group.id": f"lakehouse_assets.{topic}",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "queued.max.messages.kbytes": max(1024, most_mb * 1024),
                **conf,
                "error_cb": self._complained,
            },
        )

    def _complained(self, error: KafkaError) -> None:
        said = self._plain(error.str())
        if error.code() in _LASTING:
            self._lasting = said
        # What follows a reason says less: that all brokers are down.
        if error.code() != KafkaError._ALL_BROKERS_DOWN or not self.trouble:
            self.trouble = said

    def _plain(self, text: str) -> str:
        for secret in filter(None, self._secrets):
            text = text.replace(secret, "…")
        return " ".join(text.split()).rstrip(".")

    # -- looking -----------------------------------------------------------------------------------------------------

    def partitions(self) -> list[int]:
        """The partitions of the topic. Raises `LakehouseError` where there is no such topic, or where the key or the
        certificate is refused; `SourceUnavailableError` where the broker does not answer.
        """
        found = self._asked(lambda: self._consumer.list_topics(self.topic, timeout=_ASKED_SECONDS)).topics[self.topic]
        if found.error is not None and found.error.code() in _REFUSED:
            raise LakehouseError(
                f"The broker {self.address} does not let us read the topic {self.topic}; allow it there."
            )
        if found.error is not None or not found.partitions:
            raise LakehouseError(
                f"The broker {self.address} has no topic {self.topic}; create it, or send to it first."
            )
        return sorted(found.partitions)

    def bounds(self, partition: int) -> tuple[int, int]:
        """The first offset that a partition still has, and the one after its last."""
        at = TopicPartition(self.topic, partition)
        return self._asked(lambda: self._consumer.get_watermark_offsets(at, timeout=_ASKED_SECONDS, cached=False))

    def _asked(self, ask: Any) -> Any:
        try:
            answer = ask()
        except KafkaException as error:
            self._consumer.poll(0)  # lets the reason come to `error_cb`
            said = self.trouble or self._plain(error.args[0].str())
            if self._lasting:
                raise LakehouseError(
                    f"The broker {self.address} refuses the connection: {self._lasting}; correct LAKEHOUSE_KAFKA_CONF."
                ) from None
            raise SourceUnavailableError(
                f"The broker {self.address} does not answer: {said}; see that it runs and can be reached from here."
            ) from None
        self.trouble = ""
        return answer

    # -- reading -----------------------------------------------------------------------------------------------------

    def begin(self, offsets: Mapping[int, int]) -> None:
        """Read on from these offsets, by partition."""
        self._consumer.assign([TopicPartition(self.topic, p, offset) for p, offset in sorted(offsets.items())])

    def gather(self, seconds: float, most_rows: int, most_bytes: int) -> Batch:
        """What comes within so many seconds; less where it is enough before."""
        batch, until = Batch(), time.monotonic() + seconds
        while len(batch.messages) < most_rows and batch.bytes < most_bytes and not batch.passed:
            left = until - time.monotonic()
            if left <= 0:
                break
            for message in self._consumer.consume(min(_PIECE, most_rows - len(batch.messages)), left):
                self._take(batch, message)
        return batch

    def _take(self, batch: Batch, message: Message) -> None:
        error, partition = message.error(), message.partition()
        if error is None:
            batch.messages.append(message)
            batch.bytes += len(message)
            self.trouble = ""
        elif error.code() == KafkaError._PARTITION_EOF and partition is not None:
            batch.ended.add(partition)
        elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            batch.passed = True
        else:
            self._complained(error)

    def lag(self, offsets: Mapping[int, int]) -> int:
        """How many messages the topic has beyond these offsets, as far as the client knows without asking."""
        ends = {p: self._consumer.get_watermark_offsets(TopicPartition(self.topic, p), cached=True)[1] for p in offsets}
        return sum(max(0, ends[p] - offset) for p, offset in offsets.items())

    def note(self, offsets: Mapping[int, int]) -> None:
        """Tell the broker how far the group is, for people's tools. Nothing depends on it, so nothing waits for it."""
        at = [TopicPartition(self.topic, p, offset) for p, offset in offsets.items() if offset != OFFSET_INVALID]
        self._consumer.commit(offsets=at, asynchronous=True)

    def close(self) -> None:
        self._consumer.close()


def _made(kind: Any, conf: Mapping[str, Any]) -> Any:
    try:
        return kind(dict(conf))
    except (KafkaException, ValueError, TypeError) as error:
        said = error.args[0].str() if isinstance(error, KafkaException) else "it has a value of another kind"
        raise LakehouseError(f"LAKEHOUSE_KAFKA_CONF cannot be used: {said}; correct it.") from None


def send(settings: Settings, topic: str, messages: Sequence[tuple[str, bytes | None]], *, per_second: float) -> None:
    """Send messages, key and value each, at a steady pace (0: as fast as they go). Raises `SourceUnavailableError`."""
    trouble: list[str] = []
    producer = _made(
        Producer,
        {**client_settings(settings), "linger.ms": 5, "enable.idempotence": True, "message.timeout.ms": 30_000},
    )
    began = time.monotonic()
    for number, (key, value) in enumerate(messages):
        if per_second and (wait := began + number / per_second - time.monotonic()) > 0:
            producer.poll(wait)
        while True:
            try:
                producer.produce(
                    topic, value, key, on_delivery=lambda error, _: trouble.append(str(error)) if error else None
                )
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    if producer.flush(40) or trouble:
        raise SourceUnavailableError(
            f"The broker {settings.kafka} did not take all messages for {topic}{f' ({trouble[0]})' if trouble else ''};"
            " see that it runs, and send them again."
        )
