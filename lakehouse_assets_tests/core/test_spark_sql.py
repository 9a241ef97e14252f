"""Names and values of any content reach Spark SQL as they are."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pytest

from lakehouse_assets.core.spark_sql import between, delta_table, in_list, literal, quoted, quoted_list


def test_each_kind_of_value_has_one_literal():
    """Else two places write one value differently, and one of them compares with something else."""
    assert literal("it's \\ ${x}") == r"'it\'s \\ \u0024{x}'"
    assert literal(date(2026, 3, 1)) == "DATE '2026-03-01'"
    assert [literal(v) for v in (7, Decimal("1E-7"), True)] == ["7", "0.0000001", "true"]
    with pytest.raises(TypeError, match="no literal"):
        literal(datetime(2026, 3, 1))


def test_names_lists_and_ranges():
    assert quoted_list(["a", "b`c"]) == "`a`, `b``c`"
    assert delta_table("/a b/c") == "delta.`/a b/c`"
    assert in_list(quoted("a"), ["x", "y"]) == "`a` IN ('x', 'y')"
    assert in_list("a", []) == "false"
    assert between("a", 1, 2) == "a BETWEEN 1 AND 2"
