"""Rules over whole tables: row counts, references, and sums that must agree with the layer below."""

from datetime import date
from decimal import Decimal
from typing import Any

import dagster as dg
import pandera.polars as pa
import pyarrow as arrow
import pytest

from lakehouse_assets.core.contracts import CONTRACTS, Contract
from lakehouse_assets.core.contracts.describe import markdown, table_rules
from lakehouse_assets.core.contracts.types import Day, Money, Text, Whole
from lakehouse_assets.core.frames import from_arrow
from lakehouse_assets.core.quality.table_rules import broken_table_rules, disagreements_of_slice, refuse_table_rules
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.checks import table_check


class Lines(pa.DataFrameModel):
    line: Text
    shop: Whole = pa.Field(nullable=True)
    kind: Text
    amount: Money

    class Config:
        metadata = {"key": ["line"]}  # noqa: RUF012


class Shops(pa.DataFrameModel):
    shop: Whole
    name: Text = pa.Field(metadata={"personal": True})

    class Config:
        metadata = {"key": ["shop"]}  # noqa: RUF012


class Totals(pa.DataFrameModel):
    shop: Whole
    total: Money
    returns: Money

    class Config:
        metadata = {  # noqa: RUF012
            "key": ["shop"],
            "rows": {"min": 1, "max": 3},
            "references": {"shop": "silver.shops"},
            "agrees": {
                "with": "silver.lines",
                "by": ["shop"],
                "sums": {"total": ["amount", {}], "returns": ["amount", {"kind": "return"}]},
            },
            "severity": {"shop.references": "warn"},
        }


OTHERS = {"silver.lines": Contract("silver.lines", Lines), "silver.shops": Contract("silver.shops", Shops)}
TOTALS = Contract("gold.totals", Totals)
LINES = [("a", 1, "sale", "10.5"), ("b", 1, "return", "-2"), ("c", 2, "sale", "3"), ("d", None, "sale", "7")]
GOOD = [(1, "8.5", "-2"), (2, "3", "0")]


def frames(spark: Any, totals: list[tuple], lines: list[tuple] = LINES, shops: tuple[int, ...] = (1, 2, 3)) -> Any:
    def frame(name: str, rows: list[tuple]) -> Any:
        schema = (TOTALS if name == "gold.totals" else OTHERS[name]).arrow_schema
        columns = list(zip(*rows, strict=True)) or [()] * len(schema)
        made = [
            arrow.array([Decimal(v) for v in c] if arrow.types.is_decimal(f.type) else list(c), f.type)
            for c, f in zip(columns, schema, strict=True)
        ]
        return from_arrow(spark, arrow.table(made, names=schema.names))

    held = {"gold.totals": totals, "silver.lines": lines, "silver.shops": [(s, f"shop {s}") for s in shops]}
    return {name: frame(name, rows) for name, rows in held.items()}.__getitem__


@pytest.mark.parametrize(
    ("totals", "more", "broken"),
    [
        (GOOD, {}, {}),
        ([], {"lines": []}, {"rows.bounds": 1}),
        ([*GOOD, (3, "0", "0")], {}, {}),
        ([*GOOD, (3, "0", "0"), (4, "0", "0")], {"shops": (1, 2, 3, 4)}, {"rows.bounds": 4}),
        (GOOD, {"shops": (2,)}, {"shop.references": 1}),
        ([(1, "8.501", "-2"), (2, "3", "0")], {}, {"total.agrees": 1}),
        ([(1, "10.5", "0"), (2, "3", "0")], {}, {"total.agrees": 1, "returns.agrees": 1}),
        (GOOD[:1], {}, {"total.agrees": 1}),
        ([*GOOD, (3, "1", "1")], {}, {"total.agrees": 1, "returns.agrees": 1}),
    ],
)
def test_each_rule_is_broken_by_what_it_forbids_and_by_nothing_else(spark, totals, more, broken):
    """Else gold tells other sums than the lines it was computed from, and no check is red."""
    found = broken_table_rules(TOTALS, OTHERS, frames(spark, totals, **more))
    counts = {
        name: sample["rows"] if name == "rows.bounds" else b.count
        for name, b in found.items()
        for sample in b.samples[:1]
    }
    assert counts == ({**broken, "rows.bounds": 0} if broken == {"rows.bounds": 1} else broken)
    assert all(b.severity == ("warn" if name == "shop.references" else "block") for name, b in found.items())


