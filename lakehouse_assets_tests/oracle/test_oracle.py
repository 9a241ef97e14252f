"""The oracle against the published figures of the real orders, and against small landing zones worked out by hand.

Belongs here: what makes the oracle worth believing. Does not belong here: comparisons of the application with it.
"""

import json
import os
from collections.abc import Iterator
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakehouse_assets_tests.oracle.oracle import KEYS, Oracle

PROJECT = Path(__file__).parents[2]
FIRST_HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
LATER_HEADER = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country"


def landing_zone(folder: Path, drops: dict[str, str]) -> Path:
    for path, content in drops.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content, encoding="utf-8")
    return folder


def orders(*lines: str, header: str = FIRST_HEADER) -> str:
    return "\n".join((header, *lines, ""))


def rows(oracle: Oracle, name: str, *columns: str) -> list[Any]:
    """The rows of a table as tuples of the named columns; the bare values where one column is named."""
    found = [tuple(row[column] for column in columns) for row in oracle.table(name).to_pylist()]
    return found if len(columns) > 1 else [row[0] for row in found]


# The real orders --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> Iterator[Oracle]:
    data = Path(os.environ.get("LAKEHOUSE_TEST_DATA", PROJECT.parent / "shared" / "data"))
    if not (data / "landing" / "orders").is_dir():
        pytest.skip("no real orders: LAKEHOUSE_TEST_DATA names the folder that holds landing/")
    with Oracle(data / "landing") as oracle:
        yield oracle


FIGURES = {
    "lines": ("SELECT count(*) FROM raw_orders", "541909"),
    "distinct lines": ("SELECT count(*) FROM silver.order_lines", "536641"),
    "gross sales": ("SELECT sum(gross_sales) FROM gold.daily_sales", "10631048.744"),
    "gross sales of products": ("SELECT sum(gross_sales) FROM gold.product_sales WHERE is_product", "10246820.870"),
    "returns": ("SELECT sum(returns) FROM gold.daily_sales", "-893979.730"),
    "returns of products": ("SELECT sum(returns) FROM gold.product_sales WHERE is_product", "-475901.160"),
    "net of all distinct lines": ("SELECT sum(amount) FROM gold.sales_lines", "9726006.954"),
    "orders": ("SELECT sum(orders) FROM gold.daily_sales", "19959"),
    "sale lines": ("SELECT count(*) FROM gold.sales_lines WHERE line_type = 'sale'", "524877"),
    "return lines": ("SELECT count(*) FROM gold.sales_lines WHERE line_type = 'return'", "9251"),
    "return invoices": ("SELECT sum(return_invoices) FROM gold.daily_sales", "3836"),
    "buying customers": ("SELECT count(*) FROM gold.customer_value WHERE orders > 0", "4338"),
    "repeat customers": ("SELECT count(*) FROM gold.customer_value WHERE orders > 1", "2845"),
    "revenue of known customers": ("SELECT sum(gross_sales) FROM gold.customer_value", "8887208.894"),
    "the same by month": ("SELECT sum(gross_sales) FROM gold.customer_months", "8887208.894"),
    "best customer": ("SELECT arg_max(customer_id, gross_sales) FROM gold.customer_value", "14646"),
    "best customer's revenue": ("SELECT max(gross_sales) FROM gold.customer_value", "280206.020"),
    "gross, December 2010": (
        "SELECT sum(gross_sales) FROM gold.daily_sales WHERE invoice_date < '2011-01-01'",
        "821452.730",
    ),
    "returns, December 2010": (
        "SELECT sum(returns) FROM gold.daily_sales WHERE invoice_date < '2011-01-01'",
        "-74729.120",
    ),
    "orders, December 2010": ("SELECT sum(orders) FROM gold.daily_sales WHERE invoice_date < '2011-01-01'", "1559"),
    "customers, December 2010": (
        "SELECT count(*) FROM gold.customer_months WHERE month = '2010-12-01' AND orders > 0",
        "885",
    ),
    "gross in EUR, December 2010": (
        "SELECT round(sum(gross_sales_eur), 2) FROM gold.daily_sales WHERE invoice_date < '2011-01-01'",
        "972112.77",
    ),
    "gross in EUR, January 2011": (
        (
            "SELECT round(sum(gross_sales_eur), 2) FROM gold.daily_sales WHERE invoice_date BETWEEN '2011-01-01' AND"
            " '2011-01-31'"
        ),
        "817607.00",
    ),
    "best product": (
        (
            "SELECT arg_max(product_code, gross) FROM (SELECT product_code, sum(gross_sales) AS gross FROM"
            " gold.product_sales WHERE is_product GROUP BY 1)"
        ),
        "22423",
    ),
    "best product's units": ("SELECT sum(units) FROM gold.product_sales WHERE product_code = '22423'", "13851"),
    "best product's revenue": (
        "SELECT sum(gross_sales) FROM gold.product_sales WHERE product_code = '22423'",
        "174156.540",
    ),
    "cohort 2010-12": (
        "SELECT DISTINCT cohort_size FROM gold.cohort_retention WHERE cohort_month = '2010-12-01'",
        "885",
    ),
    "cohort 2010-12, month 1": (
        "SELECT active_customers FROM gold.cohort_retention WHERE cohort_month = '2010-12-01' AND months_since = 1",
        "324",
    ),
    "cohort 2010-12, month 3": (
        "SELECT active_customers FROM gold.cohort_retention WHERE cohort_month = '2010-12-01' AND months_since = 3",
        "340",
    ),
}


