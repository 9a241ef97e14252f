"""The page on writing contracts, held to the code."""

import re
from pathlib import Path
from typing import Any

import pandera.polars as pa
import pytest

from lakehouse_assets.core.contracts import Contract, types
from lakehouse_assets.core.contracts.parts import Blocking
from lakehouse_assets.core.contracts.reading import SAID
from lakehouse_assets.core.contracts.row_checks import RULES
from lakehouse_assets.core.contracts.side_tables import Provenance
from lakehouse_assets.core.quality.check_sql import known_checks
from lakehouse_assets.core.quality.patterns import PatternError, portable
from lakehouse_assets.core.quality.refusals import refuse_unreadable
from lakehouse_assets.errors import LakehouseError

PAGE = (Path(__file__).parents[3] / "docs" / "writing-contracts.md").read_text(encoding="utf-8")


def test_the_example_is_a_contract_and_has_the_severities_that_the_page_tells_of() -> None:
    """Else the first contract that a user copies does not load."""
    block = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert block
    names = {**vars(types), "pa": pa, "Provenance": Provenance}
    exec(block[1], names)
    contract = Contract("silver.visits", names["Visits"])
    refuse_unreadable(contract)
    said = {r.name: r.severity for r in contract.rules if r.severity != "quarantine"}
    assert said == {"visit_id.str_matches": "block", "spent.ge": "block", "guest.trimmed": "warn"}
    assert contract.allowances == {"spent.ge": Blocking(2, 0.01)}
    assert {"guest.trimmed", "row.in_order", "guest.nullable", "path.nullable"} - {r.name for r in contract.rules} == {
        "guest.nullable"
    }


def test_the_page_names_every_check() -> None:
    """Else a check that could be used is not found, or one is promised that is refused."""
    (listed,) = re.findall(r"Built-in checks\*\* of pandera on a `Field`: `([^`]*)`", PAGE)
    assert sorted(listed.split()) == sorted(known_checks())
    assert {name for name in RULES if f"`{name}`" not in PAGE} == set()


def test_the_page_names_all_that_a_model_may_say_of_its_table() -> None:
    """Else nobody finds what a contract can promise."""
    assert {name for name in SAID if f"`{name}`" not in PAGE and f'"{name}"' not in PAGE} == set()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            {"hand_off": {"kind": "whole"}},
            r"gold\.things says hand_off in Config\.metadata, which nobody reads; it may say agrees, ",
        ),
        ({"handoff": {"kind": "bucket"}}, "write a column of its own for the kind column"),
        ({"handoff": {"kind": "column", "column": "day"}}, "write a column of its own for the kind column"),
        ({"handoff": {"kind": "hash"}}, "at least 1 bucket for the kind hash"),
        ({"handoff": {"buckets": 3}}, "as handoff, which cannot be read"),
        ({"z_order_by": ["nothing"]}, "z-ordered by nothing, which is no column of texts, whole numbers or dates"),
        ({"z_order_by": ["thing"], "partition_by": ["thing"]}, "z-ordered by thing, which is no column of"),
        ({"blocking": {"row": 5}}, "as blocking, which cannot be read"),
    ],
)
def test_what_a_model_says_of_its_table_and_nobody_reads_is_refused(said: dict[str, Any], told: str) -> None:
    """Else a misspelt word keeps a table from Snowflake, or lets bad drops through, without a sign."""

    class Things(pa.DataFrameModel):
        thing: types.Text = pa.Field()

        class Config:
            metadata = {"key": ["thing"], **said}  # noqa: RUF012

    with pytest.raises(LakehouseError, match=told):
        Contract("gold.things", Things)


def test_a_misspelt_option_of_pandera_is_told_with_the_table() -> None:
    """Else one looks for it in every contract."""

    class Things(pa.DataFrameModel):
        thing: types.Text = pa.Field()

        class Config:
            strictt = True

    with pytest.raises(
        LakehouseError, match=r"gold\.things cannot be read by pandera: .*strictt.*; check the spelling"
    ):
        Contract("gold.things", Things)


@pytest.mark.parametrize("pattern", [r"\d", r"\w", r"\s", r"\b", "(?i)a", "(?=a)", r"(a)\1", "a+?", "a++", "[a[b]]"])
def test_what_the_page_calls_not_portable_is_refused(pattern: str) -> None:
    """Else a user leaves out for nothing what he could write."""
    with pytest.raises(PatternError):
        portable(pattern)


@pytest.mark.parametrize("pattern", ["a.c", "[a-z0-9_]", "[^x]", "(a|b)", "a*b+c?d{2}e{2,}f{2,3}", "^a$|^b$", r"\.\-"])
def test_what_the_page_calls_portable_is_taken(pattern: str) -> None:
    """Else what the page allows fails when definitions load."""
    assert portable(pattern)
