"""Schema drift at the landing zone: what becomes of a drop whose columns are other than its source's. The table of
`docs/landing.md`, row by row.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any
from unittest.mock import ANY

import dagster as dg
import pytest

from lakehouse_assets_tests.given import present
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import World

PUBLISHED = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
LATER = ["Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country"]
ROWS = 12
GOOD, REFUSED, UNREADABLE = ("live", ROWS, 0), ("refused", 0, ROWS), ("unreadable", 0, 1)
Record = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """content: the drop of a day, given its number. becomes: (standing, rows published, rows quarantined). rules: what
    quarantined rows break. columns: what the drift report says. rescued: what `_rescued` holds of each row. loses: the
    attributes that are null in silver.
    """

    name: str
    source: str
    content: Callable[[int], str]
    becomes: tuple[str, int, int] = GOOD
    rules: frozenset[str] = frozenset()
    columns: str | None = None
    rescued: dict[str, Any] | None = None
    loses: frozenset[str] = field(default=frozenset())


def orders(header: Sequence[str], **other: str) -> Callable[[int], str]:
    """Order lines under a header; a name that is in neither dialect stands for `other`, or for the column at its
    place.
    """

    def content(number: int) -> str:
        lines = []
        for row in range(ROWS):
            at = f"{day_of(number)} 08:{row:02}:00"
            values = [
                f"{500000 + 100 * number + row}",
                "85123A",
                "HEART",
                "6",
                at,
                "2.550",
                "17850.0",
                "United Kingdom",
            ]
            named = {n.lower(): v for dialect in (PUBLISHED, LATER) for n, v in zip(dialect, values, strict=True)}
            lines.append(
                ",".join(
                    other.get(name) or named.get(name.lower()) or values[place] for place, name in enumerate(header)
                )
            )
        return "\n".join([",".join(header), *lines, ""])

    return content


def records(change: Callable[[Record], Record]) -> Callable[[int], str]:
    """Change records, each through `change`."""

    def content(number: int) -> str:
        whole = {"name": "Ada", "email": "ada@example.com", "city": "York", "country": "UK", "segment": "private"}
        rows = (
            {"customer_id": 100 * number + row, **whole, "updated_at": f"{day_of(number)}T10:00:00Z", "deleted": False}
            for row in range(ROWS)
        )
        return "".join(json.dumps(change(row)) + "\n" for row in rows)

    return content


def renamed(**names: str) -> Callable[[Record], Record]:
    return lambda record: {names.get(key, key): value for key, value in record.items()}


def rates(header: str, *values: str) -> Callable[[int], str]:
    """A rate drop of one line for each of `ROWS` days of its own, so that a currency lands as many rows as there are
    lines.
    """

    def content(number: int) -> str:
        days = [(date(2009, 1, 1) + timedelta(days=100 * number + row)).isoformat() for row in range(ROWS)]
        return "\n".join(
            [header, *(",".join(day if value == "DAY" else value for value in values) for day in days), ""]
        )

    return content


def doubled(number: int) -> str:
    return records(lambda record: record)(number).replace('"city": "York"', '"city": "York", "City": "Leeds"')


CASES = [
    Case("published dialect", "orders", orders(PUBLISHED)),
    Case("later dialect", "orders", orders(LATER)),
    Case("added", "orders", orders([*PUBLISHED, "Channel"], Channel="web"), columns="+ Channel", rescued={"Channel": "web"}),  # noqa: E501
    Case("dropped", "orders", orders(PUBLISHED[:-1]), UNREADABLE, frozenset({"drop.missing_column"}), "- Country"),
    Case("renamed", "orders", orders([*PUBLISHED[:3], "Units", *PUBLISHED[4:]]), UNREADABLE, frozenset({"drop.missing_column"}), "+ Units; - Quantity"),  # noqa: E501
    Case("reordered", "orders", orders(PUBLISHED[::-1]), columns="other order"),
    Case("retyped", "orders", orders(PUBLISHED, Quantity="six"), REFUSED, frozenset({"quantity.type", "drop.bad_rows"}), "quantity retyped: 12 of 12 rows"),  # noqa: E501
    Case("finer", "orders", orders(PUBLISHED, UnitPrice="2.5501"), REFUSED, frozenset({"unit_price.scale", "drop.bad_rows"}), "unit_price retyped: 12 of 12 rows"),  # noqa: E501
    Case("re-cased", "orders", orders([n.upper() for n in LATER]), columns="other case: INVOICE, STOCKCODE, DESCRIPTION, QUANTITY, INVOICEDATE, PRICE, CUSTOMER ID, COUNTRY"),  # noqa: E501
    Case("duplicated", "orders", orders([*PUBLISHED, "Country"]), UNREADABLE, frozenset({"drop.duplicate_column"}), "twice: Country"),  # noqa: E501
    Case("unknown twice", "orders", orders([*PUBLISHED, "Note", "Note"], Note="n"), columns="+ Note; twice: Note", rescued={"Note": "n", "Note_10": "n"}),  # noqa: E501
    Case("whole", "customers", records(lambda r: r)),
    Case("added", "customers", records(lambda r: {**r, "tier": "gold"}), columns="+ tier", rescued={"tier": "gold"}),
    Case("dropped optional", "customers", records(lambda r: {k: v for k, v in r.items() if k != "deleted"})),
    Case("dropped attribute", "customers", records(lambda r: {k: v for k, v in r.items() if k != "city"}), columns="- city", loses=frozenset({"city"})),  # noqa: E501
    Case("dropped key", "customers", records(lambda r: {k: v for k, v in r.items() if k != "updated_at"}), REFUSED, frozenset({"updated_at.nullable", "drop.bad_rows"}), "- updated_at"),  # noqa: E501
    Case("renamed attribute", "customers", records(renamed(city="town")), columns="+ town; - city", rescued={"town": "York"}, loses=frozenset({"city"})),  # noqa: E501
    Case("renamed key", "customers", records(renamed(customer_id="id")), REFUSED, frozenset({"customer_id.nullable", "drop.bad_rows"}), "+ id; - customer_id", rescued={"id": ANY}),  # noqa: E501
    Case("reordered", "customers", records(lambda r: dict(reversed(r.items())))),
    Case("retyped", "customers", records(lambda r: {**r, "deleted": "perhaps"}), REFUSED, frozenset({"deleted.type", "drop.bad_rows"}), "deleted retyped: 12 of 12 rows"),  # noqa: E501
    Case("number as text", "customers", records(lambda r: {**r, "customer_id": str(r["customer_id"])})),
    Case("re-cased", "customers", records(lambda r: {k.title(): v for k, v in r.items()}), columns="other case: Customer_Id, Name, Email, City, Country, Segment, Updated_At, Deleted"),  # noqa: E501
    Case("duplicated", "customers", doubled, REFUSED, frozenset({"row.json", "drop.bad_rows"})),
    Case("as the bank sends it", "fx", rates("Date,GBP,", "DAY", "0.86", "")),
    Case("added currency", "fx", rates("Date,GBP,XAU", "DAY", "0.86", "0.1"), ("live", 2 * ROWS, 0)),
    Case("added column", "fx", rates("Date,GBP,Remark", "DAY", "0.86", "fixing"), columns="+ Remark", rescued={"Remark": "fixing"}),  # noqa: E501
    Case("dropped currency", "fx", rates("Date,USD", "DAY", "1.1"), columns="- GBP"),
    Case("dropped date", "fx", rates("GBP,USD", "0.86", "1.1"), UNREADABLE, frozenset({"drop.missing_column"}), "- Date"),  # noqa: E501
    Case("renamed date", "fx", rates("Day,GBP", "DAY", "0.86"), UNREADABLE, frozenset({"drop.missing_column"}), "+ Day; - Date"),  # noqa: E501
    Case("reordered", "fx", rates("GBP,Date", "0.86", "DAY"), columns="other order"),
    Case("retyped", "fx", rates("Date,GBP", "DAY", "86 %"), REFUSED, frozenset({"rate.type", "drop.bad_rows"}), "rate retyped: 12 of 12 rows"),  # noqa: E501
    Case("re-cased", "fx", rates("DATE,gbp", "DAY", "0.86"), columns="other case: DATE, gbp"),
    Case("duplicated", "fx", rates("Date,GBP,GBP", "DAY", "0.86", "0.87"), UNREADABLE, frozenset({"drop.duplicate_column"}), "twice: GBP"),  # noqa: E501
]  # fmt: skip
"""Each lands on a day of its own."""
PLACES = [pytest.param(number, id=f"{case.source}: {case.name}") for number, case in enumerate(CASES)]
SILVER = {"orders": "silver.order_lines", "customers": "silver.customers", "fx": "silver.fx_rates"}


def day_of(number: int) -> str:
    return (date(2012, 5, 1) + timedelta(days=number)).isoformat()


def path_of(number: int) -> str:
    return f"{CASES[number].source}/{CASES[number].source}_{day_of(number)}.txt"


@pytest.fixture(scope="module")
def world(make_world: NewWorld) -> World:
    """All cases landed and run at once."""
    world = make_world()
    for number, case in enumerate(CASES):
        world.drop(path_of(number), case.content(number))
    assert not world.run().found
    return world


@pytest.fixture(scope="module")
def tables(world: World) -> dict[str, list[dict[str, Any]]]:
    names = ["silver.intake", *SILVER.values(), *(f"{t}_verdicts" for t in SILVER.values()), *(f"bronze.{t}" for t in ("orders", "customers", "fx_rates"))]  # fmt: skip  # noqa: E501
    return {name: world.delta(name).to_pylist() for name in names}


@pytest.mark.parametrize("number", PLACES)
def test_every_kind_of_drift_has_the_outcome_that_the_docs_say(
    number: int, world: World, tables: dict[str, list[dict[str, Any]]]
) -> None:
    """Else a supplier's change loses rows, empties columns, or shifts values into others, without a word."""
    case, path = CASES[number], path_of(number)
    (account,) = (r for r in tables["silver.intake"] if r["path"] == path)
    assert (account["standing"], account["published"], account["quarantined"]) == case.becomes
    assert account["landed"] == account["published"] + account["quarantined"]
    assert {rule for (p, _), rules in world.quarantined().items() if p == path for rule in rules} == case.rules

    published = [r for r in tables[SILVER[case.source]] if r["path"] == path]
    assert len(published) == case.becomes[1]
    for row in published:
        if case.source == "orders":
            seen = (
                row["stock_code"],
                row["description"],
                row["quantity"],
                str(row["unit_price"]),
                row["customer_id"],
                row["country"],
            )
            assert seen == ("85123A", "HEART", 6, "2.550", 17850, "United Kingdom")
            assert row["invoice_date"] == date.fromisoformat(day_of(number))
        elif case.source == "customers":
            assert {n for n in ("name", "email_hash", "city", "country", "segment") if row[n] is None} == case.loses
            assert not row["is_deleted"]
        else:
            assert str(row["rate"]) in ("0.860000", "1.100000", "0.100000")

    landed = [r for n in ("orders", "customers", "fx_rates") for r in tables[f"bronze.{n}"] if r["path"] == path]
    assert all(json.loads(r["_rescued"] or "null") == case.rescued for r in landed)