@pytest.mark.parametrize("figure", FIGURES)
def test_it_gives_the_published_figures_of_the_real_orders(real: Oracle, figure: str) -> None:
    """An oracle that misses a known figure condemns correct pipelines and acquits wrong ones."""
    question, answer = FIGURES[figure]
    assert [f"{value}" for (value,) in real.sql.sql(question).fetchall()] == [answer]


def test_every_amount_in_euro_is_the_quotient_that_python_rounds_half_up(real: Oracle) -> None:
    """Integer arithmetic in SQL is easily off by a factor or a sign; a hundred thousand real quotients would show
    it.
    """
    rates = {
        row["rate_date"]: row["rate"] for row in real.table("silver.fx_rates").to_pylist() if row["currency"] == "GBP"
    }
    lines = real.sql.sql("SELECT DISTINCT amount, amount_eur, fx_rate_date FROM gold.sales_lines").fetchall()
    assert len(lines) > 90_000
    for amount, amount_eur, rated_on in lines:
        assert amount_eur == (amount / rates[rated_on]).quantize(Decimal("0.000001"), ROUND_HALF_UP)


# Small landing zones, by hand -------------------------------------------------------------------------------------

CUP = "1001,10001A,RED CUP,2,2011-01-03 10:00:00,1.25,17850.0,France"


def test_a_line_counts_once_and_names_the_least_drop_that_supports_it(tmp_path: Path) -> None:
    """Re-delivered and repeated lines would be counted twice, or be blamed on the wrong drop."""
    landing = landing_zone(
        tmp_path,
        {
            "orders/b/orders_2011-01-04.csv": orders(CUP),
            "orders/a/orders_2011-01-04.csv": orders(
                "1002,10001A,RED CUP,1,2011-01-03 10:00:00,1.25,,France", CUP, CUP
            ),
            "orders/orders_2011-01-05.csv": orders(
                "1001,10001A,RED CUP,2,2011-01-03 10:00:00,1.25,17850,France", header=LATER_HEADER
            ),
        },
    )
    with Oracle(landing) as oracle:
        assert rows(oracle, "silver.order_lines", "invoice", "customer_id", "batch_date", "path", "row_number") == [
            ("1001", 17850, date(2011, 1, 4), "orders/a/orders_2011-01-04.csv", 2),
            ("1002", None, date(2011, 1, 4), "orders/a/orders_2011-01-04.csv", 1),
        ]


