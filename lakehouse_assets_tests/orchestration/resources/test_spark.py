"""Which engine computes and which store goes with it, and what is said where a machine lacks something for it. No
engine is started here.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from lakehouse_assets.core.delta.rs import DeltaRsStore
from lakehouse_assets.core.delta.spark import DeltaSparkStore, SharedDeltaSparkStore
from lakehouse_assets.core.delta.spark_named import NamedDeltaOptionsStore, NamedDeltaSparkStore
from lakehouse_assets.core.delta.spark_options import DeltaOptionsStore
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource
from lakehouse_assets.orchestration.resources.spark import SparkEngine
from lakehouse_assets.orchestration.resources.spark_endpoint import remote_url
from lakehouse_assets.orchestration.resources.spark_local import delta_artifact, delta_jars, java
from lakehouse_assets.orchestration.resources.spark_settings import own_settings
from lakehouse_assets.settings import Settings


def settings(**given: object) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[call-arg]


def fake_java(folder: Path, says: str) -> None:
    (folder / "bin").mkdir()
    script = folder / "bin" / "java"
    script.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    script.chmod(0o755)


@pytest.mark.parametrize(
    ("engine", "tables", "store"),
    [
        ("embedded", "/lake", DeltaRsStore),
        ("local", "/lake", SharedDeltaSparkStore),
        ("local", "s3a://lake", DeltaSparkStore),
        ("sc://host:15002", "/lake", DeltaSparkStore),
    ],
)
def test_the_store_goes_with_the_engine(engine: str, tables: str, store: type):
    """Else Sail's own writer gets at a table, or a log is looked for on a machine that does not have it."""
    assert type(LakehouseResource.of(settings(engine=engine, tables=tables)).tables.store) is store


@pytest.mark.parametrize(
    ("tables", "commits", "store", "name"),
    [
        ("/lake", "options", DeltaOptionsStore, "delta.`/lake/gold/t`"),
        ("catalog://main", "settings", NamedDeltaSparkStore, "`main`.`gold`.`t`"),
        ("catalog://main", "options", NamedDeltaOptionsStore, "`main`.`gold`.`t`"),
    ],
)
def test_the_store_goes_with_where_tables_are_and_with_what_sessions_may(
    tables: str, commits: str, store: type, name: str
):
    """Else a table of a catalogue is looked for at a path, or serverless compute refuses the first commit."""
    given = settings(engine="sc://host:15002", tables=tables, spark_commits=commits)
    chosen = LakehouseResource.of(given).tables.store
    assert type(chosen) is store
    assert chosen.sql_name("gold.t") == name


@pytest.mark.parametrize("tables", ["catalog://", "catalog://a.b", "catalog://a b", "catalog://1"])
def test_a_catalogue_has_a_name(tables: str):
    """Else the first statement says it, and in words that nobody has written."""
    with pytest.raises(LakehouseError, match=r"LAKEHOUSE_TABLES is .*: it names no catalogue; write one as catalog://"):
        settings(engine="sc://host:15002", tables=tables)


