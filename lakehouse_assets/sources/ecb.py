"""Exchange-rate drops: the European Central Bank's reference-rate CSV, one line a date and one column a currency, for one date or for many.

Each rate lands as a row of its own (date, currency, rate); a cell that is empty or says N/A is no rate and lands no row. Blanks around a cell are the file's way to
separate and are taken off; nothing else is changed or judged.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from lakehouse_assets.sources.lines import BadLine, csv_records, split_header, truncated_line, unpack
from lakehouse_assets.sources.rows import DropProblem, RowBuilder, rescued_json, unused_key

_CURRENCY: Final = re.compile(r"[A-Za-z]{3}")


class Header(NamedTuple):
    """Where the columns of a drop stand: the date, (currency, position) of each currency, and (key, position) of each unexpected column."""

    width: int
    date: int
    currencies: tuple[tuple[str, int], ...]
    unexpected: tuple[tuple[str, int], ...]


def parse_rates(content: bytes) -> pa.Table:
    """The rates of a drop, a row for each date and currency; raises `DropProblem` where no row can be read."""
    body, remainder = unpack(content)
    names, body = split_header(body)
    header = read_header(names)
    rows = RowBuilder("fx")
    for record in csv_records(body, header.width):
        if isinstance(record, BadLine):
            rows.bad(record.rule, record.detail, record.raw)
            continue
        date = record[header.date].strip() or None
        rescued = rescued_json({key: record[position].strip() or None for key, position in header.unexpected})
        for currency, position in header.currencies:
            rate = record[position].strip()
            if rate and rate.upper() != "N/A":
                rows.good((date, currency, rate), rescued)
    if remainder is not None:
        lost = truncated_line(remainder)
        rows.bad(lost.rule, lost.detail, lost.raw)
    return rows.table()


def read_header(names: Sequence[str]) -> Header:
    """Find the date and the currencies (three letters); raises `DropProblem` (`drop.missing_column`, `drop.duplicate_column`)."""
    dates: list[int] = []
    currencies: list[tuple[str, int]] = []
    unexpected: dict[str, int] = {}
    for position, name in enumerate(names):
        if name.lower() == "date":
            dates.append(position)
        elif _CURRENCY.fullmatch(name):
            currencies.append((name.upper(), position))
        else:
            unexpected[unused_key(name, position, unexpected)] = position
    if not dates:
        raise DropProblem("drop.missing_column", "The header lacks Date; send the drop with all its columns.")
    codes = [currency for currency, _ in currencies]
    twice = sorted({code for code in codes if codes.count(code) > 1})
    if len(dates) > 1:
        twice.insert(0, "Date")
    if twice:
        raise DropProblem(
            "drop.duplicate_column", f"The header names {', '.join(twice)} more than once; send the drop with each column once."
        )
    return Header(len(names), dates[0], tuple(currencies), tuple(unexpected.items()))
