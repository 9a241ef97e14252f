"""Bringing the published data set (UCI Online Retail, or its later release Online Retail II) into a landing zone, as
the daily drops that a shop would send.

Here belong reading the published file (.zip, .xlsx or .csv) and cutting it into days. Here does not belong what makes a
row good: values go into the drops as they were published, only dates are written as ISO, for the published forms of the
same date differ from file to file.

A workbook is read with the standard library, as a stream of its XML: it holds little more than a table, and a library
for workbooks would serve nothing else here.
"""

import csv
import io
import re
import shutil
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Final
from xml.etree import ElementTree

from lakehouse_assets.core.sources.kinds.csv import read_header
from lakehouse_assets.core.sources.rows import DropProblem
from lakehouse_assets.domains.sales.order_lines import ORDERS
from lakehouse_assets.errors import LakehouseError

ONLINE_RETAIL_URL: Final = "https://archive.ics.uci.edu/static/public/352/online+retail.zip"

_SHEET: Final = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_SLASHED: Final = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}|\d{2}) (\d{1,2}):(\d{2})(?::(\d{2}))?")

Table = Iterator[list[str]]


def fetch_online_retail(out: Path, from_file: Path | None = None) -> list[Path]:
    """Write the published order lines as `orders/orders_YYYY-MM-DD.csv.gz` below the landing zone `out`, a drop for
    each invoice date; the drops, oldest first.

    `from_file` is a copy of the data set as .zip, .xlsx or .csv in either header dialect; without it the file is
    downloaded from the archive of the University of California, Irvine (some 23 MB; that way has not been tried by the
    tests, which use no network). Lines keep their order and their values; a drop is written in the dialect of its file.
    The same input gives the same bytes, and a drop that is there already with the same bytes is left alone.

    Raises `LakehouseError` when the download fails, the file is no such data set, or a date cannot be read.
    """
    if from_file is not None:
        return _write_drops(out, from_file, from_file.name)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "online_retail.zip"
        try:
            with urllib.request.urlopen(ONLINE_RETAIL_URL, timeout=60) as response, archive.open("wb") as file:
                shutil.copyfileobj(response, file)
        except OSError as error:
            raise LakehouseError(
                f"The data set could not be downloaded from {ONLINE_RETAIL_URL} ({error}); download it by other means"
                " and name the file with --from."
            ) from error
        return _write_drops(out, archive, ONLINE_RETAIL_URL)


def _write_drops(out: Path, file: Path, said: str) -> list[Path]:
    """Cut the tables of `file` into days and write them; `said` is what messages call the file."""
    days: dict[str, io.StringIO] = {}
    tables = 0
    try:
        with _tables(file) as found:
            for table in found:
                tables += 1
                _into_days(table, days, said)
    except FileNotFoundError as error:
        raise LakehouseError(f"{said} is not there; name a file that has been downloaded.") from error
    except (OSError, zipfile.BadZipFile, ElementTree.ParseError, LookupError, csv.Error, UnicodeDecodeError) as error:
        raise LakehouseError(
            f"{said} cannot be read as .zip, .xlsx or .csv ({error}); download the data set again."
        ) from error
    if not tables:
        raise LakehouseError(f"{said} holds no .csv or .xlsx file; name the data set as it was published.")
    drops = []
    for day, text in sorted(days.items()):
        drop = out / "orders" / f"orders_{day}.csv.gz"
        _put(drop, zlib.compress(text.getvalue().encode(), 9, 31))
        drops.append(drop)
    return drops


def _put(file: Path, content: bytes) -> None:
    """Write a file so that whoever watches the landing zone sees the whole of it or nothing."""
    if file.is_file() and file.read_bytes() == content:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(file)


def _into_days(table: Table, days: dict[str, io.StringIO], said: str) -> None:
    """Add the lines of a table to the CSV text of their days, each of which begins with the header of its table."""
    header = next(table, [])
    try:
        at = read_header([name.strip() for name in header], ORDERS.columns).expected["invoice_date"]
    except DropProblem as problem:
        raise LakehouseError(f"{said} is not the data set: {problem.detail}") from problem
    assert at is not None  # every drop of orders has a date
    known: dict[str, str] = {}  # the same few texts come again and again: keep each once
    rows = [[known.setdefault(value, value) for value in row] for row in table if any(row)]
    iso = _IsoDates((row[at] for row in rows if len(row) > at), said)
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise LakehouseError(
                f"{said} has {len(row)} fields on row {number} where its header names {len(header)}; download the data"
                " set again."
            )
        row[at] = iso(row[at])
        day = row[at][:10]
        if day not in days:
            days[day] = io.StringIO()
            csv.writer(days[day], lineterminator="\n").writerow(header)
        csv.writer(days[day], lineterminator="\n").writerow(row)


