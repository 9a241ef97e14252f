"""The broker inside librdkafka, which speaks the protocol of Kafka over a socket of this machine: four partitions a
topic, and of each the last 100,000 messages or 5 MB.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

PARTITIONS = 4


class MockBroker:
    """A broker that lives in this process, until `stop`."""

    def __init__(self) -> None:
        self._producer: Any = Producer({"test.mock.num.brokers": 1, "log_level": 0, "linger.ms": 1})
        broker = next(iter(self._producer.list_topics(timeout=10).brokers.values()))
        self.address = f"{broker.host}:{broker.port}"

    def send(
        self, topic: str, messages: Iterable[tuple[str | None, bytes | None]], partition: int | None = None
    ) -> None:
        """Send messages, key and value each, and wait until they are there."""
        where = {} if partition is None else {"partition": partition}
        for number, (key, value) in enumerate(messages):
            self._producer.produce(topic, value, key, **where)
            if number % 1000 == 999:
                self._producer.flush()
        assert self._producer.flush(30) == 0

    def bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        """Partition → its first offset and the one after its last."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "bounds", "log_level": 0})
        try:
            return {
                p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10, cached=False)
                for p in range(PARTITIONS)
            }
        finally:
            consumer.close()

    def stop(self) -> None:
        """End it: nobody can reach it any more."""
        self._producer = None
        gc.collect()
