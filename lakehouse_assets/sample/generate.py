"""Writing a sample: `generate`, which lays clean drops and dirt into a landing zone, day by day, and the ledger beside
it.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.sample.crm import Crm
from lakehouse_assets.sample.dirt import Dirt, chosen_kinds
from lakehouse_assets.sample.drafts import Draft
from lakehouse_assets.sample.ledger import DirtyRow, SampleDrop, SampleLedger
from lakehouse_assets.sample.rates import Rates
from lakehouse_assets.sample.shop import Shop
from lakehouse_assets.sample.stock import Warehouse

LEDGER_NAME = "ledger.jsonl"
_RESENT_EVERY = 9
_RESENT_AFTER = 2


def generate(
    out: Path, start: date, days: int, lines_per_day: int, seed: int, dirt: Collection[str] | None = None
) -> SampleLedger:
    """Write `days` days of drops of all sources into the landing zone `out`, and `ledger.jsonl` beside it.

    `lines_per_day` counts new order lines, to which come repeated and bad ones. `dirt` names the kinds to put in, of
    `dirt.DIRT_KINDS` and `dirt.REFUSED_DROP`; None means all of `DIRT_KINDS`, an empty collection none. Kinds take
    their turns, so that a short sample may not have room for every one: the ledger says which rules are broken. The
    same sample without dirt holds the same drops with the same good rows in the same order.

    The same arguments write the same bytes. Raises `LakehouseError` when `out` already holds anything or the ledger of
    another sample lies beside it, or for days, lines or kinds of dirt that make no sense.
    """
    kinds = chosen_kinds(dirt)
    if days < 1 or lines_per_day < 1:
        raise LakehouseError(
            f"A sample needs at least one day and one line a day, not {days} and {lines_per_day}; give positive"
            " numbers."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LakehouseError(f"{out} already holds something; name a folder that is empty or does not exist.")
    if (out.parent / LEDGER_NAME).exists():
        raise LakehouseError(
            f"{out.parent / LEDGER_NAME} is the ledger of another sample; name a landing zone in a folder of its own."
        )
    drops: list[SampleDrop] = []
    dirty: list[DirtyRow] = []
    for draft, resent_of in _drafts(start, days, lines_per_day, seed, kinds):
        file = out / draft.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(draft.content())
        drop, rows = draft.entries()
        drops.append(replace(drop, same_as=resent_of))
        dirty += rows
    ledger = SampleLedger(tuple(dirty), tuple(drops))
    ledger.write(out.parent / LEDGER_NAME)
    return ledger


def _drafts(
    start: date, days: int, lines_per_day: int, seed: int, kinds: frozenset[str]
) -> Iterator[tuple[Draft, str | None]]:
    """The drops in the order in which they land, each with the path whose content it delivers again, if it does."""
    shop = Shop(seed, start, days)
    crm = Crm(seed, shop.buyers, start)
    rates = Rates(seed, start, days)
    warehouse = Warehouse(seed, shop.products, days)
    dirt = Dirt(seed, shop, days, kinds)
    to_resend: dict[int, Draft] = {}
    for index in range(days):
        day = start + timedelta(days=index)
        orders = shop.drops(day, index, lines_per_day)
        if orders and index % _RESENT_EVERY == _RESENT_EVERY - 1 - _RESENT_AFTER:
            orders[0].takes_dirt = False  # a re-delivery of bad rows would be counted twice
            to_resend[index + _RESENT_AFTER] = orders[0]
        for draft in (*orders, crm.drop(day, index), *rates.drops(day, index), warehouse.drop(day, index)):
            dirt.soil(draft)
            yield draft, None
        for draft in dirt.broken_drops(day, index):
            yield draft, None
        if index in to_resend:
            first = to_resend.pop(index)
            name = first.path.rsplit("/", 1)[-1].replace(first.batch_date.isoformat(), day.isoformat())
            yield replace(first, path=f"orders/resent/{name}", batch_date=day), first.path
