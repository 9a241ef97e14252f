"""Messages of a topic reach bronze exactly once, whatever happens to the process, the broker or the topic."""

from __future__ import annotations

import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("confluent_kafka", reason="the extra `streaming` is not installed")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from deltalake import DeltaTable

from lakehouse_assets.core.delta.check import check
from lakehouse_assets.core.delta.streamed import Appender
from lakehouse_assets.core.sources.blocks import Position, grown, positions, watermark
from lakehouse_assets.core.sources.landing import LandingZone
from lakehouse_assets.core.sources.recover import recover_bronze
from lakehouse_assets.errors import LakehouseError, SourceUnavailableError, StaleSliceError
from lakehouse_assets.orchestration.automation.work import Work
from lakehouse_assets.settings import Settings
from lakehouse_assets.streams.broker import Broker
from lakehouse_assets_tests.given import present
from lakehouse_assets_tests.mock_broker import MockBroker
from lakehouse_assets_tests.streams.conftest import Taken

TOPIC = "web-events"


def numbered(first: int, count: int) -> list[tuple[str, bytes]]:
    return [(f"k{n % 50}", json.dumps({"event_id": str(n)}).encode()) for n in range(first, first + count)]


def there(broker: MockBroker) -> list[tuple[str, int]]:
    """Partition and offset of every message that the broker has ever had."""
    return sorted((str(p), offset) for p, (_, end) in broker.bounds(TOPIC).items() for offset in range(end))


def test_each_message_is_a_row_with_where_it_was(taken: Taken, broker: MockBroker) -> None:
    """Otherwise a row could not be traced to its message, or be told from another one with the same value."""
    broker.send(TOPIC, [("k", b'{"a":1}'), (None, None), ("k", b"\xff\xfe"), ("k", "é".encode())], partition=2)
    before = datetime.now(UTC)
    assert taken.take(broker.address) == 4

    rows = sorted(taken.lakehouse.store.read("bronze.web_events").to_pylist(), key=lambda r: r["row_number"])
    assert [r["value"] for r in rows] == ['{"a":1}', None, None, "é"]
    assert [(r["topic"], r["partition"], r["offset"], r["row_number"]) for r in rows] == [
        (TOPIC, "2", str(n), n + 1) for n in range(4)
    ]
    assert [r["key"] for r in rows] == ["k", None, "k", "k"]
    assert [(r["_malformed"], r["_raw"]) for r in rows][2] == ("row.encoding", "base64://4=")
    assert {r["_malformed"] for n, r in enumerate(rows) if n != 2} == {None}
    day = rows[0]["batch_date"].isoformat()
    assert day in (before.date().isoformat(), datetime.now(UTC).date().isoformat())
    assert {r["path"] for r in rows} == {f"web_events/_topic/{TOPIC}/{day}/00002.0/{0:019}"}
    assert abs((datetime.fromisoformat(rows[0]["timestamp"]) - before).total_seconds()) < 600


def test_nothing_is_taken_in_twice(taken: Taken, broker: MockBroker) -> None:
    """Otherwise each restart would double what had been taken in, or lose what came meanwhile."""
    for part in range(3):
        broker.send(TOPIC, numbered(100 * part, 100))
        assert taken.take(broker.address) == 100
    version = taken.lakehouse.store.version("bronze.web_events")
    assert taken.take(broker.address) == 0
    assert taken.offsets() == there(broker)
    assert taken.lakehouse.store.version("bronze.web_events") == version


def test_a_batch_is_as_large_as_it_may_be(taken: Taken, broker: MockBroker) -> None:
    """Otherwise a long backlog would be held in memory, or be one commit that a crash undoes."""
    broker.send(TOPIC, numbered(0, 1000))
    stream = taken.stream(broker.address, rows=300, every=5.0)
    stream.run(lambda: False, once=True)
    assert stream.progress.commits >= 4
    assert max(rows for _, rows, _ in stream.progress.batches) <= 300
    small = taken.stream(broker.address, mb=1, every=5.0)
    broker.send(TOPIC, [("k", b"x" * 10_000)] * 400, partition=0)
    small.run(lambda: False, once=True)
    assert small.progress.commits >= 2
    assert taken.offsets() == there(broker)


