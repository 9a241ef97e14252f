"""What Dagster shows of a contract and of an audit."""

from dataclasses import replace
from datetime import date
from typing import Any

import dagster as dg
import pandera.polars as pa
import pytest

from lakehouse_assets.core.contracts import CONTRACTS, Contract
from lakehouse_assets.core.contracts.describe import PROBLEMS
from lakehouse_assets.core.contracts.types import Text
from lakehouse_assets.core.quality.drops import AGED, DropVerdict
from lakehouse_assets.core.quality.slices import Broken
from lakehouse_assets.core.sources.parse import DROP_RULES, ROW_RULES
from lakehouse_assets.core.sources.verdicts import REFUSED_RULE
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.checks import live_check, volume_band, volume_check
from lakehouse_assets.orchestration.gates import drop_gates, gate_of, gate_specs, slice_gates
from lakehouse_assets.orchestration.keys import asset_key
from lakehouse_assets.orchestration.presentation import dagster_schema

LINES, DAILY = CONTRACTS["silver.order_lines"], CONTRACTS["gold.daily_sales"]
DAYS = ["2010-12-01", "2010-12-02", "2010-12-03"]
DAILY_PARTITIONS = dg.DailyPartitionsDefinition("2010-12-01", end_date="2010-12-31")


def verdict(day: str, verdict: Any = "accepted", **rules: int) -> DropVerdict:
    named = {name.replace("__", "."): count for name, count in rules.items()}
    samples = tuple({"rules": name, "row_number": 1, "invoice": "a|b\nc"} for name in named)
    reason = None if verdict == "accepted" else f"Drop {day}.csv is {verdict}."
    return DropVerdict(
        f"{day}.csv", "h", date.fromisoformat(day), 100, sum(named.values()), 0, verdict, reason, named, samples
    )


def shown(gates: Any, day: str | None = None) -> dict[str, str]:
    """Each gate as green, yellow or red."""
    found = [e for e in gates.evaluations if e.partition == day] if day else gates.results
    return {e.check_name: "green" if e.passed else {"WARN": "yellow", "ERROR": "red"}[e.severity.value] for e in found}


@pytest.mark.parametrize("name", sorted(CONTRACTS))
def test_every_table_has_few_gates_and_every_rule_has_one(name):
    """Else definitions do not load, or a rule is judged that no check shows."""
    contract = CONTRACTS[name]
    specs = gate_specs(contract, DAILY_PARTITIONS)
    assert 1 <= len(specs) <= 4
    assert all(spec.blocking and spec.description and spec.partitions_def == DAILY_PARTITIONS for spec in specs)
    assert {gate_of(contract, rule.name) for rule in contract.rules} <= {spec.name for spec in specs}


def test_definitions_do_not_load_with_a_rule_that_is_not_judged():
    """Else a contract promises what nobody checks."""

    class Loose(pa.DataFrameModel):
        c: Text = pa.Field(str_matches=r"\w+")

    with pytest.raises(LakehouseError, match=r"Loose\.c"):
        gate_specs(Contract("test.loose", Loose))


def test_each_day_shows_the_drops_of_its_batch():
    """Else a good day is red for a bad one, or the other way round."""
    gates = drop_gates(
        LINES,
        [
            verdict(DAYS[0]),
            verdict(DAYS[1], "refused", invoice__str_matches=60, quantity__type=1),
            verdict(DAYS[2], quantity__type=2, invoice__nullable=1),
        ],
        DAYS,
    )
    assert shown(gates, DAYS[0]) == {"complete": "green", "readable": "green", "valid": "green", "unique": "green"}
    assert shown(gates, DAYS[1]) == {"complete": "green", "readable": "red", "valid": "red", "unique": "green"}
    assert shown(gates, DAYS[2]) == {"complete": "yellow", "readable": "yellow", "valid": "green", "unique": "green"}
    assert shown(gates) == {"complete": "yellow", "readable": "red", "valid": "red", "unique": "green"}
    assert gates.blocked
    assert gates.refused == (DAYS[1],)
    assert not drop_gates(LINES, [verdict(DAYS[2], quantity__type=2)], DAYS).blocked


def test_numbers_stand_on_days_alone():
    """Else a check's plot draws the sum of a run among the days it is the sum of."""
    gates = drop_gates(LINES, [verdict(DAYS[0], quantity__type=2), verdict(DAYS[1], quantity__type=3)], DAYS)
    plotted = (dg.IntMetadataValue, dg.FloatMetadataValue)
    assert not any(isinstance(v, plotted) for result in gates.results for v in result.metadata.values())
    readable = next(r for r in gates.results if r.check_name == "readable")
    assert readable.metadata["run"].value == "drops 2, rows 200, bad_rows 5, bad_share 0.025, bad_rows_of_drops 5"
    assert [e.metadata["bad_rows"].value for e in gates.evaluations if e.check_name == "readable"] == [2, 3, 0]


