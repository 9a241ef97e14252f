"""Verdicts on drops and slices: counts, boundaries, reasons, samples."""

import random
from collections import Counter
from datetime import date
from typing import Any

import pandera.polars as pa
import pyarrow as arrow
import pytest

from lakehouse_assets.core.contracts import CONTRACTS, Contract
from lakehouse_assets.core.contracts.describe import column_rules
from lakehouse_assets.core.contracts.types import Day, Text, Whole
from lakehouse_assets.core.quality.drops import DropVerdict, as_correction, judge
from lakehouse_assets.core.quality.rules import violations
from lakehouse_assets.core.quality.samples import MASK, SAMPLED_GROUPS
from lakehouse_assets.core.quality.slices import slice_violations, unique_key_violations
from lakehouse_assets.errors import LakehouseError

DAY = date(2010, 12, 1)


class Visits(pa.DataFrameModel):
    """Rows of drops, with a personal column and a rule of each severity."""

    path: Text
    content_hash: Text
    batch_date: Day
    row_number: Whole = pa.Field(ge=0)
    visit: Whole = pa.Field(nullable=True, ge=1)
    name: Text = pa.Field(nullable=True, str_length={"max_value": 5}, metadata={"personal": True})
    note: Text = pa.Field(nullable=True, ne="forbidden")
    age: Whole = pa.Field(nullable=True, le=120)
    city: Text = pa.Field(nullable=True, ne="?")

    class Config:
        metadata = {  # noqa: RUF012
            "key": ["visit"],
            "blocking": {"rows": 5, "share": 0.10},
            "severity": {"note.ne": "block", "age.le": "warn", "city.ne": {"rows": 1, "share": 0.04}},
        }


CONTRACT = Contract("test.visits", Visits)
FIELDS = arrow.schema(
    [arrow.field(f.name, f.type) for f in CONTRACT.arrow_schema] + [("_problems", arrow.list_(arrow.string()))]
)


def drop(path: str, rows: list[dict[str, Any]], content_hash: str = "h", day: date = DAY) -> list[dict[str, Any]]:
    return [
        {"path": path, "content_hash": content_hash, "batch_date": day, "row_number": i, **row}
        for i, row in enumerate(rows, start=1)
    ]


def frame(spark: Any, rows: list[dict[str, Any]]) -> Any:
    return violations(spark.createDataFrame(arrow.Table.from_pylist(rows, schema=FIELDS)), CONTRACT, "_problems")


def good(count: int) -> list[dict[str, Any]]:
    return [{"visit": i} for i in range(1, count + 1)]


@pytest.mark.parametrize(
    ("bad", "landed", "verdict"),
    [
        (5, 6, "accepted"),
        (5, 5, "refused"),
        (1, 1, "refused"),
        (6, 60, "accepted"),
        (6, 59, "refused"),
        (7, 70, "accepted"),
        (7, 69, "refused"),
        (6, 6, "refused"),
        (0, 1, "accepted"),
    ],
)
def test_a_drop_is_refused_above_count_and_share_both(spark, bad, landed, verdict):
    """Else a small drop with one bad row is refused, or a spoilt large one gets in."""
    rows = drop("a.csv", [{"visit": 0}] * bad + good(landed - bad))
    (found,) = judge(frame(spark, rows), CONTRACT)
    assert (found.verdict, found.bad_rows, found.landed) == (verdict, bad, landed)


@pytest.mark.parametrize(
    ("bad", "landed", "verdict"),
    [(1, 10, "accepted"), (2, 19, "refused"), (1, 6, "refused"), (0, 0, "refused"), (0, 3, "accepted")],
)
def test_a_correction_is_judged_by_share_alone(spark, bad, landed, verdict):
    """Else five lines of nonsense take back what was good."""
    rows = drop("a.csv", [{"visit": 0}] * bad + good(landed - bad))
    (found,) = (
        judge(frame(spark, rows), CONTRACT)
        if rows
        else [DropVerdict("a.csv", "h", date(2010, 12, 1), 0, 0, 0, "accepted", None, {})]
    )
    assert found.verdict == "accepted"
    assert as_correction(found, CONTRACT).verdict == verdict


def _marred(row: dict[str, Any]) -> bool:
    return bool(row["_problems"]) or row["visit"] == 0 or row["name"] == "Elizabeth" or row["age"] == 121


