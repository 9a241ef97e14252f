"""Order drops: both dialects, every odd form of CSV, and the two ways of reading that must agree."""

import csv
import json
import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lakehouse_assets.core.sources.kinds.csv import Header, careful_table, fast_table
from lakehouse_assets_tests.core.sources.drops import (
    BRONZE_VALUES,
    LATER,
    LINE,
    PUBLISHED,
    csv_drop,
    good,
    order_lines,
    parse_drop,
    parsed,
    problems,
)

WIDTH = 8
HEADER = Header(WIDTH, {name: at for at, name in enumerate(BRONZE_VALUES["orders"])}, ())
FIELD = st.text(st.sampled_from('ab1,"; \té\u2028\ufeff\x1c')) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0")
)
ROWS = st.lists(st.lists(FIELD, min_size=WIDTH, max_size=WIDTH), max_size=6)
PLAIN = [b"a", b"b c", b"", b"1", b'"a"', b'"a,b"', b'"a""b"', b'""', b'a"b', b"\xc3\xa9", b"\xef\xbb\xbf"]
ODD = [
    b'"',
    b'"a\nb"',
    b'"a"b',
    b'"a,',
    b'""a',
    b'"""',
    b",",
    b"\xff",
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b"a,a,a,a,a,a,a\n",
]


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, bool]:
    """Lines of the right width, in which up to two odd pieces stand somewhere; and whether nothing is odd."""
    end = draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    lines = draw(st.lists(st.lists(st.sampled_from(PLAIN), min_size=WIDTH, max_size=WIDTH), max_size=4))
    body = b"".join(b",".join(line) + end for line in lines)
    odd = draw(st.lists(st.sampled_from(ODD), max_size=2))
    for piece in odd:
        at = draw(st.integers(0, len(body)))
        body = body[:at] + piece + body[at:]
    return body, not (odd or b"\r" in body.replace(b"\r\n", b"") or body.startswith(b"\xef\xbb\xbf"))


BAD_LINES = {
    "row.ragged": [b"536365,too,few", b",".join([*(value.encode() for value in LINE), b"one", b"more"]), b"", b"  "],
    "row.encoding": [b"536365,85123A,CAF\xc9,6,2010-12-01 08:26:00,2.55,,France"],
    "row.nul": [b"536365,85123A,\0,6,2010-12-01 08:26:00,2.55,,France", b"\0", b"\xff\0"],
    "row.open_quote": [
        b'536365,85123A,"12 INCH RULER,6,2010-12-01 08:26:00,2.55,,France',
        b'536365,85123A,"12" RULER,6,2010-12-01 08:26:00,2.55,,France',
        b'"',
        b'536365,85123A,""",6,2010-12-01 08:26:00,2.55,,France',
    ],
}


def nulls(rows: list[list[str]]) -> list[list[str | None]]:
    """What an empty field becomes."""
    return [[value or None for value in row] for row in rows]


@settings(max_examples=400, deadline=None)
@given(drawn=bodies())
def test_the_fast_path_accepts_only_what_the_careful_one_reads_alike(drawn: tuple[bytes, bool]):
    """Else a drop reads differently for one odd character elsewhere in it, or every drop pays for the careful path."""
    body, clean = drawn
    fast = fast_table(body, HEADER)
    assert fast is not None or not clean
    if fast is not None:
        assert fast.equals(careful_table(body, HEADER))


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf,,,,,,,\n",
        b'"a"b,,,,,,,\n',
        b'"a\n",,,,,,,\n',
        b",,,,,,,\r\r\n,,,,,,,\r\n",
        b"\0,,,,,,,\n",
        b"\xff,,,,,,,\n",
        b",\n",
    ],
)
def test_the_fast_path_leaves_what_is_odd_to_the_careful_one(body: bytes):
    """Else Arrow's reader cuts a value short, joins two lines or lets a broken one through, and nobody hears of it."""
    assert fast_table(body, HEADER) is None


