"""The sample is a function of its arguments, and its ledger tells the truth about it."""

import zlib
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.sample.dirt import DIRT_KINDS, REFUSED_DROP
from lakehouse_assets.sample.generate import LEDGER_NAME, generate
from lakehouse_assets.sample.ledger import SampleLedger
from lakehouse_assets_tests.core.sources.drops import parse_drop
from lakehouse_assets_tests.sample.judge import broken_rules

DATA = Path(__file__).parents[2] / "data"
DIRTY = {"start": date(2026, 9, 1), "days": 30, "lines_per_day": 400, "seed": 7}
SHIPPED = {**DIRTY, "dirt": ()}
SMALL = {"start": date(2026, 9, 4), "days": 8, "lines_per_day": 120, "seed": 3}
Row = dict[str, Any]


def files(landing: Path) -> dict[str, bytes]:
    """The drops of a landing zone, by path below it."""
    return {file.relative_to(landing).as_posix(): file.read_bytes() for file in landing.rglob("*") if file.is_file()}


def inflated(content: bytes) -> bytes:
    """The content of a drop without gzip, for how well bytes are compressed differs between builds of zlib."""
    try:
        return zlib.decompressobj(31).decompress(content)
    except zlib.error:
        return content


def rows(landing: Path, ledger: SampleLedger) -> dict[tuple[str, int], Row]:
    """All landed rows, by path and row number."""
    found: dict[tuple[str, int], Row] = {}
    for drop in ledger.drops:
        for row in parse_drop(drop.source, (landing / drop.path).read_bytes()).to_pylist():
            found[drop.path, row["row_number"]] = {"source": drop.source, "batch_date": drop.batch_date, **row}
    return found


