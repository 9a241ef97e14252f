"""What every silver and gold table must hold, computed a second time, straight from the drops.

Belongs here: reading drops with the standard library, and running `oracle.sql` on them in DuckDB.
Does not belong here: anything of `lakehouse_assets` (an oracle that shares code with what it judges
shares its mistakes), and the rules of quarantine: rows to leave out are named by the caller.
"""

import csv
import gzip
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Set
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa

LINE = ("invoice", "stock_code", "description", "quantity", "invoiced_at", "unit_price", "customer_id", "country")

KEYS: dict[str, tuple[str, ...]] = {
    "silver.order_lines": LINE,
    "silver.customers": ("customer_id",),
    "silver.products": ("product_code", "valid_from"),
    "silver.fx_rates": ("rate_date", "currency"),
    "gold.sales_lines": ("invoice", "invoiced_at", "product_code", "quantity", "unit_price", "customer_id", "country"),
    "gold.daily_sales": ("invoice_date", "country"),
    "gold.product_sales": ("invoice_date", "product_code"),
    "gold.customer_months": ("customer_id", "month"),
    "gold.customer_value": ("customer_id",),
    "gold.cohort_retention": ("cohort_month", "months_since"),
    "gold.dim_products": ("product_code", "valid_from"),
    "gold.dim_customers": ("customer_id",),
    "silver.stock_levels": ("product_code", "counted_on"),
    "gold.stock_days": ("product_code",),
}
"""The tables by name, each with the columns it is sorted by. Lines have no key but themselves (`line_id` is
not computed here), and `gold.sales_lines` can hold equal rows: compare it as a bag."""

HEADERS = {
    "InvoiceNo": "invoice",
    "Invoice": "invoice",
    "StockCode": "stock_code",
    "Description": "description",
    "Quantity": "quantity",
    "InvoiceDate": "invoiced_at",
    "UnitPrice": "unit_price",
    "Price": "unit_price",
    "CustomerID": "customer_id",
    "Customer ID": "customer_id",
    "Country": "country",
}
CUSTOMER = ("customer_id", "name", "city", "country", "segment", "updated_at", "deleted")
FX = ("rate_date", "currency", "rate")
STOCK = ("product_code", "on_hand", "counted_on")
SOURCES = {"orders": LINE, "customers": CUSTOMER, "fx": FX, "stock_levels": STOCK}
PROVENANCE = ("batch_date", "path", "content_hash", "row_number")

Row = dict[str, str | None]


