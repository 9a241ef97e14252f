"""What the broker inside the client cannot do, on Apache Kafka itself: keys, transactions, deleted records and topics,
a broker that dies.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("confluent_kafka", reason="the extra `streaming` is not installed")

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import NewTopic  # pyright: ignore[reportPrivateImportUsage] -- where its docs name it

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.settings import Settings
from lakehouse_assets.streams.broker import Broker
from lakehouse_assets.streams.process import Limits, Stream
from lakehouse_assets_tests import kafka_server
from lakehouse_assets_tests.kafka_server import Kafka
from lakehouse_assets_tests.streams.conftest import Taken
from lakehouse_assets_tests.streams.test_process import TOPIC, numbered

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    if reason := kafka_server.missing():
        pytest.skip(reason)
    with kafka_server.server(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka


@pytest.fixture
def kafka(started: Kafka) -> Kafka:
    """With an empty topic of four partitions."""
    made_anew(started)
    return started


def made_anew(kafka: Kafka) -> None:
    admin = kafka.admin()
    if TOPIC in admin.list_topics(timeout=10).topics:
        admin.delete_topics([TOPIC])[TOPIC].result(30)
    while TOPIC in admin.list_topics(timeout=10).topics:
        pass
    admin.create_topics([NewTopic(TOPIC, 4, 1)])[TOPIC].result(30)


def send(kafka: Kafka, first: int, count: int, partition: int = -1) -> None:
    """To any partition, by the key, where none is said."""
    producer = Producer({"bootstrap.servers": kafka.address, "log_level": 0})
    for key, value in numbered(first, count):
        producer.produce(TOPIC, value, key, partition)
    assert producer.flush(60) == 0


def values(taken: Taken) -> list[str]:
    return sorted(taken.lakehouse.store.read("bronze.web_events", columns=["value"])["value"].to_pylist())


def secured(taken: Taken, kafka: Kafka, password: str, certificate: Path) -> Stream:
    conf = (
        f"security.protocol=SASL_SSL sasl.mechanisms=PLAIN sasl.username={kafka.user} sasl.password={password}"
        f" ssl.ca.location={certificate}"
    )
    settings = Settings(_env_file=None, kafka=kafka.secured, kafka_conf=conf)
    client = Broker(settings, TOPIC, most_mb=8)
    return Stream(taken.lakehouse, taken.source, client, Limits(every=0.1))


def test_a_broker_that_asks_for_a_key_is_read_as_event_hubs_is(taken: Taken, kafka: Kafka) -> None:
    """Otherwise the form of Event Hubs would be one that nobody has tried."""
    send(kafka, 0, 200)
    assert secured(taken, kafka, kafka.password, kafka.certificate).run(lambda: False, once=True).rows == 200


def test_a_wrong_key_is_one_sentence_without_it(taken: Taken, kafka: Kafka) -> None:
    """Otherwise it would be waited for for ever, or stand in the log."""
    send(kafka, 0, 10)
    with pytest.raises(LakehouseError, match=r"refuses the connection.*LAKEHOUSE_KAFKA_CONF") as error:
        secured(taken, kafka, kafka.password[:-1] + "1", kafka.certificate).run(lambda: False)
    assert "c2VjcmV" not in str(error.value)


def test_what_a_transaction_took_back_is_not_taken_in(taken: Taken, kafka: Kafka) -> None:
    """Otherwise a message that was never sent would count, or the marks between messages would be taken for a gap."""
    conf = {"bootstrap.servers": kafka.address, "transactional.id": "t", "log_level": 0}
    producer = Producer(conf)
    producer.init_transactions(30)
    for number, ends in enumerate(
        (producer.commit_transaction, producer.abort_transaction, producer.commit_transaction)
    ):
        producer.begin_transaction()
        for key, value in numbered(100 * number, 100):
            producer.produce(TOPIC, value, key)
        producer.flush()
        ends(30)
        taken.take(kafka.address)
    assert values(taken) == sorted(value.decode() for _, value in [*numbered(0, 100), *numbered(200, 100)])
    assert taken.take(kafka.address) == 0


def test_deleted_records_are_named(taken: Taken, kafka: Kafka) -> None:
    """Otherwise a gap would be passed over without a word."""
    send(kafka, 0, 50, partition=1)
    taken.take(kafka.address)
    send(kafka, 50, 100, partition=1)
    admin, until = kafka.admin(), TopicPartition(TOPIC, 1, 90)
    admin.delete_records([until])[until].result(30)
    with pytest.raises(LakehouseError, match=r"40 messages of partition 1 .*offsets 50 to 89"):
        taken.take(kafka.address)
    assert taken.take(kafka.address, accept_loss=True) == 60


def test_a_topic_that_was_deleted_and_made_anew_is_named(taken: Taken, kafka: Kafka) -> None:
    """Otherwise its first messages would be taken for ones that had been taken in."""
    send(kafka, 0, 50, partition=1)
    taken.take(kafka.address)
    made_anew(kafka)
    send(kafka, 50, 20, partition=1)
    with pytest.raises(LakehouseError, match="made anew"):
        taken.take(kafka.address)
    assert taken.take(kafka.address, accept_loss=True) == 20
    assert len(values(taken)) == 70


def test_a_broker_that_dies_and_comes_back_loses_nothing(
    taken: Taken, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Otherwise a restart of the broker would end the process, or leave a gap."""
    if reason := kafka_server.missing():
        pytest.skip(reason)
    folder, done = tmp_path_factory.mktemp("dying"), threading.Event()
    with kafka_server.server(folder) as kafka:
        made_anew(kafka)
        send(kafka, 0, 2000)
        stream = taken.stream(kafka.address)
        thread = threading.Thread(target=stream.run, args=(done.is_set,))
        thread.start()
        while stream.progress.rows < 1000 and thread.is_alive():
            done.wait(0.05)
        kafka.kill()
        while not taken.said and thread.is_alive():
            done.wait(0.05)
        kafka.start()
        send(kafka, 2000, 2000)
        while stream.progress.rows < 4000 and thread.is_alive():
            done.wait(0.05)
        done.set()
        thread.join(60)
    assert values(taken) == sorted(value.decode() for _, value in numbered(0, 4000))
    assert "Trying again; nothing is lost." in taken.said[0]
    assert taken.said[-1] == "The broker answers again."
