"""The hand-off of many rows beside PUT and COPY INTO of the very same files by hand, on the embedded account.

    python benchmarks/handoff.py [--rows 10000000] [--engine embedded|local]

Prints JSON: wall and CPU seconds and peak memory of the client and of the account's server, for the hand-off as a whole
(with its seconds by step) and for PUT + COPY of the files it made; the ratio of both, and of what the hand-off does
after its export; whether both tables hold the same rows. Then one changed day: the bytes sent beside the bytes of the
day. The table is `gold.sales_lines` over 365 days. Each part runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable, write_deltalake
from year import measured

from lakehouse_assets.core.contracts import Contract, contract
from lakehouse_assets.core.delta.rs import DeltaRsStore
from lakehouse_assets.core.handoff import Handoff, TargetNames
from lakehouse_assets.embedded_snowflake import connection_arguments, ensure_running, stop
from lakehouse_assets.orchestration.resources.spark import SparkEngine

DAYS = 365
FIRST = date(2024, 1, 1)
NAMES = TargetNames()


def lines(model: Contract, day: int, rows: int, salt: int) -> pl.DataFrame:
    """Order lines of a day, each with a key of its own. salt: lets the same day come out with other prices."""
    on = FIRST + timedelta(days=day)
    number = pl.int_range(rows, dtype=pl.Int64) + day * rows
    frame = pl.select(number.alias("n")).select(
        line_id=pl.col("n").hash().cast(pl.String) + pl.col("n").cast(pl.String),
        invoice=(pl.col("n") // 20 + 500_000).cast(pl.String),
        line_type=pl.lit("sale"),
        is_product=pl.lit(True),
        product_code=(pl.col("n") % 4_000 + 20_000).cast(pl.String),
        quantity=pl.col("n") % 12 + 1,
        unit_price=((pl.col("n") * 7 + salt) % 9_999 + 1) * pl.lit("0.001").str.to_decimal(scale=3),
        customer_id=pl.col("n") // 20 % 6_000 + 12_000,
        country=pl.concat_str(pl.lit("Country "), (pl.col("n") // 20 % 38).cast(pl.String)),
        invoiced_at=pl.lit(on).cast(pl.Datetime("us")) + pl.duration(minutes=pl.col("n") // 20 % 600 + 480),
        invoice_date=pl.lit(on),
        fx_rate_date=pl.lit(on),
        invoice_month=pl.lit(on.replace(day=1)),
        batch_date=pl.lit(on),
    )
    frame = frame.with_columns(amount=pl.col("unit_price").cast(pl.Decimal(18, 3)) * pl.col("quantity"))
    return frame.with_columns(amount_eur=pl.col("amount").cast(pl.Decimal(24, 6))).select(model.names)


def store(folder: Path) -> DeltaRsStore:
    return DeltaRsStore(str(folder / "tables"), str(folder / "scratch"))


def make(folder: Path, rows: int) -> None:
    """The Delta table, month by month."""
    model = contract("gold.sales_lines")
    store(folder).create(model)
    for month in range(12):
        days = [d for d in range(DAYS) if (FIRST + timedelta(days=d)).month == month + 1]
        data = pl.concat([lines(model, d, rows // DAYS, 0) for d in days]).to_arrow().cast(model.arrow_schema)
        write_deltalake(store(folder).uri(model.name), data, mode="append")


def change(folder: Path, rows: int) -> None:
    """One hundredth of one day gets other prices."""
    model, day = contract("gold.sales_lines"), DAYS // 2
    few = max(1, rows // DAYS // 100)
    old = lines(model, day, rows // DAYS, 0)
    data = pl.concat([lines(model, day, rows // DAYS, 1).head(few), old.slice(few)]).to_arrow().cast(model.arrow_schema)
    write_deltalake(
        store(folder).uri(model.name),
        data,
        mode="overwrite",
        predicate=f"invoice_date = '{FIRST + timedelta(days=day)}'",
    )


def connect(folder: Path) -> Any:
    import snowflake.connector

    return snowflake.connector.connect(**connection_arguments(ensure_running(folder / "home")))


def hand_off(folder: Path, engine: str) -> dict[str, Any]:
    model = contract("gold.sales_lines")
    spark = SparkEngine(engine=engine).session
    with Handoff(lambda: connect(folder), store(folder), NAMES, folder / "staging") as handoff:
        result = handoff.hand_off(spark, model, store(folder).version(model.name))
    return {
        "seconds": dict(result.seconds),
        "rows": result.rows,
        "slices": len(result.slices),
        "files": result.files,
        "bytes": result.bytes_put,
    }


def by_hand(folder: Path) -> dict[str, Any]:
    """PUT and COPY INTO of the files that the hand-off sent, as one would write it."""
    model = contract("gold.sales_lines")
    connection = connect(folder)
    cursor = connection.cursor()
    cursor.execute(f"USE DATABASE {NAMES.database}")
    cursor.execute("CREATE SCHEMA IF NOT EXISTS BY_HAND")
    cursor.execute("USE SCHEMA BY_HAND")
    cursor.execute("CREATE STAGE IF NOT EXISTS FILES")
    columns = ", ".join(f"{c.name.upper()} {c.type.snowflake}" for c in model.columns)
    cursor.execute(f"CREATE OR REPLACE TABLE SALES_LINES ({columns})")
    cursor.execute(f"PUT 'file://{folder}/files/*.parquet' @FILES AUTO_COMPRESS=FALSE")
    cursor.execute(
        "COPY INTO SALES_LINES FROM @FILES FILE_FORMAT = (TYPE = PARQUET) MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE"
    )
    connection.close()
    return {}


def differing(folder: Path) -> int:
    """Rows that one of both tables has and the other has not, as a bag."""
    cursor = connect(folder).cursor()
    ours, theirs = NAMES.table(contract("gold.sales_lines")), f"{NAMES.database}.BY_HAND.SALES_LINES"
    columns = ", ".join(c.upper() for c in contract("gold.sales_lines").names)
    total = 0
    for one, other in ((ours, theirs), (theirs, ours)):
        found = cursor.execute(
            f"SELECT COUNT(*) FROM (SELECT {columns} FROM {one} EXCEPT SELECT {columns} FROM {other})"
        )
        total += int(found.fetchone()[0])  # type: ignore[union-attr,index]
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--engine", default="embedded")
    parser.add_argument(
        "--part", choices=("make", "change", "hand_off", "by_hand"), help="used by itself: one part, in this process"
    )
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.part:
        arguments = {"make": [options.rows], "change": [options.rows], "hand_off": [options.engine], "by_hand": []}[
            options.part
        ]
        print(json.dumps(globals()[options.part](options.folder, *arguments)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        own = [
            sys.executable,
            __file__,
            "--folder",
            temporary,
            "--rows",
            str(options.rows),
            "--engine",
            options.engine,
            "--part",
        ]
        subprocess.run([*own, "make"], check=True, capture_output=True)
        server = ensure_running(folder / "home")
        with Handoff(lambda: connect(folder), store(folder), NAMES, folder / "staging") as handoff:
            handoff.deploy([contract("gold.sales_lines")])
        cost, said = measured([*own, "hand_off"], server.pid)
        found: dict[str, Any] = {"hand-off": {**cost, **json.loads(said)}}
        (folder / "files").mkdir()
        for file in (folder / "home").rglob(f"{contract('gold.sales_lines').table}/*/*.parquet"):
            shutil.copy(file, folder / "files" / file.name)
        # The account starts afresh, so that neither finds memory that the other has filled.
        stop(folder / "home")
        cost, _ = measured([*own, "by_hand"], ensure_running(folder / "home").pid)
        found["PUT + COPY by hand"] = cost
        ours, theirs = found["hand-off"], cost
        after = sum(v for k, v in ours["seconds"].items() if k in ("put", "view", "publish"))
        found["ratio"] = {
            "wall": round(ours["wall_s"] / theirs["wall_s"], 2),
            "cpu": round(ours["cpu_s"] / theirs["cpu_s"], 2),
        }
        found["ratio"]["put, view and publish, wall"] = round(after / theirs["wall_s"], 2)
        found["rows that differ"] = differing(folder)
        subprocess.run([*own, "change"], check=True, capture_output=True)
        cost, said = measured([*own, "hand_off"], ensure_running(folder / "home").pid)
        found["a hundredth of a day changed"] = {**cost, **json.loads(said)}
        whole = DeltaTable(store(folder).uri("gold.sales_lines")).to_pyarrow_dataset().count_rows()
        found["a hundredth of a day changed"]["share of all rows"] = round(
            found["a hundredth of a day changed"]["rows"] / whole, 5
        )
        stop(folder / "home")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
