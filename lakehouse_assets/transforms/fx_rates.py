"""Silver reference rates: what a landed rate means, and which drop has the last word on a date."""

from __future__ import annotations

from pyspark.sql import DataFrame

KEY = ("rate_date", "currency")
ORDER = ("batch_date DESC", "path DESC", "content_hash DESC", "row_number DESC")

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
_MONTH = f"array_position(array({', '.join(map(repr, _MONTHS))}), regexp_extract(_written, '{_WRITTEN}', 2))"
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
