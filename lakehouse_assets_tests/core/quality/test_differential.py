"""The one-pass audit gives every row the verdict that pandera gives it."""

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lakehouse_assets.core.contracts import CONTRACTS, Contract
from lakehouse_assets.core.quality.refusals import refuse_unreadable
from lakehouse_assets_tests.core.quality.generate import TYPES, every_check, rows, values_for
from lakehouse_assets_tests.core.quality.judges import by_pandera, expected, on_engine

ROWS = 10_000


def good_values(contract: Contract, seed: int) -> dict[str, list[Any]]:
    """Of each column, the values that pandera finds nothing wrong with."""
    rng = random.Random(seed)
    tries = {c.name: [*values_for(contract, c, rng), None] for c in contract.columns}
    longest = max(map(len, tries.values()))
    schema = contract.model.to_schema()
    padded = {n: pl.Series(n, (v * longest)[:longest], dtype=schema.columns[n].dtype.type) for n, v in tries.items()}
    broken = by_pandera(contract, pl.DataFrame(padded))
    return {
        n: [v for v, names in zip(values, broken, strict=False) if not any(name.startswith(f"{n}.") for name in names)]
        for n, values in tries.items()
    }


def assert_same_verdicts(spark: Any, contract: Contract, folder: Any, seed: int) -> list[tuple[list[str], list[str]]]:
    frame = rows(contract, ROWS, random.Random(seed), good_values(contract, seed))
    found = on_engine(spark, contract, frame, folder)
    wanted = [expected(contract, broken) for broken in by_pandera(contract, frame)]
    differing = [(frame.row(i, named=True), w, f) for i, (w, f) in enumerate(zip(wanted, found, strict=True)) if w != f]
    assert not differing, f"{len(differing)} rows of {contract.name} differ, such as {differing[0]}"
    assert_seen_both_ways(contract, frame, found)
    return found


def assert_seen_both_ways(contract: Contract, frame: pl.DataFrame, found: list[tuple[list[str], list[str]]]) -> None:
    """Every kind of rule was broken, and kept by something that is no null: two judges agree easily on nothing."""
    verdicts = [{*broken, *warned} for broken, warned in found]
    broken = {r.check for r in contract.rules if any(r.name in rules for rules in verdicts)}
    kept = {
        r.check
        for r in contract.rules
        if any(
            r.name not in rules and (r.column is None or value is not None)
            for rules, value in zip(verdicts, frame[r.column or contract.names[0]], strict=True)
        )
    }
    every = {r.check for r in contract.rules}
    assert (every - broken, every - kept) == (set(), set()), "(never broken, never kept)"


@pytest.mark.parametrize("name", sorted(CONTRACTS))
def test_every_contract_is_judged_as_pandera_judges_it(spark, tmp_path, name):
    """Else a row is published that its contract forbids, or a good one is lost to quarantine."""
    contract = CONTRACTS[name]
    found = assert_same_verdicts(spark, contract, tmp_path, seed=11)
    seen = {rule for broken, warned in found for rule in (*broken, *warned)}
    assert seen == {r.name for r in contract.rules}, "the rows made up do not break every rule"
    assert any(not broken for broken, _ in found), "no row made up keeps the contract"


@pytest.mark.parametrize("type_name", sorted(TYPES))
def test_every_check_on_every_type_is_judged_as_pandera_judges_it(spark, tmp_path, type_name):
    """Else a check that some table will use one day means something else in the audit than in the contract."""
    contract = Contract(f"test.{type_name}", every_check(type_name, random.Random(f"{type_name}-3")))
    refuse_unreadable(contract)
    assert_same_verdicts(spark, contract, tmp_path, seed=5)


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["silver.order_lines", "silver.customers", *sorted(TYPES)])
def test_apache_spark_judges_as_pandera_judges(connect_spark: Any, tmp_path: Path, name: str):
    """Else a row is published on one engine and set aside on another."""
    contract = CONTRACTS.get(name) or Contract(f"test.{name}", every_check(name, random.Random(f"{name}-3")))
    assert_same_verdicts(connect_spark, contract, tmp_path, seed=7)