@pytest.mark.parametrize(
    ("says", "reason"), [(None, "holds none"), ('openjdk version "11.0.2"', "is 11"), ("broken", "none that runs")]
)
def test_a_java_that_is_missing_or_too_old_is_one_sentence_with_the_remedy(
    says: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Else the user reads a gateway's traceback."""
    if says:
        fake_java(tmp_path, says)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(
        LakehouseError, match=rf"(?s)^(?=.*{reason})(?=.*install Java 17)(?=.*LAKEHOUSE_ENGINE=embedded)[^\n]*$"
    ):
        java()


def test_a_java_that_is_new_enough_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Else a machine that has what it needs is told to install it."""
    fake_java(tmp_path, 'openjdk version "21.0.1" 2023-10-17')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java() == f"{tmp_path}/bin/java"


def test_the_jar_is_the_one_of_the_installed_packages(tmp_path: Path):
    """Else a session dies of an unresolved dependency, or of a jar for another Spark."""
    assert delta_artifact() == f"io.delta:delta-spark_4.2_2.13:{version('delta-spark')}"
    with pytest.raises(LakehouseError, match=r"lacks delta-spark_4\.2_2\.13-.*\.jar and delta-storage-.*\.jar"):
        delta_jars(tmp_path)
    names = [
        f"io.delta_delta-spark_4.2_2.13-{version('delta-spark')}.jar",
        f"delta-storage-{version('delta-spark')}.jar",
    ]
    for name in names:
        (tmp_path / name).touch()
    assert sorted(j.name for j in delta_jars(tmp_path)) == sorted(names)


def test_a_token_is_never_part_of_the_engines_url(monkeypatch: pytest.MonkeyPatch):
    """Else it is shown in the UI and kept with every run."""
    with pytest.raises(LakehouseError, match="LAKEHOUSE_SPARK_TOKEN") as refused:
        LakehouseResource.of(settings(engine="sc://host:443/;token=s3cret;x=y"))
    assert "s3cret" not in str(refused.value)
    monkeypatch.setenv("LAKEHOUSE_SPARK_TOKEN", "s3cret")
    assert remote_url("sc://host:443") == "sc://host:443/;token=s3cret"
    assert (
        remote_url("sc://host:443/;x-databricks-cluster-id=1")
        == "sc://host:443/;x-databricks-cluster-id=1;token=s3cret"
    )
    assert "s3cret" not in repr(Settings())


def test_settings_of_ones_own_are_read_as_a_shell_reads_words(monkeypatch: pytest.MonkeyPatch):
    """Else options of Java, which hold spaces, cannot be given."""
    monkeypatch.setenv("LAKEHOUSE_SPARK_CONF", "spark.local.dir=/fast  spark.driver.extraJavaOptions='-Da=b -Xss4m'")
    assert own_settings() == {"spark.local.dir": "/fast", "spark.driver.extraJavaOptions": "-Da=b -Xss4m"}
    monkeypatch.delenv("LAKEHOUSE_SPARK_CONF")
    assert own_settings() == {}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("spark.a=s3cret s3cret", "Word 2 of LAKEHOUSE_SPARK_CONF is no setting"),
        ("spark.a", "Word 1 of"),
        ("spark.a='s3cret", r"cannot be read \(No closing quotation\); quote it"),
        ("spark.sql.session.timeZone=s3cret", "spark.sql.session.timeZone, on which tables and figures depend"),
    ],
)
def test_settings_that_cannot_be_taken_are_told_without_their_values(
    said: str, told: str, monkeypatch: pytest.MonkeyPatch
):
    """Else a time zone changes figures, or the key of a storage stands in a log."""
    monkeypatch.setenv("LAKEHOUSE_SPARK_CONF", said)
    with pytest.raises(LakehouseError, match=told) as refused:
        own_settings()
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "engine",
    ["sc://", "sc:///;x-databricks-cluster-id=1", "sc://:15002", "sc://;x-databricks-cluster-id=1", "sc://host:port"],
)
def test_an_endpoint_without_a_host_is_told(engine: str):
    """Else the user reads what gRPC says of an empty name."""
    with pytest.raises(LakehouseError, match="names no host and port; write it as sc://host:15002"):
        LakehouseResource.of(settings(engine=engine))


def test_an_endpoint_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch):
    """Else the command is silent for ten minutes and ends in what gRPC says."""
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        LakehouseError, match=r"Nothing answers at 127\.0\.0\.1:1, which LAKEHOUSE_ENGINE names \(.*refused"
    ):
        _ = SparkEngine(engine="sc://127.0.0.1:1/;x-databricks-cluster-id=1").session


def test_an_unknown_engine_is_named_with_those_that_are_known():
    """Else a slip of the pen ends in a traceback."""
    with pytest.raises(LakehouseError, match=r"'lokal'; set it to embedded, local, or"):
        _ = SparkEngine(engine="lokal").session
