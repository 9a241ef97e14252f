"""The dirt of a sample: rows and drops that break exactly the rules they are recorded with. Adds to clean drops, never
changes a line of them.

A kind of dirt bears the name of the rule it breaks, as quarantine tells it. Values are chosen so that no sensible
reader takes them: `six`, never `2.5`.
"""

import json
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import date
from random import Random
from typing import Any, Final

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.sample.crm import crm_line
from lakehouse_assets.sample.drafts import Draft, Line, csv_line
from lakehouse_assets.sample.rates import COLUMNS, HEADER, rate_line
from lakehouse_assets.sample.shop import PUBLISHED, OrderLine, Shop, order_line

_MISSING: Final = ("",)
_ORDER_VALUES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "quantity.type": ("Quantity", ("six", "12 pcs", "--4")),
    "unit_price.type": ("UnitPrice", ("free", "£2.55", "on request")),
    "unit_price.scale": ("UnitPrice", ("1.23456", "0.0001", "12.7501")),
    "invoiced_at.type": ("InvoiceDate", ("2026-02-30 10:00:00", "yesterday", "2026-09-01 25:61:00")),
    "invoiced_at.in_range": ("InvoiceDate", ("1970-01-01 00:00:00", "2999-12-31 12:00:00", "1994-12-31 23:59:59")),
    "customer_id.type": ("CustomerID", ("GUEST", "12x46", "see note")),
    "invoice.str_matches": ("InvoiceNo", ("58158", "B581588", "c581588", "581588-1")),
    "invoice.nullable": ("InvoiceNo", _MISSING),
    "stock_code.nullable": ("StockCode", _MISSING),
    "quantity.nullable": ("Quantity", _MISSING),
    "unit_price.nullable": ("UnitPrice", _MISSING),
    "invoiced_at.nullable": ("InvoiceDate", _MISSING),
    "country.nullable": ("Country", _MISSING),
}
"""Rule to (column in the dialect `PUBLISHED`, values that break it)."""
_CUSTOMER_VALUES: Final[dict[str, tuple[str, tuple[Any, ...]]]] = {
    "customer_id.type": ("customer_id", ("C-1001", "unknown")),
    "updated_at.type": ("updated_at", ("2026-09-31T10:00:00Z", "just now")),
    "deleted.type": ("deleted", ("maybe", "perhaps")),
    "customer_id.nullable": ("customer_id", (None,)),
    "updated_at.nullable": ("updated_at", (None,)),
}
_RATE_KINDS: Final = ("rate.type", "rate_date.type", "rate.gt", "row.ragged")
_ORDER_FORMS: Final = ("row.ragged", "row.encoding", "row.open_quote", "row.nul", "row.truncated")
_CUSTOMER_FORMS: Final = ("row.json", "row.encoding", "row.nul")
_BROKEN_DROPS: Final = (
    ("orders", "drop.missing_column"),
    ("customers", "drop.unreadable"),
    ("orders", "drop.unreadable"),
    ("fx", "drop.missing_column"),
    ("orders", "drop.duplicate_column"),
)

DIRT_KINDS: Final = tuple(
    sorted(
        {
            *_ORDER_VALUES,
            *_CUSTOMER_VALUES,
            *_RATE_KINDS,
            *_ORDER_FORMS,
            *_CUSTOMER_FORMS,
            *(rule for _, rule in _BROKEN_DROPS),
        }
    )
)
"""Every kind that a sample holds unless the call names others; each is the name of a rule."""
REFUSED_DROP: Final = "refused_drop"
"""A kind that has to be asked for: a drop of which 30 % of the rows are bad, so that it is refused as a whole."""

_MOST_A_DROP: Final = 3
_PERIOD: Final = 30


def chosen_kinds(dirt: Collection[str] | None) -> frozenset[str]:
    """The kinds asked for, all of `DIRT_KINDS` for None; raises `LakehouseError` for a name that is none."""
    if dirt is None:
        return frozenset(DIRT_KINDS)
    unknown = sorted(set(dirt) - {*DIRT_KINDS, REFUSED_DROP})
    if unknown:
        known = ", ".join((*DIRT_KINDS, REFUSED_DROP))
        raise LakehouseError(f"There is no kind of dirt called {', '.join(unknown)}; choose among {known}.")
    return frozenset(dirt)


