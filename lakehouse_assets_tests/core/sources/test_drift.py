"""What is said of a drop whose columns are other than those of its source."""

import pytest

from lakehouse_assets_tests.core.sources.drops import LATER, LINE, PUBLISHED, csv_drop, parse_drop


def drift(source: str, content: bytes) -> str | None:
    first, *others = parse_drop(source, content)["_drift"].to_pylist()
    assert not any(others), "said of the drop, so on its first row only"
    return first


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (PUBLISHED, None),
        (LATER, None),
        ([*PUBLISHED[:5], *LATER[5:]], None),
        ([*PUBLISHED, ""], None),
        ([*PUBLISHED, "Channel"], "+ Channel"),
        (["", *PUBLISHED], "+ column 1"),
        ([*PUBLISHED, "Channel", "Channel"], "+ Channel; twice: Channel"),
        (PUBLISHED[:-1], "- Country"),
        ([*PUBLISHED[:5], "UnitCost", *PUBLISHED[6:]], "+ UnitCost; - UnitPrice or Price"),
        ([*PUBLISHED, "Price"], "twice: UnitPrice, Price"),
        ([name.upper() for name in PUBLISHED[:2]] + PUBLISHED[2:], "other case: INVOICENO, STOCKCODE"),
        (PUBLISHED[::-1], "other order"),
        ([*PUBLISHED[:7], "x" * 100, "COUNTRY"], f"+ {'x' * 60}…; other case: COUNTRY"),
        ([*PUBLISHED, *(f"c{n}" for n in range(25))], f"+ {', '.join(f'c{n}' for n in range(20))} and 5 more"),
    ],
)
def test_an_order_drop_says_what_is_other_about_its_columns(header: list[str], words: str | None):
    """Else a supplier changes the export and nobody is told, or everybody is told every day of nothing."""
    assert drift("orders", csv_drop(header, [LINE, LINE])) == words


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("Date,USD,GBP,", None),
        ("Date,GBP,XYZ", None),
        ("GBP,Date", "other order"),
        ("Date,gbp,Remark", "+ Remark; other case: gbp"),
        ("Date,USD", "- GBP"),
        ("USD,GBP", "- Date"),
        ("Date,GBP,GBP", "twice: GBP"),
    ],
)
def test_a_rate_drop_says_what_is_other_about_its_columns(header: str, words: str | None):
    """Else the shop's own currency is gone from the file and euros go on with an old rate, unnoticed."""
    assert drift("fx", f"{header}\n{','.join('1' for _ in header.split(','))}\n".encode()) == words


WHOLE = '{"customer_id": 1, "name": "a", "email": "a", "city": "a", "country": "a", "segment": "a", "updated_at": "a"'


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (f'{WHOLE}, "deleted": true}}', None),
        (f"{WHOLE}}}", None),
        (f'{{"deleted": false, {WHOLE[1:]}}}', None),
        (f'{{"customer_id": 2}}\n{WHOLE}}}', None),
        (f'{WHOLE}}}\n{WHOLE}, "tier": "x"}}\n{WHOLE}, "tier": null}}', "+ tier"),
        (f"{WHOLE}}}".replace("city", "town"), "+ town; - city"),
        (f"{WHOLE}}}".replace("city", "City"), "other case: City"),
        (f"{WHOLE}}}".replace("city", "\\ud800"), "+ \\ud800; - city"),
        ('{"customer_id": 1, "customer_id": 2}', None),
    ],
)
def test_a_customer_drop_says_what_is_other_about_its_keys(records: str, words: str | None):
    """Else a renamed key empties an attribute of every customer and nobody is told."""
    assert drift("customers", records.replace('"\\ud800": "a"', '"\\ud800": null').encode()) == words


def test_a_key_is_the_same_in_any_case():
    """Else a CRM that begins to write City empties the column."""
    table = parse_drop("customers", b'{" City": "York", "CUSTOMER_ID": 1}\n{"city": "York", "City": "Leeds"}')
    assert table["city"].to_pylist() == ["York", None]
    assert table["customer_id"].to_pylist() == ["1", None]
    assert table["_rescued"].to_pylist() == [None, None]
    assert table["_malformed"].to_pylist() == [None, "row.json"]
