"""Only regular expressions that Rust, Java and Snowflake read alike are let through."""

import random

import polars as pl
import pytest

from lakehouse_assets.core.quality.patterns import PatternError, portable
from lakehouse_assets_tests.core.quality.generate import PATTERNS, TEXTS, random_pattern, random_texts


@pytest.mark.parametrize(
    "pattern",
    [r"\d", r"\w+", r"a\b", "(?:a)", "(?i)a", "a*?", "a++", "a**", "*a", "a|*", "[[:alpha:]]", "[a&&b]", "[a--b]", "[]a]", "[a", "(a", "a)", "a|", "(|a)", "()",  # noqa: E501
     r"(a)\1", "a^b", "a$b", "{", "a}", "]", r"\<a", r"\é", "a\\", "[b-a]", "a{2,1}", "[^^]", "^*"],
)  # fmt: skip
def test_what_the_dialects_read_differently_is_refused(pattern):
    """Else the same contract accepts other rows on another engine."""
    with pytest.raises(PatternError):
        portable(pattern)


def test_the_spelt_out_pattern_means_the_same_in_rust():
    """Else spelling out `$` and `.` for Java changes what pandera's own reading accepts."""
    rng = random.Random(6)
    texts = pl.Series([*TEXTS, *random_texts(rng, 200)])
    for pattern in [*PATTERNS, *(random_pattern(rng) for _ in range(200))]:
        assert texts.str.contains(portable(pattern)).to_list() == texts.str.contains(pattern).to_list(), pattern