def test_lines_that_differ_by_a_blank_or_a_second_are_two(tmp_path: Path) -> None:
    """Identity is all eight values, untrimmed: merging near-equals loses revenue."""
    landing = landing_zone(
        tmp_path,
        {
            "orders/orders_2011-01-04.csv": orders(
                CUP, CUP.replace("RED CUP", "RED CUP "), CUP.replace("10:00:00", "10:00:01")
            )
        },
    )
    with Oracle(landing) as oracle:
        assert oracle.table("silver.order_lines").num_rows == 3


def test_withdrawn_corrected_and_excluded_rows_are_left_out(tmp_path: Path) -> None:
    """Tests of corrections, withdrawals and quarantine need an expectation for each of them."""
    path = "orders/orders_2011-01-04.csv"
    landing = landing_zone(tmp_path / "landing", {path: orders(CUP, CUP.replace("1001", "1002"))})
    elsewhere = landing_zone(tmp_path / "elsewhere", {"x": orders(CUP.replace("1001", "1003"))}) / "x"
    with Oracle(landing, exclude={(path, 1)}) as oracle:
        assert rows(oracle, "silver.order_lines", "invoice", "row_number") == [("1002", 2)]
    with Oracle(landing, live={path: elsewhere}) as oracle:
        assert rows(oracle, "silver.order_lines", "invoice", "path") == [("1003", path)]
    with Oracle(landing, live={path: None, "orders/orders_2011-01-05.csv": elsewhere}) as oracle:
        assert rows(oracle, "silver.order_lines", "invoice", "batch_date") == [("1003", date(2011, 1, 5))]


@pytest.mark.parametrize(
    "dirt",
    [
        CUP.replace("1.25", "1.2345"),
        CUP.replace(",2,", ",two,"),
        CUP.replace("10:00:00", "soon"),
        CUP + ",more",
        "1001,10001A",
    ],
)
def test_dirt_that_nobody_excluded_is_an_error(tmp_path: Path, dirt: str) -> None:
    """A guessed value would make the oracle agree with a pipeline that guesses alike."""
    landing = landing_zone(tmp_path, {"orders/orders_2011-01-04.csv": orders(CUP, dirt)})
    with pytest.raises(ValueError, match=r"cannot be typed|argument 2 is (longer|shorter)"):
        Oracle(landing)
    with Oracle(landing, exclude={("orders/orders_2011-01-04.csv", 2)}) as oracle:
        assert oracle.table("silver.order_lines").num_rows == 1