def test_a_process_with_an_old_view_of_the_table_adds_nothing(taken: Taken, broker: MockBroker) -> None:
    """Otherwise a process that was thought dead and wakes up would double its last batch."""
    broker.send(TOPIC, numbered(0, 40), partition=1)
    stream = taken.stream(broker.address)
    zombie = stream._begin()
    messages = stream.broker.gather(2.0, 40, 10**9).messages
    assert len(messages) == 40
    assert taken.take(broker.address) == 40  # somebody else
    version = taken.lakehouse.store.version("bronze.web_events")
    with pytest.raises(StaleSliceError):
        stream._append(zombie, messages)
    with pytest.raises(StaleSliceError):  # nor with a fresh view, which the protocol alone would let pass
        stream._append(Appender(taken.lakehouse.store, taken.source.bronze_contract), messages)
    assert taken.lakehouse.store.version("bronze.web_events") == version
    assert taken.offsets() == there(broker)


def test_two_processes_at_once_take_in_each_message_once(taken: Taken, broker: MockBroker) -> None:
    """Otherwise a second process, started by mistake or to stand by, would double or lose messages."""
    broker.send(TOPIC, numbered(0, 300))
    done = threading.Event()
    streams = [taken.stream(broker.address, rows=200, stand_by=0.05) for _ in range(2)]
    threads = [threading.Thread(target=stream.run, args=(done.is_set,)) for stream in streams]
    for thread in threads:
        thread.start()
    for part in range(1, 10):
        broker.send(TOPIC, numbered(300 * part, 300))
    while sum(stream.progress.rows for stream in streams) < 3000 and any(t.is_alive() for t in threads):
        done.wait(0.05)
    done.set()
    for thread in threads:
        thread.join(30)
    assert taken.offsets() == there(broker)
    assert len(there(broker)) == 3000


