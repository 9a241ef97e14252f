"""The floor of the benchmarks against the oracle: a floor that computes something else measures nothing.

Belongs here: equality of what the floor leaves behind with what the oracle expects, after a whole load and after one
more day. Does not belong here: how long it takes.
"""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from deltalake import DeltaTable

from lakehouse_assets_tests.oracle.oracle import KEYS, Oracle
from lakehouse_assets_tests.oracle.test_oracle import FIRST_HEADER, LATER_HEADER, landing_zone

TABLES = [name for name in KEYS if "stock" not in name]
"""What the floor computes: it was measured before stock was counted."""
FLOOR = Path(__file__).parents[2] / "benchmarks" / "floor.py"
SERVED = (
    "sales_lines",
    "daily_sales",
    "product_sales",
    "customer_value",
    "cohort_retention",
    "dim_products",
    "dim_customers",
)

DROPS = {
    "orders/orders_2011-01-03.csv": f"""{FIRST_HEADER}
1001,10001,RED CUP,3,2011-01-03 10:00:00,0.335,7.0,France
1001,POST,POSTAGE,1,2011-01-03 10:00:00,1.5,7.0,France
1002,10002,"LAMP, TALL",2,2011-01-03 11:00:00,4.25,,
A1003,B,Adjust bad debt,1,2011-01-03 12:00:00,-50,,Spain
""",
    "orders/orders_2011-02-01.csv": f"""{FIRST_HEADER}
1004,10001,BLUE CUP,1,2011-02-01 10:00:00,2.95,8.0,Spain
1004,10001,BLUE CUP,1,2011-02-01 10:00:00,2.95,8.0,Spain
C1005,10001,RED CUP,-1,2011-02-01 12:00:00,0.335,7.0,France
""",
    # One more day brings a new line, one that is there already, two late ones, and a sale before a rate was known.
    "orders/late/orders_2011-02-02.csv": f"""{LATER_HEADER}
1006,10002,LAMP,1,2011-02-02 09:00:00,4,9,Italy
1004,10001,BLUE CUP,1,2011-02-01 10:00:00,2.95,8,Spain
1007,10001,TIN CUP,5,2011-01-04 09:00:00,1,8,Spain
1008,10001,GREEN CUP,2,2010-12-30 09:00:00,1,7,France
""",
    "fx/eurofxref_2011-01-04.csv": "Date,USD,GBP,MTL,\n2011-01-04,1.3,0.8393,N/A,\n",
    "fx/eurofxref_2011-02-02.csv": "Date,USD,GBP,MTL,\n2011-01-03,1.3,0.85,N/A,\n2011-01-31,1.3,0.8612,N/A,\n",
    "customers/customers_2011-02-01.jsonl": "\n".join(
        json.dumps(
            {
                "customer_id": n,
                "name": "Ada",
                "city": "Rome",
                "country": "Italy",
                "segment": "shop",
                "updated_at": "2011-02-01T09:00:00+02:00",
            }
        )
        for n in (7, 8, 9)
    ),
    "customers/customers_2011-02-02.jsonl": "\n".join(
        (
            json.dumps({"customer_id": 7, "updated_at": "2011-02-01T08:00:00Z", "deleted": True}),
            json.dumps({"customer_id": 8, "name": "Old", "updated_at": "2011-02-01T06:00:00Z"}),
        )
    ),
}


def run_floor(*arguments: str | Path) -> dict:
    done = subprocess.run([sys.executable, FLOOR, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return landing_zone(tmp_path_factory.mktemp("landing"), DROPS)


@pytest.mark.parametrize("one_more_day", [False, True], ids=["whole", "one more day"])
def test_the_floor_holds_what_the_oracle_expects(landing: Path, tmp_path: Path, one_more_day: bool) -> None:
    """The benchmark would compare the application with a script that does less, or something wrong."""
    first = run_floor(
        "--landing",
        landing,
        "--out",
        tmp_path,
        "--start",
        "2011-01-01",
        "--end",
        "2011-02-01" if one_more_day else "2011-02-02",
    )
    if one_more_day:
        day = run_floor("--landing", landing, "--out", tmp_path, "--one-more-day", "2011-02-02")
        assert first["landed_rows"] + day["landed_rows"] == 11 + 6 + 5
    with Oracle(landing) as oracle, duckdb.connect(tmp_path / "warehouse.duckdb", read_only=True) as warehouse:
        found = {name: DeltaTable(tmp_path / name.replace(".", "/")).to_pyarrow_table() for name in TABLES}
        assert [oracle.difference(name, table) for name, table in found.items()] == [None] * len(TABLES)
        assert [oracle.difference(f"gold.{name}", warehouse.table(name).to_arrow_table()) for name in SERVED] == [
            None
        ] * len(SERVED)