def test_counts_equal_a_count_by_hand(spark):
    """Else the account of a drop does not add up."""
    rng = random.Random(9)
    rows = []
    for number in range(30):
        lines = [
            {
                "visit": rng.choice([None, 0, 1, 2]),
                "name": rng.choice(["Ann", "Elizabeth", None]),
                "age": rng.choice([1, 121]),
                "_problems": rng.choice([None, [], ["visit.type"], ["row.ragged"]]),
            }
            for _ in range(rng.randint(1, 40))
        ]
        rows += drop(f"{number % 20}.csv", lines, content_hash=f"h{number // 20}", day=date(2010, 12, 1 + number % 5))
    wanted: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        tally = wanted.setdefault((row["path"], row["content_hash"]), Counter())
        malformed = row["_problems"] == ["row.ragged"]
        rules = {"row.ragged"} if malformed else set(row["_problems"] or [])
        if not malformed:
            rules |= {"visit.ge"} if row["visit"] == 0 else set()
            rules |= {"name.str_length"} if row["name"] == "Elizabeth" else set()
        warned = not malformed and row["age"] == 121
        tally.update(
            {
                "landed": 1,
                "bad": bool(rules),
                "warned": warned,
                **dict.fromkeys(rules, 1),
                **({"age.le": 1} if warned else {}),
            }
        )
    found = judge(frame(spark, rows), CONTRACT)
    assert {
        (v.path, v.content_hash): Counter(landed=v.landed, bad=v.bad_rows, warned=v.warned_rows, **v.rules)
        for v in found
    } == wanted
    for verdict in found:
        assert sum(verdict.together.values()) == sum(
            row["content_hash"] == verdict.content_hash and row["path"] == verdict.path and _marred(row) for row in rows
        )
        assert Counter(
            name for names, count in verdict.together.items() for name in names for _ in range(count)
        ) == Counter(verdict.rules)
    assert [(v.batch_date, v.path, v.content_hash) for v in found] == sorted(
        (v.batch_date, v.path, v.content_hash) for v in found
    )


def test_a_single_row_may_refuse_its_drop(spark):
    """Else a rule of severity block does not block."""
    (found,) = judge(frame(spark, drop("a.csv", [*good(99), {"note": "forbidden"}])), CONTRACT)
    assert found.verdict == "refused"
    assert found.reason == "Drop a.csv is refused: 1 of 100 rows break note.ne, which none may."


@pytest.mark.parametrize(("bad", "verdict"), [(2, "accepted"), (3, "refused")])
def test_a_rule_may_block_above_rows_and_share_of_its_own(spark, bad, verdict):
    """Else a rule of which a few breaches are tolerable, and many a sign of a broken export, can only block at the
    first or never.
    """
    (found,) = judge(frame(spark, drop("a.csv", [*good(60 - bad), *[{"visit": 1, "city": "?"}] * bad])), CONTRACT)
    assert (found.verdict, found.bad_rows) == (verdict, bad)
    assert column_rules(CONTRACT, CONTRACT.column("city")) == ["city ≠ `?` (block above 1 rows and 4% of a drop)"]
    if verdict == "refused":
        assert found.reason == "Drop a.csv is refused: 3 of 60 rows break city.ne, where 1 rows or 4% may."


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"severity": {"c.ge": "fatal"}}, r"test\.made gives c\.ge the severity 'fatal'; write quarantine"),
        ({"severity": {"c.ge": {"count": 3}}}, "write quarantine"),
        ({"severity": {"c.ge": {"rows": 3}}}, "c.ge, but judges no drops"),
        (
            {"severity": {"rows.bounds": {"rows": 3}}, "rows": {"min": 1}, "blocking": {"rows": 5, "share": 0.1}},
            "rows.bounds, but judges no drops",
        ),
    ],
)
def test_a_severity_that_means_nothing_is_refused(metadata, says):
    """Else a misspelt severity, or a threshold where there is no drop, quietly lets rows pass."""
    config = type("Config", (), {"metadata": metadata})
    model = type("Made", (pa.DataFrameModel,), {"__annotations__": {"c": Whole}, "c": pa.Field(ge=1), "Config": config})
    with pytest.raises(LakehouseError, match=says):
        Contract("test.made", model)


def test_a_changed_severity_is_a_changed_promise():
    """Else a table is not judged again when a problem of conversion becomes a warning, or a threshold moves."""

    def mark(severity: dict[str, Any]) -> str:
        metadata = {**Visits.Config.metadata, "severity": severity}
        return Contract(
            "test.visits", type("Visits", (Visits,), {"Config": type("Config", (), {"metadata": metadata})})
        ).fingerprint

    said: list[dict[str, Any]] = [
        {},
        {"age.type": "warn"},
        {"age.le": "block"},
        {"age.le": {"rows": 1}},
        {"age.le": {"rows": 2}},
    ]
    assert len({mark(severity) for severity in said}) == len(said)


def test_the_reason_names_drop_rule_and_counts(spark):
    """Else the person who must fix the drop does not know which and why."""
    lines = [{"visit": 0}] * 4 + [{"_problems": ["visit.type"]}] * 5 + good(1)
    (found,) = judge(frame(spark, drop("orders/a.csv", lines)), CONTRACT)
    assert (
        found.reason
        == "Drop orders/a.csv is refused: 9 of 10 rows break a rule where 5 rows or 10% may, most often visit.type (5"
        " rows)."
    )