def test_the_check_shows_which_rows_and_by_how_much(spark):
    """Else one knows that something disagrees, and has to look for it by hand."""
    read = frames(spark, [(1, "9", "-2"), (2, "3", "0")], shops=(2,))
    check = table_check(TOTALS, OTHERS, lambda _, name: read(name))
    defs = dg.Definitions(
        asset_checks=[check], jobs=[dg.define_asset_job("all", selection=dg.AssetSelection.all_asset_checks())]
    )
    with dg.DagsterInstance.ephemeral() as instance:
        (found,) = defs.resolve_job_def("all").execute_in_process(instance=instance).get_asset_check_evaluations()
    assert not found.passed
    assert found.severity == dg.AssetCheckSeverity.ERROR
    assert found.description == "shop.references: 1 times; total.agrees: 1 times."
    samples: Any = found.metadata["samples"]
    assert samples.md_str.splitlines()[2:] == [
        "| shop.references | 1 |  |  |",
        "| total.agrees | 1 | 9.000000 | 8.500000 |",
    ]


class Visits(pa.DataFrameModel):
    visit: Whole
    at: Day
    shop: Whole = pa.Field(nullable=True)
    amount: Money

    class Config:
        metadata = {"key": ["visit"]}  # noqa: RUF012


class ShopDays(pa.DataFrameModel):
    day: Day
    shop: Whole
    total: Money

    class Config:
        metadata = {  # noqa: RUF012
            "key": ["day", "shop"],
            "agrees": {
                "with": "silver.visits",
                "by": {"day": "at", "shop": "shop"},
                "sums": {"total": ["amount", {}]},
                "gate": "silver.visits",
            },
        }


VISITS, SHOP_DAYS = Contract("silver.visits", Visits), Contract("gold.shop_days", ShopDays)
MONDAY, TUESDAY = date(2012, 3, 5), date(2012, 3, 6)


@pytest.mark.parametrize(
    ("slice_", "broken"),
    [
        ([("U", TUESDAY, 1, "5")], 0),
        ([("U", TUESDAY, 1, "4.999")], 1),
        ([("D", TUESDAY, 1, "5")], 1),
        ([("U", TUESDAY, 1, "5"), ("D", TUESDAY, 2, "1")], 1),
        ([("U", TUESDAY, 1, "5"), ("I", TUESDAY, 3, "0.001")], 1),
        ([("U", TUESDAY, 1, "5"), ("D", MONDAY, 9, "7")], 0),
        ([("U", TUESDAY, 1, "5"), ("U", MONDAY, 1, "1")], 2),
    ],
)
def test_a_slice_is_stopped_whose_days_would_disagree_and_only_for_those(spark, slice_, broken):
    """Else gold publishes other sums than the lines have, or is held up by an old day that this run has not touched."""

    def frame(contract: Contract, rows: list[tuple]) -> Any:
        decimals = [tuple(Decimal(v) if isinstance(v, str) and v not in "IUD" else v for v in row) for row in rows]
        fields = [(f.name, f.type) for f in contract.arrow_schema] if len(rows[0]) == len(contract.columns) else None
        schema = arrow.schema(fields or [("_op", arrow.string()), *((f.name, f.type) for f in contract.arrow_schema)])
        return from_arrow(
            spark,
            arrow.table(
                [arrow.array(c, f.type) for c, f in zip(zip(*decimals, strict=True), schema, strict=True)],
                schema=schema,
            ),
        )

    visits = frame(
        VISITS,
        [
            (1, MONDAY, 1, "2"),
            (2, TUESDAY, 1, "2"),
            (3, TUESDAY, 1, "3"),
            (4, TUESDAY, 2, "1"),
            (5, TUESDAY, None, "9"),
        ],
    )
    # Monday is wrong already: there is a shop that no line knows.
    target = frame(SHOP_DAYS, [(MONDAY, 1, "2"), (MONDAY, 9, "7"), (TUESDAY, 1, "2"), (TUESDAY, 2, "1")])
    staged = frame(SHOP_DAYS, slice_)
    written = staged.where("_op <> 'D'").drop("_op")
    found = disagreements_of_slice(
        SHOP_DAYS, {"silver.visits": VISITS}, staged, written, target, {"silver.visits": visits}.__getitem__
    )
    assert {name: b.count for name, b in found.items()} == ({"total.agrees": broken} if broken else {})


