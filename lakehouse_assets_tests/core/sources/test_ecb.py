"""Exchange-rate drops: a row for each rate, none for what is no rate."""

import pytest

from lakehouse_assets_tests.core.sources.drops import good, parse_drop, problems


def test_each_rate_is_a_row_and_what_is_no_rate_is_none():
    """Else conversions use a rate that the bank never published, or miss one that it did."""
    table = parse_drop(
        "fx",
        b"Date,USD,JPY,CYP,gbp,\n2010-12-02,1.3155,110.37,N/A,0.84430,\n2010-12-01,1.3115,,n/a,0.84,\n2010-11-30,N/A,N/A,N/A,N/A,\n",
    )
    assert good(table) == [
        ["2010-12-02", "USD", "1.3155"],
        ["2010-12-02", "JPY", "110.37"],
        ["2010-12-02", "GBP", "0.84430"],
        ["2010-12-01", "USD", "1.3115"],
        ["2010-12-01", "GBP", "0.84"],
    ]
    assert table["row_number"].to_pylist() == [1, 2, 3, 4, 5]
    assert table["_rescued"].null_count == 5


def test_blanks_around_cells_are_taken_off():
    """Else the bank's own daily file, which separates by comma and blank, lands with names and rates that nothing
    matches.
    """
    assert good(parse_drop("fx", b"Date, USD, JPY, \n2010-12-02, 1.3155, N/A, \n")) == [["2010-12-02", "USD", "1.3155"]]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"2010-12-02,1.3", "row.ragged"),
        (b"2010-12-02,1.3\xff,1,", "row.encoding"),
        (b'2010-12-02,"1.3,1,', "row.open_quote"),
    ],
)
def test_a_bad_line_costs_only_itself(line: bytes, rule: str):
    """Else one broken date takes the history of all rates with it."""
    table = parse_drop("fx", b"Date,USD,GBP,\n2010-12-01,1.2,0.8,\n" + line + b"\n2010-12-03,1.4,0.9,\n")
    assert problems(table) == [(3, rule)]
    assert table["rate"].to_pylist() == ["1.2", "0.8", None, "1.4", "0.9"]


@pytest.mark.parametrize(
    ("header", "rule", "named"),
    [
        (b"Day,USD,GBP", "drop.missing_column", "Date"),
        (b"Date,USD,usd", "drop.duplicate_column", "USD"),
        (b"Date,USD,date", "drop.duplicate_column", "Date"),
    ],
)
def test_a_missing_or_repeated_column_stops_the_drop_and_is_named(header: bytes, rule: str, named: str):
    """Else rates land without a date, or the wrong one of two is taken."""
    table = parse_drop("fx", header + b"\n2010-12-01,1.2,0.8\n")
    assert problems(table) == [(0, rule)]
    assert named in table["_detail"][0].as_py()


def test_other_columns_are_kept_beside_each_rate():
    """Else a remark of the bank, such as that a rate is provisional, is lost."""
    table = parse_drop("fx", b"Date,USD,Remark,GBP,\n2010-12-01,1.2,provisional,0.8,7\n")
    assert table["_rescued"].to_pylist() == ['{"Remark":"provisional","column_5":"7"}'] * 2
