"""The same drops give the same rows on every engine, in every table: one asset code, nothing but configuration
differs.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from lakehouse_assets.core.contracts import CONTRACTS
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.resources.spark_endpoint import set_own
from lakehouse_assets_tests import serverless, spark_servers
from lakehouse_assets_tests.parity.conftest import REAL, TWO_MONTHS, State, loaded, outcome, real, run, sample
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import World, bag, differences, drops_of

FIRST = ("2010-11-29", "2010-11-30", "2010-12-01", "2010-12-02")
THEN = ("2010-12-03",)
"""Days whose real drops are taken at first, and later; rates begin before trade does."""


Tables = tuple[State, dict[str, int]]
"""Every table as a bag, and the version of each."""


def correct(world: World, path: str) -> None:
    """Let a drop land again without its last line."""
    content = (world.landing / path).read_bytes()
    plain = gzip.decompress(content) if path.endswith(".gz") else content
    shorter = plain.rstrip(b"\r\n").rpartition(b"\n")[0] + b"\n"
    world.drop(path, gzip.compress(shorter, mtime=0) if path.endswith(".gz") else shorter)


@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_two_months_come_out_the_same_on_local_spark(two_months: tuple[Path, Tables], tmp_path: Path):
    """Else `LAKEHOUSE_ENGINE=local` changes figures."""
    if reason := spark_servers.missing():
        pytest.skip(reason)
    _same_tables("local", two_months, tmp_path)


@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_two_months_come_out_the_same_on_spark_connect(
    two_months: tuple[Path, Tables], connect_url: str, tmp_path: Path
):
    """Else moving to a cluster or Databricks changes figures."""
    _same_tables(connect_url, two_months, tmp_path)


def _same_tables(engine: str, two_months: tuple[Path, Tables], folder: Path) -> None:
    landing, (tables, versions) = two_months
    found, at = loaded(engine, landing, folder)
    assert not differences(tables, found)
    assert at == versions
    assert tables["gold.sales_lines"].height > 100


@pytest.mark.heavy
def test_settings_of_ones_own_reach_an_endpoint_and_what_it_does_not_take_is_told(
    connect_spark: Any, connect_url: str, monkeypatch: pytest.MonkeyPatch
):
    """Else tables are loaded with other settings than the user has said, or a run ends in the words of a server."""
    monkeypatch.setenv("LAKEHOUSE_SPARK_CONF", "spark.sql.shuffle.partitions=7")
    set_own(connect_spark, connect_url)
    assert connect_spark.conf.get("spark.sql.shuffle.partitions") == "7"
    connect_spark.conf.unset("spark.sql.shuffle.partitions")
    monkeypatch.setenv("LAKEHOUSE_SPARK_CONF", "spark.serializer=org.apache.spark.serializer.KryoSerializer")
    with pytest.raises(
        LakehouseError, match=r"sets spark\.serializer, which sc://.* does not take \(CANNOT_MODIFY.*; set it where"
    ):
        set_own(connect_spark, connect_url)
    monkeypatch.setenv("LAKEHOUSE_SPARK_CONF", "spark.sql.shuffle.partitions=s3cret")
    with pytest.raises(
        LakehouseError, match=r"sets spark\.sql\.shuffle\.partitions, which sc://.*; fix its value"
    ) as refused:
        set_own(connect_spark, connect_url)
    assert "s3cret" not in str(refused.value)


@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_spark_connect_gives_every_table_as_the_embedded_engine_does(connect_url: str, make_world: NewWorld):
    """Else moving to a cluster changes figures. Real orders, the sample with all its dirt, a correction and a
    withdrawal.
    """
    embedded, spark = make_world(), make_world()
    both = {"embedded": embedded, connect_url: spark}
    for engine, world in both.items():
        world.take(sample())
        world.take(REAL, real(FIRST))
        run(world, engine)
    first = outcome(embedded)
    assert not differences(first, outcome(spark))
    assert embedded.versions() == spark.versions()
    assert first["silver.order_lines_quarantine"].height > 50

    for engine, world in both.items():
        world.take(REAL, real(THEN))
        correct(world, next(p for p in [*real(FIRST), *drops_of(sample())] if p.startswith("orders/")))
        taken_back = next(p for p in drops_of(sample()) if p.startswith("customers/"))
        done = world.command("withdraw", taken_back, LAKEHOUSE_ENGINE=engine)
        assert done.returncode == 0, done.stderr
        run(world, engine)
    then = outcome(embedded)
    assert not differences(then, outcome(spark))
    assert differences(first, then)

    # A user who moves from one to the other finds everything done.
    versions = spark.versions()
    for world, engine in ((spark, "embedded"), (embedded, connect_url)):
        run(world, engine)
        assert world.versions() == versions


@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_local_spark_continues_what_the_embedded_engine_began_and_back(make_world: NewWorld):
    """Else `LAKEHOUSE_ENGINE=local` finds everything to be done again, or what it adds is not what the embedded engine
    would have added.
    """
    if reason := spark_servers.missing():
        pytest.skip(reason)
    began, stayed = make_world(), make_world()
    for world in (began, stayed):
        world.take(sample())
        world.take(REAL, real(FIRST))
        run(world, "embedded")
    versions = began.versions()
    run(began, "local")
    assert began.versions() == versions

    for world, engine in ((began, "local"), (stayed, "embedded")):
        world.take(REAL, real(THEN))
        correct(world, next(p for p in [*real(FIRST), *drops_of(sample())] if p.startswith("orders/")))
        run(world, engine)
    assert not differences(outcome(stayed), outcome(began))
    versions = began.versions()
    assert versions == stayed.versions()
    run(began, "embedded")
    assert began.versions() == versions


@pytest.mark.heavy
@pytest.mark.timeout(7200)
def test_local_spark_gives_the_whole_year_and_the_sample_as_the_embedded_engine_does(make_world: NewWorld):
    """The same for all real orders and all dirt."""
    _same(make_world, "local", [(sample(), drops_of(sample())), (REAL, drops_of(REAL) if REAL.is_dir() else [])])


@pytest.mark.heavy
@pytest.mark.timeout(7200)
def test_spark_connect_gives_the_whole_year_and_the_sample_as_the_embedded_engine_does(
    connect_url: str, make_world: NewWorld
):
    """The same over Connect."""
    _same(make_world, connect_url, [(sample(), drops_of(sample())), (REAL, drops_of(REAL) if REAL.is_dir() else [])])


@pytest.mark.heavy
@pytest.mark.timeout(3600)
def test_tables_that_a_catalogue_names_come_out_the_same_on_an_endpoint_shaped_like_serverless(
    connect_url: str, connect_spark: Any, make_world: NewWorld
):
    """Else the first commit on Databricks serverless fails, or what it serves is something else. Some days of the
    sample, and a correction of one of them.
    """
    embedded, named, refused = make_world(), make_world(), list[str]()
    days = [path for path in drops_of(sample()) if "2026-09-01" in path or "2026-09-02" in path]
    schemas = ("bronze", "silver", "gold")
    with serverless.endpoint(connect_url, refused) as url:
        on = {"LAKEHOUSE_TABLES": "catalog://spark_catalog", "LAKEHOUSE_SPARK_COMMITS": "options"}
        try:
            looked = named.command("doctor", LAKEHOUSE_ENGINE=url, **on)
            assert looked.returncode == 0, looked.stdout + looked.stderr
            for step in ("first", "then"):
                for world, engine, where in ((embedded, "embedded", {}), (named, url, on)):
                    if step == "first":
                        world.take(sample(), days)
                    else:
                        correct(world, next(path for path in days if path.startswith("orders/")))
                    done = world.command("run", LAKEHOUSE_ENGINE=engine, **where)
                    assert done.returncode in (0, 1), done.stderr
                    assert not [line for line in done.stderr.splitlines() if line.startswith("Error")], done.stderr
                served = embedded.state(("snowflake",))
                assert not differences(served, named.state(("snowflake",)))
                for name, contract in CONTRACTS.items():
                    # Not by the session that is active: the embedded engine's, which has been idle for too long.
                    rows = connect_spark.table(f"spark_catalog.{name}").toArrow().select(contract.names)
                    assert not differences({name: bag(embedded.delta(name))}, {name: bag(rows)})
            assert served["snowflake.sales_lines"].height > 100
            assert not refused
            verified = named.command("verify", LAKEHOUSE_ENGINE=url, **on)
            assert verified.returncode == 0, verified.stdout + verified.stderr
            # By settings of the session the first commit is refused, in a sentence.
            refusing = make_world()
            refusing.take(sample(), days)
            done = refusing.command("run", LAKEHOUSE_ENGINE=url, LAKEHOUSE_TABLES=str(refusing.root / "tables"))
            assert done.returncode == 1
            assert "set LAKEHOUSE_SPARK_COMMITS=options" in done.stdout + done.stderr
            looked = refusing.command("doctor", LAKEHOUSE_ENGINE=url)
            assert looked.returncode == 1
            assert "set LAKEHOUSE_SPARK_COMMITS=options" in looked.stdout
            assert refused
        finally:
            for schema in schemas:
                connect_spark.sql(f"DROP SCHEMA IF EXISTS spark_catalog.{schema} CASCADE")


@pytest.mark.heavy
@pytest.mark.timeout(7200)
def test_a_cluster_gives_two_months_as_the_embedded_engine_does(cluster_url: str, make_world: NewWorld):
    """Else workers on other machines, which have no more than Python, pyarrow and the files, compute something else."""
    _same(make_world, cluster_url, [(sample(), drops_of(sample())), (REAL, real(TWO_MONTHS))])


def _same(make_world: NewWorld, engine: str, drops: list[tuple[Path, list[str]]]) -> None:
    if engine == "local" and (reason := spark_servers.missing()):
        pytest.skip(reason)
    embedded, other = make_world(), make_world()
    for world, on in ((embedded, "embedded"), (other, engine)):
        for landing, paths in drops:
            world.take(landing, paths)
        run(world, on)
    assert not differences(outcome(embedded), outcome(other))
    assert embedded.versions() == other.versions()
