"""Invented exchange rates in the form of the European Central Bank's files, and the clean rate drops of a day. Knows
nothing of dirt.

A drop for every business day, and each week a second one in the historical form, newest date first, in which a rate may
have been revised. No rates at weekends.
"""

from datetime import date, timedelta
from random import Random
from typing import Final

from lakehouse_assets.sample.drafts import Draft, Line

_RATES: Final = {
    **{
        "USD": 1.09,
        "JPY": 161.2,
        "CZK": 25.1,
        "DKK": 7.461,
        "GBP": 0.8561,
        "HUF": 391.5,
        "PLN": 4.291,
        "RON": 4.975,
        "SEK": 11.34,
        "CHF": 0.9561,
    },
    **{
        "ISK": 149.3,
        "NOK": 11.62,
        "TRY": 35.41,
        "AUD": 1.652,
        "BRL": 5.612,
        "CAD": 1.491,
        "CNY": 7.831,
        "HKD": 8.512,
        "IDR": 17210.0,
        "ILS": 4.021,
    },
    **{
        "INR": 91.12,
        "KRW": 1489.2,
        "MXN": 19.81,
        "MYR": 4.871,
        "NZD": 1.791,
        "PHP": 62.31,
        "SGD": 1.461,
        "THB": 38.91,
        "ZAR": 19.92,
    },
}
COLUMNS: Final = ("USD", "JPY", "BGN", *list(_RATES)[2:13], "RUB", *list(_RATES)[13:])
"""The currencies of a drop; BGN and RUB have no rate any more and are written as N/A."""
HEADER: Final = ("Date," + ",".join(COLUMNS) + ",").encode()
_HISTORY: Final = 40


class Rates:
    """A random walk of each rate over the business days from eight weeks before the start."""

    def __init__(self, seed: int, start: date, days: int):
        self._seed = seed
        first = start - timedelta(days=_HISTORY * 7 // 5)
        span = [first + timedelta(days=day) for day in range((start - first).days + days)]
        self.dates = [day for day in span if day.weekday() < 5]
        self._rates: dict[date, dict[str, float]] = {}
        rng = Random(f"{seed}/rates")
        rates = dict(_RATES)
        for day in self.dates:
            rates = {currency: rate * (1 + rng.uniform(-0.006, 0.006)) for currency, rate in rates.items()}
            self._rates[day] = rates

    def drops(self, day: date, index: int) -> list[Draft]:
        """The clean rate drops of a day, the `index`-th of the span."""
        drafts = []
        if day in self._rates:
            drafts.append(Draft("fx", f"fx/eurofxref_{day}.csv", day, HEADER, [self._line(day)], takes_dirt=False))
        if index % 7 == 0:
            rng = Random(f"{self._seed}/fx/{index}")
            past = [known for known in self.dates if known < day]
            past = past if index == 0 else past[-20:]
            revised = rng.choice(past[1:]) if index else None
            lines = [self._line(known, revised=known == revised) for known in reversed(past)]
            drafts.append(Draft("fx", f"fx/eurofxref-hist_{day}.csv", day, HEADER, lines))
        return drafts

    def _line(self, day: date, revised: bool = False) -> Line:
        rates = {currency: rate_text(rate) for currency, rate in self._rates[day].items()}
        if revised:
            rates["USD"] = rate_text(self._rates[day]["USD"] * 1.001)
        return rate_line(day.isoformat(), rates)


def rate_line(day: str, rates: dict[str, str]) -> Line:
    """A line of a rate drop; currencies that are not given are written as N/A."""
    return Line(",".join([day, *(rates.get(currency, "N/A") for currency in COLUMNS), ""]).encode(), len(rates))


def rate_text(rate: float) -> str:
    """A rate with about five significant digits, as the ECB writes them."""
    return f"{rate:.{4 if rate < 100 else 2}f}".rstrip("0").rstrip(".")
