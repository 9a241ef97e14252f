"""Broken drops of every kind: no run dies of them, and each landed row is accounted for."""

import contextlib
import gzip
import json
import math
import os
import random
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest

from lakehouse_assets_tests.core.sources.drops import BRONZE_VALUES
from lakehouse_assets_tests.pipeline.conftest import PROJECT, NewWorld
from lakehouse_assets_tests.pipeline.world import World

FIRST = date(2011, 1, 1)
GZIP = b"\x1f\x8b"
TABLES = {"orders": "orders", "customers": "customers", "fx": "fx_rates"}
VALUES = [
    "1e309", "-1e309", "NaN", "inf", "1,5", '"1,5"', "0x1F", "٣", "1_000", "--1", "+", ".", "1.", ".5", "-0", "1.2345", "2.50000000000000000001",  # noqa: E501
    "999999999.999", "1000000000", "99999999999999999999999999999999999999", "999999999999999999",
    "1000000000000000000", "9223372036854775808",
    "2011-02-29 10:00:00", "29/02/2012 10:00", "12/1/2010 8:26", "1 Dec 2010 08:26", "20101201T082600",
    "2011-01-01 24:00:00", "2011-01-01 23:59:60",
    "0000-01-01 00:00:00", "0001-01-01 00:00:00", "9999-12-31 23:59:59", "10000-01-01 00:00:00",
    "2011-01-01 08:26:00+01:00", "1293840000",
    "", " ", "\t", "\u00a0", "\u2028", "\ufeff", "null", "NULL", "N/A", "C", "A536365", "C536365", "😀" * 50, "x" * 200_000, '"', '""', "'", "\\", "\\N",  # noqa: E501
    "=1+1", "'; DROP TABLE x; --", "${user}", "%s", "{}",
]  # fmt: skip
MOMENTS = [
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-01:00",
    "0000-01-01T00:00:00Z",
    "2011-01-01T00:00:00+99:99",
    "2011-01-01",
]


class Originals:
    """Good drops, cut to a few lines: of real orders and rates where they are at hand, else of a sample without dirt;
    the CRM's are made up, for nobody publishes his.
    """

    def __init__(self, landing: Path):
        self.files = {s: sorted(f for f in (landing / s).rglob("*.csv*") if f.is_file()) for s in ("orders", "fx")}
        assert all(self.files.values()), landing

    def draw(self, rng: random.Random, source: str) -> bytes:
        if source == "customers":
            rows = ({"customer_id": rng.randint(1, 50), "name": "Ü", "email": "a@example.com", "city": "York", "country": "UK", "segment": None}  # noqa: E501
                    | {"updated_at": f"2011-01-{rng.randint(1, 31):02}T10:00:00Z", "deleted": rng.random() < 0.2} for _ in range(12))  # fmt: skip  # noqa: E501
            return "".join(json.dumps(row) + "\n" for row in rows).encode()
        content = rng.choice(self.files[source]).read_bytes()
        header, *lines = plain(content).splitlines(keepends=True)
        at = rng.randrange(max(1, len(lines) - 12))
        return b"".join([header, *lines[at : at + 12]])


def plain(content: bytes) -> bytes:
    """The bytes of a drop as a person reads them: without gzip, where it is sound, and without a byte order mark."""
    with contextlib.suppress(OSError, EOFError, zlib.error):
        content = gzip.decompress(content) if content.startswith(GZIP) else content
    return content.removeprefix(b"\xef\xbb\xbf")


@dataclass(frozen=True)
class Expected:
    """What bronze must hold of a mutated drop, told without the parser: the rows of its untouched lines, and how many
    rows there may be in all.
    """

    rows: Counter[tuple[str | None, ...]]
    least: int
    most: float


def expected(source: str, original: bytes, content: bytes) -> Expected:
    """A line is untouched that stands in the original too, and holds no quote, which might bind it to another. Under
    another header, and of damaged gzip, nothing is expected.
    """
    lines, before = plain(content).splitlines(), original.splitlines()
    if plain(content).startswith(GZIP):
        return Expected(Counter(), 0, math.inf)
    if source == "customers":
        records = [json.loads(line) for line in lines if line in before]
        rows = Counter(
            tuple(v if v is None or isinstance(v, str) else json.dumps(v) for v in record.values())
            for record in records
        )
        return Expected(rows, rows.total(), max(1, sum(bool(line.strip()) for line in lines)))
    if not lines or lines[0] != before[0]:
        return Expected(Counter(), 0, math.inf)
    while not lines[-1].strip():
        lines.pop()
    header, *lines = lines
    rows = Counter(
        row for line in lines if line in before[1:] and b'"' not in line for row in landed_rows(source, header, line)
    )
    if source == "fx":
        return Expected(rows, rows.total(), math.inf)
    # With a quote in the drop, a line that has not the commas of a record can be the end of one that began above it.
    records = [line for line in lines if line.count(b",") == header.count(b",") or b'"' not in content]
    return Expected(rows, len(records), len(lines))


