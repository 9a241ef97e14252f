"""Real orders: every gold and Snowflake table equals the oracle's, and the published figures come out of the
command.
"""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import World, against_oracle, drops_of

TWO_MONTHS = ("2010-12", "2011-01")


def test_two_real_months_equal_the_oracle_in_every_table(real_landing: Path, make_world: NewWorld) -> None:
    """A user loses real figures that the invented samples do not reach."""
    world = make_world()
    world.take(real_landing, [p for p in drops_of(real_landing) if any(month in p for month in TWO_MONTHS)])
    world.run()
    assert not against_oracle(world)


@pytest.fixture(scope="module")
def year(real_landing: Path, make_world: NewWorld) -> World:
    world = make_world(real_landing)
    world.run()
    return world


@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_the_real_year_equals_the_oracle_in_every_table(year: World) -> None:
    """The same for the whole year."""
    assert not against_oracle(year)


FIGURES = {
    "SELECT COUNT(*) v FROM ANALYTICS.SALES_LINES": "536641",
    "SELECT SUM(GROSS_SALES)::NUMBER(18,3) v FROM ANALYTICS.DAILY_SALES": "10631048.744",
    "SELECT SUM(GROSS_SALES)::NUMBER(18,3) v FROM ANALYTICS.PRODUCT_SALES WHERE IS_PRODUCT": "10246820.870",
    "SELECT SUM(RETURNS)::NUMBER(18,3) v FROM ANALYTICS.DAILY_SALES": "-893979.730",
    "SELECT SUM(RETURNS)::NUMBER(18,3) v FROM ANALYTICS.PRODUCT_SALES WHERE IS_PRODUCT": "-475901.160",
    "SELECT SUM(AMOUNT)::NUMBER(18,3) v FROM ANALYTICS.SALES_LINES": "9726006.954",
    "SELECT SUM(ORDERS) v FROM ANALYTICS.DAILY_SALES": "19959",
    "SELECT COUNT(*) v FROM ANALYTICS.SALES_LINES WHERE LINE_TYPE = 'sale'": "524877",
    "SELECT COUNT(*) v FROM ANALYTICS.SALES_LINES WHERE LINE_TYPE = 'return'": "9251",
    "SELECT SUM(RETURN_INVOICES) v FROM ANALYTICS.DAILY_SALES": "3836",
    "SELECT COUNT(*) v FROM ANALYTICS.CUSTOMER_VALUE WHERE ORDERS > 0": "4338",
    "SELECT COUNT(*) v FROM ANALYTICS.CUSTOMER_VALUE WHERE ORDERS > 1": "2845",
    "SELECT SUM(GROSS_SALES)::NUMBER(18,3) v FROM ANALYTICS.CUSTOMER_VALUE": "8887208.894",
    "SELECT CUSTOMER_ID v FROM ANALYTICS.CUSTOMER_VALUE ORDER BY GROSS_SALES DESC LIMIT 1": "14646",
    "SELECT MAX(GROSS_SALES) v FROM ANALYTICS.CUSTOMER_VALUE": "280206.020",
    "SELECT SUM(GROSS_SALES)::NUMBER(18,3) v FROM ANALYTICS.DAILY_SALES WHERE INVOICE_DATE < '2011-01-01'": (
        "821452.730"
    ),
    "SELECT SUM(RETURNS)::NUMBER(18,3) v FROM ANALYTICS.DAILY_SALES WHERE INVOICE_DATE < '2011-01-01'": "-74729.120",
    "SELECT SUM(ORDERS) v FROM ANALYTICS.DAILY_SALES WHERE INVOICE_DATE < '2011-01-01'": "1559",
    "SELECT COUNT(DISTINCT CUSTOMER_ID) v FROM ANALYTICS.SALES_LINES WHERE LINE_TYPE = 'sale' AND INVOICE_DATE < '2011-01-01'": (  # noqa: E501
        "885"
    ),
    "SELECT ROUND(SUM(GROSS_SALES_EUR::NUMBER(24,6)), 2)::NUMBER(18,2) v FROM ANALYTICS.DAILY_SALES WHERE INVOICE_DATE < '2011-01-01'": (  # noqa: E501
        "972112.77"
    ),
    "SELECT ROUND(SUM(GROSS_SALES_EUR::NUMBER(24,6)), 2)::NUMBER(18,2) v FROM ANALYTICS.DAILY_SALES WHERE INVOICE_DATE BETWEEN '2011-01-01' AND '2011-01-31'": (  # noqa: E501
        "817607.00"
    ),
    "SELECT PRODUCT_CODE v FROM ANALYTICS.PRODUCT_SALES WHERE IS_PRODUCT GROUP BY PRODUCT_CODE ORDER BY SUM(GROSS_SALES) DESC LIMIT 1": (  # noqa: E501
        "22423"
    ),
    "SELECT SUM(UNITS) v FROM ANALYTICS.PRODUCT_SALES WHERE PRODUCT_CODE = '22423'": "13851",
    "SELECT SUM(GROSS_SALES)::NUMBER(18,3) v FROM ANALYTICS.PRODUCT_SALES WHERE PRODUCT_CODE = '22423'": "174156.540",
    "SELECT MAX(COHORT_SIZE) v FROM ANALYTICS.COHORT_RETENTION WHERE COHORT_MONTH = '2010-12-01'": "885",
    "SELECT ACTIVE_CUSTOMERS v FROM ANALYTICS.COHORT_RETENTION WHERE COHORT_MONTH = '2010-12-01' AND MONTHS_SINCE = 1": (  # noqa: E501
        "324"
    ),
    "SELECT ACTIVE_CUSTOMERS v FROM ANALYTICS.COHORT_RETENTION WHERE COHORT_MONTH = '2010-12-01' AND MONTHS_SINCE = 3": (  # noqa: E501
        "340"
    ),
}
"""The figures that a correct pipeline gives on these orders, each with the query that a user would ask."""


@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_the_command_answers_with_the_known_figures_of_the_year(year: World) -> None:
    """A user who checks the product against a published figure finds another one."""
    union = " UNION ALL ".join(f"SELECT {i} AS N, ({query})::VARCHAR AS V" for i, query in enumerate(FIGURES))
    done = year.command("sql", union, "--format", "json")
    assert done.returncode == 0, done.stderr
    answers = {row["n"]: Decimal(row["v"]) for row in json.loads(done.stdout)}
    wrong = {q: (str(answers[i]), v) for i, (q, v) in enumerate(FIGURES.items()) if answers[i] != Decimal(v)}
    assert not wrong
