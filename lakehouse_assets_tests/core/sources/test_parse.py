"""What holds for every drop of every source, whatever its bytes are."""

import base64
import gzip
import json
import pickle
import subprocess
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse_assets.core.declarations.registry import SOURCES as DECLARED
from lakehouse_assets.core.sources.parse import DROP_RULES, ROW_RULES
from lakehouse_assets.core.sources.rows import drop_schema
from lakehouse_assets_tests.core.sources.drops import (
    BRONZE_VALUES,
    PUBLISHED,
    csv_drop,
    good,
    order_lines,
    parse_drop,
    problems,
)

CUSTOMERS = b"".join(
    json.dumps({"customer_id": number, "name": "Ada", "deleted": False}).encode() + b"\n" for number in range(40)
)
RATES = b"Date,USD,GBP,\n" + b"".join(b"2010-12-%02d,1.3%d,0.85,\n" % (day, day) for day in range(1, 29))
STOCK = csv_drop(["ProductCode", "OnHand", "CountedOn"], [[f"{n}A", str(n), "2026-09-01"] for n in range(40)])
DROPS = {"orders": csv_drop(PUBLISHED, order_lines(40)), "customers": CUSTOMERS, "fx": RATES, "stock_levels": STOCK}
SOURCES = sorted(DROPS)
NEAR_CSV = st.lists(
    st.sampled_from(
        [
            b"Date",
            b"USD",
            b'"',
            b",",
            b"\n",
            b"\r",
            b"\0",
            b"\xff",
            b"1.5",
            b"{}",
            b'{"a":1}',
            *map(str.encode, PUBLISHED),
        ]
    )
)


@settings(deadline=None)
@given(source=st.sampled_from(SOURCES), content=st.binary(max_size=200) | NEAR_CSV.map(b"".join), zipped=st.booleans())
def test_any_bytes_give_numbered_rows_and_never_an_error(source: str, content: bytes, zipped: bool):
    """Else one odd file kills the run that takes in a whole day of good ones."""
    table = parse_drop(source, gzip.compress(content) if zipped else content)
    assert table.schema == drop_schema(BRONZE_VALUES[source])
    numbers = table["row_number"].to_pylist()
    rules = table["_malformed"].to_pylist()
    if 0 in numbers:
        assert len(numbers) == 1
        assert rules[0] in DROP_RULES
    else:
        assert numbers == list(range(1, len(numbers) + 1))
        assert set(rules) <= {None, *ROW_RULES}
    for row in table.to_pylist():
        said = [row["_detail"], row["_raw"]]
        assert (
            all(text is None for text in said) if row["_malformed"] is None else all(text is not None for text in said)
        )
        if row["_malformed"] is not None:
            assert all(row[column] is None for column in BRONZE_VALUES[source])


@pytest.mark.parametrize("source", SOURCES)
def test_gzip_is_told_by_its_bytes_and_changes_nothing(source: str):
    """Else a drop reads differently for having been compressed, in one member or in several, or padded by a tape
    tool.
    """
    content = DROPS[source]
    plain = parse_drop(source, content)
    assert plain.num_rows > 20
    half = len(content) // 2
    for packed in (
        gzip.compress(content),
        gzip.compress(content[:half]) + gzip.compress(content[half:]),
        gzip.compress(content) + bytes(512),
    ):
        assert parse_drop(source, packed).equals(plain)


@pytest.mark.parametrize("source", SOURCES)
def test_a_gzip_stream_cut_anywhere_is_never_silent(source: str):
    """Else a half-copied file is booked as a whole day."""
    whole = gzip.compress(DROPS[source], 1)
    rows = good(parse_drop(source, DROPS[source]))
    for cut in range(2, len(whole)):
        table = parse_drop(source, whole[:cut])
        found = problems(table)
        assert found in ([(0, "drop.unreadable")], [(table.num_rows, "row.truncated")])
        if found[0][0]:
            assert good(table) == rows[: table.num_rows - 1]


@pytest.mark.parametrize("source", SOURCES)
def test_only_the_line_that_was_cut_is_lost(source: str):
    """Else the good part of a torn drop is refused with the bad, or half a line is taken for a whole one."""
    content = DROPS[source]
    halfway = content.rindex(b"\n", 0, len(content) - 5) + 4
    for keep, raw in ((halfway, content[halfway - 3 : halfway].decode()), (halfway - 3, "")):
        stream = zlib.compressobj(wbits=31)
        torn = stream.compress(content[:keep]) + stream.flush(zlib.Z_SYNC_FLUSH)
        table = parse_drop(source, torn)
        assert good(table) == good(parse_drop(source, content[: halfway - 3]))
        assert problems(table) == [(table.num_rows, "row.truncated")]
        assert table["_raw"][-1].as_py() == raw


@settings(max_examples=200, deadline=None)
@given(source=st.sampled_from(SOURCES), place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_flipped_byte_in_gzip_is_reported_or_harmless(source: str, place: float, flip: int):
    """Else a damaged transfer changes figures without anyone being told."""
    packed = bytearray(gzip.compress(DROPS[source], mtime=0))
    packed[int(place * len(packed))] ^= flip
    table = parse_drop(source, bytes(packed))
    assert problems(table) or table.equals(parse_drop(source, DROPS[source]))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\r\n",
        gzip.compress(b"", mtime=0),
        b"\x1f\x8bno gzip at all",
        gzip.compress(b"Date,\n1", mtime=0) + b"tail",
        "Date,USD\n".encode("utf-16"),
        bytes(range(128, 256)),
    ],
)
def test_an_unreadable_drop_is_one_row_that_keeps_its_content(source: str, content: bytes):
    """Else a drop that cannot be read vanishes, or nobody can look at what it was."""
    table = parse_drop(source, content)
    assert problems(table) == [(0, "drop.unreadable")]
    raw = table["_raw"][0].as_py()
    kept = base64.b64decode(raw.removeprefix("base64:")) if content.strip() else raw.encode()
    assert kept == content
    assert table["_detail"][0].as_py().endswith(".")


def test_an_unknown_source_is_the_callers_mistake():
    """Else a misspelt source would be read as another one."""
    with pytest.raises(KeyError):
        parse_drop("order", b"")


def test_a_worker_needs_no_more_than_pyarrow_to_read_a_drop():
    """Else a cluster whose workers have Python and pyarrow alone fails at the first drop."""
    code = (
        "import sys, pickle\n"
        f"format = pickle.loads({pickle.dumps({name: SOURCE.format for name, SOURCE in DECLARED.items()})!r})\n"
        "from lakehouse_assets.core.sources.parse import parse_drop\n"
        "assert all(parse_drop(f, b'').num_rows == 1 for f in format.values())\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'pandera', 'polars', 'pydantic', 'dagster', 'pyspark', 'deltalake', 'duckdb', 'sqlalchemy'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
