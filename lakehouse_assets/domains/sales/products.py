"""Product descriptions over time: slowly changing dimension of type 2."""

import pandera.polars as pa
from pyspark.sql import DataFrame

import lakehouse_assets.core.contracts.row_checks  # noqa: F401 -- registers the whole-row checks named in Config
from lakehouse_assets.core.contracts.types import Day, Flag, Text
from lakehouse_assets.core.declarations.table import table
from lakehouse_assets.core.frames import FOREVER, Days, Inputs, Recomputed, copied, days_of, keys_of, least_by


class Products(pa.DataFrameModel):
    """Product descriptions over time (slowly changing dimension of type 2)."""

    product_code: Text = pa.Field(description="stock code trimmed, in upper case")
    description: Text = pa.Field(description="trimmed description")
    valid_from: Day = pa.Field(description="first day of validity; 1900-01-01 for the first version")
    valid_to: Day = pa.Field(description="last day of validity; 9999-12-31 for the current version")
    first_seen_on: Day = pa.Field(description="the business date on which this version was first sold")
    is_current: Flag = pa.Field(description="the version is the last one")

    class Config:
        name = "silver.products"
        strict = True
        in_order = {"columns": ["valid_from", "valid_to"]}
        metadata = {"key": ["product_code", "valid_from"]}


@table(Products, upstreams=["silver.order_lines"])
def products(inputs: Inputs) -> Recomputed:
    """The versions of every product whose sale lines changed.

    The description of a day is the most frequent among its sale lines, then the least text. A version begins where it
    differs from the day before it that has one. Versions first seen before the first touched day of a product still
    stand; lines are read from that day on.
    """
    changes = inputs.changes["silver.order_lines"]
    if changes is None:
        return Recomputed(_versions(_day_descriptions(inputs.snapshots["silver.order_lines"])), inputs.target)
    changes = changes.where("line_type = 'sale'")
    since = changes.groupBy("product_code").agg({"invoice_date": "min"}).withColumnRenamed("min(invoice_date)", "since")
    days = days_of(changes)
    if not days:
        return Recomputed(inputs.target.limit(0), inputs.target.limit(0))
    reach = Days.of([], [(min(days), FOREVER)])
    lines = inputs.snapshots.part("silver.order_lines", "invoice_date", *reach.span)
    recent = (
        lines.where(reach.where("invoice_date", "invoice_month"))
        .join(since, "product_code")
        .where("invoice_date >= since")
    )
    replaced = inputs.target.join(keys_of([changes], "product_code"), "product_code", "left_semi")
    standing = (
        inputs.target.join(since, "product_code")
        .where("first_seen_on < since")
        .selectExpr("product_code", "first_seen_on AS invoice_date", "description")
    )
    return Recomputed(_versions(_day_descriptions(recent).unionByName(standing)), replaced.select(*inputs.columns))


def _day_descriptions(lines: DataFrame) -> DataFrame:
    """product_code, invoice_date, description: the most frequent trimmed description of the day, then the least
    text.
    """
    counted = (
        lines.where("line_type = 'sale' AND trim(description) <> ''")
        .selectExpr("product_code", "invoice_date", "trim(description) AS description")
        .groupBy("product_code", "invoice_date", "description")
        .count()
    )
    best = least_by(counted, ("product_code", "invoice_date"), ("`count` DESC", "description"))
    return best.select("product_code", "invoice_date", "description")


def _versions(days: DataFrame) -> DataFrame:
    """Days with a description → versions."""
    by_day = "PARTITION BY product_code ORDER BY invoice_date"
    begins = (
        days.selectExpr("*", f"lag(description) OVER ({by_day}) AS _before")
        .where("_before IS NULL OR _before <> description")
        .selectExpr("*", f"row_number() OVER ({by_day}) AS _version", f"lead(invoice_date) OVER ({by_day}) AS _next")
    )
    return begins.selectExpr(
        "product_code",
        "description",
        "CASE WHEN _version = 1 THEN DATE '1900-01-01' ELSE invoice_date END AS valid_from",
        "CASE WHEN _next IS NULL THEN DATE '9999-12-31' ELSE date_sub(_next, 1) END AS valid_to",
        "invoice_date AS first_seen_on",
        "_next IS NULL AS is_current",
    )


class DimProducts(pa.DataFrameModel):
    """Product descriptions over time, to be joined as of the invoice date."""

    product_code: Text = pa.Field(description="stock code trimmed, in upper case")
    description: Text = pa.Field(description="trimmed description")
    valid_from: Day = pa.Field(description="first day of validity; 1900-01-01 for the first version")
    valid_to: Day = pa.Field(description="last day of validity; 9999-12-31 for the current version")
    first_seen_on: Day = pa.Field(description="the business date on which this version was first sold")
    is_current: Flag = pa.Field(description="the version is the last one")

    class Config:
        name = "gold.dim_products"
        strict = True
        in_order = {"columns": ["valid_from", "valid_to"]}
        metadata = {"key": ["product_code", "valid_from"], "handoff": {"kind": "hash", "buckets": 8}}


@table(DimProducts, upstreams=["silver.products"])
def dim_products(inputs: Inputs) -> Recomputed:
    """The dimension as it is served: the silver table's versions."""
    return copied(inputs, inputs.snapshots["silver.products"].select(*inputs.columns), ["product_code"])