class Dirt:
    """Puts the chosen kinds into drops, day by day, each kind in its turn."""

    def __init__(self, seed: int, shop: Shop, days: int, kinds: frozenset[str]):
        self._seed = seed
        self._shop = shop
        self._kinds = kinds
        self._period = min(days, _PERIOD)
        orders = [kind for kind in (*_ORDER_FORMS, *_ORDER_VALUES) if kind in kinds]
        customers = [kind for kind in (*_CUSTOMER_FORMS, *_CUSTOMER_VALUES) if kind in kinds]
        rates = [kind for kind in _RATE_KINDS if kind in kinds]
        Random(f"{seed}/dirt").shuffle(orders)
        self._waiting = {"orders": orders, "customers": customers, "fx": rates}
        self._next_invoice = 900_000

    def soil(self, draft: Draft) -> None:
        """Insert bad lines into a drop: at most three and less than three in a hundred rows, but one at least."""
        waiting = self._waiting.get(draft.source)
        if not waiting or not draft.takes_dirt:
            return
        rows = sum(line.rows for line in draft.lines)
        room = max(1, min(_MOST_A_DROP, (3 * rows - 1) // 100, len(waiting)))
        rng = Random(f"{self._seed}/dirt/{draft.path}")
        for kind in [kind for kind in waiting if kind != "row.truncated" or draft.gzipped][:room]:
            waiting.remove(kind)
            waiting.append(kind)
            if kind == "row.truncated":
                draft.torn_at = rng.choice((b"", b"900000,85123A,WHITE HANG"))
            else:
                draft.lines.insert(rng.randint(0, len(draft.lines)), self._bad_line(rng, kind, draft))

    def broken_drops(self, day: date, index: int) -> list[Draft]:
        """The drops of a day that cannot be read, or are refused, as a whole; each kind once in thirty days."""
        drafts: list[Draft] = []
        for place, (source, rule) in enumerate(_BROKEN_DROPS):
            if rule in self._kinds and index % _PERIOD == (2 * place + 1) * self._period // (2 * len(_BROKEN_DROPS)):
                drafts.append(self._broken_drop(Random(f"{self._seed}/broken/{index}/{place}"), source, rule, day))
        if REFUSED_DROP in self._kinds and index % _PERIOD == self._period // 2:
            drafts.append(self._refused_drop(Random(f"{self._seed}/refused/{index}"), day))
        return drafts

    def _bad_line(self, rng: Random, kind: str, draft: Draft) -> Line:
        if draft.source == "orders":
            return self._bad_order(rng, kind, draft)
        if draft.source == "customers":
            return _bad_customer(rng, kind, self._shop.buyers[0].country)
        return _bad_rate(rng, kind, draft.batch_date)

    def _order(self, rng: Random, day: date) -> OrderLine:
        """A good line of an invoice that the clean drops do not hold."""
        number = 900_000 + self._next_invoice % 100_000
        self._next_invoice += 1
        return replace(next(self._shop.invoice(rng, day, number)), invoice=str(number), description="SAMPLE OF DIRT")

    def _bad_order(self, rng: Random, kind: str, draft: Draft) -> Line:
        order = self._order(rng, draft.batch_date)
        if kind in _ORDER_FORMS:
            line = order_line(order, draft.columns).content
            return Line(_bad_form(rng, kind, line), rules=(kind,))
        kinds = [kind]
        column = _ORDER_VALUES[kind][0]
        others = sorted(other for other in self._kinds & set(_ORDER_VALUES) if _ORDER_VALUES[other][0] != column)
        if others and rng.random() < 0.35:
            kinds.append(rng.choice(others))
        changed = {_ORDER_VALUES[each][0]: rng.choice(_ORDER_VALUES[each][1]) for each in kinds}
        return replace(order_line(order, draft.columns, changed), rules=tuple(sorted(kinds)))

    def _broken_drop(self, rng: Random, source: str, rule: str, day: date) -> Draft:
        if source == "fx":
            line = rate_line("", {"USD": "1.0912"}).content
            return Draft(
                source,
                f"fx/eurofxref_{day}_9.csv",
                day,
                broken=(rule, HEADER.removeprefix(b"Date,") + b"\n" + line.removeprefix(b",") + b"\n"),
            )
        if source == "customers":
            return Draft(source, f"customers/customers_{day}_9.jsonl", day, broken=(rule, b""))
        if rule == "drop.unreadable":
            return Draft(
                source, f"orders/orders_{day}_9.csv.gz", day, broken=(rule, b"\x1f\x8b\x08\x00" + rng.randbytes(400))
            )
        columns = tuple(name for name in PUBLISHED if name != "Quantity" or rule != "drop.missing_column")
        again = ("Country",) if rule == "drop.duplicate_column" else ()
        lines = [order_line(self._order(rng, day), (*columns, *again)).content for _ in range(12)]
        content = b"".join(line + b"\n" for line in (csv_line((*columns, *again)), *lines))
        return Draft(source, f"orders/orders_{day}_9.csv", day, broken=(rule, content))

    def _refused_drop(self, rng: Random, day: date) -> Draft:
        draft = Draft("orders", f"orders/orders_{day}_8.csv", day, csv_line(PUBLISHED), columns=PUBLISHED, refused=True)
        for place in range(100):
            order = self._order(rng, day)
            if place % 10 < 3:
                changed = {"Quantity": rng.choice(_ORDER_VALUES["quantity.type"][1])}
                draft.lines.append(replace(order_line(order, PUBLISHED, changed), rules=("quantity.type",)))
            else:
                draft.lines.append(order_line(order, PUBLISHED))
        return draft


def _bad_form(rng: Random, kind: str, line: bytes) -> bytes:
    """A good CSV line with a description, made unreadable."""
    forms: dict[str, Callable[[], bytes]] = {
        "row.ragged": lambda: rng.choice((line + b",one,too,many", line.rsplit(b",", 2)[0])),
        "row.encoding": lambda: line.replace(b"SAMPLE OF DIRT", "CAFÉ SIGN £".encode("cp1252")),
        "row.nul": lambda: line.replace(b"SAMPLE OF", b"SAMPLE\0OF"),
        "row.open_quote": lambda: line.replace(b"SAMPLE OF", b'"SAMPLE OF'),
    }
    return forms[kind]()


def _bad_customer(rng: Random, kind: str, country: str) -> Line:
    record: dict[str, Any] = {
        "customer_id": 99_001,
        "name": "Sample Dirt",
        "email": "sample.dirt@example.com",
        "city": "London",
    }
    record |= {"country": country, "segment": "private", "updated_at": "2026-01-01T00:00:00.000000Z", "deleted": False}
    if kind in _CUSTOMER_VALUES:
        name, values = _CUSTOMER_VALUES[kind]
        return replace(crm_line(record | {name: rng.choice(values)}), rules=(kind,))
    line = json.dumps(record).encode()
    if kind == "row.json":
        bad = rng.choice((line[:-20], line[:-1] + b', "city": "York"}', b"[" + line + b"]"))
    else:
        bad = line.replace(b"Sample", b"Sampl\xe9" if kind == "row.encoding" else b"Sam\0ple")
    return Line(bad, rules=(kind,))


def _bad_rate(rng: Random, kind: str, day: date) -> Line:
    when = day.replace(year=day.year - 1).isoformat() if (day.month, day.day) != (2, 29) else f"{day.year - 1}-02-28"
    currency = rng.choice([name for name in COLUMNS if name not in ("BGN", "RUB")])
    if kind == "row.ragged":
        return Line(f"{when},1.0912,161.2".encode(), rules=(kind,))
    if kind == "rate_date.type":
        line = rate_line(rng.choice(("2026-13-01", "today", "2026-02-30")), {currency: "1.0912"})
    else:
        line = rate_line(when, {currency: rng.choice(("1.09.12", "n/k") if kind == "rate.type" else ("0", "-1.0912"))})
    return replace(line, rules=(kind,))
