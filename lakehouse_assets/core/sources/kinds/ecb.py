"""Exchange-rate drops: the European Central Bank's reference-rate CSV, one line a date and one column a currency, for
one date or for many.

Each rate lands as a row of its own (date, currency, rate); a cell that is empty or says N/A is no rate and lands no
row. Blanks around a cell are the file's way to separate and are taken off; nothing else is changed or judged.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import pyarrow as pa

from lakehouse_assets.core.format import Landed
from lakehouse_assets.core.sources.drift import column_drift, look_alikes
from lakehouse_assets.core.sources.lines import CSV, BadLine, csv_records, drop_body, split_header, truncated_line
from lakehouse_assets.core.sources.rows import DropProblem, RowBuilder, rescued_json, unused_key

_CURRENCY: Final = re.compile(r"[A-Z]{3}|[a-z]{3}")


class Header(NamedTuple):
    """Where the columns of a drop stand: the date, (currency, position) of each currency, and (key, position) of each
    unexpected column; and what is other about them.
    """

    width: int
    date: int
    currencies: tuple[tuple[str, int], ...]
    unexpected: tuple[tuple[str, int], ...]
    drift: str | None = None


@dataclass(frozen=True)
class EcbRates:
    """The reference rates of the European Central Bank, as its file of one day or of its history has them. Its source
    has three columns: the date, the currency, the rate.

    wanted: the currency without which a drop is reported as lacking a column. Which others the bank publishes changes
    over the years.
    """

    wanted: str

    def parse(self, content: bytes, columns: Sequence[Landed]) -> pa.Table:
        """The rates of a drop, a row for each date and currency; raises `DropProblem` where no row can be read."""
        body, remainder = drop_body(content, CSV)
        names, body = split_header(body)
        header = read_header(names, self.wanted)
        rows = RowBuilder([column.name for column in columns])
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
        return rows.table(header.drift)


def read_header(names: Sequence[str], wanted: str) -> Header:
    """Find the date and the currencies (three letters in one case, so that Day and Bid are none); raises `DropProblem`
    (`drop.missing_column`, `drop.duplicate_column`).
    """
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
    codes = [currency for currency, _ in currencies]
    drift = column_drift(names, {"Date": ("Date",), **{code: (code,) for code in (*codes, wanted)}})
    if not dates:
        detail = f"The header lacks Date{look_alikes(unexpected, ['date'])}; send the drop with all its columns."
        raise DropProblem("drop.missing_column", detail, drift)
    twice = sorted({code for code in codes if codes.count(code) > 1})
    if len(dates) > 1:
        twice.insert(0, "Date")
    if twice:
        raise DropProblem(
            "drop.duplicate_column",
            f"The header names {', '.join(twice)} more than once; send the drop with each column once.",
            drift,
        )
    return Header(len(names), dates[0], tuple(currencies), tuple(unexpected.items()), drift)
