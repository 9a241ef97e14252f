"""The engine that computes: Sail in this process (embedded), Apache Spark in this process (local), or any Spark Connect
endpoint.

Belongs here: starting, sharing and stopping one session a process, and what a machine must have for it. Does not belong
here: what is computed.
"""

from __future__ import annotations

import atexit
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pyspark.errors import PySparkException

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.settings import Settings

JAVA = 17
"""The least Java that Apache Spark 4.2 runs on."""

CONNECT_PORT = 15002
"""The port of an endpoint whose URL names none, as pyspark has it."""

DELTA_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
"""What makes a Spark session speak Delta; a Connect server needs them as well."""

SMALL_MACHINE = {
    # The defaults are made for clusters: 200 tasks a shuffle, 50 a table's log, 10,000 to look for files that may go.
    "spark.sql.shuffle.partitions": "4",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "4",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
}
"""What makes Spark bearable on one machine."""

FEW_SECONDS = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC"
"""Java options for work of minutes on few cores, where the second compiler costs more than it gains."""

OWNERS_ALONE = {
    # The driver's and the block manager's ports ask for a secret, which Spark makes up itself where it runs in one
    # process; and they are loopback's.
    "spark.authenticate": "true",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}
"""What keeps other users of the machine out of a local Spark; its UI is off, and its gateway to Python has a token of
its own.
"""

SESSION_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
}
"""What results depend on: set on every session, whatever its server's own defaults are."""

start_seconds: dict[str, float] = {}
"""How long each engine that this process has started took for it."""

_lock = threading.Lock()
_sessions: dict[str, Any] = {}
_servers: list[Any] = []


class SparkEngine(dg.ConfigurableResource):
    """Hands out the one Spark session of this process.

    engine: `embedded`, `local` or `sc://…`. jars: a folder with the Delta jars, empty to bring them from Maven; mirror:
    the URL of a Maven repository to use in place of Maven Central; memory: of a local Spark, as `2g`; log: the file
    into which a local Spark speaks.
    """

    engine: str = "embedded"
    jars: str = ""
    mirror: str = ""
    memory: str = "2g"
    log: str = ""

    @property
    def session(self) -> Any:
        """The `pyspark.sql.SparkSession`; started when first asked for. Raises `LakehouseError` where it cannot be."""
        with _lock:
            if self.engine not in _sessions:
                began = time.perf_counter()
                _sessions[self.engine] = self._start()
                start_seconds[self.engine] = time.perf_counter() - began
            return _sessions[self.engine]

    def _start(self) -> Any:
        # pyspark 4.2 imports its pandas layer and warns of pandas 3, which nothing here uses.
        warnings.filterwarnings("ignore", message=".*pandas.*", category=FutureWarning, module="pyspark.*")
        if self.engine == "local":
            session = self._local()
        elif self.engine == "embedded":
            session = _behind_closed_door()
        elif self.engine.startswith("sc://"):
            url = remote_url(self.engine)
            _refuse_silence(self.engine)
            session = _connect(url)
            _send_parsers(session)
            set_own(session, self.engine)
        else:
            raise LakehouseError(
                f"LAKEHOUSE_ENGINE is {self.engine!r}; set it to embedded, local, or a Spark Connect URL sc://…."
            )
        for key, value in SESSION_SETTINGS.items():
            session.conf.set(key, value)
        atexit.register(session.stop)
        return session

    def _local(self) -> Any:
        if _sessions:
            raise LakehouseError(
                "This process computes on a Spark Connect session already; run what needs LAKEHOUSE_ENGINE=local in one"
                " of its own."
            )
        java()
        from delta import configure_spark_with_delta_pip
        from pyspark.sql import SparkSession

        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        if self.mirror:
            os.environ["DEFAULT_ARTIFACT_REPOSITORY"] = self.mirror
        builder = (
            SparkSession.builder.master("local[*]")
            .appName("lakehouse_assets")
            .config("spark.driver.memory", self.memory)
        )
        builder = builder.config("spark.driver.extraJavaOptions", FEW_SECONDS)
        own = own_settings()
        for key, value in {**DELTA_SETTINGS, **SMALL_MACHINE, **OWNERS_ALONE, **own}.items():
            builder = builder.config(key, value)
        # Delta's jars come beside those of one's own.
        if self.jars:
            builder = builder.config(
                "spark.jars", ",".join([*map(str, delta_jars(Path(self.jars))), *_listed(own, "spark.jars")])
            )
        else:
            builder = configure_spark_with_delta_pip(builder, _listed(own, "spark.jars.packages"))
        log = Path(self.log or Path(tempfile.gettempdir()) / "lakehouse-spark.log")
        try:
            with _speaking_to(log):
                session = builder.getOrCreate()
        except Exception as error:
            raise LakehouseError(_why_not(log)) from error
        if "spark.sql.shuffle.partitions" not in own:
            # Two tasks a core, of those that the JVM may use, is what Spark's tuning guide begins with.
            session.conf.set("spark.sql.shuffle.partitions", max(4, 2 * session.sparkContext.defaultParallelism))
        return session


