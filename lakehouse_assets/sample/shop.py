"""The invented shop: its products, customers and order lines, and the clean order drops of a day. Knows nothing of
dirt.

The shop behaves like the published retailer: invoices of several lines, returns (C…), bad debt (A…), adjustments
without a price, postage and discounts under codes that are no products, lines without a customer or a description,
descriptions that change, lines that come late, twice, or again in the drop of the next day.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from random import Random
from typing import Final

from lakehouse_assets.sample.drafts import Draft, Line, csv_line

COUNTRIES: Final = {
    "United Kingdom": (200, ("London", "Leeds", "Bristol", "York", "Norwich", "Glasgow")),
    "Germany": (24, ("Hamburg", "Köln", "Leipzig", "Nürnberg")),
    "France": (20, ("Lyon", "Nantes", "Orléans")),
    "EIRE": (14, ("Cork", "Galway", "Dublin")),
    "Spain": (10, ("Málaga", "Bilbao")),
    "Netherlands": (8, ("Utrecht", "Delft")),
    "Belgium": (7, ("Gent", "Liège")),
    "Switzerland": (6, ("Zürich", "Genève")),
    "Portugal": (5, ("Porto", "Évora")),
    "Norway": (3, ("Bergen", "Tromsø")),
    "Australia": (3, ("Hobart", "Perth")),
}
"""Country to (its share of the customers, its cities)."""

PUBLISHED: Final = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)
LATER: Final = ("Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country")
"""The two header dialects; ids of customers are written as 17850.0 in the first and as 17850 in the second."""

_COLOURS: Final = ("RED", "PINK", "IVORY", "BLUE", "GREEN", "VINTAGE", "RETROSPOT", "CREAM", "SILVER", "STRIPED")
_THINGS: Final = (  # noqa: SIM905 (a list would take a page)
    "CANDLE HOLDER|LUNCH BAG|TEA TOWEL|CAKE STAND|BUNTING|MUG|PHOTO FRAME|NAPKINS|COOKIE CUTTER|DOORMAT|WALL"
    " CLOCK|STORAGE TIN|LANTERN|HAND WARMER|JAM JAR|CUSHION COVER|MILK JUG|PENCIL SET|GIFT BAG, LARGE|KEY FOB,"
    ' SHED|RULER, 12" WOOD|PARTY CONES|TRINKET BOX|CHALK BOARD|HOOK, METAL|APRON'
).split("|")
_PRICES: Final = "0.19 0.42 0.65 0.85 1.25 1.45 1.65 1.95 2.1 2.55 2.95 3.75 4.161 4.95 6.95 8.5 12.75".split()  # noqa: SIM905 (a list would take a page)
_NO_PRODUCTS: Final = (
    ("POST", "POSTAGE", "18.0"),
    ("DOT", "DOTCOM POSTAGE", "34.125"),
    ("M", "Manual", "5.0"),
    ("C2", "CARRIAGE", "50.0"),
)
_MISHAPS: Final = ("damages", "check", "lost", "wet?", "", "")
_FIRST_INVOICE: Final = 581_588


@dataclass(frozen=True)
class OrderLine:
    """An order line with its values typed as the shop knows them."""

    invoice: str
    stock_code: str
    description: str
    quantity: int
    invoiced_at: datetime
    unit_price: str
    customer_id: int | None
    country: str

    def landed(self, header: tuple[str, ...]) -> dict[str, str]:
        """The values as written in a dialect, by the names of its header; ISO date and time, empty text for what is not
        there.
        """
        known = (
            ""
            if self.customer_id is None
            else f"{self.customer_id}.0"
            if header == PUBLISHED
            else str(self.customer_id)
        )
        when = self.invoiced_at.isoformat(" ", "seconds")
        values = (
            self.invoice,
            self.stock_code,
            self.description,
            str(self.quantity),
            when,
            self.unit_price,
            known,
            self.country,
        )
        return dict(zip(header, values, strict=True))


@dataclass(frozen=True)
class Product:
    """A product: its description changes to `renamed` on the day `renamed_on`, if it does."""

    code: str
    description: str
    price: str
    renamed: str
    renamed_on: date | None

    def description_on(self, day: date) -> str:
        """The description as of a day."""
        return self.renamed if self.renamed_on is not None and day >= self.renamed_on else self.description


@dataclass(frozen=True)
class Buyer:
    """A customer as the shop knows them."""

    customer_id: int
    country: str
    city: str


class Shop:
    """The shop over a span of days. Days have to be asked for in order, for invoices are numbered on."""

    def __init__(self, seed: int, start: date, days: int):
        self._seed = seed
        self._days = days
        rng = Random(f"{seed}/shop")
        self.products = [
            _product(rng, number, start, days) for number in sorted(rng.sample(range(10_002, 90_000), 600))
        ]
        countries = rng.choices(list(COUNTRIES), [share for share, _ in COUNTRIES.values()], k=400)
        countries[: len(COUNTRIES)] = list(COUNTRIES)
        ids = sorted(rng.sample(range(12_346, 18_288), 400))
        self.buyers = [
            Buyer(number, country, rng.choice(COUNTRIES[country][1]))
            for number, country in zip(ids, countries, strict=True)
        ]
        self._next_invoice = _FIRST_INVOICE
        self._yesterday: list[OrderLine] = []

    def drops(self, day: date, index: int, lines: int) -> list[Draft]:
        """The clean order drops that land on a day, the `index`-th of the span; none on a Saturday of a span of a week
        or more.
        """
        if day.weekday() == 5 and self._days >= 7:
            return []
        rng = Random(f"{self._seed}/orders/{index}")
        landing = self._landing_lines(rng, day, lines)
        cut = [len(landing)] if index % 6 != 3 else [len(landing) * 2 // 3, len(landing)]
        drafts = []
        for part, (begin, stop) in enumerate(zip([0, *cut], cut, strict=False), 1):
            draft = new_draft(rng, day, index, part)
            draft.lines = [order_line(line, draft.columns) for line in landing[begin:stop]]
            drafts.append(draft)
        return drafts

    def _landing_lines(self, rng: Random, day: date, lines: int) -> list[OrderLine]:
        """The lines that land on a day: new ones, some of them twice, and some of the drop before."""
        new: list[OrderLine] = []
        while len(new) < lines:
            late = timedelta(days=rng.randint(1, 5) if rng.random() < 0.04 else 0)
            new.extend(self.invoice(rng, day - late))
        del new[lines:]
        landing = new + [rng.choice(new) for _ in range(lines // 100)]
        landing += [rng.choice(self._yesterday) for _ in range(lines // 150) if self._yesterday]
        for extra in range(len(new), len(landing)):
            other = rng.randrange(len(landing))
            landing[extra], landing[other] = landing[other], landing[extra]
        self._yesterday = new[-200:]
        return landing

    def invoice(self, rng: Random, day: date, number: int | None = None) -> Iterator[OrderLine]:
        """The lines of one invoice of a day; the next number of the shop unless one is given."""
        if number is None:
            number = 100_000 + (self._next_invoice - 100_000) % 900_000
            self._next_invoice += 1
        buyer = rng.choice(self.buyers)
        known = rng.random() < 0.78
        at = datetime.combine(day, time(rng.randint(8, 19), rng.randint(0, 59)))
        country = buyer.country if known else "United Kingdom"
        form = OrderLine(str(number), "", "", 1, at, "0", buyer.customer_id if known else None, country)
        kind = rng.random()
        if kind < 0.003:
            price = f"{rng.randint(-20_000, 20_000)}.{rng.randint(10, 99)}"
            yield replace(
                form,
                invoice=f"A{number}",
                stock_code="B",
                description="Adjust bad debt",
                unit_price=price,
                customer_id=None,
            )
        elif kind < 0.06:
            lost = rng.choice(self.products)
            quantity, mishap = rng.choice((-1, 1)) * rng.randint(1, 200), rng.choice(_MISHAPS)
            yield replace(
                form,
                stock_code=lost.code,
                description=mishap,
                quantity=quantity,
                customer_id=None,
                country="United Kingdom",
            )
        elif kind < 0.14:
            for _ in range(rng.randint(1, 3)):
                yield replace(self._sold(rng, form, day), invoice=f"C{number}", quantity=-rng.randint(1, 12))
            if rng.random() < 0.15:
                price = f"{rng.randint(1, 80)}.{rng.randint(10, 99)}"
                yield replace(
                    form, invoice=f"C{number}", stock_code="D", description="Discount", quantity=-1, unit_price=price
                )
        else:
            moved_on = timedelta(minutes=1) if rng.random() < 0.02 else timedelta(0)
            for place in range(rng.randint(1, 22)):
                yield replace(self._sold(rng, form, day), invoiced_at=at + moved_on * (place >= 5))
            if country != "United Kingdom" or rng.random() < 0.02:
                code, description, price = rng.choice(_NO_PRODUCTS)
                yield replace(form, stock_code=code, description=description, unit_price=price)

    def _sold(self, rng: Random, form: OrderLine, day: date) -> OrderLine:
        product = self.products[min(rng.randrange(600), rng.randrange(600))]  # some products sell better than others
        code = product.code.lower() if rng.random() < 0.01 else product.code
        description = product.description_on(day) + ("  " if rng.random() < 0.02 else "")
        quantity = rng.choice((1, 1, 2, 3, 4, 6, 6, 8, 10, 12, 12, 24, 48))
        return replace(form, stock_code=code, description=description, quantity=quantity, unit_price=product.price)


def new_draft(rng: Random, day: date, index: int, part: int) -> Draft:
    """An order drop without lines, in one of the ways in which they come: dialect, order of columns, folder, gzip, line
    ends.
    """
    columns = LATER if index % 3 == 1 else PUBLISHED
    folder = f"orders/{day:%Y/%m}" if index % 5 == 2 else "orders"
    name = f"orders_{day}" + (f"_{part}" if part > 1 else "") + (".csv" if index % 4 == 3 else ".csv.gz")
    if index % 8 == 6:
        columns = (*columns, "Channel")
    if index % 11 == 9:
        columns = tuple(rng.sample(columns, len(columns)))
    end = b"\r\n" if index % 7 == 4 else b"\n"
    return Draft(
        "orders", f"{folder}/{name}", day, csv_line(columns), end=end, byte_order_mark=index % 10 == 8, columns=columns
    )


def order_line(line: OrderLine, columns: tuple[str, ...], changed: dict[str, str] | None = None) -> Line:
    """A line as it is written in a drop with these columns; `changed` replaces values, by the names of the dialect
    `PUBLISHED`.
    """
    dialect = PUBLISHED if "InvoiceNo" in columns else LATER
    values = line.landed(dialect) | {dialect[PUBLISHED.index(name)]: value for name, value in (changed or {}).items()}
    values["Channel"] = "web" if line.customer_id is not None else ""
    return Line(csv_line([values[column] for column in columns]))


def _product(rng: Random, number: int, start: date, days: int) -> Product:
    code = str(number) + rng.choice(("", "", "", "A", "B", "S", "BL"))
    colour, other = rng.sample(_COLOURS, 2)
    thing = rng.choice(_THINGS)
    renamed_on = start + timedelta(days=rng.randrange(days)) if rng.random() < 0.1 else None
    return Product(code, f"{colour} {thing}", rng.choice(_PRICES), f"{other} {thing}", renamed_on)
