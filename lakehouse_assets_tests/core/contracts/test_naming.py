"""Names of tables and columns that the platforms would not all take for the same are refused by the contract."""

import pandera.polars as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse_assets.core.contracts import Contract, types
from lakehouse_assets.core.contracts.naming import LONGEST, RESERVED
from lakehouse_assets.errors import LakehouseError


def with_columns(*names: str, table: str = "gold.things") -> Contract:
    class Things(pa.DataFrameModel):
        class Config:
            metadata = {"key": [names[0]]}  # noqa: RUF012

    fields = {f"column_{n}": pa.Field(alias=name) for n, name in enumerate(names)}
    return Contract(table, type("Things", (Things,), {"__annotations__": dict.fromkeys(fields, types.Whole), **fields}))


@pytest.mark.parametrize("name", ["order", "select", "current_date", "row", "try_cast", "values"])
def test_a_word_that_sql_reserves_is_refused(name: str) -> None:
    """The statement that creates the table would be a syntax error, on the day of the first hand-off."""
    with pytest.raises(
        LakehouseError, match=rf"gold\.things has a column '{name}', a word that SQL reserves; choose another"
    ):
        with_columns("id", name)
    with pytest.raises(LakehouseError, match=rf"gold\.{name} is named '{name}', a word that SQL reserves"):
        with_columns("id", table=f"gold.{name}")


@pytest.mark.parametrize(
    "name",
    [
        "netSales",
        "Id",
        "net sales",
        "2nd",
        "größe",
        "ſ",
        "a-b",
        "a.b",
        "a$",
        'a"b',
        "a`b",
        "a\n",
        "",
        "x" * 300,
        "x" * (LONGEST + 1),
    ],
)
def test_a_name_that_one_platform_would_fold_or_refuse_is_refused(name: str) -> None:
    """A plan would propose to drop the column that the contract has, and to add it again in capitals."""
    with pytest.raises(
        LakehouseError, match=rf"gold\.things has a column .*at most {LONGEST} small letters"
    ) as refused:
        with_columns("id", name)
    assert len(str(refused.value)) < 300
    if "." not in name:
        with pytest.raises(LakehouseError, match="is named"):
            with_columns("id", table=f"gold.{name}")


@given(st.lists(st.text(max_size=6), min_size=1, max_size=6, unique=True))
def test_names_that_are_taken_differ_in_capitals_too(names: list[str]) -> None:
    """Two columns would become one in Snowflake."""
    try:
        contract = with_columns(*names)
    except LakehouseError:
        return
    assert len({name.upper() for name in contract.names}) == len(names)
    assert not RESERVED & set(contract.names)
    assert all(name.isascii() and name == name.lower() for name in contract.names)
