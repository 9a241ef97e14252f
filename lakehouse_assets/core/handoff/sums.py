"""Counts and hashes of slices, asked of the engine and of Snowflake; equal sums prove equal rows.

Belongs here: `SliceSum`, the two queries for it, and the fingerprint under which sums may be compared. Does not belong
here: the expressions they are made of (`rowhash.py`, `slices.py`), what is done when sums differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.handoff import rowhash, slices, sql
from lakehouse_assets.core.handoff.names import TargetNames
from lakehouse_assets.core.handoff.session import Session

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class SliceSum(NamedTuple):
    """Number of rows of a slice and the sum of their hashes."""

    rows: int
    hash: int

    def __str__(self) -> str:
        return f"{self.rows} rows of hash {self.hash}"


NOTHING = SliceSum(0, 0)
"""A slice without rows."""


def schema_fingerprint(contract: Contract) -> str:
    """12 hex digits that change whenever sums and slices of before say nothing about those of now: columns, slicing,
    canonical text.
    """
    definition = [
        [(c.name, c.type.snowflake) for c in contract.columns],
        contract.key,
        vars(slices.handoff_slice(contract)),
        rowhash.DEFINITION,
    ]
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:12]


def spark_sums(frame: DataFrame, contract: Contract, names: Iterable[str] | None = None) -> dict[str, SliceSum]:
    """Count and hash of each slice of a snapshot that has rows: of the slices `names`, or of all."""
    from pyspark.sql import functions as F

    if names is not None:
        frame = frame.where(slices.spark_predicate(contract, list(names)))
    upper, lower = rowhash.spark_halves("digest")
    sums = (
        frame.selectExpr(f"{slices.spark_value(contract)} AS value", f"md5({rowhash.spark_text(contract)}) AS digest")
        .selectExpr("value", f"{upper} AS upper", f"{lower} AS lower")
        .groupBy("value")
        .agg(F.count("*").alias("rows"), F.sum("upper").alias("upper"), F.sum("lower").alias("lower"))
        .selectExpr(f"{slices.spark_name(contract, 'value')} AS slice", "rows", "upper", "lower")
        .toArrow()
    )
    return {r["slice"]: SliceSum(r["rows"], rowhash.combine(r["upper"], r["lower"])) for r in sums.to_pylist()}


def snowflake_query(names: TargetNames, contract: Contract, predicate: str = "1 = 1", table: str = "") -> str:
    """The query for name, count and hash of the slices of a Snowflake table that have rows. table: the served one, or
    another with its columns.
    """
    return sql.statement(
        "publish",
        "sums",
        slice_name=slices.snowflake_name(contract, "SLICE_VALUE"),
        slice_value=slices.snowflake_value(contract),
        row_hash=rowhash.snowflake_hash(rowhash.snowflake_text(contract)),
        table=table or names.table(contract),
        predicate=predicate,
    )


def snowflake_sums(session: Session, statement: str, *values: object) -> dict[str, SliceSum]:
    """The answer of a query for name, count and hash of slices."""
    return {name: SliceSum(int(rows), int(digest)) for name, rows, digest in session.run(statement, *values)}