class Oracle:
    """The expected tables of one landing zone, held in memory by DuckDB.

    landing: folder with one folder a source, each read at any depth; hidden files are passed over.
    exclude: quarantined rows as (path below the landing zone, row number from 1).
    live: which content stands for a path, where it is not the file at that path: a file elsewhere (a correction),
        or None (withdrawn). Paths that do not exist below `landing` are added.

    A value that cannot be typed and is not excluded raises ValueError: the oracle guesses nothing.
    """

    def __init__(
        self,
        landing: Path,
        *,
        exclude: Set[tuple[str, int]] = frozenset(),
        live: Mapping[str, Path | None] | None = None,
    ) -> None:
        drops: dict[str, Path | None] = {
            file.relative_to(landing).as_posix(): file
            for source in SOURCES
            for file in sorted((landing / source).rglob("*"))
            if file.is_file() and not file.name.startswith(".")
        }
        drops.update(live or {})
        self.sql = duckdb.connect(config={"threads": 2})
        for source, columns in SOURCES.items():
            rows = _Columns(columns)
            for path, file in sorted(drops.items()):
                if file is not None and path.split("/", 1)[0] == source:
                    rows.add_drop(path, file.read_bytes(), exclude)
            self.sql.register("landed", rows.to_arrow())
            self.sql.execute(f"CREATE TABLE raw_{source} AS FROM landed")
            self.sql.unregister("landed")
        self.sql.execute("CREATE SCHEMA silver; CREATE SCHEMA gold")
        try:
            self.sql.execute(Path(__file__).with_name("oracle.sql").read_text(encoding="utf-8"))
        except duckdb.Error as problem:
            raise ValueError(f"the drops hold a value that is not excluded and cannot be typed: {problem}") from problem

    def table(self, name: str) -> pa.Table:
        """The expected rows of one table of `KEYS`, sorted by its key, nulls first; KeyError for another name."""
        order = ", ".join(f"{column} NULLS FIRST" for column in KEYS[name])
        return self.sql.sql(f"FROM {name} ORDER BY {order}").to_arrow_table()

    def difference(self, name: str, actual: pa.Table, limit: int = 5) -> str | None:
        """None where `actual` holds exactly the expected rows (as a bag, by value), else what differs, for people.

        Columns that the oracle does not know (`line_id`) are passed over; a missing column is a difference. Decimals
        compare by value whatever their scale, moments in UTC; a float where a decimal is due is a difference.
        """
        expected = self.table(name)
        missing = [column for column in expected.column_names if column not in actual.column_names]
        if missing:
            return f"{name}: columns missing: {missing}"
        actual = actual.select(expected.column_names)
        floats = [field.name for field in actual.schema if pa.types.is_floating(field.type)]
        if floats:
            return f"{name}: columns of floating point: {floats}"
        actual = actual.cast(pa.schema([_without_zone(field) for field in actual.schema]))
        sides = {"expected": expected, "actual": actual}
        found = [f"{name}: expected {expected.num_rows} rows, found {actual.num_rows}"]
        for here, there in (("expected", "actual"), ("actual", "expected")):
            self.sql.register("here", sides[here])
            self.sql.register("there", sides[there])
            only = self.sql.sql("FROM here EXCEPT ALL FROM there ORDER BY ALL").to_arrow_table()
            self.sql.unregister("here")
            self.sql.unregister("there")
            if only.num_rows:
                found += [f"{only.num_rows} only in {here}, among them:", *map(str, only.slice(0, limit).to_pylist())]
        return "\n".join(found) if len(found) > 1 or expected.num_rows != actual.num_rows else None

    def close(self) -> None:
        """Free the memory; the oracle cannot be asked afterwards."""
        self.sql.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Columns:
    """Landed rows of one source, collected column by column: strings as landed, and where they came from."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.values: dict[str, list[Any]] = {name: [] for name in (*names, *PROVENANCE)}

    def add_drop(self, path: str, content: bytes, exclude: Set[tuple[str, int]]) -> None:
        dated = re.search(r"\d{4}-\d{2}-\d{2}", path.rsplit("/", 1)[-1])
        if dated is None:
            raise ValueError(f"{path} carries no date in its name, and the oracle knows no day of first sight")
        provenance = (date.fromisoformat(dated.group()), path, hashlib.sha256(content).hexdigest())
        plain = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        lines = io.StringIO(plain.decode("utf-8-sig"), newline="")
        read = {"orders": _orders, "customers": _customers, "fx": _fx, "stock_levels": _stock}[path.split("/", 1)[0]]
        for number, row in read(lines, {number for excluded, number in exclude if excluded == path}):
            for name in self.names:
                self.values[name].append(row.get(name) or None)
            for name, value in zip(PROVENANCE, (*provenance, number), strict=True):
                self.values[name].append(value)

    def to_arrow(self) -> pa.Table:
        types = {"batch_date": pa.date32(), "row_number": pa.int64()}
        return pa.table({name: pa.array(values, types.get(name, pa.string())) for name, values in self.values.items()})


def _without_zone(field: pa.Field) -> pa.Field:
    return field.with_type(pa.timestamp("us")) if pa.types.is_timestamp(field.type) else field


def _orders(lines: io.StringIO, excluded: set[int]) -> Iterator[tuple[int, Row]]:
    rows = (row for row in csv.reader(lines) if row)
    header = [HEADERS.get(name.strip(), name) for name in next(rows, [])]
    for number, row in enumerate(rows, 1):
        if number not in excluded:
            yield number, dict(zip(header, row, strict=True))


def _customers(lines: io.StringIO, excluded: set[int]) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate((line for line in lines if line.strip()), 1):
        if number not in excluded:
            row = {name: None if value is None else str(value) for name, value in json.loads(line).items()}
            written = datetime.fromisoformat(row["updated_at"] or "")
            moment = written.replace(tzinfo=UTC) if written.tzinfo is None else written.astimezone(UTC)
            yield number, {**row, "updated_at": moment.replace(tzinfo=None).isoformat()}


def _stock(lines: io.StringIO, excluded: set[int]) -> Iterator[tuple[int, Row]]:
    for number, row in enumerate(csv.DictReader(lines), 1):
        if number not in excluded:
            yield number, dict(zip(STOCK, (row["ProductCode"], row["OnHand"], row["CountedOn"]), strict=True))


def _fx(lines: io.StringIO, excluded: set[int]) -> Iterator[tuple[int, Row]]:
    rows = (row for row in csv.reader(lines) if row)
    header = [name.strip() for name in next(rows, [])]
    for number, row in enumerate(rows, 1):
        if number not in excluded:
            for currency, rate in list(zip(header, row, strict=True))[1:]:
                if currency and rate.strip() not in ("", "N/A"):
                    yield number, {"rate_date": row[0].strip(), "currency": currency, "rate": rate.strip()}
