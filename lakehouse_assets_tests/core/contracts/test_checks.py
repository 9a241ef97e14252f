"""Checks of our own: registered once, with their SQL."""

import polars as pl
import pytest

from lakehouse_assets.core.contracts.row_checks import RULES, register_rule
from lakehouse_assets.errors import LakehouseError


@pytest.mark.parametrize("name", ["in_order", "isin", "greater_than"])
def test_a_taken_name_is_refused(name):
    """Else a check silently takes the place of another in every model that uses it."""
    before = dict(RULES)
    with pytest.raises(LakehouseError, match=f"named {name} exists"):
        register_rule(name, statistics=[], sql=lambda column: "false")(lambda data: data.lazyframe.select(pl.lit(True)))
    assert before == RULES
