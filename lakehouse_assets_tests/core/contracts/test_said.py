"""What a model says of its table, and what of it is refused. The page that tells of it: `test_writing.py`."""

from typing import Any

import pandera.polars as pa
import pytest

from lakehouse_assets.core.contracts import Contract, types
from lakehouse_assets.errors import LakehouseError


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
        ({"partition_by": ["thing", "thing"]}, "partitioned by thing, thing; name one column of days, texts, whole"),
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
