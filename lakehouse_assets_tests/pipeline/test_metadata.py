"""What a materialisation says in the UI: every number is true of the partition, the run or the table on which it
stands.
"""

import json
import re
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from lakehouse_assets.core.contracts import CONTRACTS
from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.quality.samples import MASK
from lakehouse_assets.definitions import build_definitions
from lakehouse_assets.orchestration.graph import served
from lakehouse_assets.settings import PROJECT
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import World, line, order_csv, rates_csv

DAYS = [f"2012-05-{n:02}" for n in range(1, 5)]
REFUSED = DAYS[2]
SILVER = {source.name: source.table for source in SOURCES.values()}
ACCOUNT = ("landed", "published", "quarantined", "duplicates")


def lines(day: str, n: int = 20, bad: int = 0) -> list[list[Any]]:
    number = 500000 + 100 * DAYS.index(day)
    return [line(number + i, day, "six" if i < bad else 1 + i) for i in range(n)]


def customer(number: int) -> str:
    record = {
        "customer_id": number,
        "name": f"Name {number}",
        "email": f"n{number}@example.org",
        "city": "Leeds",
        "country": "UK",
    }
    return json.dumps({**record, "segment": "a", "updated_at": "2012-05-01T10:00:00Z", "deleted": False}) + "\n"


@pytest.fixture(scope="module")
def world(make_world: NewWorld) -> World:
    """Four days of orders in one go: rejected rows, lines said twice, one drop of two refused; and customers with a
    name.
    """
    world = make_world()
    world.drop("fx/rates_2012-05-01.csv", rates_csv({"2012-05-01": "0.85"}))
    world.drop("customers/customers_2012-05-01.jsonl", "".join(customer(n) for n in (17850, 17851)))
    world.drop(f"orders/orders_{DAYS[0]}.csv", order_csv(lines(DAYS[0], bad=2)))
    world.drop(f"orders/orders_{DAYS[1]}.csv", order_csv([*lines(DAYS[1]), *lines(DAYS[0])[10:15]]))
    world.drop(f"orders/orders_{REFUSED}.csv", order_csv(lines(REFUSED, bad=15)))
    world.drop(f"orders/orders_{DAYS[3]}.csv", order_csv(lines(DAYS[3], 30)))
    world.run()
    return world


def materialisations(world: World, name: str) -> list[Any]:
    """All `AssetMaterialization`s of an asset, newest first; what their metadata holds, each test knows."""
    records = world.instance.fetch_materializations(dg.AssetKey(name.split(".")), limit=1000).records
    return [m for r in records if (m := r.asset_materialization)]


def newest(world: World, name: str) -> dict[str, dict[str, Any]]:
    """Partition → what its newest materialisation says."""
    found: dict[str, dict[str, Any]] = {}
    for m in materialisations(world, name):
        found.setdefault(str(m.partition), {k: v.value for k, v in m.metadata.items()})
    return found


def numbers_agree(world: World) -> None:
    """Each day's numbers, as its newest materialisation has them, are those of the tables."""
    accounts, total = world.accounts(), {}
    for source, table in SILVER.items():
        shown = newest(world, table)
        assert shown
        for day, said in shown.items():
            account = accounts.get((date.fromisoformat(day), source), dict.fromkeys(ACCOUNT, 0))
            assert {name: said[name] for name in ACCOUNT} == account, (table, day)
            assert said["dagster/partition_row_count"] == account["published"]
        for (day, of), account in accounts.items():
            total.setdefault(str(day), Counter()).update(account if of == source else {})
    for day, said in newest(world, "silver.intake").items():
        assert {name: said[name] for name in ACCOUNT} == {name: total.get(day, Counter())[name] for name in ACCOUNT}, (
            day
        )
    landed = Counter(str(r["batch_date"]) for r in world.delta("bronze.orders").to_pylist())
    assert {day: said["dagster/partition_row_count"] for day, said in newest(world, "bronze.orders").items()} == {
        d: landed[d] for d in DAYS
    }