def values(row: Row) -> tuple[Any, ...]:
    """What a row says, apart from where it stands."""
    return tuple(sorted((name, str(value)) for name, value in row.items() if name != "row_number"))


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample that comes with the project, with every kind of dirt."""
    folder = tmp_path_factory.mktemp("dirty") / "landing"
    generate(folder, **DIRTY)
    return folder


@pytest.fixture(scope="module")
def shipped(landing: Path) -> tuple[SampleLedger, dict[tuple[str, int], Row]]:
    ledger = SampleLedger.read(landing.parent / LEDGER_NAME)
    return ledger, rows(landing, ledger)


def test_the_shipped_sample_is_what_the_generator_makes(tmp_path: Path):
    """Else the sample cannot be made again, and its description lies."""
    generate(tmp_path / "landing", **SHIPPED)
    made, there = files(tmp_path / "landing"), files(DATA / "landing")
    assert made.keys() == there.keys()
    assert {path for path in made if inflated(made[path]) != inflated(there[path])} == set()
    assert (tmp_path / LEDGER_NAME).read_bytes() == (DATA / LEDGER_NAME).read_bytes()
    assert sum(map(len, there.values())) < 3_000_000


def test_the_same_arguments_write_the_same_bytes_and_another_seed_others(tmp_path: Path):
    """Else a failing run on a sample cannot be repeated."""
    first = generate(tmp_path / "a" / "landing", **SMALL)
    second = generate(tmp_path / "b" / "landing", **SMALL)
    other = generate(tmp_path / "c" / "landing", **{**SMALL, "seed": 4})
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert first == second == SampleLedger.read(tmp_path / "a" / LEDGER_NAME)
    assert first != other


def test_every_row_breaks_just_the_rules_that_the_ledger_names(
    shipped: tuple[SampleLedger, dict[tuple[str, int], Row]],
):
    """Else a pipeline that quarantines rightly is said to be wrong, or the other way round."""
    ledger, landed = shipped
    told = {(row.path, row.row_number): list(row.rules) for row in ledger.dirty}
    judged = {place: broken_rules(row) for place, row in landed.items()}
    assert {place: rules for place, rules in judged.items() if rules} == told
    assert all(row.path.startswith(f"{row.source}/") for row in ledger.dirty)


def test_the_ledger_counts_what_landed(landing: Path, shipped: tuple[SampleLedger, dict[tuple[str, int], Row]]):
    """Else landed = published + quarantined + duplicates cannot be checked against it."""
    ledger, landed = shipped
    by_drop = Counter(path for path, _ in landed)
    assert {drop.path: drop.landed for drop in ledger.drops} == dict(by_drop)
    assert Counter(row.path for row in ledger.dirty) == {drop.path: drop.dirty for drop in ledger.drops if drop.dirty}
    assert ledger.landed() == Counter((row["batch_date"], row["source"]) for row in landed.values())
    assert set(by_drop) == set(files(landing))
    assert all(drop.batch_date.isoformat() in drop.path.rsplit("/", 1)[-1] for drop in ledger.drops)


def test_every_kind_of_dirt_is_there_and_no_drop_holds_too_much(
    shipped: tuple[SampleLedger, dict[tuple[str, int], Row]],
):
    """Else a rule is never tried on the sample, or a whole drop of it is refused."""
    ledger, _ = shipped
    assert ledger.rules() == set(DIRT_KINDS)
    assert any(len(row.rules) > 1 for row in ledger.dirty)
    for drop in ledger.drops:
        assert drop.dirty <= 1 or (drop.dirty <= 3 and drop.dirty < 0.03 * drop.landed)


def test_dirt_is_added_to_the_clean_sample_and_changes_none_of_it(tmp_path: Path):
    """Else what the good rows must come to cannot be told from the clean sample."""
    clean = rows(tmp_path / "clean" / "landing", generate(tmp_path / "clean" / "landing", **SMALL, dirt=()))
    ledger = generate(tmp_path / "dirty" / "landing", **SMALL)
    dirty = rows(tmp_path / "dirty" / "landing", ledger)
    bad = {(row.path, row.row_number) for row in ledger.dirty}
    assert len(bad) > 20
    good = [(path, values(row)) for (path, number), row in dirty.items() if (path, number) not in bad]
    assert sorted(good) == sorted((path, values(row)) for (path, _), row in clean.items())
    assert not any(broken_rules(row) for row in clean.values())


@pytest.mark.parametrize("kind", DIRT_KINDS)
def test_only_the_dirt_asked_for_is_put_in(tmp_path: Path, kind: str):
    """Else a trial of one rule is disturbed by others, or tries nothing."""
    ledger = generate(tmp_path / "landing", date(2026, 9, 7), 2, 60, 1, dirt=[kind])
    assert ledger.rules() == {kind}


def test_a_drop_to_be_refused_has_to_be_asked_for(tmp_path: Path):
    """Else the sample's first run fails, or refusing cannot be tried."""
    asked = generate(tmp_path / "a" / "landing", **SMALL, dirt=[*DIRT_KINDS, REFUSED_DROP])
    refused = [drop for drop in asked.drops if drop.refused]
    assert [(drop.landed, drop.dirty) for drop in refused] == [(100, 30)]
    assert not any(drop.refused for drop in generate(tmp_path / "b" / "landing", **SMALL).drops)
    landed = rows(tmp_path / "a" / "landing", asked)
    assert sum(bool(broken_rules(row)) for (path, _), row in landed.items() if path == refused[0].path) == 30


