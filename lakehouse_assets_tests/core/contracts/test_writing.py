"""The page on writing contracts, held to the code."""

import re
from pathlib import Path

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


def _patterns() -> list[set[str]]:
    """What the page says of regular expressions, piece by piece: [what may be used, what may not]."""
    (said,) = re.findall(r"- \*\*Regular expressions\*\* may use what [^:]*: (.*?)\.\n- ", PAGE, re.DOTALL)
    plain = re.sub(r" \([^)]*for `\\d`\)", "", " ".join(said.split()))
    return [set(re.split(r", and |, | and ", half)) for half in plain.split(". Not ")]


PORTABLE = {
    "characters": ["abc", "é"],
    "`.`": ["a.c"],
    "classes such as `[a-z0-9_]`": ["[a-z0-9_]"],
    "`[^…]`": ["[^x]"],
    "groups": ["(a)", "(a|b)"],
    "`|`": ["a|b"],
    "the quantifiers `* + ? {n} {n,} {n,m}`": ["a*b+c?d{2}e{2,}f{2,3}"],
    "`^` where a branch begins": ["^a|^b"],
    "`$` where one ends": ["a$|b$"],
    "a backslash before punctuation": [r"\.\-"],
}
NOT_PORTABLE = {
    r"`\d` `\w` `\s` `\b`": [r"\d", r"\w", r"\s", r"\b"],
    "flags": ["(?i)a"],
    "look-around": ["(?=a)", "(?!a)"],
    "back-references": [r"(a)\1"],
    "lazy": ["a+?"],
    "possessive quantifiers": ["a++"],
    "sets within classes": ["[a[b]]", "[a&&b]"],
}


def test_the_page_tells_of_the_patterns_that_are_tried_here() -> None:
    """Else the page promises a pattern that nobody has tried."""
    assert _patterns() == [set(PORTABLE), set(NOT_PORTABLE)]


@pytest.mark.parametrize("pattern", [pattern for tried in NOT_PORTABLE.values() for pattern in tried])
def test_what_the_page_calls_not_portable_is_refused(pattern: str) -> None:
    """Else a user leaves out for nothing what he could write."""
    with pytest.raises(PatternError):
        portable(pattern)


@pytest.mark.parametrize("pattern", [pattern for tried in PORTABLE.values() for pattern in tried])
def test_what_the_page_calls_portable_is_taken(pattern: str) -> None:
    """Else what the page allows fails when definitions load."""
    assert portable(pattern)