def test_rows_that_have_aged_leave_no_gate_green():
    """Else a day turns green because what was wrong with it has been cleared away."""
    gates = drop_gates(LINES, [verdict(DAYS[0], rows__aged=2), verdict(DAYS[1], "refused", rows__aged=60)], DAYS)
    assert shown(gates, DAYS[0]) == {"complete": "yellow", "readable": "yellow", "valid": "yellow", "unique": "green"}
    assert shown(gates, DAYS[1]) == {"complete": "red", "readable": "red", "valid": "red", "unique": "green"}
    assert set(shown(gates, DAYS[2]).values()) == {"green"}


def test_a_day_without_drops_passes():
    """Else an empty batch date stays grey for ever."""
    gates = drop_gates(LINES, [], DAYS)
    assert all(set(shown(gates, day).values()) == {"green"} for day in DAYS)


def test_an_unreadable_drop_warns_under_readable_and_holds_nothing_up():
    """Else a drop that could not be read is not noticed, or stops the other drops of its day."""
    gates = drop_gates(LINES, [verdict(DAYS[0], "unreadable", drop__unreadable=1)], DAYS)
    assert shown(gates, DAYS[0])["readable"] == "yellow"
    assert not gates.blocked
    assert shown(gates, DAYS[0])["valid"] == "green"


def test_a_refusal_without_rules_is_red_too():
    """Else a refusal remembered from an earlier run turns green."""
    assert drop_gates(LINES, [verdict(DAYS[0], "refused")], DAYS).blocked


def test_a_doubled_key_stops_every_day_of_the_run():
    """Else a line that is there twice is published and counted twice."""
    gates = drop_gates(
        LINES, [verdict(DAYS[0])], DAYS, Broken(1, ({"rules": "key.unique", "line_id": "x", "times": 2},), "block")
    )
    assert [shown(gates, day)["unique"] for day in DAYS] == ["red"] * 3
    assert gates.blocked


def test_any_broken_rule_stops_a_computed_slice():
    """Else gold publishes what its contract forbids."""
    broken = {"gross_sales.ge": Broken(2, ({"rules": "gross_sales.ge", "country": "x"},), "quarantine")}
    gates = slice_gates(DAILY, 10, broken, None)
    assert shown(gates) == {"complete": "green", "valid": "red", "unique": "green"}
    assert gates.blocked
    assert shown(slice_gates(DAILY, 10, {}, Broken(1, ({"rules": "key.unique"},), "block")))["unique"] == "red"
    assert not slice_gates(DAILY, 10, {"gross_sales.ge": Broken(2, (), "warn")}, None).blocked


def test_each_gate_counts_the_rows_that_it_stopped(spark):
    """Else a green gate tells of bad rows, or a plot of one gate shows the rows of another."""
    together = {("invoice.nullable", "quantity.type"): 3, ("quantity.type", "unit_price.scale"): 2}
    said = replace(
        verdict(DAYS[0], invoice__nullable=3, quantity__type=5, unit_price__scale=2), bad_rows=5, together=together
    )
    gates = drop_gates(LINES, [said], DAYS[:1])
    metadata: dict[str, Any] = {e.check_name: e.metadata for e in gates.evaluations if e.check_name != "unique"}
    assert {name: m["bad_rows"].value for name, m in metadata.items()} == {"complete": 3, "readable": 5, "valid": 0}
    assert {name: m["bad_share"].value for name, m in metadata.items()} == {
        "complete": 0.03,
        "readable": 0.05,
        "valid": 0.0,
    }
    assert {m["bad_rows_of_drops"].value for m in metadata.values()} == {5}
    rules: Any = metadata["readable"]["rules"]
    assert "| quantity.type | 5 | quarantine | quantity can be converted to bigint |" in rules.md_str
    assert "| unit_price.scale | 2 | quarantine | unit_price has at most 3 decimals |" in rules.md_str

    names = ("gross_sales.ge", "row.sums_to")
    broken = {name: Broken(4, (), "quarantine", {names: 4}) for name in names} | {
        "units.agrees": Broken(7, (), "block")
    }
    shown = {
        r.check_name: {n: m.value for n, m in r.metadata.items() if n not in ("rules", "samples")}
        for r in slice_gates(DAILY, 8, broken, None).results
    }
    assert shown == {
        "complete": {"rows": 8, "bad_rows": 0, "bad_share": 0.0},
        "valid": {"rows": 8, "bad_rows": 4, "bad_share": 0.5, "disagreeing_groups": 7},
        "unique": {"rows": 8, "doubled_keys": 0},
    }