def test_compaction_beside_the_stream_hinders_nobody(
    taken: Taken, broker: MockBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise compaction would never end while messages come, or the table would forget how far it is."""
    for part in range(6):
        broker.send(TOPIC, numbered(100 * part, 100))
        taken.take(broker.address)
    store, name = taken.lakehouse.store, "bronze.web_events"
    head = present(store.head(name))
    plain = store._kept

    def kept(*given: Any, **more: Any) -> str:
        """What the compaction writes beside its commit; and messages come before it commits."""
        said = plain(*given, **more)
        broker.send(TOPIC, numbered(600, 100))
        taken.take(broker.address)
        return said

    monkeypatch.setattr(store, "_kept", kept)
    assert store.optimize(name) > 1
    now = present(taken.lakehouse.store.head(name))
    assert now.data_version > head.data_version
    assert sum(p.offset for p in positions(now).values()) == 700
    monkeypatch.undo()
    # One that was opened before the compaction goes on.
    broker.send(TOPIC, numbered(700, 100))
    stream = taken.stream(broker.address)
    open_before = stream._begin()
    assert store.optimize(name) > 0
    messages = stream.broker.gather(2.0, 100, 10**9).messages
    stream._append(open_before, messages)
    assert taken.offsets() == there(broker)
    assert positions(present(taken.lakehouse.store.head(name))) == stream._positions
    assert check(taken.lakehouse.store, name, full=True).findings == []


def test_a_table_that_is_reopened_goes_on(taken: Taken, broker: MockBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a long-lived process would slow down with each of its commits, or lose its place when it does not."""
    monkeypatch.setattr("lakehouse_assets.core.delta.streamed._REOPENED_AFTER", 3)
    opened: list[int] = []
    plain = Appender._open
    monkeypatch.setattr(Appender, "_open", lambda self: (opened.append(1), plain(self))[1])
    broker.send(TOPIC, numbered(0, 1000))
    taken.take(broker.address, rows=100)
    assert len(opened) >= 3
    assert taken.offsets() == there(broker)
    assert check(taken.lakehouse.store, "bronze.web_events", full=True).findings == []
    assert check(taken.lakehouse.store, "bronze.web_events").unproven == 0


def test_small_files_do_not_pile_up(taken: Taken, broker: MockBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a day would leave more than a hundred thousand files, and each look at the table would take seconds."""
    monkeypatch.setattr("lakehouse_assets.streams.process._COMPACTED_AFTER", 5)
    broker.send(TOPIC, numbered(0, 1200))
    stream = taken.stream(broker.address, rows=100)
    stream.run(lambda: False, once=True)
    assert stream.progress.commits >= 12
    assert len(taken.lakehouse.store.files("bronze.web_events")) <= 5
    assert taken.offsets() == there(broker)
    assert taken.take(broker.address) == 0


def test_messages_that_are_gone_are_named(taken: Taken, broker: MockBroker) -> None:
    """Otherwise a gap would be passed over without a word, and nobody would ever know."""
    broker.send(TOPIC, numbered(0, 10), partition=0)
    taken.take(broker.address)
    broker.send(TOPIC, [("k", b"x" * 10_000)] * 1200, partition=0)
    low, high = broker.bounds(TOPIC)[0]
    assert low > 10
    with pytest.raises(LakehouseError, match=rf"partition 0 .*offsets 10 to {low - 1}.*lakehouse stream --accept-loss"):
        taken.take(broker.address)
    assert taken.take(broker.address, accept_loss=True) == high - low
    assert taken.offsets() == [("0", n) for n in [*range(10), *range(low, high)]]
    assert str(taken.said).count(f"{low - 10:,} messages") == 1
    assert taken.take(broker.address) == 0


def test_messages_that_go_while_it_runs_are_named(
    taken: Taken, broker: MockBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a process that cannot keep up would pass over what the broker has dropped."""
    monkeypatch.setattr("lakehouse_assets.streams.process._LOOKED_AGAIN_SECONDS", 1e9)
    looks = iter(range(200))
    broker.send(TOPIC, numbered(0, 10), partition=0)
    taken.take(broker.address)
    stream = taken.stream(broker.address)
    appender = stream._begin()
    broker.send(TOPIC, [("k", b"x" * 10_000)] * 1200, partition=0)
    stream.broker.begin({0: 10})  # as one that had not fetched them before they went
    assert stream._follow(appender, lambda: next(looks, None) is None, None) is False
    with pytest.raises(LakehouseError, match="no longer has"):
        stream.run(lambda: False)
    assert len(taken.offsets()) == 10


def test_a_topic_that_was_made_anew_is_named(taken: Taken, broker: MockBroker) -> None:
    """Otherwise its first messages would be taken for ones that had been taken in."""
    broker.send(TOPIC, numbered(0, 50), partition=3)
    taken.take(broker.address)
    other = MockBroker()
    try:
        other.send(TOPIC, numbered(0, 20), partition=3)
        with pytest.raises(LakehouseError, match=r"Partition 3 .*ends at offset 20.*up to 50.*made anew"):
            taken.take(other.address)
        assert taken.take(other.address, accept_loss=True) == 20
        assert taken.take(other.address) == 0
    finally:
        other.stop()
    paths = taken.lakehouse.store.read("bronze.web_events", columns=["path"])["path"].to_pylist()
    assert sum("/00003.0/" in path for path in paths) == 50
    assert sum("/00003.1/" in path for path in paths) == 20


def test_a_broker_that_is_down_is_waited_for(taken: Taken, broker: MockBroker) -> None:
    """Otherwise a restart of the broker would end the process, or a wrong address would be waited for in silence."""
    broker.send(TOPIC, numbered(0, 30))
    taken.take(broker.address)
    broker.stop()
    with pytest.raises(SourceUnavailableError, match=r"127\.0\.0\.1.*does not answer.*(refused|failed)"):
        taken.take(broker.address)
    done = threading.Event()
    stream = taken.stream(broker.address)
    thread = threading.Thread(target=stream.run, args=(done.is_set,))
    thread.start()
    while not taken.said and thread.is_alive():
        done.wait(0.05)
    assert thread.is_alive()
    done.set()
    thread.join(60)
    assert "Trying again; nothing is lost." in taken.said[0]
    assert len(taken.said) == 1
    assert len(taken.offsets()) == 30


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """The port of a server whose certificate nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = tmp_path / "server.pem"
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    class Handshake(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), context.wrap_socket(self.request, server_side=True) as opened:
                opened.read()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handshake) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_refused_certificate_is_one_sentence_without_the_key(tls_port: int) -> None:
    """Otherwise what no waiting heals would be waited for for ever, or a key would stand in the log."""
    secret = "Endpoint=sb://shop.example.com/;SharedAccessKeyName=reader;SharedAccessKey=c2VjcmV0"
    conf = f"security.protocol=SASL_SSL sasl.mechanisms=PLAIN sasl.username=$ConnectionString sasl.password={secret}"
    settings = Settings(_env_file=None, kafka=f"127.0.0.1:{tls_port}", kafka_conf=conf)
    with pytest.raises(LakehouseError) as error:
        Broker(settings, TOPIC, most_mb=1).partitions()
    assert not isinstance(error.value, SourceUnavailableError)
    assert "certificate verify failed" in str(error.value)
    assert "LAKEHOUSE_KAFKA_CONF" in str(error.value)
    assert "c2VjcmV0" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "set LAKEHOUSE_KAFKA"),
        ({"kafka": "127.0.0.1:9", "kafka_conf": "sasl.password"}, "divide the pairs by blanks"),
        ({"kafka": "127.0.0.1:9", "kafka_conf": "no.such.setting=s3cret"}, "cannot be used.*no.such.setting"),
    ],
)
def test_settings_that_are_none_are_named(settings: dict[str, str], sentence: str) -> None:
    """Otherwise a typing mistake would be found in the client's own words, or shown with its value."""
    with pytest.raises(LakehouseError, match=sentence) as error:
        Broker(Settings(_env_file=None, **settings), TOPIC, most_mb=1)
    assert "s3cret" not in str(error.value)


def test_a_topic_that_is_not_there_is_named(taken: Taken, broker: MockBroker) -> None:
    """Otherwise a wrong name would be waited for in silence."""
    with pytest.raises(LakehouseError, match=f"no topic {TOPIC}"):
        taken.take(broker.address)


def test_the_table_says_how_far_each_partition_is(taken: Taken, broker: MockBroker) -> None:
    """Otherwise another engine could not go on from where this one was, and nothing would be pending."""
    broker.send(TOPIC, numbered(0, 25), partition=0)
    broker.send(TOPIC, numbered(0, 5), partition=3)
    taken.take(broker.address)
    head = present(taken.lakehouse.store.head("bronze.web_events"))
    found = positions(head)
    assert {key: (p.first, p.offset) for key, p in found.items()} == {"00000.0": (0, 25), "00003.0": (0, 5)}
    assert present(head.consumed).watermark == watermark(found)
    table = DeltaTable(taken.lakehouse.store.uri("bronze.web_events"))
    assert table.transaction_version("lakehouse_assets.topic/00000.0") == 25
    assert all(isinstance(p, Position) for p in found.values())


def test_a_block_that_grows_is_other_work(taken: Taken, broker: MockBroker) -> None:
    """Otherwise the sensor would take a block that grows for work that was done, and load one batch a day."""
    works = []
    for part in range(2):
        broker.send(TOPIC, numbered(10 * part, 10), partition=0)
        taken.take(broker.address)
        drops = grown(taken.lakehouse, taken.source, [])
        works.append(Work.of(drops[0].batch_date, drops[0].batch_date, drops))
    assert [[d.path for d in w.drops] for w in works] == 2 * [[works[0].drops[0].path]]
    assert works[0].mark != works[1].mark


def test_a_table_that_a_topic_fills_is_not_made_anew(taken: Taken, broker: MockBroker, tmp_path: Path) -> None:
    """Otherwise a rebuild would forget how far the table is, and the next messages would be taken in twice."""
    broker.send(TOPIC, numbered(0, 10))
    taken.take(broker.address)
    zone = LandingZone(tmp_path, "UTC", date(2026, 9, 1), tmp_path / "cache.json")
    with pytest.raises(LakehouseError, match=r"cannot be made anew.*from a backup"):
        recover_bronze(taken.lakehouse, zone, taken.source)
    assert taken.take(broker.address) == 0
    assert len(taken.offsets()) == 10
