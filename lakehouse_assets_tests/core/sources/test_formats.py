"""Files of another format than their source's are called by their name, and none of them says a row."""

import gzip
import io
import zipfile
from collections.abc import Callable

import pytest

from lakehouse_assets.core.sources.lines import MAX_UNPACKED_MB
from lakehouse_assets_tests.core.sources.drops import parse_drop

ORDER = b"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
LINE = b"536365,85123A,HEART,6,2026-09-01 08:26:00,2.55,17850,United Kingdom\n"
RECORD = b'{"customer_id": 1, "name": "Ada", "updated_at": "2026-09-01T10:00:00Z"}\n'
RATES = b"Date,GBP\n2026-09-01,0.85\n"
GOOD = {"orders": ORDER + LINE, "customers": RECORD, "fx": RATES}


def archive(name: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        file.writestr(name, "text")
    return held.getvalue()


PAGE = b"<!DOCTYPE html>\n<html><head><title>503</title></head>\n<body>Service Unavailable</body></html>\n"
EVERYWHERE: dict[str, bytes] = {
    "an HTML page": PAGE,
    "XML": b'<?xml version="1.0"?><rates><rate/></rates>',
    "an Excel workbook (XLSX)": archive("xl/workbook.xml"),
    "a ZIP archive": archive("orders.csv"),
    "a Parquet file": b"PAR1" + bytes(100),
    "a PDF document": b"%PDF-1.7\n",
    "encoded as UTF-16": (ORDER + LINE).decode().encode("utf-16"),
    "encoded as UTF-32": (ORDER + LINE).decode().encode("utf-32"),
    "YAML": b"---\n- invoice: 1\n  quantity: 2\n",
    "compressed with zstd": b"\x28\xb5\x2f\xfd" + bytes(20),
    "compressed with bzip2": b"BZh91AY&SY" + bytes(20),
    "a document (RTF)": b"{\\rtf1\\ansi InvoiceNo}",
    "settings (INI or TOML)": b"[section]\nkey = 1\n",
    "a pointer of Git LFS, without the content": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
}
CASES = [(source, content, name) for source in GOOD for name, content in EVERYWHERE.items()]
CASES += [(source, gzip.compress(PAGE, mtime=0), "an HTML page") for source in GOOD]
CASES += [
    (source, gzip.compress(gzip.compress(GOOD[source], mtime=0), mtime=0), "compressed with gzip twice")
    for source in GOOD
]
CASES += [(source, (ORDER + LINE).decode().encode("utf-16-le"), "encoded as UTF-16") for source in GOOD]
CASES += [(source, b"name: a\nother: b\nthird: c\n", "YAML") for source in GOOD]
CASES += [("orders", b"[" + RECORD.strip() + b"]", "a JSON array"), ("fx", RECORD, "JSON")]
CASES += [
    ("customers", b"[" + RECORD.strip() + b",\n" + RECORD + b"]", "one JSON array"),
    ("customers", b'{\n  "customer_id": 1\n}\n', "one JSON object over several lines"),
    ("customers", b"customer_id,name,updated_at\n1,Ada,2026-09-01\n", "CSV"),
]


@pytest.mark.parametrize(("source", "content", "name"), CASES, ids=lambda v: v if isinstance(v, str) else "content")
def test_another_format_is_called_by_its_name(source: str, content: bytes, name: str) -> None:
    """A proxy's error page would otherwise be four bad rows, and take back what the path said before."""
    (row,) = parse_drop(source, content).to_pylist()
    assert (row["_malformed"], row["row_number"]) == ("drop.unreadable", 0)
    assert row["_detail"].startswith(f"The drop is {name}; send it as ")


@pytest.mark.parametrize("source", ["orders", "fx"])
@pytest.mark.parametrize(("sign", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_a_csv_of_another_separator_is_told_so(source: str, sign: str, name: str) -> None:
    """As a spreadsheet in Europe writes it; a header that lacks every column is a riddle."""
    (row,) = parse_drop(source, GOOD[source].replace(b",", sign.encode())).to_pylist()
    assert row["_malformed"] == "drop.unreadable"
    assert row["_detail"].startswith(f"The header separates its columns by {name}; send the drop with commas")


@pytest.mark.parametrize("source", list(GOOD))
@pytest.mark.parametrize(
    "change", [bytes, gzip.compress, lambda c: b"\xef\xbb\xbf" * 2 + c], ids=["plain", "gzip", "two byte order marks"]
)
def test_a_drop_of_its_source_is_none_of_them(source: str, change: Callable[[bytes], bytes]) -> None:
    """What recognises other formats may take no good drop for one."""
    assert [row["_malformed"] for row in parse_drop(source, change(GOOD[source])).to_pylist()] == [None]


@pytest.mark.parametrize(
    "content",
    [
        b"Date\n2026-09-01\n",  # one column and a date: not YAML
        b"Date,GBP\n",  # a header and no row
        b'Date,GBP\n"2026-09-01",0.85\n',
        b"Date,GBP\n2026-09-01,<b>\n",
    ],
)
def test_what_only_looks_like_another_format_is_read(content: bytes) -> None:
    """A rule that is too eager refuses drops that were read yesterday."""
    assert all("The drop is " not in (row["_detail"] or "") for row in parse_drop("fx", content).to_pylist())


@pytest.mark.parametrize("hidden", ["\ufeff", "\u200b", "\u00a0", "\u2060", "\u00ad", "\ufeff\ufeff "])
def test_what_nobody_sees_in_a_header_makes_no_difference(hidden: str) -> None:
    """An export that is joined of two files has a byte order mark in the middle of nowhere."""
    header = ORDER.decode().replace("InvoiceNo", f"{hidden}InvoiceNo").replace("CustomerID", f"CustomerID{hidden}")
    (row,) = parse_drop("orders", header.encode() + LINE).to_pylist()
    assert (row["invoice"], row["customer_id"], row["_malformed"], row["_rescued"]) == ("536365", "17850", None, None)
    record = RECORD.decode().replace('"name"', f'"{hidden}name"')
    assert parse_drop("customers", record.encode()).column("name").to_pylist() == ["Ada"]


def test_a_letter_of_another_alphabet_is_named() -> None:
    """Two names that look the same on every screen are otherwise a riddle."""
    (row,) = parse_drop("orders", ORDER.decode().replace("InvoiceNo", "Inv\u043eiceNo").encode() + LINE).to_pylist()
    assert row["_malformed"] == "drop.missing_column"
    assert "'Inv\u043eiceNo' looks like it, but is written with U+043E CYRILLIC SMALL LETTER O" in row["_detail"]


def test_a_drop_that_unpacks_to_more_than_a_drop_may_hold_is_not_unpacked() -> None:
    """A file of a megabyte can ask for a terabyte of memory."""
    bomb = gzip.compress(bytes(1_000_000)) * (MAX_UNPACKED_MB + 2)
    (row,) = parse_drop("orders", bomb).to_pylist()
    assert row["_detail"] == f"The drop holds more than {MAX_UNPACKED_MB} MB without gzip; send it in several drops."
