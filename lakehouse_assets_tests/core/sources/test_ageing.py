"""Rejected rows leave quarantine by age, whichever store holds them."""

from datetime import date

from lakehouse_assets.core.contracts import contract
from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.slice_rules import OPERATION
from lakehouse_assets.core.delta.staging import Lakehouse
from lakehouse_assets.core.sources.quarantine import age_quarantine
from lakehouse_assets_tests.core.delta.conftest import Workbench, bench, spark_is_slow

__all__ = ["bench"]

QUARANTINE = contract("silver.fx_rates_quarantine")
CONSUMED = Consumed({"bronze.landings": 3}, {"bronze.landings": "an id"}, QUARANTINE.fingerprint, "7ab1e", 3)


@spark_is_slow
def test_old_rows_go_in_one_commit_that_consumes_nothing(bench: Workbench):
    """Else ageing has everything judged again, which brings the rows back, or commits every night for nothing."""
    lakehouse = Lakehouse(bench.store, lambda: bench.spark, str(bench.folder / "staging"))
    assert age_quarantine(lakehouse, QUARANTINE, date(2026, 9, 3)) == 0  # there is no such table yet
    head = lakehouse.head(QUARANTINE)
    days = ", ".join(f"({n}L, DATE '2026-09-{n:02}')" for n in range(1, 6))
    rows = bench.spark.sql(
        "SELECT 'fx/a.csv' AS path, 'h' AS content_hash, n AS row_number, 'c' AS contract_fingerprint, d AS"
        f" batch_date, array('rate.type') AS rules, CAST(NULL AS STRING) AS detail, '{{}}' AS raw, 'I' AS {OPERATION}"
        f" FROM VALUES {days} AS v(n, d)"
    )
    uri = lakehouse.scratch(QUARANTINE.name)
    rows.write.parquet(uri)
    lakehouse.publish(lakehouse.staged(QUARANTINE, head, CONSUMED, uri))
    before = bench.store.version(QUARANTINE.name)

    assert age_quarantine(lakehouse, QUARANTINE, date(2026, 9, 3)) == 2
    after = bench.store.head(QUARANTINE.name)
    assert after is not None
    assert (after.version, after.consumed) == (before + 1, CONSUMED)
    assert sorted(bench.store.read(QUARANTINE.name, columns=["row_number"])["row_number"].to_pylist()) == [3, 4, 5]
    assert age_quarantine(lakehouse, QUARANTINE, date(2026, 9, 3)) == 0
    assert bench.store.version(QUARANTINE.name) == before + 1

    bench.store.restore(QUARANTINE.name, 0)  # the next run judges everything again, and the rows age after that
    assert age_quarantine(lakehouse, QUARANTINE, date(2026, 9, 9)) == 0