def test_what_a_day_says_is_true_of_that_day_also_when_a_later_run_moves_rows(world: World) -> None:
    """Else plots and sums over days tell of rows that never were, and differ from the accounts that finance gets."""
    shown = newest(world, "silver.order_lines")
    assert set(shown) == set(DAYS) - {REFUSED}
    assert [shown[DAYS[n]][name] for n in (0, 1) for name in ACCOUNT] == [20, 18, 2, 0, 25, 20, 0, 5]
    assert {day: said["drops"] for day, said in newest(world, "bronze.orders").items()} == dict.fromkeys(DAYS, 1)
    numbers_agree(world)
    world.drop(f"orders/orders_{DAYS[0]}_late.csv", order_csv([*lines(DAYS[0])[10:12], *lines(DAYS[0], 30)[25:]]))
    world.run(start=date.fromisoformat(DAYS[0]), end=date.fromisoformat(DAYS[0]))
    assert newest(world, "bronze.orders")[DAYS[0]]["drops"] == 2
    assert newest(world, "silver.order_lines")[DAYS[0]]["landed"] == 27
    numbers_agree(world)


def test_what_a_run_did_stands_once(world: World) -> None:
    """Else a run of a year says 365 times that it has inserted the year's rows."""
    for name in [n for n, c in CONTRACTS.items() if c.layer == "gold" or n in SILVER.values()]:
        made = materialisations(world, name)
        told = [m for m in made if "run/rows_inserted" in m.metadata]
        records = world.instance.fetch_materializations(dg.AssetKey(name.split(".")), limit=1000).records
        runs = {record.run_id for record in records}
        assert len(told) == len(runs) < len(made)
        net = sum(m.metadata["run/rows_inserted"].value - m.metadata["run/rows_deleted"].value for m in told)
        assert net == world.delta(name).num_rows == made[0].metadata["dagster/row_count"].value
        assert all(m.metadata[f"run/seconds_{step}"].value >= 0 for m in told for step in ("stage", "audit", "publish"))
    first = materialisations(world, "gold.daily_sales")[-1]
    of_run = next(m for m in reversed(materialisations(world, "gold.daily_sales")) if "run/rows_inserted" in m.metadata)
    assert "run/rows_inserted" not in first.metadata
    assert [of_run.metadata[f"run/{n}"].value for n in ("dates_touched", "first_date", "last_date")] == [
        3,
        DAYS[0],
        DAYS[3],
    ]


def test_every_table_says_its_rows_its_version_and_what_it_consumed(world: World) -> None:
    """Else nobody can tell from the UI which rows a green partition stands on; also where the run changed nothing."""
    before = world.versions()
    world.run(force=world.graph)
    assert world.versions() == before
    heads = {name: world.lakehouse.store.head(name) for name in world.graph}
    for name, head in heads.items():
        said = materialisations(world, name)[0].metadata
        assert head is not None
        assert said["delta_version"].value == head.data_version
        assert said["dagster/row_count"].value == world.delta(name).num_rows
        if world.graph[name].upstreams:
            assert set(said["consumed"].value) == set(world.graph[name].upstreams)
    for table, rows in world.snowflake().items():
        said = materialisations(world, f"snowflake.{table.split('.')[1]}")[0].metadata
        head = heads[table]
        assert head is not None
        assert (said["run/outcome"].value, said["run/rows"].value, said["run/bytes"].value) == ("unchanged", 0, 0)
        assert said["dagster/row_count"].value == rows.num_rows
        if not rows.num_rows:
            continue  # a table without rows was handed off at the version in which it was made
        assert said["consumed"].value == {table: head.data_version} == {table: said["delta_version"].value}
    sent = [
        m
        for m in materialisations(world, "snowflake.daily_sales")
        if m.metadata.get("run/outcome", dg.MetadataValue.text("")).value == "published"
    ]
    assert all(
        isinstance(sent[0].metadata[f"run/{n}"].value, (int, float))
        for n in ("slices", "rows", "files", "bytes", "statements", "seconds")
    )


def test_previews_show_the_newest_rows_and_no_personal_data(world: World) -> None:
    """Else names and addresses lie in the event log, which everybody reads who may open the UI."""
    previews = {}
    for name in ("gold.daily_sales", "gold.sales_lines", "gold.dim_customers"):
        told = [m for m in materialisations(world, name) if "run/preview" in m.metadata]
        # the first run's
        previews[name] = [r.strip("| ").split(" | ") for r in told[-1].metadata["run/preview"].value.splitlines()]
    assert [row[0] for row in previews["gold.daily_sales"][2:]] == [DAYS[3], DAYS[1], DAYS[0]]
    assert len(previews["gold.sales_lines"]) == 2 + 10
    header, _, *rows = previews["gold.dim_customers"]
    assert [dict(zip(header, row, strict=True))["customer_id"] for row in rows] == ["17850", "17851"]
    personal = [c.name for c in CONTRACTS["gold.dim_customers"].columns if c.personal]
    assert {dict(zip(header, row, strict=True))[c] for row in rows for c in personal} <= {MASK, "null"}


