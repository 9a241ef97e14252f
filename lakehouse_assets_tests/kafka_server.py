"""Apache Kafka in KRaft mode, one broker in a JVM of its own, by the jars that `make kafka-jars` brings: a plain
listener, and one that asks for TLS and a key, as Azure Event Hubs does. `make kafka` runs it until Ctrl-C.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from lakehouse_assets_tests.spark_servers import free_port

JARS = Path(__file__).parents[1] / "deploy" / "kafka" / "jars"
_JAVA = ["java", "-Xmx160m", "-cp", f"{JARS}/*"]
_CLUSTER = "bGFrZWhvdXNlLWFzc2V0cw"


def missing() -> str:
    """Why it cannot be started; empty where it can."""
    if shutil.which("java") is None or shutil.which("keytool") is None:
        return "no Java"
    return "" if any(JARS.glob("kafka_2.13-*.jar")) else "no jars of Apache Kafka: `make kafka-jars` brings them"


class Kafka:
    """A broker with its data in `folder`. address: of the plain listener. secured: of the one that asks for TLS and a
    key. certificate: of its CA.
    """

    user = "$ConnectionString"
    password = "Endpoint=sb://shop.example.com/;SharedAccessKeyName=reader;SharedAccessKey=c2VjcmV0"

    def __init__(self, folder: Path):
        self._folder, self._file = folder, folder / "server.properties"
        plain, secured, controller = free_port(), free_port(), free_port()
        self.address, self.secured = f"127.0.0.1:{plain}", f"127.0.0.1:{secured}"
        self.certificate = _certificate(folder)
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAIN://{self.address},SECURED://{self.secured},CONTROLLER://127.0.0.1:{controller}",
            "listener.security.protocol.map": "PLAIN:PLAINTEXT,SECURED:SASL_SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAIN",
            "controller.listener.names": "CONTROLLER",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.secured.plain.sasl.jaas.config": self._login(),
            "ssl.keystore.location": str(folder / "server.p12"),
            "ssl.keystore.password": "changeit",
            "log.dirs": str(folder / "data"),
            "num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # Else the cleaner takes 128 MB, which a small heap does not have.
            "log.cleaner.dedupe.buffer.size": "2097152",
        }
        self._file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
        storage = [*_JAVA, "kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(self._file)]
        subprocess.run(storage, check=True, capture_output=True, timeout=120)
        self.start()

    def _login(self) -> str:
        users = f'username="{self.user}" password="{self.password}" user_{self.user}="{self.password}"'
        return f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.address, "log_level": 0})

    def start(self) -> None:
        """Start it on the data that are there, and wait until it answers."""
        log, until = self._folder / "kafka.log", time.monotonic() + 120
        with log.open("ab") as out:
            self._process = subprocess.Popen([*_JAVA, "kafka.Kafka", str(self._file)], stdout=out, stderr=out)
        while time.monotonic() < until and self._process.poll() is None:
            try:
                if self.admin().list_topics(timeout=2).brokers:
                    return
            except KafkaException:
                time.sleep(0.3)
        raise AssertionError(
            f"Apache Kafka does not answer: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}"
        )

    def wait(self) -> None:
        """Until it ends."""
        self._process.wait()

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait()


@contextmanager
def server(folder: Path) -> Iterator[Kafka]:
    """A broker with its data in `folder`, until the end of the block."""
    kafka = Kafka(folder)
    try:
        yield kafka
    finally:
        kafka.kill()


def _certificate(folder: Path) -> Path:
    """Makes a key and a certificate that is its own CA; returns the certificate as PEM."""
    store = ["-keystore", str(folder / "server.p12"), "-storepass", "changeit", "-alias", "broker"]
    subject = ["-dname", "CN=127.0.0.1", "-ext", "SAN=IP:127.0.0.1", "-keyalg", "EC", "-validity", "2"]
    file = folder / "ca.pem"
    for step in (["-genkeypair", *store, *subject], ["-exportcert", "-rfc", *store, "-file", str(file)]):
        subprocess.run(["keytool", *step], check=True, capture_output=True, timeout=60)
    return file


if __name__ == "__main__":
    if reason := missing():
        sys.exit(f"Apache Kafka cannot be started: {reason}.")
    with (
        tempfile.TemporaryDirectory(prefix="kafka-") as home,
        server(Path(home)) as running,
        suppress(KeyboardInterrupt),
    ):
        print(f"export LAKEHOUSE_KAFKA={running.address}   # Apache Kafka, until Ctrl-C", flush=True)
        running.wait()
