"""A table written by one store is read and continued by the other, and read by whoever knows nothing of either."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import polars as pl
import pytest

from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.spark import SharedDeltaSparkStore
from lakehouse_assets_tests.core.delta.conftest import FEBRUARY, FULL, THINGS, Workbench, ordered, thing
from lakehouse_assets_tests.given import present

NAME = THINGS.name


def live_files(table: Path) -> list[str]:
    """The files of the newest version by the letter of the protocol: what was added and not removed again."""
    live: dict[str, None] = {}
    for commit in sorted((table / "_delta_log").glob("*.json")):
        for line in commit.read_text().splitlines():
            action: dict[str, Any] = json.loads(line)
            if "add" in action:
                live[action["add"]["path"]] = None
            if "remove" in action:
                live.pop(action["remove"]["path"], None)
    return [str(table / unquote(path)) for path in live]


def read_by_others(table: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows as polars reads the table, and as DuckDB reads its live files."""
    files = live_files(table)
    by_duckdb = duckdb.sql(
        f"SELECT * FROM read_parquet({files!r}, hive_partitioning=true, hive_types={{'month': DATE}},"
        " union_by_name=true)"
    )
    found = present(by_duckdb).to_arrow_table().select(list(THINGS.names))
    rows = found.cast(THINGS.arrow_schema).to_pylist() if files else []
    return {"duckdb": rows, "polars": pl.read_delta(str(table)).to_dicts()}


@pytest.mark.parametrize(
    "first", [0, pytest.param(1, marks=pytest.mark.heavy)], ids=["delta-rs begins", "delta-spark begins"]
)
def test_each_store_continues_what_the_other_began(both: tuple[Workbench, Workbench], first: int):
    """Else moving to another engine means loading everything anew, or loses what was loaded."""
    one, other = both[first], both[1 - first]
    one.store.create(THINGS)
    expected = {r["id"]: r for r in (FULL, thing(2, month=FEBRUARY), thing(3))}
    one.commit(*(("I", r) for r in expected.values()), append=True, consumed=Consumed({"silver.lines": 1}))
    for number, bench in enumerate((other, one, other), start=2):
        since = bench.store.version(NAME)
        changed = {**FULL, "note": f"by {number}", "price": Decimal(number)}
        added = thing(10 * number, month=FEBRUARY, note="new")
        gone = expected.pop(number if number < 4 else 20)
        bench.commit(("U", changed), ("I", added), ("D", gone), consumed=Consumed({"silver.lines": number}))
        before, expected[1], expected[added["id"]] = expected[1], changed, added
        rows = ordered(expected.values())
        for reader in both:
            assert reader.rows() == rows
            assert ordered(
                r.asDict() for r in reader.store.frame(reader.spark, NAME).select("id", "kind", "note").collect()
            ) == [{k: r[k] for k in ("id", "kind", "note")} for r in rows]
            assert reader.changes(since) == sorted(
                [
                    {**before, "_change": "delete"},
                    {**changed, "_change": "insert"},
                    {**added, "_change": "insert"},
                    {**gone, "_change": "delete"},
                ],
                key=lambda r: (r["id"], r["kind"], r["_change"]),
            )
        for name, found in read_by_others(Path(bench.store.uri(NAME))).items():
            assert ordered(found) == rows, name
        heads = [reader.store.head(NAME) for reader in both]
        assert heads[0] == heads[1]
        assert heads[0] is not None
        assert heads[0].consumed == Consumed({"silver.lines": number})
    # Where the engine's files are this machine's, the log is read without it, with the same result.
    session = both[1].spark
    shared = SharedDeltaSparkStore(both[1].store.root, str(one.folder / "changes"), lambda: session)  # type: ignore[attr-defined]
    assert shared.head(NAME) == both[1].store.head(NAME)
    assert [(c.version, c.metadata) for c in shared.history(NAME)] == [
        (c.version, c.metadata) for c in both[1].store.history(NAME)
    ]
    assert (shared.columns(NAME), shared.count(NAME)) == (both[1].store.columns(NAME), len(expected))
    assert ordered(shared.read(NAME).to_pylist()) == ordered(expected.values())

    other.store.optimize(NAME)
    one.store.restore(NAME, 1)
    assert other.rows() == ordered([FULL, thing(2, month=FEBRUARY), thing(3)])
    assert other.store.head(NAME) == one.store.head(NAME)


def test_a_foreign_commit_counts_as_news_unless_its_operation_changes_no_row(both: tuple[Workbench, Workbench]):
    """Else a row that somebody wrote by hand never arrives downstream, or tidying up by somebody else moves every
    table.
    """
    rs, spark = both
    rs.store.create(THINGS)
    ours = rs.commit(("I", thing(1)), ("I", thing(2)), append=True)
    spark.commit(("I", thing(3)))
    table = f"delta.`{rs.store.uri(NAME)}`"
    spark.spark.sql(f"OPTIMIZE {table}").collect()
    for bench in both:
        head = bench.store.head(NAME)
        assert head is not None
        assert (head.version, head.data_version) == (ours + 2, ours + 1)
    spark.spark.sql(f"DELETE FROM {table} WHERE id = 2").collect()
    for bench in both:
        head = bench.store.head(NAME)
        assert head is not None
        assert (head.version, head.data_version) == (ours + 3, ours + 3)
        assert [(r["id"], r["_change"]) for r in bench.changes(ours + 1)] == [(2, "delete")]