def test_lineage_says_what_contracts_prove_and_no_more(world: World) -> None:
    """Else a reader follows a column to a place from which it does not come."""

    def deps(name: str) -> dict[str, set[str]]:
        lineage: Any = materialisations(world, name)[0].metadata["dagster/column_lineage"].value
        return {
            c: {f"{'.'.join(d.asset_key.path)}.{d.column_name}" for d in found}
            for c, found in lineage.deps_by_column.items()
        }

    for model in served().values():
        assert deps(f"snowflake.{model.table}") == {c: {f"{model.name}.{c}"} for c in model.names}
    daily = deps("gold.daily_sales")
    assert daily["gross_sales"] == {"silver.order_lines.amount", "silver.order_lines.line_type"}
    assert "average_order_value" not in daily
    lines_of = deps("gold.sales_lines")
    assert lines_of["line_id"] == {"silver.order_lines.line_id"}
    assert "customer_id" not in lines_of  # it refers to a customer, and comes from elsewhere
    for model in CONTRACTS.values():
        if model.layer == "gold" and "dagster/column_lineage" in materialisations(world, model.name)[0].metadata:
            for column, sources in deps(model.name).items():
                assert column in model.names
                assert all(
                    source.rpartition(".")[2] in CONTRACTS[source.rpartition(".")[0]].names for source in sources
                )


def test_the_definition_shows_where_columns_come_from(world: World) -> None:
    """Else the lineage is there for those alone who have Dagster+."""
    specs = {".".join(s.key.path): s for s in world.definitions.resolve_all_asset_specs()}
    shown = specs["snowflake.daily_sales"].metadata["columns_from"].value.splitlines()
    names = CONTRACTS["gold.daily_sales"].names
    assert [row.strip("| ").split(" | ") for row in shown[2:]] == [[name, f"gold.daily_sales.{name}"] for name in names]
    assert (
        "| gross_sales | silver.order_lines.amount, silver.order_lines.line_type |"
        in specs["gold.daily_sales"].metadata["columns_from"].value
    )
    assert "columns_from" not in specs["bronze.orders"].metadata


def test_assets_link_to_their_code_and_contract(world: World) -> None:
    """Else whoever sees a red asset has to search for where it is made and what it promises."""

    def links(definitions: dg.Definitions, name: str) -> dict[str, Any]:
        spec = next(s for s in definitions.resolve_all_asset_specs() if s.key == dg.AssetKey(name.split(".")))
        return {r.label: r for r in spec.metadata["dagster/code_references"].code_references}

    def line_of(reference: Any) -> str:
        return Path(reference.file_path).read_text().splitlines()[reference.line_number - 1]

    for name in [*world.graph, *(f"snowflake.{t}" for t in served())]:
        table = name.replace("snowflake.", "gold.")
        found = links(world.definitions, name)
        assert line_of(found["docs"]) == f"## {table}"
        beginning = line_of(found["contract"]).strip()
        declared = beginning.endswith("= Source(") and table in {source.bronze for source in SOURCES.values()}
        assert declared or beginning.startswith(f"class {CONTRACTS[table].model.__name__}(")
        assert Path(found["code"].file_path).is_file()
    assert line_of(links(world.definitions, "gold.daily_sales")["code"]).startswith("def daily_sales(")
    url = "https://git.example.org/lakehouse/blob/main"
    hosted = links(
        build_definitions(world.settings.model_copy(update={"code_url": url}), **world.resources), "gold.daily_sales"
    )
    assert hosted["docs"].url == f"{url}/docs/contracts.md#golddaily_sales"
    assert re.fullmatch(rf"{url}/lakehouse_assets/domains/sales/sales.py#L\d+", hosted["code"].url)
    assert (PROJECT / "lakehouse_assets" / "domains" / "sales" / "sales.py").is_file()
