"""What the layout of a table's files is worth: one file a partition as the loads and `maintenance` leave it, smaller
files, and z-order.

    python benchmarks/layout.py --table HOME/tables/gold/sales_lines [--file-mb 8] [--repeat 5]

Copies a Delta table of `gold.sales_lines` (`engines.py --rows 10000000 --keep DIR` leaves one in `DIR/home-0`), lays
the copy out in each way by delta-rs, and prints a line of JSON for each: files and MB, CPU seconds of laying it out,
and the least CPU seconds of reading one day (what a recomputed day or a compared slice costs), of reading all lines of
one customer, and of publishing a slice that changes one line in a hundred of that day. Exits with 1 where a reading
gives other rows.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from audit import spent
from deltalake import DeltaTable

TABLE = "gold.sales_lines"
LAYOUTS = ("compacted", "small files", "z-order by day", "z-order by customer")
MEGABYTE = 1024 * 1024


def lay_out(table: DeltaTable, layout: str, file_bytes: int) -> None:
    if layout == "compacted":
        table.optimize.compact()
    elif layout == "small files":
        table.optimize.z_order(["line_id"], target_size=file_bytes)  # an order that no reading has a use for
    else:
        table.optimize.z_order(["invoice_date" if layout.endswith("day") else "customer_id"], target_size=file_bytes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--file-mb", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    os.environ.setdefault("RUST_LOG", "error")
    told: list[Any] = []
    for layout in LAYOUTS:
        with tempfile.TemporaryDirectory() as folder:
            said, found = measure(options, layout, Path(folder))
        print(json.dumps({"layout": layout, **said}), flush=True)
        told.append(found)
    if any(found != told[0] for found in told):
        sys.exit(f"The layouts gave different rows: {told}")


def measure(options: argparse.Namespace, layout: str, home: Path) -> tuple[dict[str, Any], Any]:
    """What a layout costs and saves, and what the readings gave."""
    from lakehouse_assets.core.contracts import contract
    from lakehouse_assets.core.delta.commits import Consumed
    from lakehouse_assets.core.delta.slice_rules import OPERATION
    from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource
    from lakehouse_assets.settings import Settings

    path = home / "tables" / TABLE.replace(".", "/")
    shutil.copytree(options.table, path)
    said = {"laid_out_cpu_s": spent(lambda: lay_out(DeltaTable(path), layout, options.file_mb * MEGABYTE))}
    sizes = [Path(uri.removeprefix("file://")).stat().st_size for uri in DeltaTable(path).file_uris()]
    lakehouse = LakehouseResource.of(Settings(home=home)).tables
    model, store, spark = contract(TABLE), lakehouse.store, lakehouse.spark

    def lines(where: str) -> Any:
        return store.frame(spark, TABLE).where(where)

    def came_to(where: str) -> list[Any]:
        return [str(v) for v in lines(where).selectExpr("count(*)", "sum(amount)", "max(line_id)").collect()[0]]

    def most(column: str) -> Any:
        return (
            lines(f"{column} IS NOT NULL").groupBy(column).count().orderBy("count", column, ascending=False).first()[0]
        )

    day = most("invoice_date")
    wheres = {
        "day": f"invoice_date = DATE '{day}' AND invoice_month = DATE '{day.replace(day=1)}'",
        "customer": f"customer_id = {most('customer_id')}",
    }
    found: dict[str, list[str]] = {}
    for name, where in wheres.items():

        def look(name: str = name, where: str = where) -> None:
            found[name] = came_to(where)

        said[f"{name}_cpu_s"] = min(spent(look) for _ in range(options.repeat))
    uri = f"{home}/slice"
    changed = lines(f"{wheres['day']} AND line_id < '03'")
    columns = ("concat(country, '!') AS country" if c == "country" else c for c in model.names)
    changed.selectExpr(*columns, f"'U' AS {OPERATION}").write.parquet(uri)
    version = store.version(TABLE)
    read, months = Consumed(contract=model.fingerprint), [day.replace(day=1)]
    said["publish_cpu_s"] = spent(
        lambda: store.commit(model, uri, base_version=version, consumed=read, partitions=months)
    )
    found["published"] = came_to("country LIKE '%!'")
    return {"files": len(sizes), "mb": sum(sizes) >> 20, **{k: round(v, 2) for k, v in said.items()}}, found


if __name__ == "__main__":
    main()
