"""Broken drops of every kind: no run dies of them, and each landed row is accounted for."""

import gzip
import json
import random
from datetime import date, timedelta

import pytest

from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import World, line, order_csv, rates_csv

FIRST = date(2011, 1, 1)
VALUES = [
    "1e309", "-1e309", "NaN", "inf", "1,5", '"1,5"', "0x1F", "٣", "1_000", "--1", "+", ".", "1.", ".5", "-0", "1.2345", "2.50000000000000000001",
    "999999999.999", "1000000000", "99999999999999999999999999999999999999", "999999999999999999", "1000000000000000000", "9223372036854775808",
    "2011-02-29 10:00:00", "29/02/2012 10:00", "12/1/2010 8:26", "1 Dec 2010 08:26", "20101201T082600", "2011-01-01 24:00:00", "2011-01-01 23:59:60",
    "0000-01-01 00:00:00", "0001-01-01 00:00:00", "9999-12-31 23:59:59", "10000-01-01 00:00:00", "2011-01-01 08:26:00+01:00", "1293840000",
    "", " ", "\t", "\u00a0", "\u2028", "\ufeff", "null", "NULL", "N/A", "C", "A536365", "C536365", "😀" * 50, "x" * 200_000, '"', '""', "'", "\\", "\\N",
    "=1+1", "'; DROP TABLE x; --", "${user}", "%s", "{}",
]  # fmt: skip
MOMENTS = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00Z", "2011-01-01T00:00:00+99:99", "2011-01-01"]


def a_drop(rng: random.Random, source: str, day: str) -> bytes:
    """A good drop of a source."""
    if source == "orders":
        return order_csv(
            [line(500000 + rng.randrange(99999), day, rng.randint(-5, 30), f"{rng.randint(0, 99)}.5") for _ in range(12)]
        ).encode()
    if source == "fx":
        return rates_csv({day: "0.86", "2010-12-31": "0.85"}).encode()
    rows = ({"customer_id": rng.randint(1, 50), "name": "Ü", "email": "a@example.com", "city": "York", "country": "UK", "segment": None}
            | {"updated_at": f"{day}T10:00:00Z", "deleted": rng.random() < 0.2} for _ in range(12))  # fmt: skip
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def mutated(rng: random.Random, content: bytes, source: str) -> bytes:
    """The drop with one to three things wrong with it."""
    for _ in range(rng.randint(1, 3)):
        content = rng.choice(MUTATIONS)(rng, content, source)
    return content


def _value(rng: random.Random, content: bytes, source: str) -> bytes:
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    if source == "customers":
        try:
            row = json.loads(lines[at])
            row[rng.choice([*row, "extra"])] = rng.choice([*VALUES, *MOMENTS, None, 1, -1, 1.5, 10**30, 1e300, True, [], {"a": [1]}, ["x"]])
            lines[at] = json.dumps(row).encode()
        except (ValueError, TypeError, IndexError):
            lines[at] = rng.choice(VALUES).encode()
    else:
        fields = lines[at].split(b",")
        fields[rng.randrange(len(fields))] = rng.choice(VALUES).encode()
        lines[at] = b",".join(fields)
    return b"\n".join(lines)


def _flip(rng: random.Random, content: bytes, source: str) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 40))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _insert(rng: random.Random, content: bytes, source: str) -> bytes:
    at = rng.randrange(len(content) + 1)
    return (
        content[:at]
        + rng.choice([b"\0", b'"', b'""', b"\r", b"\r\n", b"\n", b"\xff", b"\xe9", b",", b",,,,", b"\xef\xbb\xbf", b"{", b"\x1a"])
        + content[at:]
    )


def _columns(rng: random.Random, content: bytes, source: str) -> bytes:
    if source == "customers":
        return content.replace(b'"city"', rng.choice([b'"City"', b'"name"', b'"path"', b'"_raw"', b'""']))
    rows = [row.split(b",") for row in content.split(b"\n")]
    order = list(range(max(map(len, rows))))
    rng.shuffle(order)
    drop = rng.random() < 0.3
    return b"\n".join(b",".join(row[i] for i in (order[1:] if drop else order) if i < len(row)) for row in rows)


def _whole(rng: random.Random, content: bytes, source: str) -> bytes:
    text = content.decode(errors="replace")
    return rng.choice(
        [
            lambda: content[: rng.randrange(len(content) + 1)],
            lambda: gzip.compress(content, mtime=0),
            lambda: gzip.compress(content, mtime=0)[: rng.randrange(20, 60)],
            lambda: gzip.compress(content, mtime=0) + b"trailing",
            lambda: text.encode("utf-16"),
            lambda: text.encode("latin-1", errors="replace"),
            lambda: b"\xef\xbb\xbf" * 2 + content,
            lambda: content.replace(b"\n", b"\r"),
            lambda: content.replace(b"\n", b"\n\n"),
            lambda: content + content,
            lambda: content.replace(b",", b";"),
            lambda: rng.randbytes(300),
            lambda: b"\0" * 100,
            lambda: content.split(b"\n")[0],
        ]
    )()


MUTATIONS = [_value, _value, _value, _flip, _insert, _columns, _whole]


def fill(world: World, seed: int, drops: int) -> None:
    """Drops over the days of a year, some of which share a day; each is a mutation of its own."""
    rng = random.Random(seed)
    for number in range(drops):
        source = rng.choice(("orders", "orders", "customers", "fx"))
        day = (FIRST + timedelta(days=number // 3)).isoformat()
        world.drop(f"{source}/{source}_{day}_{number}.csv", mutated(rng, a_drop(rng, source, day), source))


def assert_accounted_for(world: World) -> None:
    landed: dict[str, int] = {}
    for table in ("orders", "customers", "fx_rates"):
        frame = world.delta(f"bronze.{table}")
        for row in frame.group_by("path").aggregate([([], "count_all")]).to_pylist():
            landed[row["path"]] = row["count_all"]
    rows = {r["path"]: r for r in world.delta("silver.intake").to_pylist()}
    assert set(rows) == {f.relative_to(world.landing).as_posix() for f in world.landing.rglob("*") if f.is_file()}
    for path, row in rows.items():
        assert row["landed"] == landed.get(path, 0), path
        assert row["landed"] == row["published"] + row["quarantined"] + row["duplicates"], path
        assert row["duplicates"] >= 0, path
    published = sum(world.delta(f"silver.{name}").num_rows for name in ("order_lines", "customers", "fx_rates"))
    assert published == sum(r["published"] for r in rows.values())
    assert len(world.quarantined()) == sum(r["quarantined"] for r in rows.values())
    sales = world.snowflake()["gold.sales_lines"].num_rows
    assert sales == world.delta("silver.order_lines").num_rows


@pytest.mark.parametrize(("seed", "drops"), [(3, 90), *(pytest.param(s, 500, marks=pytest.mark.heavy) for s in (4, 5))])
@pytest.mark.timeout(1800)
def test_broken_drops_stop_no_run_and_every_row_is_accounted_for(seed: int, drops: int, make_world: NewWorld) -> None:
    """One broken file stops the whole pipeline, or its rows vanish."""
    world = make_world()
    fill(world, seed, drops)
    runner = world.run()
    assert not runner.found
    assert_accounted_for(world)
    assert not world.run().runs