def own_settings() -> dict[str, str]:
    """What LAKEHOUSE_SPARK_CONF says: `key=value`, separated by spaces, quoted as in a shell. No message tells a value:
    it may be the key of a storage.

    Raises `LakehouseError` for a word that is no setting of Spark, and for a setting that results or tables depend on.
    """
    said = Settings.model_validate({}).spark_conf
    try:
        words = shlex.split(said.get_secret_value()) if said else []
    except ValueError as error:  # it says nothing of the value
        raise LakehouseError(f"LAKEHOUSE_SPARK_CONF cannot be read ({error}); quote it as in a shell.") from error
    for number, word in enumerate(words, 1):
        if not re.match(r"spark\.[^=]+=", word):
            raise LakehouseError(
                f"Word {number} of LAKEHOUSE_SPARK_CONF is no setting; write them as spark.sql.shuffle.partitions=64,"
                " with a space between two."
            )
    found = {key: value for key, _, value in (word.partition("=") for word in words)}
    for key in found.keys() & {**DELTA_SETTINGS, **SESSION_SETTINGS}.keys():
        raise LakehouseError(f"LAKEHOUSE_SPARK_CONF sets {key}, on which tables and figures depend; leave it out.")
    return found


def set_own(session: Any, engine: str) -> None:
    """Give a session of an endpoint what LAKEHOUSE_SPARK_CONF says. Raises `LakehouseError` for a setting that it does
    not take.
    """
    for key, value in own_settings().items():
        try:
            session.conf.set(key, value)
        except PySparkException as error:
            condition = error.getCondition()
            if condition is None:  # it is not the setting that is wrong
                raise
            remedy = (
                "set it where the endpoint is started" if condition.startswith("CANNOT_MODIFY") else "mend its value"
            )
            raise LakehouseError(
                f"LAKEHOUSE_SPARK_CONF sets {key}, which {engine} does not take ({condition}); {remedy}."
            ) from None


def _listed(settings: dict[str, str], key: str) -> list[str]:
    return [word for word in settings.get(key, "").split(",") if word]