@settings(max_examples=200, deadline=None)
@given(rows=ROWS, end=st.sampled_from(["\n", "\r\n"]), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_clean_lines_take_the_fast_path_and_come_back_as_they_were(rows: list[list[str]], end: str, quoting: int):
    """Else values change on their way into bronze, or every drop pays for the careful path."""
    body = csv_drop([], rows, end, quoting).removeprefix(end.encode())
    assume(not body.startswith("\ufeff".encode()))
    for table in (fast_table(body, HEADER), careful_table(body, HEADER)):
        assert table is not None
        assert good(table) == nulls(rows)
        assert not problems(table)


def test_lines_may_end_with_a_lone_carriage_return():
    """Else a drop from an old system is one giant line."""
    assert good(parse_drop("orders", csv_drop(PUBLISHED, order_lines(3), "\r"))) == order_lines(3)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("rule", BAD_LINES)
def test_a_bad_line_costs_only_itself(rule: str, end: bytes):
    """Else one slip of the exporting system, such as a quote that is never closed, takes a whole day with it."""
    rng = random.Random(rule)
    clean = [",".join(line).encode() for line in order_lines(5)]
    for bad in BAD_LINES[rule]:
        for place in range(5 if not bad.strip() else 6):
            lines = [*clean[:place], bad, *clean[place:]]
            second = rng.randrange(len(lines))
            for dirty, expected in (
                (lines, {place}),
                ([*lines[:second], bad, *lines[second:]], {second, place + (second <= place)}),
            ):
                if not dirty[-1].strip():
                    continue  # an empty last line counts for nothing
                table = parse_drop("orders", end.join([",".join(PUBLISHED).encode(), *dirty, b""]))
                assert good(table) == order_lines(5)
                assert problems(table) == [(at + 1, rule) for at in sorted(expected)]


@pytest.mark.parametrize("tail", [b"\n", b"\r\n\r\n", b"   \n\t\n"])
def test_empty_lines_at_the_end_are_no_rows(tail: bytes):
    """Else every drop of an exporter that ends with an empty line carries a bad row."""
    assert good(parse_drop("orders", csv_drop(PUBLISHED, order_lines(2)) + tail)) == order_lines(2)
    assert parse_drop("orders", csv_drop(PUBLISHED, order_lines(2)) + tail).num_rows == 2


@pytest.mark.parametrize("text", ["two\nlines", "three\r\nlines, with\na comma", 'a "quoted"\n\nword', "\n"])
def test_a_quoted_field_may_run_over_lines(text: str):
    """Else a description with a line break is rejected although it is valid CSV."""
    rows = order_lines(3)
    rows[1][2] = text
    table = parse_drop("orders", csv_drop(PUBLISHED, rows))
    assert good(table) == rows
    assert table["row_number"].to_pylist() == [1, 2, 3]


def test_a_quoted_field_does_not_run_over_whole_records():
    """Else an open quote and a stray one further down swallow the good lines between them."""
    first, *between, last = [",".join(line) for line in order_lines(4)]
    drop = "\n".join([",".join(PUBLISHED), first.replace("WHITE", '"WHITE'), *between, last.replace("HEART", 'HEART"')])
    table = parse_drop("orders", drop.encode())
    assert problems(table) == [(1, "row.open_quote")]
    assert [row[0] for row in good(table)] == ["536366", "536367", "536368"]


def test_a_quoted_field_is_not_followed_for_ever():
    """Else one open quote before a long run of bad lines makes a single row of thousands."""
    drop = csv_drop(PUBLISHED, []) + b'a,b,"c\n' + b"x\n" * 150 + b'c",d,e,f,g,h\n'
    table = parse_drop("orders", drop)
    assert problems(table)[0] == (1, "row.open_quote")
    assert table.num_rows == 152


@pytest.mark.parametrize("header", [PUBLISHED, LATER])
@pytest.mark.parametrize("seed", range(3))
def test_columns_are_found_by_name(header: list[str], seed: int):
    """Else a price lands in the quantity when an exporter moves a column, or a drop is refused for a capital letter."""
    rng = random.Random(seed)
    order = rng.sample(range(WIDTH), WIDTH)
    names = [rng.choice([f" {header[at]} ", header[at].upper(), header[at].lower()]) for at in order]
    rows = [[row[at] for at in order] for row in order_lines(3)]
    content = "\ufeff".encode() + csv_drop(names, rows)
    assert good(parse_drop("orders", content)) == order_lines(3)
    assert good(parse_drop("orders", content + b"bad\n")) == order_lines(3)


@pytest.mark.parametrize("bad", [b"", b"bad\n"])
def test_unexpected_columns_are_kept(bad: bytes):
    """Else a column that the source adds is lost for all the days before somebody notices."""
    header = [*PUBLISHED[:2], "Zone", *PUBLISHED[2:], "Channel", "", "Zone"]
    extras = [("ñ", 'a "b"', "", "2"), ("", "", "", ""), ("", "", "7", "")]
    rows = [[*LINE[:2], zone, *LINE[2:], channel, unnamed, again] for zone, channel, unnamed, again in extras]
    table = parse_drop("orders", csv_drop(header, rows) + bad)
    assert good(table) == [LINE] * 3
    rescued = table["_rescued"].to_pylist()[:3]
    assert [text and json.loads(text) for text in rescued] == [
        {"Channel": 'a "b"', "Zone": "ñ", "Zone_12": "2"},
        None,
        {"column_11": "7"},
    ]
    assert list(json.loads(rescued[0])) == sorted(json.loads(rescued[0]))


def test_a_drop_with_a_header_only_has_no_rows():
    """Else a day without trade is reported as damaged."""
    for content in (csv_drop(PUBLISHED, []), ",".join(LATER).encode(), csv_drop(PUBLISHED, []) + b"\n\n"):
        table = parse_drop("orders", content)
        assert table.num_rows == 0


@pytest.mark.parametrize("zipped", [False, True])
def test_a_missing_or_repeated_column_stops_the_drop_and_is_named(zipped: bool):
    """Else a whole drop lands with an empty column, or with the wrong one of two."""
    lacking = csv_drop([name for name in PUBLISHED if name not in ("Quantity", "UnitPrice")], [LINE[:6]])
    table = parsed("orders", lacking, zipped)
    assert problems(table) == [(0, "drop.missing_column")]
    assert "Quantity, UnitPrice or Price" in table["_detail"][0].as_py()
    assert table["_raw"][0].as_py().encode() == lacking
    twice = csv_drop([*PUBLISHED, "price"], [[*LINE, "1"]])
    table = parsed("orders", twice, zipped)
    assert problems(table) == [(0, "drop.duplicate_column")]
    assert "UnitPrice or Price" in table["_detail"][0].as_py()


def test_a_huge_field_is_read():
    """Else a stray document in a description kills the run."""
    line = [*LINE[:2], "x" * 5_000_000, *LINE[3:]]
    assert good(parse_drop("orders", csv_drop(PUBLISHED, [line]))) == [line]
    opened = ",".join([*LINE[:2], '"' + "x" * 5_000_000, *LINE[3:]]).encode()
    table = parse_drop("orders", csv_drop(PUBLISHED, []) + opened + b"\n" + csv_drop(LINE, []))
    assert (good(table), problems(table)) == ([LINE], [(1, "row.open_quote")])


def test_what_is_wrong_is_shown_as_it_was():
    """Else the person who must fix the data cannot find the line, or its bytes."""
    table = parse_drop("orders", csv_drop(PUBLISHED, []) + b'A\xc9\xc3\xa9,1\na\0b\r\nx,"y\n')
    assert table["_raw"].to_pylist() == ["A\\xc9é,1", "a\\x00b", 'x,"y']
