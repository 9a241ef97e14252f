"""The source `fx`: euro reference rates of the European Central Bank, and what a landed rate means."""

import pandera.polars as pa
from pyspark.sql import DataFrame

from lakehouse_assets.core.contracts.side_tables import Provenance
from lakehouse_assets.core.contracts.types import Day, Rate, Text
from lakehouse_assets.core.declarations.source import Landed, Source
from lakehouse_assets.core.sources.kinds.ecb import EcbRates
from lakehouse_assets.core.spark_sql import literal


class FxRates(Provenance):
    """ECB euro reference rates: units of a currency per euro."""

    rate_date: Day = pa.Field(description="the day the rate was published for")
    currency: Text = pa.Field(str_matches=r"^[A-Z]{3}$", description="ISO 4217 code")
    rate: Rate = pa.Field(gt=0, description="units of the currency per euro")

    class Config:
        name = "silver.fx_rates"
        strict = True
        metadata = {
            "key": ["rate_date", "currency"],
            "business_date": "rate_date",
            "blocking": {"rows": 5, "share": 0.10},
        }


_NUMBER = r"^[+-]?[0-9]+(\\.[0-9]*)?\\z"
_FINER = "[.][0-9]{6}[0-9]*[1-9]"
# Years as people write them: Python and the engines part ways on the year 0 and on five digits.
_DAY = r"^[12][0-9]{3}-[0-9]{2}-[0-9]{2}\\z"
# The bank's own file of one day writes 01 September 2026, its history 2026-09-01.
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_WRITTEN = rf"^([0-9]{{1,2}}) ({'|'.join(_MONTHS)}) ([12][0-9]{{3}})\\z"
_MONTH = f"array_position(array({', '.join(map(literal, _MONTHS))}), regexp_extract(_written, '{_WRITTEN}', 2))"
_ISO = (
    f"CASE WHEN _written RLIKE '{_WRITTEN}' THEN concat_ws('-', regexp_extract(_written, '{_WRITTEN}', 3),"
    f" lpad(CAST({_MONTH} AS STRING), 2, '0'), lpad(regexp_extract(_written, '{_WRITTEN}', 1), 2, '0')) ELSE"
    " _written END"
)


def typed(landed: DataFrame) -> DataFrame:
    """Landed rates → one row each with the contract's columns and `_problems`. More than six decimals are a problem,
    never rounded.
    """
    cleaned = landed.selectExpr("*", "trim(rate_date) AS _written", "trim(rate) AS _rate").selectExpr(
        "*", f"{_ISO} AS _day"
    )
    converted = cleaned.selectExpr(
        "batch_date",
        "path",
        "content_hash",
        "row_number",
        "_malformed",
        "_day",
        "_rate",
        f"CASE WHEN _day RLIKE '{_DAY}' THEN try_cast(_day AS DATE) END AS rate_date",
        "upper(trim(currency)) AS currency",
        f"CASE WHEN _rate RLIKE '{_NUMBER}' AND NOT _rate RLIKE '{_FINER}' THEN try_cast(_rate AS DECIMAL(18,6)) END AS"
        " rate",
    )
    return converted.selectExpr(
        "batch_date",
        "path",
        "content_hash",
        "row_number",
        "rate_date",
        "currency",
        "rate",
        "array_compact(array(_malformed, CASE WHEN _day IS NOT NULL AND rate_date IS NULL THEN 'rate_date.type' END,"
        f" CASE WHEN _rate IS NULL OR rate IS NOT NULL THEN NULL WHEN _rate RLIKE '{_NUMBER}' AND _rate RLIKE"
        f" '{_FINER}' THEN 'rate.scale' ELSE 'rate.type' END)) AS _problems",
    )


FX = Source(
    name="fx",
    bronze="bronze.fx_rates",
    kind=EcbRates(wanted="GBP"),
    description="ECB reference rates as they landed, one row a date and currency that has a value.",
    landed="Taken in from the ECB files of the folder `fx/`, unpivoted.",
    columns=(
        Landed("rate_date", "date of the rate as landed"),
        Landed("currency", "ISO 4217 code as landed"),
        Landed("rate", "units of the currency per euro as landed"),
    ),
    contract_model=FxRates,
    typed=typed,
    order=("batch_date DESC", "path DESC", "content_hash DESC", "row_number DESC"),
    wins="Of two drops for one date the greatest wins.",
)