def test_a_drop_that_cannot_be_read_is_told_from_one_with_a_bad_row(spark):
    """Else one malformed row makes its whole drop count as unreadable, or the other way round."""
    whole = {
        "path": "w.csv",
        "content_hash": "h",
        "batch_date": DAY,
        "row_number": 0,
        "_problems": ["drop.missing_column"],
    }
    rows = [whole, *drop("r.csv", [{"_problems": ["row.ragged"]}, *good(1)])]
    readable, unreadable = judge(frame(spark, rows), CONTRACT)
    assert (readable.verdict, readable.bad_rows) == ("accepted", 1)
    assert (unreadable.verdict, unreadable.landed, unreadable.bad_rows) == ("unreadable", 1, 1)
    assert unreadable.reason == "Drop w.csv cannot be read: it breaks drop.missing_column."


def test_warnings_never_refuse(spark):
    """Else a warning stops the load."""
    (found,) = judge(frame(spark, drop("a.csv", [{"visit": 1, "age": 200}] * 50)), CONTRACT)
    assert (found.verdict, found.bad_rows, found.warned_rows, found.rules) == ("accepted", 0, 50, {"age.le": 50})
    assert found.samples


def test_samples_are_few_and_show_no_personal_data(spark):
    """Else names and addresses stand in the event log, or a spoilt load fills it."""
    rows = [row for n in range(30) for row in drop(f"{n:02}.csv", [{"name": "Elizabeth", "note": "x" * 500}] * 9)]
    found = judge(frame(spark, rows), CONTRACT, samples=3)
    assert sum(bool(v.samples) for v in found) == SAMPLED_GROUPS
    assert {len(v.samples) for v in found} == {0, 3}
    assert found[0].samples[0] == {"rules": "name.str_length", "row_number": 1, "name": MASK}
    assert "Elizabeth" not in repr(found)
    assert "Elizabeth" not in repr(slice_violations(frame(spark, rows), CONTRACT))


def test_a_slice_shows_every_broken_rule_with_rows_that_break_it(spark):
    """Else the gate of a computed table is red without saying where."""
    rng = random.Random(3)
    lines = [
        {"visit": rng.choice([0, 1]), "name": rng.choice(["Ann", "Elizabeth"]), "age": rng.choice([1, 121])}
        for _ in range(200)
    ]
    lines.append({"visit": 7, "note": "forbidden"})
    found = slice_violations(frame(spark, drop("a.csv", lines)).drop("_violations", "_warnings"), CONTRACT, samples=2)
    counts = {
        "visit.ge": sum(row["visit"] == 0 for row in lines),
        "name.str_length": sum(row.get("name") == "Elizabeth" for row in lines),
        "age.le": sum(row.get("age") == 121 for row in lines),
        "note.ne": 1,
    }
    assert {name: broken.count for name, broken in found.items()} == counts
    assert all(sum(broken.together.values()) == broken.count for broken in found.values())
    assert {name: broken.severity for name, broken in found.items()} == {
        "visit.ge": "quarantine", "name.str_length": "quarantine", "age.le": "warn", "note.ne": "block"
    }  # fmt: skip
    for name, broken in found.items():
        assert 1 <= len(broken.samples) <= 2
        assert all(name in sample["rules"].split(", ") for sample in broken.samples)
    assert found["note.ne"].samples[0] == {"rules": "note.ne", "visit": 7, "note": "forbidden"}


def test_a_clean_slice_breaks_nothing(spark):
    """Else a good slice is held back."""
    clean = frame(spark, drop("a.csv", good(10)))
    assert slice_violations(clean, CONTRACT) == {}
    assert unique_key_violations(clean, CONTRACT) is None


def test_keys_that_occur_twice_are_counted_nulls_too(spark):
    """Else a doubled row is published."""
    doubled = unique_key_violations(
        frame(spark, drop("a.csv", [*good(5), *good(2), {"visit": None}, {"visit": None}])), CONTRACT
    )
    assert doubled is not None
    assert doubled.count == 3
    assert [(s["visit"], s["times"]) for s in doubled.samples] == [(None, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize("name", sorted(name for name, contract in CONTRACTS.items() if contract.key))
def test_a_doubled_key_is_found_in_every_table(spark, name):
    """Else keys of some type or other are never found twice."""
    contract = CONTRACTS[name]
    fields = arrow.schema([arrow.field(f.name, f.type) for f in contract.arrow_schema])
    kinds: dict[str, Any] = {"string": "k", "bigint": 7, "date": DAY}
    keys = {n: kinds[contract.column(n).type.kind] for n in contract.key}
    other = {**keys, contract.key[-1]: {"k": "l", 7: 8, DAY: date(2010, 12, 2)}[keys[contract.key[-1]]]}

    def doubles(rows: list[dict[str, Any]]) -> Any:
        return unique_key_violations(spark.createDataFrame(arrow.Table.from_pylist(rows, schema=fields)), contract)

    assert doubles([keys, other]) is None
    assert doubles([keys, other, keys]).count == 1
