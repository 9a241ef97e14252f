"""Asset checks that stand alone, each over a live table: the contract, the rules over the whole table, the volume.

Does not belong here: the gates that are judged in a table's step (`gates.py`), judging (`core/quality/`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any

import dagster as dg

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.contracts.describe import table_rules
from lakehouse_assets.core.quality.slices import UNIQUE, Broken, slice_violations, unique_key_violations
from lakehouse_assets.core.quality.table_rules import broken_table_rules, refuse_table_rules
from lakehouse_assets.core.spark_sql import literal, quoted
from lakehouse_assets.orchestration.keys import asset_key
from lakehouse_assets.orchestration.presentation import markdown_table, rule_table, summary

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

LoadFrame = Callable[[dg.AssetCheckExecutionContext], "DataFrame"]
"""Loads the rows that a stand-alone check looks at."""


def live_check(
    contract: Contract, load: LoadFrame, required_resource_keys: set[str] | None = None
) -> dg.AssetChecksDefinition:
    """Stand-alone check: the whole live table against its contract, keys included. `load` gives all rows of the
    table.
    """

    @dg.asset_check(
        asset=asset_key(contract.name),
        name="live_table_keeps_contract",
        description=(
            "Every row of the live table keeps the contract, and every key is there once. Reads the whole table."
        ),
        required_resource_keys=required_resource_keys,
    )
    def live_table_keeps_contract(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        frame = load(context)
        doubled = unique_key_violations(frame, contract)
        found = {**slice_violations(frame, contract), **({UNIQUE: doubled} if doubled else {})}
        return _stand_alone(contract, found, {"rows": frame.count()})

    return live_table_keeps_contract


def table_check(
    contract: Contract,
    contracts: Mapping[str, Contract],
    load: Callable[[dg.AssetCheckExecutionContext, str], "DataFrame"],
    required_resource_keys: set[str] | None = None,
) -> dg.AssetChecksDefinition:
    """Stand-alone check: the rules over the whole table. `load` gives all rows of the table of that name.

    Raises `LakehouseError` where one of them cannot be judged.
    """
    refuse_table_rules(contract, contracts)

    @dg.asset_check(
        asset=asset_key(contract.name),
        name="whole_table_keeps_rules",
        description="\n".join(f"- {text}" for text in table_rules(contract)),
        required_resource_keys=required_resource_keys,
    )
    def whole_table_keeps_rules(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        return _stand_alone(contract, broken_table_rules(contract, contracts, lambda name: load(context, name)), {})

    return whole_table_keeps_rules


def _stand_alone(contract: Contract, found: Mapping[str, Broken], metadata: Mapping[str, Any]) -> dg.AssetCheckResult:
    counts = {name: broken.count for name, broken in found.items()}
    samples = [sample for broken in found.values() for sample in broken.samples]
    warns = all(broken.severity == "warn" for broken in found.values())
    said = {"rules": rule_table(contract, counts), "samples": markdown_table(samples)} if found else {}
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN if found and warns else dg.AssetCheckSeverity.ERROR,
        description=summary(counts, "times"),
        metadata={**metadata, **said},
    )


@dataclass(frozen=True)
class Band:
    """The range in which a day's number of rows is no news."""

    low: float
    high: float


def volume_band(earlier: Sequence[int]) -> Band | None:
    """The band around the median of earlier days; None for fewer than seven of them, which say nothing.

    Half its width is the greater of six scaled median deviations and half the median, so that neither one odd day
    widens it nor a run of equal days narrows it to nothing.
    """
    if len(earlier) < 7:
        return None
    middle = median(earlier)
    reach = max(6 * 1.4826 * median(abs(n - middle) for n in earlier), middle / 2)
    return Band(max(0.0, middle - reach), middle + reach)


def volume_check(
    contract: Contract, load: LoadFrame, day: str, required_resource_keys: set[str] | None = None, days: int = 60
) -> dg.AssetChecksDefinition:
    """Stand-alone check, warns only: the rows of the last day against a robust band of up to `days` days before it.

    `load` gives the rows of the table; `day` is the date column that is counted. Days without rows are not counted, for
    shops close, nor days after today (UTC): one mistyped date would be the last day for as long as it lies ahead.
    """

    @dg.asset_check(
        asset=asset_key(contract.name),
        name="volume_is_usual",
        description=f"The last {day} has about as many rows as the {days} before it. A warning, never a gate.",
        required_resource_keys=required_resource_keys,
    )
    def volume_is_usual(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        name = quoted(day)
        counted = (
            load(context)
            .selectExpr(f"{name} AS day")
            .where(f"day <= {literal(datetime.now(UTC).date())}")
            .groupBy("day")
            .count()
        )
        newest = counted.orderBy("day", ascending=False).limit(days + 1).collect()
        band = volume_band([row["count"] for row in newest[1:]])
        if band is None:
            return dg.AssetCheckResult(
                passed=True, description="Too few days for a comparison.", metadata={"days": len(newest)}
            )
        last, rows = newest[0]["day"], newest[0]["count"]
        return dg.AssetCheckResult(
            passed=band.low <= rows <= band.high,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{last} has {rows} rows; usual are {band.low:.0f} to {band.high:.0f}.",
            metadata={"rows": rows, "low": band.low, "high": band.high, "days": len(newest) - 1},
        )

    return volume_is_usual
