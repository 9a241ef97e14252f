"""The source `stock_levels`. a full count of the warehouse, which it exports every day."""

import pandera.polars as pa
from pyspark.sql import DataFrame

from lakehouse_assets.core.contracts.side_tables import Provenance
from lakehouse_assets.core.contracts.types import Day, Text, Whole
from lakehouse_assets.core.declarations.source import Landed, Source
from lakehouse_assets.core.sources.convert import convert
from lakehouse_assets.core.sources.kinds.csv import Csv


class StockLevels(Provenance):
    """What was on hand of a product when it was counted. A product that is missing from a count is no longer sold."""

    product_code: Text = pa.Field(description="stock code in upper case, as product_code of the sales")
    on_hand: Whole = pa.Field(ge=0, description="units in the warehouse")
    counted_on: Day = pa.Field(description="the day of the count")

    class Config:
        name = "silver.stock_levels"
        strict = True
        metadata = {
            "key": ["product_code", "counted_on"],
            "business_date": "counted_on",
            # A drop with more bad rows than both is refused.
            "blocking": {"rows": 5, "share": 0.10},
        }


def typed(landed: DataFrame) -> DataFrame:
    """Landed rows → one row each with the contract's columns and `_problems`."""
    return convert(landed, StockLevels)


STOCK_LEVELS = Source(
    name="stock_levels",
    kind=Csv(),
    description="Counts of the warehouse as they landed, one row a product and day.",
    landed="Taken in from the drops of the folder `stock_levels/`.",
    columns=(
        Landed("product_code", "stock code as landed", ("ProductCode",)),
        Landed("on_hand", "units in the warehouse as landed", ("OnHand",)),
        Landed("counted_on", "day of the count as landed", ("CountedOn",)),
    ),
    contract_model=StockLevels,
    typed=typed,
    order=("batch_date DESC", "path DESC", "content_hash DESC", "row_number DESC"),
    wins="Of two counts of one day the latest drop wins.",
)
