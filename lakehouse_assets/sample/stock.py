"""Invented stock levels: a full count of the warehouse for every day, one drop a day. Knows nothing of dirt.

A product that is no longer sold is missing from the counts of later days, as it is from the export of a real warehouse.
"""

from collections.abc import Sequence
from datetime import date
from random import Random
from typing import Final

from lakehouse_assets.sample.drafts import Draft, Line, csv_line
from lakehouse_assets.sample.shop import Product

HEADER: Final = ("ProductCode", "OnHand", "CountedOn")
_COUNTED: Final = 150
_LOW, _REFILL = 20, 240


class Warehouse:
    """The stock of the shop's first products over a span of days. Days have to be asked for in order."""

    def __init__(self, seed: int, products: Sequence[Product], days: int):
        self._rng = Random(f"{seed}/stock")
        self._on_hand = {product.code: self._rng.randint(_LOW, _REFILL) for product in products[:_COUNTED]}
        last = {code: self._rng.randrange(days) for code in self._on_hand}
        self._until = {code: day for code, day in last.items() if self._rng.random() < 0.04}
        """The last day on which a product is counted, of those that go."""

    def drop(self, day: date, index: int) -> Draft:
        """The count of a day, the `index`-th of the span."""
        lines = []
        for code in sorted(self._on_hand):
            left = max(0, self._on_hand[code] - self._rng.randint(0, 12))
            self._on_hand[code] = left + _REFILL if left < _LOW and self._rng.random() < 0.3 else left
            if index <= self._until.get(code, index):
                lines.append(Line(csv_line((code, str(self._on_hand[code]), day.isoformat()))))
        return Draft("stock_levels", f"stock_levels/stock_{day}.csv.gz", day, csv_line(HEADER), lines, takes_dirt=False)
