"""What is too wide, too deep, too long or too much to be data is named in a sentence, takes no memory to speak of, and
leaves its neighbours alone.
"""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from lakehouse_assets.core.sources.landing import LandingZone
from lakehouse_assets.core.sources.lines import MAX_COLUMNS, MAX_LINE_MB, MAX_LINES
from lakehouse_assets_tests.core.sources.drops import parse_drop
from lakehouse_assets_tests.core.sources.test_formats import GOOD, LINE, ORDER, RECORD
from lakehouse_assets_tests.pipeline.world import ROOT, outside

WIDE = {
    "orders": ORDER.strip()
    + b"".join(b",c%d" % n for n in range(9_992))
    + b"\n"
    + LINE.strip()
    + b",1" * 9_992
    + b"\n",
    "fx": b"Date,GBP" + b"".join(b",c%d" % n for n in range(9_998)) + b"\n2026-09-01,0.85" + b",1" * 9_998 + b"\n",
}


def row(source: str, content: bytes) -> dict[str, Any]:
    (found,) = parse_drop(source, content).to_pylist()
    return found


@pytest.mark.parametrize("source", WIDE)
def test_a_header_of_ten_thousand_columns_is_none(source: str) -> None:
    """Each row would be an object of ten thousand keys: hours, and a hundred times the size of the drop."""
    found = row(source, WIDE[source])
    assert (found["_malformed"], found["row_number"]) == ("drop.unreadable", 0)
    assert (
        found["_detail"]
        == f"The header names 10,000 columns, more than {MAX_COLUMNS:,}; send the drop with the columns of its source."
    )


def test_a_header_of_as_many_columns_as_may_be_is_read() -> None:
    """The cap may not cost a drop that was read yesterday."""
    more = MAX_COLUMNS - 8
    names, values = (b"".join(b",%s%d" % (p, n) for n in range(more)) for p in (b"c", b""))
    found = row("orders", ORDER.strip() + names + b"\n" + LINE.strip() + values + b"\n")
    assert (found["_malformed"], len(json.loads(found["_rescued"]))) == (None, more)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (json.dumps({f"k{n}": 1 for n in range(10_000)}), f"it holds 10,000 keys, more than {MAX_COLUMNS:,}"),
        ("[" * 1_000_000 + "]" * 1_000_000, "it is nested too deeply"),
        ('{"a":' * 1_000_000 + "1" + "}" * 1_000_000, "it is nested too deeply"),
        ('{"a":[' * 1_000_000, "it is nested too deeply"),
    ],
    ids=["wide", "lists", "objects", "open"],
)
def test_a_record_too_wide_or_too_deep_is_one_bad_row(value: str, reason: str) -> None:
    """One record could take down the process that reads it, and with it all other drops."""
    first, bad, last = parse_drop(
        "customers", RECORD + b'{"customer_id": 2, "name": %s}\n' % value.encode() + RECORD
    ).to_pylist()
    assert (first["name"], first["_malformed"], last["name"], last["row_number"]) == ("Ada", None, "Ada", 3)
    assert bad["_malformed"] == "row.json"
    assert reason in bad["_detail"]


LONG = b"x" * (MAX_LINE_MB * 1_000_000 + 1)
LONG_LINES = {
    "orders": LINE.replace(b"HEART", LONG),
    "customers": RECORD.replace(b"Ada", LONG),
    "fx": b"2026-09-02," + LONG + b"\n",
}


@pytest.mark.parametrize("source", LONG_LINES)
def test_a_line_without_an_end_is_one_bad_row_of_which_the_beginning_is_kept(source: str) -> None:
    """A dump without line ends would be carried through four tables as one value."""
    header, line = GOOD[source].split(b"\n")[:2] if source != "customers" else (b"", RECORD.strip())
    body = b"\n".join([header, line, LONG_LINES[source].strip(), line, b""]).lstrip()
    first, bad, last = parse_drop(source, body).to_pylist()
    assert (first["_malformed"], last["_malformed"], last["row_number"]) == (None, None, 3)
    assert bad["_malformed"] == "row.long"
    assert bad["_detail"].startswith(f"The line is {MAX_LINE_MB}.0 MB long, more than {MAX_LINE_MB} MB")
    assert bad["_raw"].startswith(LONG_LINES[source][:10].decode())
    assert len(bad["_raw"]) < 2_000


def test_a_header_without_an_end_is_none() -> None:
    """The same in the first line."""
    assert (
        row("orders", b"x," + LONG)["_detail"]
        == f"The first line is longer than {MAX_LINE_MB} MB and cannot be a header; send the drop as CSV."
    )


def test_a_quote_that_never_closes_is_looked_for_no_longer_than_a_line_may_be() -> None:
    """Each of its lines would look for the quote in a hundred others."""
    lines = [b'"' + b"x" * 1_000_000] * 60
    rows = parse_drop("orders", ORDER + b"\n".join(lines) + b"\n" + LINE).to_pylist()
    assert [r["_malformed"] for r in rows] == ["row.open_quote"] * 60 + [None]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_a_drop_of_too_many_lines_is_not_read(end: bytes) -> None:
    """Twenty megabytes of line ends would be gigabytes of bad rows."""
    assert (
        row("orders", ORDER.strip() + end * (MAX_LINES + 1) + LINE)["_detail"]
        == f"The drop holds more than {MAX_LINES:,} lines; send it in several drops."
    )


PEAK = """
import resource
from lakehouse_assets_tests.core.sources.drops import parse_drop
table = parse_drop({source!r}, {begin!r} + b"x" * 300_000_000 + {end!r})
print(table.num_rows, table["_malformed"].to_pylist(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000)
"""


@pytest.mark.heavy
@pytest.mark.parametrize("source", LONG_LINES)
def test_a_line_of_300_mb_takes_memory_for_the_drop_and_not_for_its_rows(source: str) -> None:
    """docs/landing.md says how much reading a drop takes."""
    begin, end = (GOOD[source] + LONG_LINES[source]).split(LONG)
    code = PEAK.format(source=source, begin=begin, end=end)
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**outside(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    rows, malformed, peak = (
        said.stdout.split(" ", 1)[0],
        said.stdout[2 : said.stdout.rindex(" ")],
        int(said.stdout.rsplit(" ", 1)[1]),
    )
    assert (rows, malformed) == ("2", "[None, 'row.long']")
    assert peak < 8 * 300


@pytest.mark.heavy
def test_fifty_thousand_files_are_looked_at(tmp_path: Path) -> None:
    """A landing zone that nobody empties grows for years."""
    zone = LandingZone(tmp_path / "landing", "UTC", date(2009, 11, 1), tmp_path / "cache.json")
    for day in range(500):
        folder = zone.root / "orders" / str(day)
        folder.mkdir(parents=True)
        for n in range(100):
            (folder / f"o_2026-09-01_{n}.csv").write_bytes(b"%d" % n)
    drops, refused = zone.scan()
    assert (len(drops), refused) == (50_000, {})
    assert zone.scan() == (drops, {})