def test_the_sample_is_as_lively_as_the_real_thing(
    landing: Path, shipped: tuple[SampleLedger, dict[tuple[str, int], Row]]
):
    """Else running the sample proves little: each of these is a case that the pipeline has to get right."""
    ledger, landed = shipped
    good = [row for place, row in landed.items() if not broken_rules(row)]
    orders = [row for row in good if row["source"] == "orders"]
    resent = {drop.path for drop in ledger.drops if drop.same_as}
    lines: dict[tuple[Any, ...], set[str]] = {}
    repeated_within = 0
    for (path, _), row in landed.items():
        if row["source"] == "orders" and path not in resent and not broken_rules(row):
            known = row["customer_id"] and float(row["customer_id"])
            line = (
                *(
                    row[name]
                    for name in (
                        "invoice",
                        "stock_code",
                        "description",
                        "quantity",
                        "invoice_date",
                        "unit_price",
                        "country",
                    )
                ),
                known,
            )
            repeated_within += path in lines.setdefault(line, set())
            lines[line].add(path)
    paths = [drop.path for drop in ledger.drops]
    customers = [row for row in good if row["source"] == "customers"]
    moments = Counter((row["customer_id"], row["updated_at"]) for row in customers)
    last: dict[str, str] = {}
    out_of_order = 0
    for row in customers:
        out_of_order += row["updated_at"] < last.get(row["customer_id"], "")
        last[row["customer_id"]] = max(row["updated_at"], last.get(row["customer_id"], ""))
    descriptions: dict[str, set[str]] = {}
    for row in orders:
        if (
            row["description"]
            and row["invoice"].isdigit()
            and float(row["unit_price"]) > 0
            and row["stock_code"][:5].isdigit()
        ):
            descriptions.setdefault(row["stock_code"].upper(), set()).add(row["description"].strip())
    there = {
        "returns": sum(row["invoice"].startswith("C") for row in orders),
        "bad debt": sum(row["invoice"].startswith("A") for row in orders),
        "adjustments": sum(float(row["unit_price"]) == 0 for row in orders),
        "no products": sum(not row["stock_code"][:5].isdigit() for row in orders),
        "three decimals": sum(row["unit_price"][-4:-3] == "." for row in orders),
        "no customer": sum(row["customer_id"] is None for row in orders),
        "no description": sum(row["description"] is None for row in orders),
        "description with blanks": sum((row["description"] or "").endswith(" ") for row in orders),
        "codes in lower case": sum(row["stock_code"] != row["stock_code"].upper() for row in orders),
        "late lines": sum(row["invoice_date"][:10] < row["batch_date"].isoformat() for row in orders),
        "both dialects": min(Counter((row["customer_id"] or "").endswith(".0") for row in orders).values()),
        "unexpected columns": sum(row["_rescued"] is not None for row in orders),
        "unexpected keys": sum(row["_rescued"] is not None for row in customers),
        "lines twice in a drop": repeated_within,
        "lines in two drops": sum(len(drops) > 1 for drops in lines.values()),
        "re-deliveries": sum(
            (landing / drop.path).read_bytes() == (landing / drop.same_as).read_bytes()
            for drop in ledger.drops
            if drop.same_as
        ),
        "nested folders": sum(path.count("/") > 2 for path in paths),
        "plain order drops": sum(path.startswith("orders/") and path.endswith(".csv") for path in paths),
        "gzipped customer drops": sum(path.startswith("customers/") and path.endswith(".gz") for path in paths),
        "descriptions that change": sum(len(texts) > 1 for texts in descriptions.values()),
        "customer ties": sum(count > 1 for count in moments.values()),
        "customers out of order": out_of_order,
        "customers ended": sum(row["deleted"] == "true" for row in customers),
        "days without orders": sum(
            (SHIPPED["start"] + timedelta(days=day), "orders") not in ledger.landed() for day in range(30)
        ),
        "weekends without rates": sum(
            (SHIPPED["start"] + timedelta(days=day), "fx") not in ledger.landed() for day in range(30)
        ),
    }
    assert {name: count for name, count in there.items() if count < 3} == {}
    assert len({row["country"] for row in orders}) >= 8
    assert len(descriptions) > 500
    assert {date.fromisoformat(row["rate_date"]).weekday() for row in good if row["source"] == "fx"} == set(range(5))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"dirt": ["quantity.typ"]}, "quantity.typ"),
        ({"days": 0}, "at least one day"),
        ({"lines_per_day": 0}, "at least one day"),
    ],
)
def test_wrong_arguments_are_said_in_one_sentence_and_write_nothing(tmp_path: Path, wrong: dict[str, Any], said: str):
    """Else a misspelt kind gives a sample without that dirt, and nobody knows."""
    with pytest.raises(LakehouseError, match=said):
        generate(tmp_path / "landing", **{**SMALL, **wrong})
    assert not list(tmp_path.iterdir())


def test_nothing_is_mixed_into_a_folder_that_holds_something(tmp_path: Path):
    """Else two samples become one that no ledger describes."""
    (tmp_path / "orders").mkdir()
    with pytest.raises(LakehouseError, match="empty"):
        generate(tmp_path, **SMALL)
    assert [file.name for file in tmp_path.iterdir()] == ["orders"]
