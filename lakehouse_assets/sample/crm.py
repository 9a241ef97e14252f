"""The invented CRM: change records of the shop's customers, and the clean customer drops of a day. Knows nothing of
dirt; every person is made up.

On the first day all customers land; later, changes. Some share their `updated_at` with another record of the same
customer, some are older than what has landed, some are repeated, and some end the customer (`deleted`), who may come
back.
"""

import json
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any, Final

from lakehouse_assets.sample.drafts import Draft, Line
from lakehouse_assets.sample.shop import COUNTRIES, Buyer

SEGMENTS: Final = ("gift shop", "wholesale", "private", "hotel")
_FIRST: Final = "Ada Björn Chloé Dilan Edith Farid Grace Hugo Inês Jonas Keiko Liam Maeve Nils Olga Priya".split()  # noqa: SIM905 (a list would take a page)
_LAST: Final = "Archer Brandt Costa Dubois Ek Fischer Garcia Hughes Ito Jansen Keller Lowe Müller O'Neil Silva".split()  # noqa: SIM905 (a list would take a page)
_CHANGES_A_DAY: Final = 48


class Crm:
    """The CRM over a span of days. Days have to be asked for in order, for a change starts from what was there
    before.
    """

    def __init__(self, seed: int, buyers: list[Buyer], start: date):
        self._seed = seed
        rng = Random(f"{seed}/crm")
        self._records = {buyer.customer_id: _first_record(rng, buyer, start) for buyer in buyers}

    def drop(self, day: date, index: int) -> Draft:
        """The clean customer drop of a day, the `index`-th of the span."""
        rng = Random(f"{self._seed}/customers/{index}")
        records = list(self._records.values()) if index == 0 else self._changes(rng, day)
        name = f"customers_{day}.jsonl" + (".gz" if index % 3 == 1 else "")
        draft = Draft("customers", f"customers/{name}", day, end=b"\r\n" if index % 9 == 7 else b"\n")
        draft.lines = [crm_line(record, as_text=index % 6 == 5) for record in records]
        return draft

    def _changes(self, rng: Random, day: date) -> list[dict[str, Any]]:
        changes: list[dict[str, Any]] = []
        for customer_id in sorted(rng.sample(sorted(self._records), _CHANGES_A_DAY)):
            changed = {**self._records[customer_id], "updated_at": _moment(rng, day), "deleted": False}
            _change(rng, changed)
            kind = rng.random()
            if kind < 0.05:
                changed["deleted"] = True
            elif kind < 0.12:
                changed["updated_at"] = _moment(rng, day - timedelta(days=rng.randint(2, 40)))
            elif kind < 0.18:
                changes.append({**changed, "segment": rng.choice(SEGMENTS)})
            elif kind < 0.24:
                changed["updated_at"] = self._records[customer_id]["updated_at"]
            elif kind < 0.28:
                changes.append(changed)
            if kind > 0.95:
                changed["loyalty_tier"] = rng.choice(("bronze", "silver", "gold"))
            changes.append(changed)
            self._records[customer_id] = {name: value for name, value in changed.items() if name != "loyalty_tier"}
        rng.shuffle(changes)
        return changes


def crm_line(record: dict[str, Any], as_text: bool = False) -> Line:
    """A change record as a line of JSON; `as_text` writes the number of the customer as a string."""
    written = {**record, "customer_id": str(record["customer_id"])} if as_text else record
    return Line(json.dumps(written, ensure_ascii=False).encode())


def _first_record(rng: Random, buyer: Buyer, start: date) -> dict[str, Any]:
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    email = f"{first}.{last}.{buyer.customer_id}@example.com".replace("'", "").lower()
    record: dict[str, Any] = {
        "customer_id": buyer.customer_id,
        "name": f"{first} {last}",
        "email": email,
        "city": buyer.city,
    }
    moment = _moment(rng, start - timedelta(days=rng.randint(1, 300)))
    return record | {"country": buyer.country, "segment": rng.choice(SEGMENTS), "updated_at": moment, "deleted": False}


def _change(rng: Random, record: dict[str, Any]) -> None:
    what = rng.choice(("city", "segment", "email", "name"))
    if what == "city":
        record["city"] = rng.choice(COUNTRIES[record["country"]][1])
    elif what == "segment":
        record["segment"] = rng.choice((*SEGMENTS, None))
    elif what == "email":
        record["email"] = (
            None if rng.random() < 0.1 else f"customer.{record['customer_id']}.{rng.randint(1, 99)}@example.org"
        )
    else:
        record["name"] = f"{record['name'].split(' ')[0]} {rng.choice(_LAST)}"


def _moment(rng: Random, day: date) -> str:
    at = datetime.combine(
        day, time(rng.randint(0, 23), rng.randint(0, 59), rng.randint(0, 59), rng.randint(0, 999_999)), UTC
    )
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