def landed_rows(source: str, header: bytes, line: bytes) -> list[tuple[str | None, ...]]:
    """What a good line without quotes lands as."""
    fields = line.decode().split(",")
    if source == "orders":
        return [tuple(field or None for field in fields)]
    named = list(zip(header.decode().split(","), fields, strict=True))[1:]
    return [(fields[0], name, rate) for name, rate in named if name and rate and rate != "N/A"]


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
            row[rng.choice([*row, "extra"])] = rng.choice(
                [*VALUES, *MOMENTS, None, 1, -1, 1.5, 10**30, 1e300, True, [], {"a": [1]}, ["x"]]
            )
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
        + rng.choice(
            [b"\0", b'"', b'""', b"\r", b"\r\n", b"\n", b"\xff", b"\xe9", b",", b",,,,", b"\xef\xbb\xbf", b"{", b"\x1a"]
        )
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


def fill(world: World, originals: Originals, seed: int, drops: int) -> dict[str, tuple[str, Expected]]:
    """Drops over some days, a dozen a day; each is a mutation of its own. Returns what is expected of each, and its
    source, by path.
    """
    rng = random.Random(seed)
    said = {}
    for number in range(drops):
        source = rng.choice(("orders", "orders", "customers", "fx"))
        path = f"{source}/{source}_{FIRST + timedelta(days=number // 12)}_{number}.csv"
        original = originals.draw(rng, source)
        content = mutated(rng, original, source)
        world.drop(path, content)
        said[path] = source, expected(source, original, content)
    return said


def assert_landed(world: World, said: Mapping[str, tuple[str, Expected]]) -> None:
    """Every untouched line is in bronze with its values, and no line is lost."""
    found: dict[str, list[dict]] = {path: [] for path in said}
    for table in TABLES.values():
        for row in world.delta(f"bronze.{table}").to_pylist():
            found[row["path"]].append(row)
    for path, (source, wanted) in said.items():
        good = Counter(tuple(row[n] for n in BRONZE_VALUES[source]) for row in found[path] if row["_malformed"] is None)
        assert not wanted.rows - good, path
        assert wanted.least <= len(found[path]) <= wanted.most, path
    untouched = sum(wanted.rows.total() for _, wanted in said.values())
    assert untouched > 3 * len(said), f"{untouched} lines of {len(said)} drops are hardly a test"


def assert_accounted_for(world: World) -> None:
    landed: dict[str, int] = {}
    for table in TABLES.values():
        frame = world.delta(f"bronze.{table}")
        for row in frame.group_by("path").aggregate([([], "count_all")]).to_pylist():
            landed[row["path"]] = row["count_all"]
    rows = {r["path"]: r for r in world.delta("silver.intake").to_pylist()}
    assert set(rows) == {f.relative_to(world.landing).as_posix() for f in world.landing.rglob("*") if f.is_file()}
    for path, row in rows.items():
        assert row["landed"] == landed.get(path, 0), path
        assert row["landed"] == row["published"] + row["quarantined"] + row["duplicates"], path
        assert row["duplicates"] >= 0, path
    published = sum(
        world.delta(f"silver.{name}").num_rows for name in ("order_lines", "customers", "fx_rates", "stock_levels")
    )
    assert published == sum(r["published"] for r in rows.values())
    assert len(world.quarantined()) == sum(r["quarantined"] for r in rows.values())
    sales = world.snowflake()["gold.sales_lines"].num_rows
    assert sales == world.delta("silver.order_lines").num_rows


@pytest.fixture(scope="module")
def originals(request: pytest.FixtureRequest) -> Originals:
    data = Path(os.environ.get("LAKEHOUSE_TEST_DATA", PROJECT.parent / "shared" / "data")) / "landing"
    return Originals(data if (data / "orders").is_dir() else request.getfixturevalue("sample").clean)


@pytest.mark.parametrize(
    ("seed", "drops"), [(3, 150), *(pytest.param(s, 500, marks=pytest.mark.heavy) for s in (3, 4, 5))]
)
@pytest.mark.timeout(1800)
def test_broken_drops_stop_no_run_and_every_line_is_accounted_for(
    seed: int, drops: int, originals: Originals, make_world: NewWorld
) -> None:
    """One broken file stops the whole pipeline, takes good lines down with it, or loses rows without a word."""
    world = make_world()
    said = fill(world, originals, seed, drops)
    runner = world.run()
    assert not runner.found
    assert_landed(world, said)
    assert_accounted_for(world)
    assert not world.run().runs
