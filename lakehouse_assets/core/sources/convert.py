"""Landed texts → the types of a contract, by the plain rules that most sources follow; for sources without rules of
their own.

| type | texts taken for it, blanks around them aside |
|---|---|
| Text | any, as it landed |
| Whole | `12`, `-12`, `12.0` |
| decimals | `12`, `12.50`; more decimals than the type has are `<column>.scale`, and never rounded |
| Flag | `true`, `false`, `1`, `0`, in any case |
| Day | `2026-09-01`, or as its layout says |
| ShopClock | `2026-09-01 12:30`, with seconds and up to six decimals of them, or with T |
| Moment | the same with `Z`, `+02:00` or nothing, which is UTC |

Any other text is `<column>.type`. Both are problems of the row: it goes to quarantine. Does not belong here: rules
about values, which a contract has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pandera.polars as pa
from pyspark.sql import DataFrame

from lakehouse_assets.core.contracts.contract import Contract
from lakehouse_assets.core.contracts.parts import Column
from lakehouse_assets.core.contracts.side_tables import Provenance
from lakehouse_assets.core.spark_sql import quoted
from lakehouse_assets.errors import LakehouseError

_WHOLE: Final = r"^[+-]?[0-9]{1,18}(\\.0*)?\\z"
_NUMBER: Final = r"^[+-]?[0-9]+(\\.[0-9]*)?\\z"
# Years as people write them: Python and the engines part ways on the year 0 and on five digits.
_DAY: Final = r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}"
_CLOCK: Final = rf"{_DAY}[ T][0-9]{{2}}:[0-9]{{2}}(:[0-9]{{2}}([.][0-9]{{1,6}})?)?"
_ZONE: Final = r"(Z|[+-][0-9]{2}:?[0-9]{2})?"

LAYOUTS: Final[Mapping[str, tuple[str, str]]] = {
    "%d/%m/%Y": ("/", "321"),
    "%m/%d/%Y": ("/", "312"),
    "%d.%m.%Y": ("[.]", "321"),
    "%d-%m-%Y": ("-", "321"),
    "%m-%d-%Y": ("-", "312"),
    "%Y/%m/%d": ("/", "123"),
}
"""How a day may be written other than 2026-09-01, as strftime writes it → what is between its parts, and which of them
are year, month and day.
"""


def convert(landed: DataFrame, model: type[pa.DataFrameModel], layouts: Mapping[str, str] | None = None) -> DataFrame:
    """Landed rows → one row each with the columns of the contract and `_problems`, the conversion rules that it breaks
    (array of strings).

    Every column that is not derived and says nothing of the drop is taken from the landed column of its name. Derived
    columns are not made: add them to the result. layouts: column of type Day → how it is written, one of `LAYOUTS`.
    Raises `LakehouseError` for a layout that is not known.
    """
    contract = Contract.of(model)
    own = list(Provenance.to_schema().columns)
    columns = [c for c in contract.columns if c.name not in own and not c.derived]
    texts = [f"trim({quoted(c.name)}) AS {_text(c.name)}" for c in columns if c.type.kind != "string"]
    days = {n: _iso(n, layout) for n, layout in (layouts or {}).items()}
    cleaned = landed.selectExpr("*", *texts)
    if days:
        cleaned = cleaned.selectExpr(*(c for c in _untouched(cleaned.columns, days)), *days.values())
    values = [f"{_value(c)} AS {quoted(c.name)}" for c in columns]
    kept = [_text(c.name) for c in columns if c.type.kind != "string"]
    converted = cleaned.selectExpr(*own, "_malformed", *values, *kept)
    problems = ", ".join(["_malformed", *(_problem(c) for c in columns if c.type.kind != "string")])
    return converted.selectExpr(
        *own, *(quoted(c.name) for c in columns), f"array_compact(array({problems})) AS _problems"
    )


def _untouched(names: list[str], replaced: Mapping[str, str]) -> list[str]:
    return [quoted(name) for name in names if name.removeprefix("_") not in replaced or not name.startswith("_")]


def _iso(name: str, layout: str) -> str:
    """The text of a day in another layout as 2026-09-01; any other text stays."""
    if layout not in LAYOUTS:
        raise LakehouseError(f"{name} has the layout {layout!r}; write one of {', '.join(LAYOUTS)}.")
    between, order = LAYOUTS[layout]
    parts = ["([0-9]{4})" if n == order[0] else "([0-9]{1,2})" for n in "123"]
    pattern = rf"^{between.join(parts)}\\z"
    year, month, day = (f"regexp_extract(trim({quoted(name)}), '{pattern}', {n})" for n in order)
    iso = f"concat_ws('-', {year}, lpad({month}, 2, '0'), lpad({day}, 2, '0'))"
    return f"CASE WHEN trim({quoted(name)}) RLIKE '{pattern}' THEN {iso} ELSE trim({quoted(name)}) END AS {_text(name)}"


def _text(name: str) -> str:
    """The column that holds the text of a column as it landed."""
    return quoted(f"_{name}")


def _value(column: Column) -> str:
    """SQL that gives the value of a column, null where its text is none."""
    text = _text(column.name)
    kind = column.type
    if kind.kind == "string":
        return quoted(column.name)
    if kind.kind == "bigint":
        return f"CASE WHEN {text} RLIKE '{_WHOLE}' THEN try_cast(split_part({text}, '.', 1) AS BIGINT) END"
    if kind.kind == "decimal":
        wanted = f"{text} RLIKE '{_NUMBER}' AND NOT {text} RLIKE '{_finer(kind.scale)}'"
        return f"CASE WHEN {wanted} THEN try_cast({text} AS {kind.spark}) END"
    if kind.kind == "boolean":
        return f"CASE WHEN lower({text}) IN ('true', '1') THEN true WHEN lower({text}) IN ('false', '0') THEN false END"
    if kind.kind == "date":
        return f"CASE WHEN {text} RLIKE '^{_DAY}\\\\z' THEN try_cast({text} AS DATE) END"
    if kind.kind == "timestamp_ntz":
        return f"CASE WHEN {text} RLIKE '^{_CLOCK}\\\\z' THEN try_cast(replace({text}, 'T', ' ') AS TIMESTAMP_NTZ) END"
    if kind.kind == "timestamp":
        return f"CASE WHEN {text} RLIKE '^{_CLOCK}{_ZONE}\\\\z' THEN try_cast({text} AS TIMESTAMP) END"
    raise LakehouseError(f"{column.name} is a list, which a text cannot be converted to; write its own transform.")


def _problem(column: Column) -> str:
    """SQL that names the rule that the text of a column breaks, null where it breaks none."""
    text, name = _text(column.name), column.name
    missing = f"{text} IS NOT NULL AND {quoted(name)} IS NULL"
    if column.type.kind != "decimal":
        return f"CASE WHEN {missing} THEN '{name}.type' END"
    finer = f"{text} RLIKE '{_NUMBER}' AND {text} RLIKE '{_finer(column.type.scale)}'"
    return f"CASE WHEN NOT ({missing}) THEN NULL WHEN {finer} THEN '{name}.scale' ELSE '{name}.type' END"


def _finer(scale: int) -> str:
    """A number of more decimals than that which count."""
    return f"[.][0-9]{{{scale}}}[0-9]*[1-9]"