def test_every_way_not_to_be_readable_is_told_in_words():
    """Else a check names a rule and nobody knows what must hold."""
    assert set(PROBLEMS) == {*DROP_RULES, *ROW_RULES, REFUSED_RULE, AGED}


def test_samples_are_a_table_whatever_the_data_holds():
    """Else a pipe or a line end in the data breaks the table in the UI."""
    gates = drop_gates(LINES, [verdict(DAYS[0], invoice__str_matches=1)], DAYS[:1])
    valid = next(r for r in gates.results if r.check_name == "valid")
    samples: Any = valid.metadata["samples"]
    lines = samples.md_str.splitlines()
    assert len(lines) == 3
    assert "a\\|b c" in lines[2]


def test_a_range_run_records_each_day_by_itself():
    """Else the days of a backfill show as skipped, or a good day as failed."""
    gates = drop_gates(LINES, [verdict(DAYS[0]), verdict(DAYS[1], "refused", invoice__str_matches=60)], DAYS)

    @dg.asset(
        key=asset_key(LINES.name),
        partitions_def=DAILY_PARTITIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=gate_specs(LINES, DAILY_PARTITIONS),
        output_required=False,
    )
    def table(context: dg.AssetExecutionContext):
        evaluations: Any = gates.evaluations
        for evaluation in evaluations:
            context.log_event(evaluation)
        yield from gates.results

    with dg.DagsterInstance.ephemeral() as instance:
        tags = {"dagster/asset_partition_range_start": DAYS[0], "dagster/asset_partition_range_end": DAYS[2]}
        run = dg.materialize([table], instance=instance, tags=tags, raise_on_error=False)
        assert not run.success
        recorded = [e for e in run.get_asset_check_evaluations() if e.check_name == "valid" and e.partition]
        assert {e.partition: e.passed for e in recorded} == {DAYS[0]: True, DAYS[1]: False, DAYS[2]: True}


def test_the_column_schema_says_what_the_contract_says():
    """Else the UI shows other columns than the table has."""
    schema = dagster_schema(CONTRACTS["gold.dim_customers"])
    columns = {c.name: c for c in schema.columns}
    assert list(columns) == list(CONTRACTS["gold.dim_customers"].names)
    assert columns["customer_id"].constraints.unique
    assert not columns["customer_id"].constraints.nullable
    assert columns["name"].tags == {"personal": "true"}
    assert columns["updated_at"].type == "timestamp"


def run_check(check: dg.AssetChecksDefinition) -> dg.AssetCheckEvaluation:
    defs = dg.Definitions(
        asset_checks=[check], jobs=[dg.define_asset_job("all", selection=dg.AssetSelection.all_asset_checks())]
    )
    with dg.DagsterInstance.ephemeral() as instance:
        (evaluation,) = defs.resolve_job_def("all").execute_in_process(instance=instance).get_asset_check_evaluations()
    return evaluation


def test_the_live_table_is_checked_whole(spark):
    """Else a row that came by another way than the pipeline is never noticed."""
    contract = CONTRACTS["gold.cohort_retention"]
    row = (
        "SELECT DATE '2010-12-01' AS cohort_month, {} AS months_since, 5L AS cohort_size, {} AS active_customers,"
        " CAST(1 AS DECIMAL(18,3)) AS net_sales"
    )
    good = spark.sql(row.format("0L", "5L"))
    assert run_check(live_check(contract, lambda _: good)).passed
    bad = good.unionByName(good).unionByName(spark.sql(row.format("1L", "-1L")))
    found = run_check(live_check(contract, lambda _: bad))
    assert not found.passed
    assert found.severity == dg.AssetCheckSeverity.ERROR
    assert found.description == "active_customers.ge: 1 times; key.unique: 1 times."


def test_an_odd_volume_warns_and_a_usual_one_does_not(spark):
    """Else a half-delivered day goes unnoticed, every weekend raises an alarm, or one mistyped date silences the check
    for good.
    """

    def days(last: int) -> Any:
        usual = " UNION ALL ".join(
            f"SELECT explode(sequence(1, {100 + n % 7})) AS i, DATE '2010-12-{n:02}' AS day" for n in range(1, 15)
        )
        mistyped = "SELECT 1 AS i, DATE '2099-12-15' AS day"
        return spark.sql(
            f"{usual} UNION ALL SELECT explode(sequence(1, {last})) AS i, DATE '2010-12-15' AS day UNION ALL {mistyped}"
        )

    for last, passed in ((104, True), (60, True), (3, False), (400, False)):
        found = run_check(volume_check(DAILY, lambda _, last=last: days(last), "day"))
        assert (found.passed, found.severity) == (passed, dg.AssetCheckSeverity.WARN)
        assert (found.description or "").startswith("2010-12-15 has")
    assert volume_band([100] * 6) is None