def test_kinds_of_lines_and_a_day_of_sales(tmp_path: Path) -> None:
    """Every money figure rests on which lines count as sales and which as returns."""
    landing = landing_zone(
        tmp_path,
        {
            "orders/orders_2011-01-04.csv": orders(
                "1001, 10001a ,CUP,3,2011-01-04 10:00:00,0.335,7,France",
                "1001,POST,POSTAGE,1,2011-01-04 10:00:00,1,7,France",
                "1002,10001A,CUP,1,2011-01-04 11:00:00,0.5,,France",
                "1003,10001A,CUP,-1,2011-01-04 11:00:00,0.5,8,France",
                "1004,10001A,CUP,1,2011-01-04 11:00:00,0,8,France",
                "C1005,10001A,CUP,-1,2011-01-04 12:00:00,0.25,9,France",
                "A1006,B,Adjust bad debt,1,2011-01-04 12:00:00,-50,,Spain",
            ),
            "fx/eurofxref_2011-01-03.csv": "Date,USD,GBP,MTL,\n2011-01-03,1.3,0.8,N/A,\n",
        },
    )
    with Oracle(landing) as oracle:
        assert rows(oracle, "gold.sales_lines", "invoice", "product_code", "line_type", "is_product", "amount") == [
            ("1001", "10001A", "sale", True, Decimal("1.005")),
            ("1001", "POST", "sale", False, Decimal("1.000")),
            ("1002", "10001A", "sale", True, Decimal("0.500")),
            ("1003", "10001A", "adjustment", True, Decimal("-0.500")),
            ("1004", "10001A", "adjustment", True, Decimal("0.000")),
            ("A1006", "B", "bad_debt", False, Decimal("-50.000")),
            ("C1005", "10001A", "return", True, Decimal("-0.250")),
        ]
        france, spain = oracle.table("gold.daily_sales").to_pylist()
        assert france == {
            "invoice_date": date(2011, 1, 4), "country": "France",
            "gross_sales": Decimal("2.505"), "returns": Decimal("-0.250"), "net_sales": Decimal("2.255"),
            "gross_sales_eur": Decimal("3.131250"), "returns_eur": Decimal("-0.312500"), "net_sales_eur": Decimal("2.818750"),  # noqa: E501
            "orders": 2, "return_invoices": 1, "units": 5, "customers": 1, "average_order_value": Decimal("1.253"),
        }  # fmt: skip
        assert (spain["gross_sales"], spain["gross_sales_eur"], spain["orders"], spain["average_order_value"]) == (
            0,
            0,
            0,
            None,
        )
        assert rows(oracle, "gold.product_sales", "product_code", "units", "gross_sales", "returns") == [
            ("10001A", 4, Decimal("1.505"), Decimal("-0.250")),
            ("B", 0, 0, 0),
            ("POST", 1, Decimal("1.000"), 0),
        ]


@pytest.mark.parametrize(
    ("amount", "rate", "euro"),
    [
        ("0.001", "2000", "0.000001"),  # 0.0000005: a tie goes away from zero
        ("-0.001", "2000", "-0.000001"),
        ("0.001", "2000.01", "0.000000"),
        ("999999999.999", "0.000001", "999999999999000.000000"),
        ("0.003", "0.8", "0.003750"),
    ],
)
def test_euro_amounts_are_rounded_half_away_from_zero(tmp_path: Path, amount: str, rate: str, euro: str) -> None:
    """A double, or banker's rounding, is off by a millionth that no reconciliation would forgive."""
    line = (
        f"{'C' if amount.startswith('-') else ''}1,10001,CUP,{'-1' if amount.startswith('-') else '1'},2011-01-04"
        f" 10:00:00,{amount.lstrip('-')},,France"
    )
    landing = landing_zone(
        tmp_path,
        {"orders/orders_2011-01-04.csv": orders(line), "fx/fx_2011-01-04.csv": f"Date,GBP\n2011-01-04,{rate}\n"},
    )
    with Oracle(landing) as oracle:
        assert rows(oracle, "gold.sales_lines", "amount_eur") == [Decimal(euro)]


def test_the_last_rate_on_or_before_the_day_applies_and_none_makes_euro_sums_null(tmp_path: Path) -> None:
    """A later rate would rewrite history; a partial euro sum would pass for the whole."""
    landing = landing_zone(
        tmp_path,
        {
            "orders/orders_2011-01-09.csv": orders(
                *(f"{day},10001,CUP,1,2011-01-0{day} 10:00:00,1,,France" for day in range(1, 6))
            ),
            "fx/fx_2011-01-02.csv": "Date,USD,GBP\n2011-01-02,1,0.5\n",
            "fx/fx_2011-01-03.csv": "Date,USD,GBP\n2011-01-03,1,N/A\n2011-01-04,1,0.9\n",
            "fx/fx_2011-01-05.csv": "Date,USD,GBP\n2011-01-04,1,0.25\n",
        },
    )
    with Oracle(landing) as oracle:
        days = [None, date(2011, 1, 2), date(2011, 1, 2), date(2011, 1, 4), date(2011, 1, 4)]
        assert rows(oracle, "gold.sales_lines", "fx_rate_date") == days
        assert rows(oracle, "gold.daily_sales", "gross_sales_eur") == [None, 2, 2, 4, 4]
        assert rows(oracle, "gold.daily_sales", "net_sales_eur", "returns_eur")[0] == (None, 0)