@pytest.mark.parametrize("number", PLACES)
def test_the_day_of_a_drifted_drop_says_so_and_no_other_does(number: int, world: World) -> None:
    """Else nobody sees in the UI what a supplier changed, or the report says so much that nobody reads it."""
    case, day = CASES[number], day_of(number)
    key = SILVER[case.source].split(".")
    check = [
        e for e in world.evaluations() if e.asset_key.path == key and e.check_name == "readable" and e.partition == day
    ][-1]
    shown = {"check": check.metadata.get("drift")}
    if case.becomes[0] != "refused":  # the day of a refused drop is not materialised
        (record,) = world.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey(key), asset_partitions=[day]), limit=1
        ).records
        materialization = record.asset_materialization
        assert materialization is not None
        shown["materialisation"] = materialization.metadata.get("drift")
    for where, drift in shown.items():
        said = present(drift.md_str).splitlines() if isinstance(drift, dg.MarkdownMetadataValue) else None
        assert said == (
            case.columns and ["| drop | columns |", "|---|---|", f"| {path_of(number)} | {case.columns} |"]
        ), where


def test_status_names_every_drifted_drop(world: World) -> None:
    """Else an operator without the UI does not learn of it."""
    said = json.loads(world.command("status", "--format", "json").stdout)["drift"]
    assert {d["path"]: d["columns"] for d in said} == {path_of(n): c.columns for n, c in enumerate(CASES) if c.columns}
    assert "Other columns than its source: customers/customers_2012-05-13.txt: + tier" in " ".join(
        world.command("status").stdout.split()
    )
