"""A second opinion on landed rows: which rules each breaks, written down without the generator and without the
pipeline.
"""

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any


def broken_rules(row: dict[str, Any]) -> list[str]:
    """The rules that a landed row breaks, sorted; `row` has its `source` and the columns of a parsed drop."""
    if row["_malformed"] is not None:
        return [row["_malformed"]]
    judges = {"orders": _order, "customers": _customer, "fx": _rate, "stock_levels": _stock}
    return sorted(judges[row["source"]](row))


def _typed(column: str, text: str | None, read: Callable[[str], Any], broken: list[str], required: bool = True) -> Any:
    if text is None:
        if required:
            broken.append(f"{column}.nullable")
        return None
    try:
        return read(text)
    except (ValueError, InvalidOperation):
        broken.append(f"{column}.type")
        return None


def _whole(text: str) -> int:
    return int(text.removesuffix(".0"))


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def _order(row: dict[str, Any]) -> list[str]:
    broken: list[str] = []
    invoice = _typed("invoice", row["invoice"], str, broken)
    if invoice is not None and not re.fullmatch("[AC]?[0-9]{6}", invoice):
        broken.append("invoice.str_matches")
    _typed("stock_code", row["stock_code"], str, broken)
    _typed("country", row["country"], str, broken)
    _typed("quantity", row["quantity"], int, broken)
    _typed("customer_id", row["customer_id"], _whole, broken, required=False)
    at = _typed("invoiced_at", row["invoice_date"], datetime.fromisoformat, broken)
    if at is not None and not datetime(1995, 1, 1) <= at <= datetime(2100, 1, 1):
        broken.append("invoiced_at.in_range")
    price = _typed("unit_price", row["unit_price"], Decimal, broken)
    if price is not None and price != round(price, 3):
        broken.append("unit_price.scale")
    return broken


def _customer(row: dict[str, Any]) -> list[str]:
    broken: list[str] = []
    _typed("customer_id", row["customer_id"], _whole, broken)
    _typed("updated_at", row["updated_at"], datetime.fromisoformat, broken)
    _typed("deleted", row["deleted"], _flag, broken, required=False)
    return broken


def _stock(row: dict[str, Any]) -> list[str]:
    broken: list[str] = []
    _typed("product_code", row["product_code"], str, broken)
    on_hand = _typed("on_hand", row["on_hand"], int, broken)
    if on_hand is not None and on_hand < 0:
        broken.append("on_hand.ge")
    _typed("counted_on", row["counted_on"], date.fromisoformat, broken)
    return broken


def _rate(row: dict[str, Any]) -> list[str]:
    broken: list[str] = []
    _typed("rate_date", row["rate_date"], date.fromisoformat, broken)
    rate = _typed("rate", row["rate"], Decimal, broken)
    if rate is not None and rate <= 0:
        broken.append("rate.gt")
    return broken