class _IsoDates:
    """Writes the dates of one table as ISO. Whether 12/1/2010 is in December or in January is decided by the dates that
    leave no choice.
    """

    def __init__(self, dates: Iterable[str], said: str):
        firsts, seconds = {0}, {0}
        for text in dates:
            if found := _SLASHED.fullmatch(text):
                firsts.add(int(found[1]))
                seconds.add(int(found[2]))
        self._day_first = max(firsts) > 12
        self._ambiguous = len(firsts) > 1 and (max(firsts) > 12) == (max(seconds) > 12)
        self._said = said

    def __call__(self, text: str) -> str:
        """The date as `YYYY-MM-DD HH:MM:SS`; raises `LakehouseError` where there is none."""
        try:
            if not (found := _SLASHED.fullmatch(text)):
                return datetime.fromisoformat(text).isoformat(" ", "seconds")
            if self._ambiguous:
                raise ValueError("nothing tells the day from the month")
            first, second, year, hour, minute = (int(part) for part in found.groups()[:5])
            day, month = (first, second) if self._day_first else (second, first)
            return datetime(year + (2000 if year < 100 else 0), month, day, hour, minute, int(found[6] or 0)).isoformat(
                " "
            )
        except ValueError as error:
            raise LakehouseError(
                f"{self._said} holds the date {text!r}, which cannot be read ({error}); write dates as YYYY-MM-DD"
                " HH:MM:SS."
            ) from error


@contextmanager
def _tables(file: Path) -> Iterator[Iterator[Table]]:
    """The tables of a .csv or .xlsx file, or of all such files in a .zip, each as rows of text with the header
    first.
    """
    with file.open("rb") as opened:
        yield _tables_in(opened, file.name)


def _tables_in(opened: IO[bytes], name: str) -> Iterator[Table]:
    suffix = Path(name).suffix.lower()
    if suffix == ".csv":
        yield csv.reader(io.StringIO(_decoded(opened.read()), newline=""))
    elif suffix in (".xlsx", ".zip"):
        with zipfile.ZipFile(opened) as archive:
            if suffix == ".xlsx":
                yield from _sheets(archive)
                return
            for member in archive.namelist():
                if Path(member).suffix.lower() in (".csv", ".xlsx"):
                    with archive.open(member) as inner:
                        yield from _tables_in(inner, member)


def _decoded(content: bytes) -> str:
    """Copies of the data set go around as UTF-8 and as Windows-1252; a text in the latter is hardly ever valid in the
    former.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")


def _sheets(workbook: zipfile.ZipFile) -> Iterator[Table]:
    shared: list[str] = []
    if "xl/sharedStrings.xml" in workbook.namelist():
        with workbook.open("xl/sharedStrings.xml") as part:
            shared = [_text(item) for item in _elements(part, "si")]
    sheets = [name for name in workbook.namelist() if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", name)]
    for name in sorted(sheets, key=lambda name: int(re.sub(r"\D", "", name))):
        with workbook.open(name) as part:
            yield _sheet_rows(part, shared)


def _sheet_rows(part: IO[bytes], shared: list[str]) -> Table:
    """The rows of a worksheet, all as wide as the first; a date is a number of days there, known by the name of its
    column.
    """
    header: list[str] = []
    for element in _elements(part, "row"):
        row = [""] * len(header)
        for place, cell in enumerate(element):
            at = _column(cell.get("r", ""), place)
            row.extend([""] * (at + 1 - len(row)))
            row[at] = _cell(cell, shared)
        if not header:
            header = row
        else:
            for at, name in enumerate(header):
                if name.strip().lower() == "invoicedate" and re.fullmatch(r"\d+(\.\d+)?", row[at]):
                    row[at] = (datetime(1899, 12, 30) + timedelta(seconds=round(float(row[at]) * 86_400))).isoformat(
                        " "
                    )
        yield row


def _cell(cell: ElementTree.Element, shared: list[str]) -> str:
    """The value of a cell as text; a number as its shortest form, for a workbook writes 2.55 as 2.5499999999999998."""
    value = cell.findtext(f"{_SHEET}v")
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        return _text(cell)
    if not value:
        return ""
    if kind == "s":
        return shared[int(value)]
    if kind != "n":
        return value
    number = float(value)
    return str(int(number)) if number.is_integer() else repr(number)


def _text(element: ElementTree.Element) -> str:
    return "".join(part.text or "" for part in element.iter(f"{_SHEET}t"))


def _column(reference: str, place: int) -> int:
    """The position of a cell in its row: B7 is 1; `place` where the workbook leaves the reference out."""
    letters = re.match(r"[A-Z]*", reference)
    at = 0
    for letter in letters[0] if letters else "":
        at = at * 26 + ord(letter) - 64
    return at - 1 if at else place


def _elements(part: IO[bytes], tag: str) -> Iterator[ElementTree.Element]:
    """The elements of a tag, each forgotten after it was used, so that a large sheet needs little memory."""
    above: list[ElementTree.Element] = []
    for event, element in ElementTree.iterparse(part, events=("start", "end")):
        if event == "start":
            above.append(element)
            continue
        above.pop()
        if element.tag == _SHEET + tag:
            yield element
            above[-1].clear()