def test_a_product_changes_its_name_when_the_word_of_the_day_does(tmp_path: Path) -> None:
    """Sales would be reported under a name that the product did not have on that day."""

    def sale(day: int, description: str, quantity: int, invoice: int) -> str:
        return f"{invoice},10001,{description},{quantity},2011-01-0{day} 10:00:00,1,,France"

    landing = landing_zone(
        tmp_path,
        {
            "orders/orders_2011-01-09.csv": orders(
                sale(1, "RED CUP", 1, 1), sale(1, " RED CUP ", 2, 2), sale(1, "A CUP", 3, 3),  # two votes against one
                sale(2, "ZINC CUP", -5, 4), sale(2, "", 1, 5),  # no sale, no word
                sale(3, "RED CUP", 1, 6),
                # a tie: the least text
                *(sale(4, f"{colour} CUP", 1, 7) for colour in ("TIN", "PINK", "GREY", "OAK", "WHITE")), sale(4, "BLUE CUP", 1, 8),  # noqa: E501
                sale(5, "RED CUP", 1, 9),
            )
        },
    )  # fmt: skip
    with Oracle(landing) as oracle:
        assert rows(
            oracle, "gold.dim_products", "description", "valid_from", "valid_to", "first_seen_on", "is_current"
        ) == [
            ("RED CUP", date(1900, 1, 1), date(2011, 1, 3), date(2011, 1, 1), False),
            ("BLUE CUP", date(2011, 1, 4), date(2011, 1, 4), date(2011, 1, 4), False),
            ("RED CUP", date(2011, 1, 5), date(9999, 12, 31), date(2011, 1, 5), True),
        ]


def test_the_last_word_of_the_crm_stands_and_a_deletion_ends_the_customer(tmp_path: Path) -> None:
    """A late change record must not undo a newer one, and a deleted person must not be served."""

    def record(customer: int | str, updated_at: str, **others: Any) -> str:
        return json.dumps(
            {
                "customer_id": customer,
                "name": "Ada",
                "city": "Paris",
                "country": "France",
                "segment": "shop",
                "updated_at": updated_at,
                **others,
            }
        )

    landing = landing_zone(
        tmp_path,
        {
            "customers/customers_2011-01-05.jsonl": "\n".join(
                [
                    record(1, "2011-01-05T10:00:00+02:00", city="Rome"),
                    record("2", "2011-01-05T00:00:00Z"),
                    record(3, "2011-01-05T00:00:00.000001Z"),
                ]
            ),
            "customers/customers_2011-01-06.jsonl": "\n".join(
                [
                    record(1, "2011-01-05T08:00:01Z", city="Oslo"),
                    record(2, "2011-01-06T00:00:00Z", deleted=True),
                    record(3, "2011-01-05T00:00:00Z"),
                ]
            ),
        },
    )
    with Oracle(landing) as oracle:
        assert rows(oracle, "silver.customers", "customer_id", "city", "updated_at", "is_deleted", "row_number") == [
            (1, "Oslo", datetime(2011, 1, 5, 8, 0, 1), False, 1),
            (2, None, datetime(2011, 1, 6), True, 2),
            (3, "Paris", datetime(2011, 1, 5, 0, 0, 0, 1), False, 3),
        ]
        assert rows(oracle, "gold.dim_customers", "customer_id") == [1, 3]


