"""The published data set becomes the landing zone that the pipeline takes in, with its values as they were."""

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.sample.fetch import fetch_online_retail
from lakehouse_assets_tests.core.sources.drops import LATER, PUBLISHED, csv_drop, good, parse_drop

ROWS = [
    ["536365", "85123A", "WHITE HANGING, HEART", "6", "12/1/2010 8:26", "2.55", "17850", "United Kingdom"],
    ["C536379", "D", "Discount", "-1", "12/13/2010 9:41:05", "27.5", "14527.0", "United Kingdom"],
    ["536366", "71053", "", "6", "12/1/2010 8:28", "3.39", "", "EIRE"],
    ["A563185", "B", "Adjust bad debt", "1", "8/12/2011 14:50", "11062.06", "", "United Kingdom"],
]
DATES = ["2010-12-01 08:26:00", "2010-12-13 09:41:05", "2010-12-01 08:28:00", "2011-08-12 14:50:00"]
EXPECTED = [[*row[:4], date, *row[5:]] for row, date in zip(ROWS, DATES, strict=True)]


def landed(drops: list[Path]) -> list[list[str]]:
    """All values of the drops, empty text for what is not there."""
    return [[value or "" for value in row] for drop in drops for row in good(parse_drop("orders", drop.read_bytes()))]


def workbook(rows: list[list[str]]) -> bytes:
    """A workbook as a spreadsheet program writes it: texts shared, numbers and dates as numbers, empty cells left
    out.
    """
    texts: list[str] = []
    written = []
    for number, row in enumerate(rows, 1):
        cells = ""
        for column, value in zip("ABCDEFGH", row, strict=True):
            if value.replace(".", "").lstrip("-").isdigit():
                cells += f'<c r="{column}{number}"><v>{value}</v></c>'
            elif value:
                texts.append(value)
                cells += f'<c r="{column}{number}" t="s"><v>{len(texts) - 1}</v></c>'
        written.append(f'<row r="{number}">{cells}</row>')
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    items = "".join(f"<si><t>{text}</t></si>" for text in texts)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("xl/sharedStrings.xml", f"<sst {space}>{items}</sst>")
        archive.writestr(
            "xl/worksheets/sheet1.xml", f"<worksheet {space}><sheetData>{''.join(written)}</sheetData></worksheet>"
        )
    return content.getvalue()


@pytest.mark.parametrize("header", [PUBLISHED, LATER])
def test_lines_land_by_day_with_their_values(tmp_path: Path, header: list[str]):
    """Else the worked example shows other figures than the published data hold."""
    source = tmp_path / "data.csv"
    source.write_bytes(csv_drop(header, ROWS))
    drops = fetch_online_retail(tmp_path / "landing", source)
    assert [drop.name for drop in drops] == [
        "orders_2010-12-01.csv.gz",
        "orders_2010-12-13.csv.gz",
        "orders_2011-08-12.csv.gz",
    ]
    assert landed(drops) == [EXPECTED[0], EXPECTED[2], EXPECTED[1], EXPECTED[3]]
    assert gzip.decompress(drops[0].read_bytes()).decode().splitlines()[0] == ",".join(header)
    assert {file.name for file in (tmp_path / "landing" / "orders").iterdir()} == {drop.name for drop in drops}


def test_the_same_data_give_the_same_bytes_and_are_written_once(tmp_path: Path):
    """Else fetching again looks like a correction of every day."""
    source = tmp_path / "data.csv"
    source.write_bytes(csv_drop(PUBLISHED, ROWS))
    first = {
        drop: (drop.read_bytes(), drop.stat().st_mtime_ns) for drop in fetch_online_retail(tmp_path / "landing", source)
    }
    second = {
        drop: (drop.read_bytes(), drop.stat().st_mtime_ns) for drop in fetch_online_retail(tmp_path / "landing", source)
    }
    assert first == second
    other = {drop.name: drop.read_bytes() for drop in fetch_online_retail(tmp_path / "other", source)}
    assert {content[4:8] for content in other.values()} == {bytes(4)}, "gzip holds the time of writing"
    assert other == {drop.name: content for drop, (content, _) in first.items()}


def test_a_workbook_in_an_archive_is_read_like_the_table_it_holds(tmp_path: Path):
    """Else the data set as it is published cannot be used without another tool."""
    serial = ["40513.351388888892", "40525.403530092590", "40513.352777777778", "40767.618055555555"]
    rows = [[*row[:4], number, *row[5:]] for row, number in zip(ROWS, serial, strict=True)]
    rows[0][5] = "2.5499999999999998"
    archive = tmp_path / "online_retail.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("Online Retail.xlsx", workbook([PUBLISHED, *rows]))
    drops = fetch_online_retail(tmp_path / "landing", archive)
    expected = [EXPECTED[0], EXPECTED[2], [*EXPECTED[1][:6], "14527", EXPECTED[1][7]], EXPECTED[3]]
    assert landed(drops) == expected


def test_day_and_month_are_told_apart_by_the_whole_file(tmp_path: Path):
    """Else a file with the day first lands on the wrong days, and nobody is told."""
    source = tmp_path / "data.csv"
    source.write_bytes(
        csv_drop(PUBLISHED, [[*ROWS[0][:4], date, *ROWS[0][5:]] for date in ("01/12/2010 08:26", "13/12/2010 08:26")])
    )
    assert [drop.name for drop in fetch_online_retail(tmp_path / "landing", source)] == [
        "orders_2010-12-01.csv.gz",
        "orders_2010-12-13.csv.gz",
    ]
    source.write_bytes(csv_drop(PUBLISHED, [[*ROWS[0][:4], "01/12/2010 08:26", *ROWS[0][5:]]]))
    with pytest.raises(LakehouseError, match="day from the month"):
        fetch_online_retail(tmp_path / "ambiguous", source)


def test_texts_in_the_encoding_of_windows_are_read(tmp_path: Path):
    """Else the copy of the data set that is passed around most cannot be used."""
    source = tmp_path / "data.csv"
    row = [*EXPECTED[0][:2], "CAFÉ £", *EXPECTED[0][3:]]
    source.write_bytes(csv_drop(PUBLISHED, [row]).decode().encode("cp1252"))
    assert landed(fetch_online_retail(tmp_path / "landing", source)) == [row]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.txt", b"InvoiceNo"),
        ("data.zip", b"no archive"),
        ("data.xlsx", b"no workbook"),
        ("data.csv", b"InvoiceNo,Quantity\n1,2\n"),
        ("data.csv", csv_drop(PUBLISHED, [[*ROWS[0][:4], "soon", *ROWS[0][5:]]])),
        ("data.csv", csv_drop(PUBLISHED, [ROWS[0][:5]])),
    ],
)
def test_what_is_no_data_set_is_said_in_one_sentence_and_writes_nothing(tmp_path: Path, name: str, content: bytes):
    """Else the user is left with a traceback and half a landing zone."""
    source = tmp_path / name
    source.write_bytes(content)
    with pytest.raises(LakehouseError, match=name):
        fetch_online_retail(tmp_path / "landing", source)
    assert not (tmp_path / "landing").exists()
    with pytest.raises(LakehouseError, match="missing"):
        fetch_online_retail(tmp_path / "landing", tmp_path / "missing.csv")
