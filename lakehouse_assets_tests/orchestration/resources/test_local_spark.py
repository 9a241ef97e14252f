"""Apache Spark in a process of its own, as `LAKEHOUSE_ENGINE=local` starts it: where its jars come from, and the store
suite on its session.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lakehouse_assets.orchestration.resources.spark_local import delta_artifact
from lakehouse_assets_tests import spark_servers
from lakehouse_assets_tests.core.delta.conftest import IN_PROCESS
from lakehouse_assets_tests.pipeline.world import ROOT, outside

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1800)]

IVY = Path.home() / ".ivy2.5.2"
"""Where Spark keeps what it brought from Maven."""

WRITES_A_TABLE = """
import sys
from lakehouse_assets.orchestration.resources.spark import SparkEngine
from lakehouse_assets.settings import Settings
settings = Settings()
engine = SparkEngine(
    engine="local", jars=str(settings.spark_jars or ""), mirror=settings.spark_packages_mirror or "", log=f"{sys.argv[1]}/spark.log"
)
engine.session.range(7).write.format("delta").save(f"{sys.argv[1]}/table")
print(engine.session.read.format("delta").load(f"{sys.argv[1]}/table").count(), engine.session.conf.get("spark.jars"))
"""  # noqa: E501


@pytest.fixture(autouse=True)
def _apache_spark() -> None:
    if reason := spark_servers.missing():
        pytest.skip(reason)


@pytest.fixture
def brought() -> Path:
    """The jars that were brought from Maven, by whichever test or run was first."""
    if not list(IVY.glob("jars/io.delta_delta-spark*.jar")):
        pytest.skip(
            f"{IVY} holds no jars: run `LAKEHOUSE_ENGINE=local lakehouse run` once, with Maven Central in reach"
        )
    return IVY


def python(*command: str, folder: Path, **said: str) -> str:
    """What a Python process prints, whose Spark keeps jars in the folder alone."""
    (folder / "conf").mkdir(exist_ok=True)
    (folder / "conf" / "spark-defaults.conf").write_text(f"spark.jars.ivy {folder}/ivy\n")
    environment = {**outside(), "PYTHONPATH": str(ROOT), "SPARK_CONF_DIR": str(folder / "conf"), **said}
    done = subprocess.run([sys.executable, *command], env=environment, cwd=folder, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_jars_in_a_folder_are_taken_without_asking_maven(brought: Path, tmp_path: Path):
    """Else a machine that reaches no repository cannot compute on Apache Spark."""
    nowhere = {"LAKEHOUSE_SPARK_PACKAGES_MIRROR": "http://127.0.0.1:9/nowhere"}
    with zipfile.ZipFile(tmp_path / "own.jar", "w") as own:
        own.writestr("own.txt", "")
    said = {
        "LAKEHOUSE_SPARK_JARS": str(brought / "jars"),
        "LAKEHOUSE_SPARK_CONF": f"spark.jars={own.filename}",
        **nowhere,
    }
    rows, jars = python("-c", WRITES_A_TABLE, str(tmp_path), folder=tmp_path, **said).split()
    assert rows == "7"
    assert delta_artifact().split(":")[1] in jars
    assert str(own.filename) in jars
    assert not (tmp_path / "ivy").exists()


@pytest.fixture
def mirror(brought: Path, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A Maven repository made of what was brought: its URL, and the paths that it is asked for."""
    root = tmp_path / "repository"
    for pom in brought.glob("cache/*/*/ivy-*.xml.original"):
        artifact, number = pom.parent.name, pom.name.removeprefix("ivy-").removesuffix(".xml.original")
        folder = root / pom.parent.parent.name.replace(".", "/") / artifact / number
        folder.mkdir(parents=True)
        shutil.copy(pom, folder / f"{artifact}-{number}.pom")
        for jar in pom.parent.glob(f"*/{artifact}-{number}.jar"):
            (folder / jar.name).symlink_to(jar)
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, code: object = "-", size: object = "-") -> None:
            asked.append(self.path)

        def log_error(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", asked
        server.shutdown()
        thread.join()


def test_a_mirror_is_asked_in_place_of_maven_central(mirror: tuple[str, list[str]], tmp_path: Path):
    """Else a company whose machines reach its own repository alone has to carry jars about."""
    url, asked = mirror
    said = python("-c", WRITES_A_TABLE, str(tmp_path), folder=tmp_path, LAKEHOUSE_SPARK_PACKAGES_MIRROR=url)
    assert said.startswith("7 ")
    _, artifact, number = delta_artifact().split(":")
    assert f"/io/delta/{artifact}/{number}/{artifact}-{number}.jar" in asked


def test_the_suite_of_the_stores_holds_on_a_session_of_the_process_itself(tmp_path: Path):
    """Else what passes over Connect fails where Spark is called through py4j: errors, rows and settings have other
    classes there.
    """
    suite = str(ROOT / "lakehouse_assets_tests" / "core" / "delta" / "test_stores.py")
    settings = {k: v for k, v in os.environ.items() if k.startswith("LAKEHOUSE_SPARK_")}
    environment = {**outside(), **settings, "PYTHONPATH": str(ROOT), IN_PROCESS: "1"}
    # others ask for a server beside it
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "local", suite]
    done = subprocess.run(command, env=environment, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