def java() -> str:
    """The Java that Spark will start. Raises `LakehouseError` where there is none that is new enough."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    remedy = (
        f"install Java {JAVA} or later (Debian, Ubuntu: apt-get install openjdk-17-jre-headless; macOS: brew install"
        " openjdk@17) and set JAVA_HOME, or set LAKEHOUSE_ENGINE=embedded, which needs none"
    )
    if not found:
        raise LakehouseError(
            f"LAKEHOUSE_ENGINE=local needs Java, and {f'JAVA_HOME ({home}) holds none' if home else 'none was found'};"
            f" {remedy}."
        )
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(\d+)', said)
    if not match or int(match[1]) < JAVA:
        raise LakehouseError(
            f"LAKEHOUSE_ENGINE=local needs Java {JAVA}, and {found} is {match[1] if match else 'none that runs'};"
            f" {remedy}."
        )
    return found


def delta_artifact() -> str:
    """The jar of the installed delta-spark for the installed pyspark, as `group:artifact:version`."""
    spark = ".".join(version("pyspark").split(".")[:2])
    return f"io.delta:delta-spark_{spark}_2.13:{version('delta-spark')}"


def delta_jars(folder: Path) -> list[Path]:
    """The jars in a folder. Raises `LakehouseError` where the one of the installed delta-spark, or its delta-storage,
    is not among them.
    """
    found = sorted(folder.glob("*.jar"))
    _, artifact, number = delta_artifact().split(":")
    missing = [
        jar
        for jar in (f"{artifact}-{number}.jar", f"delta-storage-{number}.jar")
        if not any(f.name.endswith(jar) for f in found)
    ]
    if missing:
        raise LakehouseError(
            f"LAKEHOUSE_SPARK_JARS ({folder}) lacks {' and '.join(missing)}; put it there, or unset it to have Maven"
            " asked."
        )
    return found


@contextmanager
def _speaking_to(log: Path) -> Iterator[None]:
    """What is started within writes its errors to that file, for as long as it lives: a JVM says much that concerns
    nobody.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    terminal = os.dup(2)
    try:
        with log.open("wb") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def _why_not(log: Path) -> str:
    if "unresolved dependency" in log.read_text(errors="replace"):
        return (
            f"The jars of {delta_artifact()} could not be brought from Maven ({log} says why); set"
            " LAKEHOUSE_SPARK_PACKAGES_MIRROR to a repository that can be reached, or LAKEHOUSE_SPARK_JARS to a folder"
            " that holds them."
        )
    return f"Apache Spark did not start; see {log} for what it said, or set LAKEHOUSE_ENGINE=embedded."


def refuse_url(engine: str) -> None:
    """Raise `LakehouseError` where the URL of an engine names no host, or holds a token: it is shown in places where no
    secret may be.
    """
    if re.search(r";\s*token=", engine, re.IGNORECASE):
        raise LakehouseError(
            "LAKEHOUSE_ENGINE holds a token, and is shown in the UI; take it out and set LAKEHOUSE_SPARK_TOKEN instead."
        )
    if engine.startswith("sc://"):
        _address(engine)


def _address(engine: str) -> tuple[str, int]:
    """Host and port of an endpoint. Raises `LakehouseError` where its URL names none."""
    where = urlsplit(f"//{re.split('[/;]', engine.removeprefix('sc://'))[0]}")
    try:
        host, port = where.hostname, where.port or CONNECT_PORT
    except ValueError:  # the port is no number, or none that there is
        host, port = None, 0
    if not host:
        raise LakehouseError(
            f"LAKEHOUSE_ENGINE is {engine!r}, which names no host and port; write it as sc://host:15002."
        )
    return host, port


def _refuse_silence(engine: str) -> None:
    """Raise `LakehouseError` where nothing answers at an endpoint: the client would try again for many minutes without
    a word.
    """
    if any(os.environ.get(name) for name in ("grpc_proxy", "https_proxy", "http_proxy")):
        return  # whether it answers is then for the proxy to say
    host, port = _address(engine)
    try:
        socket.create_connection((host, port), timeout=30).close()
    except OSError as error:
        raise LakehouseError(
            f"Nothing answers at {host}:{port}, which LAKEHOUSE_ENGINE names ({error}); start the endpoint, or mend the"
            " URL."
        ) from error


def remote_url(engine: str) -> str:
    """The Connect URL with the token of LAKEHOUSE_SPARK_TOKEN, where there is one."""
    refuse_url(engine)
    token = Settings.model_validate({}).spark_token
    if token is None:
        return engine
    where, slash, options = engine.removeprefix("sc://").partition("/")
    return f"sc://{where}/{options if slash else ''};token={token.get_secret_value()}"


def _connect(url: str) -> Any:
    return LazyPySparkResource(spark_config={"spark.remote": url}).spark_session


def _send_parsers(session: Any) -> None:
    """Send our modules to the workers of a cluster, which map the parsers over drops: they need no more than Python and
    pyarrow.
    """
    package = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as folder:
        archive = shutil.make_archive(f"{folder}/lakehouse_assets", "zip", package.parent, package.name)
        session.addArtifacts(archive, pyfile=True)