def test_rules_over_the_whole_table_are_told_in_words_and_change_the_fingerprint():
    """Else the docs leave out half of what a table promises, or a changed promise is not noticed."""
    assert table_rules(TOTALS) == [
        "there are at least 1 rows and at most 3",
        "every shop is a key of silver.shops (warn)",
        "total, summed by shop, is the sum of amount in silver.lines",
        "returns, summed by shop, is the sum of amount of rows with kind `return` in silver.lines",
    ]
    assert "- The whole table: every shop is a key of silver.shops (warn)" in markdown(TOTALS)
    assert TOTALS.fingerprint != changed("rows", {"min": 2}).fingerprint


def changed(what: str, said: Any) -> Contract:
    config = type("Config", (), {"metadata": {**Totals.Config.metadata, "severity": {}, what: said}})
    return Contract("gold.totals", type("Totals", (Totals,), {"Config": config, "__module__": __name__}))


@pytest.mark.parametrize(
    ("what", "said", "words"),
    [
        ("rows", {"min": 3, "max": 2}, "at least 3 and at most 2"),
        ("references", {"shop": "silver.shop"}, "no table silver.shop"),
        ("references", {"shops": "silver.shops"}, "gold.totals has no column shops"),
        ("references", {"shop": "silver.lines"}, "different types"),
        ("agrees", {"with": "silver.lines", "by": ["day"], "sums": {"total": ["amount", {}]}}, "no column day"),
        (
            "agrees",
            {"with": "silver.lines", "by": ["shop"], "sums": {"total": ["value", {}]}},
            "silver.lines has no column value",
        ),
        ("agrees", {"with": "silver.lines", "by": ["shop"], "sums": {"total": ["kind", {}]}}, "is no number"),
        (
            "agrees",
            {"with": "silver.lines", "by": ["shop"], "sums": {"total": ["amount", {"kind": 1}]}},
            "no value of the type string",
        ),
        (
            "agrees",
            {"with": "silver.lines", "by": {"shop": "store"}, "sums": {"total": ["amount", {}]}},
            "silver.lines has no column store",
        ),
        (
            "agrees",
            {"with": "silver.lines", "by": ["shop"], "sums": {"total": ["amount", {}]}, "gate": "silver.shops"},
            "silver.shops lacks one of amount, shop",
        ),
        (
            "agrees",
            {"with": "silver.lines", "by": ["shop"], "sums": {"total": ["amount", {}]}, "gate": "silver.lines"},
            "shop is no date",
        ),
    ],
)
def test_definitions_do_not_load_with_a_rule_that_cannot_be_judged(what, said, words):
    """Else a misspelt rule is found in the middle of a night, or never."""
    with pytest.raises(LakehouseError, match=words):
        refuse_table_rules(changed(what, said), OTHERS)


@pytest.mark.parametrize("name", [name for name, contract in CONTRACTS.items() if contract.table_rules])
def test_the_tables_rules_can_be_judged(spark, name):
    """Else definitions do not load, or the nightly check fails by an error of the engine."""
    refuse_table_rules(CONTRACTS[name], CONTRACTS)

    def empty(table: str) -> Any:
        return from_arrow(spark, arrow.schema(list(CONTRACTS[table].arrow_schema)).empty_table())

    too_few = {r.name for r in CONTRACTS[name].table_rules if r.kind == "rows" and r.least > 0}
    assert set(broken_table_rules(CONTRACTS[name], CONTRACTS, empty)) == too_few