def test_customers_and_their_cohorts(tmp_path: Path) -> None:
    """Retention is read by people who plan with it; its months and its left-out returns must be right."""
    landing = landing_zone(
        tmp_path,
        {
            "orders/orders_2011-03-09.csv": orders(
                "C1,10001,CUP,-1,2010-12-30 10:00:00,9,7,France",  # before the first sale: in no cohort month
                "C2,10001,CUP,-1,2011-01-01 10:00:00,2,7,France",  # in the first month, though before the first sale
                "3,10001,CUP,1,2011-01-31 10:00:00,5,7,France",
                "3,10001,CUP,1,2011-02-01 10:00:00,5,7,France",  # an invoice that spans days counts on each
                "C4,10001,CUP,-1,2011-03-01 10:00:00,1,8,France",
                "5,10001,CUP,1,2011-01-02 10:00:00,4,8,France",
                "6,10001,CUP,-1,2011-01-02 10:00:00,4,9,France",  # an adjustment alone makes a customer, not a cohort
                "7,10001,CUP,1,2011-01-02 10:00:00,4,,France",
            )
        },
    )
    with Oracle(landing) as oracle:
        assert rows(
            oracle,
            "gold.customer_value",
            "customer_id",
            "first_order_date",
            "last_order_date",
            "orders",
            "units",
            "gross_sales",
            "returns",
            "net_sales",
        ) == [
            (7, date(2011, 1, 31), date(2011, 2, 1), 2, 2, 10, -11, -1),
            (8, date(2011, 1, 2), date(2011, 1, 2), 1, 1, 4, -1, 3),
            (9, None, None, 0, 0, 0, 0, 0),
        ]
        assert rows(
            oracle,
            "gold.customer_months",
            "customer_id",
            "month",
            "first_sale_date",
            "orders",
            "net_sales",
            "sale_lines",
            "return_lines",
        ) == [
            (7, date(2010, 12, 1), None, 0, -9, 0, 1),
            (7, date(2011, 1, 1), date(2011, 1, 31), 1, 3, 1, 1),
            (7, date(2011, 2, 1), date(2011, 2, 1), 1, 5, 1, 0),
            (8, date(2011, 1, 1), date(2011, 1, 2), 1, 4, 1, 0),
            (8, date(2011, 3, 1), None, 0, -1, 0, 1),
            (9, date(2011, 1, 1), None, 0, 0, 0, 0),
        ]
        assert rows(
            oracle,
            "gold.cohort_retention",
            "cohort_month",
            "months_since",
            "cohort_size",
            "active_customers",
            "net_sales",
        ) == [
            (date(2011, 1, 1), 0, 2, 2, 7),
            (date(2011, 1, 1), 1, 2, 1, 5),
            (date(2011, 1, 1), 2, 2, 0, -1),
        ]


def test_an_empty_landing_zone_gives_every_table_empty(tmp_path: Path) -> None:
    """The first test of many a suite starts with nothing."""
    with Oracle(tmp_path) as oracle:
        assert [oracle.table(name).num_rows for name in KEYS] == [0] * len(KEYS)


def test_difference_sees_missing_doubled_and_altered_rows_and_no_others(tmp_path: Path) -> None:
    """A comparison that lets a wrong table pass makes every test that uses it worthless."""
    landing = landing_zone(tmp_path, {"orders/orders_2011-01-04.csv": orders(CUP, CUP.replace("1001", "1002"))})
    with Oracle(landing) as oracle:
        right = oracle.table("gold.sales_lines")
        assert oracle.difference("gold.sales_lines", right) is None
        dressed = right.append_column("line_id", pa.array(["a", "b"])).take([1, 0])
        assert oracle.difference("gold.sales_lines", dressed) is None
        wrong = {
            "missing": right.slice(1),
            "doubled": pa.concat_tables([right, right.slice(1)]),
            "altered": right.set_column(right.column_names.index("country"), "country", pa.array(["France", None])),
            "a column short": right.drop_columns(["amount"]),
            "floating": right.set_column(
                right.column_names.index("amount"), "amount", right["amount"].cast(pa.float64())
            ),
        }
        assert [name for name, table in wrong.items() if oracle.difference("gold.sales_lines", table) is None] == []
