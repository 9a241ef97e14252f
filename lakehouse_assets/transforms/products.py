"""Product descriptions over time: slowly changing dimension of type 2."""

from __future__ import annotations

from pyspark.sql import DataFrame

from lakehouse_assets.transforms.frames import FOREVER, Days, Inputs, Recomputed, days_of, keys_of, least_by


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


def dim_products(inputs: Inputs) -> Recomputed:
    """The dimension as it is served: the silver table's versions."""
    versions = inputs.snapshots["silver.products"].select(*inputs.columns)
    if inputs.everything:
        return Recomputed(versions, inputs.target)
    touched = keys_of([c for c in inputs.changes.values() if c is not None], "product_code")
    return Recomputed(
        versions.join(touched, ["product_code"], "left_semi"),
        inputs.target.join(touched, ["product_code"], "left_semi"),
    )
