"""Customer drops: every JSON value lands as it was written."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse_assets_tests.core.sources.drops import BRONZE_VALUES, good, parse_drop, problems

NAMES = BRONZE_VALUES["customers"]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
RECORDS = st.lists(st.dictionaries(st.sampled_from(NAMES), TEXT | st.none()), min_size=1)


@settings(deadline=None)
@given(records=RECORDS, ascii_only=st.booleans(), end=st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_texts_come_back_as_they_were(records: list[dict[str, str | None]], ascii_only: bool, end: str):
    """Else names change on their way into bronze."""
    content = "".join(json.dumps(record, ensure_ascii=ascii_only) + end for record in records).encode()
    assert good(parse_drop("customers", content)) == [[record.get(name) for name in NAMES] for record in records]


@pytest.mark.parametrize(
    ("written", "landed"),
    [
        ("12346", "12346"),
        ("1.10", "1.10"),
        ("-0", "-0"),
        ("1E400", "1E400"),
        ("9" * 5000, "9" * 5000),
        ("true", "true"),
        ("false", "false"),
        ("null", None),
        ('""', ""),
        ('"\\u00e9\\ud83d\\ude00\\n"', "é😀\n"),
        ('"\\\\u0000"', "\\u0000"),
        ('{"b": 1.10, "a": [true, null, "é"]}', '{"a":[true,null,"é"],"b":1.10}'),
    ],
)
def test_a_value_lands_as_it_was_written(written: str, landed: str | None):
    """Else 1.10 becomes 1.1 and a long number loses digits before anybody converted anything."""
    table = parse_drop("customers", f'{{"name": {written}, "extra": {written}}}'.encode())
    assert table["name"].to_pylist() == [landed]
    assert table["_rescued"].to_pylist() == [
        None
        if landed is None
        else '{"extra":' + (landed if written[0] not in '"' else json.dumps(landed, ensure_ascii=False)) + "}"
    ]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b'{"customer_id": 1', "row.json"),
        (b'[{"customer_id": 1}]', "row.json"),
        (b"7", "row.json"),
        (b'{"customer_id": 1} {"customer_id": 2}', "row.json"),
        (b'{"customer_id": 1, "customer_id": 2}', "row.json"),
        (b'{"other": {"a": 1, "a": 2}}', "row.json"),
        (b'{"customer_id": NaN}', "row.json"),
        (b'{"name": "half \\ud83d"}', "row.json"),
        (b'{"half \\ud83d": 1}', "row.json"),
        (b'{"other": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "row.json"),
        (b'{"name": "a\\u0000b"}', "row.nul"),
        (b'{"other": ["\\\\\\u0000"]}', "row.nul"),
        (b'{"name": "a\0b"}', "row.nul"),
        (b'{"name": "Zo\xeb"}', "row.encoding"),
    ],
)
def test_a_bad_line_costs_only_itself(line: bytes, rule: str):
    """Else one broken record takes the changes of a day with it, or one of two values is chosen in silence."""
    clean = b'{"customer_id": 1, "name": "Ada"}\n'
    table = parse_drop("customers", clean + line + b"\n" + clean)
    assert problems(table) == [(2, rule)]
    assert table["name"].to_pylist() == ["Ada", None, "Ada"]
    assert table["_detail"][1].as_py().endswith(".")


def test_blank_lines_count_for_nothing_and_a_mark_is_taken_off():
    """Else row numbers differ from what the sender counts, or the first record of a Windows export is rejected."""
    table = parse_drop("customers", b'\xef\xbb\xbf{"name": "a"}\n\n  \n{"name": "b"}')
    assert table["row_number"].to_pylist() == [1, 2]
    assert not problems(table)


def test_unknown_keys_are_kept():
    """Else what the CRM adds is lost for all the days before somebody notices."""
    table = parse_drop("customers", b'{"z": 1.0, "name": "a", "B": {"y": 2, "x": null}, "gone": null}\n{"gone": null}')
    assert table["_rescued"].to_pylist() == ['{"B":{"x":null,"y":2},"z":1.0}', None]
