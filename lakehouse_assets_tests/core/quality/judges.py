"""The two judges that must agree: pandera itself, and the one-pass expression on the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandera.polars as pa
import polars as pl
import pyarrow as arrow
import pyarrow.parquet as parquet

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.contracts.reading import SHORT_NAMES
from lakehouse_assets.core.quality.rules import violations


def by_pandera(contract: Contract, frame: pl.DataFrame) -> list[set[str]]:
    """The rules each row breaks, as pandera says."""
    broken: list[set[str]] = [set() for _ in range(frame.height)]
    try:
        contract.model.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        for case in errors.failure_cases.select("schema_context", "column", "check", "index").iter_rows(named=True):
            assert case["index"] is not None, f"pandera could not judge {case}"
            check = str(case["check"]).partition("(")[0]
            name = {"not_nullable": "nullable"}.get(check, SHORT_NAMES.get(check, check))
            column = "row" if case["schema_context"] == "DataFrameSchema" else case["column"]
            broken[case["index"]].add(f"{column}.{name}")
    return broken


def on_engine(spark: Any, contract: Contract, frame: pl.DataFrame, folder: Path) -> list[tuple[list[str], list[str]]]:
    """`_violations` and `_warnings` of each row, as the engine says; the rows are read from Parquet, as staged slices
    are.
    """
    types = arrow.schema([arrow.field(f.name, f.type) for f in contract.arrow_schema])
    table = (
        frame.to_arrow()
        .select(contract.names)
        .cast(types)
        .append_column("_i", arrow.array(range(frame.height), arrow.int64()))
    )
    path = folder / f"{contract.table}.parquet"
    parquet.write_table(table, path)
    judged = (
        violations(spark.read.parquet(str(path)), contract)
        .select("_i", "_violations", "_warnings")
        .toArrow()
        .sort_by("_i")
    )
    return list(zip(judged["_violations"].to_pylist(), judged["_warnings"].to_pylist(), strict=True))


def expected(contract: Contract, broken: set[str]) -> tuple[list[str], list[str]]:
    """What the audit must report of a row that breaks those rules: derived columns count where no landed one is
    broken.
    """
    bad = {r.name for r in contract.rules if r.severity != "warn"} & broken
    derived = {r.name for r in contract.rules if r.derived}
    warned = broken - bad
    if bad - derived:
        return sorted(bad - derived), sorted(warned - derived)
    return sorted(bad), sorted(warned)
