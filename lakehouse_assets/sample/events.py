"""The invented shop's pages: views, baskets and orders of visitors as messages, with dirt on request. No broker.

A visit is a few views, sometimes a basket, sometimes an order, seconds to minutes apart; some visitors come back after
an hour. The same arguments give the same messages.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

from lakehouse_assets.domains.web.events import TOPIC as TOPIC
from lakehouse_assets.sample.shop import COUNTRIES

_LATE: Final = timedelta(hours=3)
_PRICES: Final = ("0.42", "0.85", "1.25", "2.10", "2.95", "4.161", "8.5", "12.75")
_FAR: Final = 40
"""So many messages an event may come too late when it is out of order."""


@dataclass(frozen=True)
class Dirt:
    """Which share of the events comes twice, some hours late, behind later ones, or broken."""

    duplicates: float = 0.01
    late: float = 0.01
    disorder: float = 0.05
    broken: float = 0.01


@dataclass(frozen=True)
class Sent:
    """A message, and what is wrong with it: `duplicate`, `late`, the rules that it breaks, or nothing."""

    key: str
    value: bytes | None
    wrong: tuple[str, ...] = ()
    disorder: int = 0


def _changed(**values: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda event: json.dumps({**event, **values}).encode()


def _without(name: str) -> Callable[[dict[str, Any]], bytes]:
    return lambda event: json.dumps({k: v for k, v in event.items() if k != name}).encode()


_BROKEN: Final[tuple[tuple[str, Callable[[dict[str, Any]], bytes | None]], ...]] = (
    ("row.json", lambda event: json.dumps(event).encode()[:-7]),
    ("row.json", lambda event: json.dumps([event]).encode()),
    ("row.json", lambda _: None),
    ("row.encoding", lambda _: b'{"event_id":"\xff\xfe"}'),
    ("row.nul", lambda event: json.dumps({**event, "country": "Fr\0"}).encode()),
    ("event_id.nullable", _without("event_id")),
    ("occurred_at.nullable", _without("occurred_at")),
    ("event_type.isin", _changed(type="click")),
    ("quantity.type", _changed(quantity="two")),
    ("quantity.ge", _changed(quantity=0)),
    ("unit_price.scale", _changed(unit_price="1.2345")),
    ("currency.isin", _changed(currency="EUR")),
    ("occurred_at.type", _changed(occurred_at="yesterday")),
)
"""The rules that a broken message breaks, and how it is broken."""


def events(count: int, seed: int, start: datetime, per_second: float, dirt: Dirt) -> list[Sent]:
    """So many messages as they are sent. start: when the first happened; they follow each other at this pace."""
    random = Random(seed)
    clean = _clean(count, random, start, per_second)
    found: list[Sent] = []
    for event in clean:
        lot = random.random()
        if lot < dirt.broken:
            rule, breaks = random.choice(_BROKEN)
            found.append(Sent(event["session_id"], breaks(event), (rule,)))
        elif lot < dirt.broken + dirt.late:
            late = datetime.fromisoformat(event["occurred_at"]) - _LATE
            found.append(_sent({**event, "occurred_at": late.isoformat(timespec="milliseconds")}, "late"))
        else:
            found.append(_sent(event))
            if random.random() < dirt.duplicates:
                found.append(_sent(event, "duplicate"))
    places = [n + (random.randint(1, _FAR) if random.random() < dirt.disorder else 0) for n in range(len(found))]
    order = sorted(range(len(found)), key=lambda n: (places[n], n))
    return [found[n] if places[n] == n else replace(found[n], disorder=places[n] - n) for n in order][:count]


def _sent(event: dict[str, Any], *wrong: str) -> Sent:
    return Sent(event["session_id"], json.dumps(event).encode(), wrong)


def _clean(count: int, random: Random, start: datetime, per_second: float) -> list[dict[str, Any]]:
    countries, weights = list(COUNTRIES), [share for share, _ in COUNTRIES.values()]
    visitors = max(5, count // 12)
    home = random.choices(countries, weights, k=visitors)
    found: list[dict[str, Any]] = []
    for number in range(count):
        visitor = random.randrange(visitors)
        at = start + timedelta(milliseconds=round(1000 * number / per_second))
        kind = random.choices(("view", "basket", "order"), (80, 14, 6))[0]
        found.append(
            {
                "event_id": f"{random.getrandbits(96):024x}",
                "session_id": f"s{visitor}-{at:%H}",
                "visitor_id": f"v{visitor}",
                "type": kind,
                "product_code": str(20_000 + random.randrange(400)),
                "quantity": random.choices((1, 2, 6, 12), (60, 20, 15, 5))[0] if kind != "view" else 1,
                "unit_price": random.choice(_PRICES),
                "currency": "GBP",
                "country": home[visitor],
                "occurred_at": at.isoformat(timespec="milliseconds"),
            }
        )
    return found


def ledger(sent: list[Sent]) -> str:
    """What is wrong with them, as JSON: how many, and each with its place in the order of sending."""
    dirty = [
        {"number": n, "key": s.key, "wrong": list(s.wrong), "disorder": s.disorder}
        for n, s in enumerate(sent)
        if s.wrong or s.disorder
    ]
    return json.dumps({"messages": len(sent), "dirty": dirty}, indent=1)


def now() -> datetime:
    """When the first event happens where nothing else is said."""
    return datetime.now(UTC).replace(microsecond=0)