def _behind_closed_door() -> Any:
    """A session on a Sail of this process to which nobody else can connect.

    Sail listens on a port of loopback, asks for no token and runs Python for whoever connects. So its listening socket
    is closed as soon as our own connection is there, which all threads share. What connected in the milliseconds before
    is found by comparing both ends of all connections with our own.
    """
    # Imported before the port is open, which is then so for a moment only.
    import pyspark.sql.connect.session  # noqa: F401
    from pyspark.sql.connect.client import ChannelBuilder

    # A channel that is idle for half an hour would close its connection, and there is no way to open another.
    never = ("grpc.client_idle_timeout_ms", 2**31 - 1)
    if never not in ChannelBuilder.GRPC_DEFAULT_OPTIONS:
        ChannelBuilder.GRPC_DEFAULT_OPTIONS.append(never)
    before = {(local, remote) for local, remote, _ in _connections()}
    host, port = _start_sail()
    session = _connect(f"sc://{host}:{port}")
    session.conf.get("spark.sql.session.timeZone")  # the first call, which connects
    if not _close_listener(port):
        said = "The embedded engine's port could not be closed to other programs of this machine"
        if sys.platform == "linux":
            session.stop()
            _hang_up(port)
            raise LakehouseError(
                f"{said}, so nothing was computed; set LAKEHOUSE_ENGINE=local, or tell us which system this is."
            )
        warnings.warn(f"{said}; see SECURITY.md.", stacklevel=1)
    if strangers := _strangers(port, before):
        session.stop()
        _hang_up(port)
        raise LakehouseError(
            "Another program of this machine connected to the embedded engine while it started (from port"
            f" {', '.join(map(str, sorted(strangers)))}), so nothing was computed; find that program, then run the"
            " command again."
        )
    return session


def _sockets() -> Iterator[int]:
    """The descriptors of this process that are sockets."""
    for entry in list(Path("/dev/fd").iterdir()):
        with suppress(OSError):  # of the listing itself, or closed meanwhile
            if stat.S_ISSOCK(os.fstat(int(entry.name)).st_mode):
                yield int(entry.name)


def _close_listener(port: int) -> bool:
    """Put /dev/null in the place of the socket that listens on a port in this process. False where there is none."""
    closed = False
    for descriptor in list(_sockets()):
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as found:
            if found.family not in (socket.AF_INET, socket.AF_INET6) or found.getsockname()[1] != port:
                continue
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
                os.dup2(nothing, descriptor, inheritable=False)
                os.close(nothing)
                closed = True
    return closed


def _hang_up(port: int) -> None:
    """End all connections to a port of this process; the engine's own way to stop waits for whoever is connected."""
    for descriptor in list(_sockets()):
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as found:
            if found.family in (socket.AF_INET, socket.AF_INET6) and found.getsockname()[1] == port:
                found.shutdown(socket.SHUT_RDWR)


def _connections() -> Iterator[tuple[int, int, int]]:
    """Both ports and the inode of every TCP connection of this machine, also of those just closed; nothing where the
    system does not list them so.
    """
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(FileNotFoundError):
            for line in Path(table).read_text().splitlines()[1:]:
                words = line.split()
                yield int(words[1].rpartition(":")[2], 16), int(words[2].rpartition(":")[2], 16), int(words[9])


def _strangers(port: int, before: Collection[tuple[int, ...]]) -> set[int]:
    """The ports from which others than this process have connected to one of its ports since it was opened."""
    own = set()
    for descriptor in _sockets():
        with suppress(OSError):
            own.add(os.fstat(descriptor).st_ino)
    found = [c for c in _connections() if port in c[:2] and 0 not in c[:2] and c[:2] not in before]
    ours = {local for local, remote, inode in found if remote == port and inode in own}
    return {remote if local == port else local for local, remote, _ in found} - ours


def _start_sail() -> tuple[str, int]:
    os.environ.setdefault("RUST_LOG", "error")
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer(port=0)
    server.start(background=True)
    _servers.append(server)
    address = server.listening_address
    if address is None:
        raise LakehouseError("The embedded engine has started without an address; run the command again.")
    return address
