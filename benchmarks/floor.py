"""The floor of the benchmarks: the pipeline's work done by hand, with DuckDB and deltalake and nothing around them.

Belongs here: the shortest honest way from the drops to the same bronze, silver and gold Delta tables, the Parquet
hand-off and the served tables, once for a range of days and once for a single further day. Does not belong here:
whatever makes a pipeline safe to operate (audit, quarantine, corrections, crash safety, reconciliation) and anything of
`lakehouse_assets`: the distance to this floor is the price of those.

    python benchmarks/floor.py --landing DIR --start 2010-12-01 --end 2011-12-08 --out DIR python benchmarks/floor.py
    --landing DIR --one-more-day 2011-12-09 --out DIR

Prints one JSON object: seconds of wall and CPU, peak memory in MB, both by phase, and totals read back from the
warehouse.
"""

import argparse
import gzip
import hashlib
import json
import re
import resource
import time
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

STARTED = time.perf_counter()

import duckdb  # noqa: E402  (the import is part of what is measured)
import pyarrow as pa  # noqa: E402
import pyarrow.csv as pacsv  # noqa: E402
from deltalake import DeltaTable, write_deltalake  # noqa: E402

HEADERS = {
    "InvoiceNo": "invoice", "Invoice": "invoice", "StockCode": "stock_code", "Description": "description", "Quantity": "quantity",  # noqa: E501
    "InvoiceDate": "invoiced_at", "UnitPrice": "unit_price", "Price": "unit_price", "CustomerID": "customer_id", "Customer ID": "customer_id",  # noqa: E501
    "Country": "country",
}  # fmt: skip
LINE = ["invoice", "stock_code", "description", "quantity", "invoiced_at", "unit_price", "customer_id", "country"]
CUSTOMER = ["customer_id", "name", "city", "country", "segment", "updated_at", "deleted"]
FX = ["rate_date", "currency", "rate"]
PROVENANCE = {"batch_date": pa.date32(), "path": pa.string(), "content_hash": pa.string(), "row_number": pa.int64()}
BRONZE = {"orders": LINE, "customers": CUSTOMER, "fx": FX}
SERVED = [
    "sales_lines",
    "daily_sales",
    "product_sales",
    "customer_value",
    "cohort_retention",
    "dim_products",
    "dim_customers",
]

# Each statement is a table computed from the ones named in it, so that a whole load and a single day run the same SQL
# over more or fewer rows.

TYPED_LINES = """
    WITH typed AS (
        SELECT
            nullif(invoice, '') AS invoice, nullif(stock_code, '') AS stock_code, nullif(description, '') AS description,
            CAST(nullif(quantity, '') AS BIGINT) AS quantity, CAST(nullif(invoiced_at, '') AS TIMESTAMP) AS invoiced_at,
            CAST(nullif(unit_price, '') AS DECIMAL(12, 3)) AS unit_price,
            CAST(regexp_replace(nullif(customer_id, ''), '[.]0*$', '') AS BIGINT) AS customer_id, nullif(country, '') AS country,
            batch_date, path, content_hash, row_number
        FROM bronze_orders
    ), once AS (
        SELECT * EXCLUDE (batch_date, path, content_hash, row_number),
            min({'batch_date': batch_date, 'path': path, 'content_hash': content_hash, 'row_number': row_number}) AS first_support
        FROM typed GROUP BY ALL
    )
    SELECT
        md5(concat_ws('|', coalesce(length(invoice) || ':' || invoice, ''), coalesce(length(stock_code) || ':' || stock_code, ''),
            coalesce(length(description) || ':' || description, ''), coalesce(length(country) || ':' || country, ''),
            coalesce(CAST(quantity AS VARCHAR), ''), coalesce(CAST(invoiced_at AS VARCHAR), ''), coalesce(CAST(unit_price AS VARCHAR), ''),
            coalesce(CAST(customer_id AS VARCHAR), ''))) AS line_id,
        * EXCLUDE (first_support),
        CAST(invoiced_at AS DATE) AS invoice_date,
        CASE WHEN starts_with(invoice, 'C') THEN 'return' WHEN starts_with(invoice, 'A') THEN 'bad_debt'
            WHEN quantity > 0 AND unit_price > 0 THEN 'sale' ELSE 'adjustment' END AS line_type,
        regexp_full_match(trim(stock_code, ' '), '[0-9]{5}[A-Za-z]{0,3}') AS is_product,
        upper(trim(stock_code, ' ')) AS product_code,
        CAST(quantity * unit_price AS DECIMAL(18, 3)) AS amount,
        first_support.batch_date AS batch_date, first_support.path AS path,
        first_support.content_hash AS content_hash, first_support.row_number AS row_number,
        strftime(invoiced_at, '%Y-%m') AS invoice_month
    FROM once"""  # noqa: E501

FX_RATES = """
    SELECT CAST(rate_date AS DATE) AS rate_date, currency, CAST(rate AS DECIMAL(18, 6)) AS rate, batch_date, path, content_hash, row_number
    FROM bronze_fx
    QUALIFY row_number() OVER (PARTITION BY rate_date, currency ORDER BY batch_date DESC, path DESC, content_hash DESC, row_number DESC) = 1"""  # noqa: E501

CUSTOMERS = """
    WITH latest AS (
        SELECT * REPLACE (CAST(customer_id AS BIGINT) AS customer_id, CAST(updated_at AS TIMESTAMP) AS updated_at),
            coalesce(CAST(deleted AS BOOLEAN), false) AS is_deleted
        FROM bronze_customers
        QUALIFY row_number() OVER (
            PARTITION BY customer_id ORDER BY updated_at DESC, batch_date DESC, path DESC, content_hash DESC, row_number DESC) = 1
    )
    SELECT customer_id, if(is_deleted, NULL, name) AS name, if(is_deleted, NULL, city) AS city, if(is_deleted, NULL, country) AS country,
        if(is_deleted, NULL, segment) AS segment, updated_at, is_deleted, batch_date, path, content_hash, row_number
    FROM latest"""  # noqa: E501

PRODUCTS = """
    WITH votes AS (
        SELECT product_code, invoice_date, trim(description, ' ') AS description, count(*) AS votes
        FROM order_lines WHERE line_type = 'sale' AND trim(description, ' ') <> '' GROUP BY ALL
    ), words AS (
        FROM votes QUALIFY row_number() OVER (PARTITION BY product_code, invoice_date ORDER BY votes DESC, description) = 1
    ), starts AS (
        FROM words QUALIFY description IS DISTINCT FROM lag(description) OVER (PARTITION BY product_code ORDER BY invoice_date)
    )
    SELECT product_code, description,
        if(lag(invoice_date) OVER version IS NULL, DATE '1900-01-01', invoice_date) AS valid_from,
        coalesce(lead(invoice_date) OVER version - 1, DATE '9999-12-31') AS valid_to,
        invoice_date AS first_seen_on, lead(invoice_date) OVER version IS NULL AS is_current
    FROM starts WINDOW version AS (PARTITION BY product_code ORDER BY invoice_date)"""  # noqa: E501

SALES_LINES = """
    WITH rates AS (SELECT rate_date, CAST(rate * 1000000 AS HUGEINT) AS millionths FROM fx_rates WHERE currency = 'GBP'),
    priced AS (
        SELECT l.*, r.rate_date AS fx_rate_date, r.millionths, CAST(amount * 1000 AS HUGEINT) AS thousandths
        FROM order_lines AS l ASOF LEFT JOIN rates AS r ON l.invoice_date >= r.rate_date
    )
    SELECT line_id, invoice, line_type, is_product, product_code, quantity, unit_price, amount,
        CAST(CAST(sign(thousandths) * ((2000000000 * abs(thousandths) + millionths) // (2 * millionths)) AS DECIMAL(24, 0))
            * CAST('0.000001' AS DECIMAL(6, 6)) AS DECIMAL(24, 6)) AS amount_eur,
        fx_rate_date, customer_id, country, invoiced_at, invoice_date, batch_date, invoice_month
    FROM priced"""  # noqa: E501

DAILY_SALES = """
    WITH sums AS (
        SELECT invoice_date, country,
            coalesce(sum(amount) FILTER (line_type = 'sale'), 0) AS gross_sales,
            coalesce(sum(amount) FILTER (line_type = 'return'), 0) AS returns,
            if(bool_or(line_type = 'sale' AND amount_eur IS NULL), NULL, coalesce(sum(amount_eur) FILTER (line_type = 'sale'), 0)) AS gross_sales_eur,
            if(bool_or(line_type = 'return' AND amount_eur IS NULL), NULL, coalesce(sum(amount_eur) FILTER (line_type = 'return'), 0)) AS returns_eur,
            count(DISTINCT invoice) FILTER (line_type = 'sale') AS orders,
            count(DISTINCT invoice) FILTER (line_type = 'return') AS return_invoices,
            CAST(coalesce(sum(quantity) FILTER (line_type = 'sale'), 0) AS BIGINT) AS units,
            count(DISTINCT customer_id) FILTER (line_type = 'sale') AS customers
        FROM sales_lines GROUP BY invoice_date, country
    )
    SELECT invoice_date, country,
        CAST(gross_sales AS DECIMAL(18, 3)) AS gross_sales, CAST(returns AS DECIMAL(18, 3)) AS returns,
        CAST(gross_sales + returns AS DECIMAL(18, 3)) AS net_sales,
        CAST(gross_sales_eur AS DECIMAL(24, 6)) AS gross_sales_eur, CAST(returns_eur AS DECIMAL(24, 6)) AS returns_eur,
        CAST(gross_sales_eur + returns_eur AS DECIMAL(24, 6)) AS net_sales_eur,
        orders, return_invoices, units, customers,
        if(orders > 0, CAST(CAST((2 * CAST(gross_sales * 1000 AS HUGEINT) + orders) // (2 * orders) AS DECIMAL(18, 0))
            * CAST('0.001' AS DECIMAL(3, 3)) AS DECIMAL(18, 3)), NULL) AS average_order_value
    FROM sums"""  # noqa: E501

PRODUCT_SALES = """
    SELECT invoice_date, product_code, is_product,
        CAST(coalesce(sum(quantity) FILTER (line_type = 'sale'), 0) AS BIGINT) AS units,
        CAST(coalesce(sum(amount) FILTER (line_type = 'sale'), 0) AS DECIMAL(18, 3)) AS gross_sales,
        CAST(coalesce(sum(amount) FILTER (line_type = 'return'), 0) AS DECIMAL(18, 3)) AS returns
    FROM sales_lines GROUP BY ALL"""

CUSTOMER_MONTHS = """
    SELECT customer_id, CAST(date_trunc('month', invoice_date) AS DATE) AS month,
        min(invoice_date) FILTER (line_type = 'sale') AS first_sale_date, max(invoice_date) FILTER (line_type = 'sale') AS last_sale_date,
        count(DISTINCT (invoice, invoice_date)) FILTER (line_type = 'sale') AS orders,
        CAST(coalesce(sum(quantity) FILTER (line_type = 'sale'), 0) AS BIGINT) AS units,
        CAST(coalesce(sum(amount) FILTER (line_type = 'sale'), 0) AS DECIMAL(18, 3)) AS gross_sales,
        CAST(coalesce(sum(amount) FILTER (line_type = 'return'), 0) AS DECIMAL(18, 3)) AS returns,
        CAST(coalesce(sum(amount) FILTER (line_type IN ('sale', 'return')), 0) AS DECIMAL(18, 3)) AS net_sales,
        count(*) FILTER (line_type = 'sale') AS sale_lines, count(*) FILTER (line_type = 'return') AS return_lines
    FROM sales_lines WHERE customer_id IS NOT NULL GROUP BY ALL"""  # noqa: E501

CUSTOMER_VALUE = """
    SELECT customer_id, min(first_sale_date) AS first_order_date, max(last_sale_date) AS last_order_date,
        CAST(sum(orders) AS BIGINT) AS orders, CAST(sum(units) AS BIGINT) AS units, CAST(sum(gross_sales) AS DECIMAL(18, 3)) AS gross_sales,
        CAST(sum(returns) AS DECIMAL(18, 3)) AS returns, CAST(sum(net_sales) AS DECIMAL(18, 3)) AS net_sales
    FROM customer_months GROUP BY customer_id"""  # noqa: E501

COHORT_RETENTION = """
    WITH members AS (
        SELECT customer_id, CAST(date_trunc('month', min(first_sale_date)) AS DATE) AS cohort_month
        FROM customer_months GROUP BY customer_id HAVING min(first_sale_date) IS NOT NULL
    ), sizes AS (SELECT cohort_month, count(*) AS cohort_size FROM members GROUP BY ALL)
    SELECT cohort_month, CAST(12 * (year(month) - year(cohort_month)) + month(month) - month(cohort_month) AS INTEGER) AS months_since,
        any_value(cohort_size) AS cohort_size, count(*) FILTER (sale_lines > 0) AS active_customers,
        CAST(sum(net_sales) AS DECIMAL(18, 3)) AS net_sales
    FROM customer_months JOIN members USING (customer_id) JOIN sizes USING (cohort_month)
    WHERE month >= cohort_month AND sale_lines + return_lines > 0 GROUP BY ALL"""  # noqa: E501

DIM_CUSTOMERS = "SELECT customer_id, name, city, country, segment, updated_at FROM customers WHERE NOT is_deleted"

phases: dict[str, dict[str, float]] = {}


def cpu_seconds() -> float:
    """User and system time of this process and its children, since it started."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


@contextmanager
def phase(name: str):
    """Record what the enclosed work costs under `name`."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    yield
    phases[name] = {"wall_s": round(time.perf_counter() - wall, 3), "cpu_s": round(cpu_seconds() - cpu, 3)}


# Drops to bronze --------------------------------------------------------------------------------------------------


def read_drop(source: str, content: bytes) -> pa.Table:
    """The rows of one drop as strings, with their row numbers."""
    plain = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    if source == "customers":
        records = [json.loads(line) for line in plain.decode().splitlines() if line.strip()]
        table = pa.table(
            {
                name: pa.array([None if r.get(name) is None else str(r[name]) for r in records], pa.string())
                for name in CUSTOMER
            }
        )
        return table.append_column("row_number", pa.array(range(1, len(records) + 1), pa.int64()))
    header = plain.split(b"\n", 1)[0].decode("utf-8-sig").rstrip("\r").split(",")
    convert = pacsv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()))
    table = pacsv.read_csv(pa.py_buffer(plain), convert_options=convert)
    if source == "orders":
        table = table.rename_columns([HEADERS[name] for name in table.column_names]).select(LINE)
        return table.append_column("row_number", pa.array(range(1, table.num_rows + 1), pa.int64()))
    rates = [
        (row["Date"], currency, rate, number)
        for number, row in enumerate(table.to_pylist(), 1)
        for currency, rate in row.items()
        if currency not in ("Date", "") and rate not in ("N/A", "")
    ]
    return pa.table(
        dict(zip([*FX, "row_number"], map(list, zip(*rates, strict=True)) if rates else ([], [], [], []), strict=True))
    )


def load_bronze(con: duckdb.DuckDBPyConnection, landing: Path, out: Path, start: date, end: date) -> int:
    """Append the drops of the batch dates from start to end to bronze, and show them to DuckDB; returns the landed
    rows.
    """
    landed = 0
    journal = []
    for source, columns in BRONZE.items():
        schema = pa.schema([(name, pa.string()) for name in columns] + list(PROVENANCE.items()))
        tables = [schema.empty_table()]
        for file in sorted((landing / source).rglob("*")):
            dated = re.search(r"\d{4}-\d{2}-\d{2}", file.name)
            if dated is None or not file.is_file() or not start <= date.fromisoformat(dated.group()) <= end:
                continue
            content = file.read_bytes()
            path, content_hash, batch_date = (
                file.relative_to(landing).as_posix(),
                hashlib.sha256(content).hexdigest(),
                date.fromisoformat(dated.group()),
            )
            rows = read_drop(source, content)
            for name, value in (("batch_date", batch_date), ("path", path), ("content_hash", content_hash)):
                rows = rows.append_column(name, pa.repeat(pa.scalar(value, PROVENANCE[name]), rows.num_rows))
            tables.append(rows.select(schema.names).cast(schema))
            journal.append({"path": path, "content_hash": content_hash, "batch_date": batch_date})
            landed += rows.num_rows
        rows = pa.concat_tables(tables)
        write_deltalake(out / "bronze" / source, rows, mode="append")
        if source == "customers":  # DuckDB without its ICU extension reads no offsets
            moments = [None if m is None else in_utc(m) for m in rows["updated_at"].to_pylist()]
            rows = rows.set_column(
                rows.column_names.index("updated_at"), "updated_at", pa.array(moments, pa.timestamp("us"))
            )
        con.register(f"bronze_{source}", rows)
    landings = pa.schema([("path", pa.string()), ("content_hash", pa.string()), ("batch_date", pa.date32())])
    write_deltalake(out / "bronze" / "landings", pa.Table.from_pylist(journal, landings), mode="append")
    return landed


def in_utc(written: str) -> datetime:
    """A moment as written by the CRM, in UTC without zone."""
    moment = datetime.fromisoformat(written)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).replace(tzinfo=None)


# Everything at once -----------------------------------------------------------------------------------------------


def create(
    con: duckdb.DuckDBPyConnection, out: Path, layer: str, name: str, query: str, partition_by: str | None = None
) -> None:
    """Compute a table in DuckDB and write it as a new Delta table."""
    con.execute(f"CREATE TABLE {name} AS {query}")
    write_deltalake(out / layer / name, con.table(name).to_arrow_reader(), partition_by=partition_by)


def load_all(con: duckdb.DuckDBPyConnection, landing: Path, out: Path, start: date, end: date) -> int:
    """All drops of a range into a fresh lakehouse and a fresh warehouse; returns the landed rows."""
    if (out / "warehouse.duckdb").exists():
        raise SystemExit(f"{out} holds an earlier load: name an empty folder")
    with phase("bronze"):
        landed = load_bronze(con, landing, out, start, end)
    with phase("silver"):
        create(con, out, "silver", "order_lines", TYPED_LINES, "invoice_month")
        create(con, out, "silver", "fx_rates", FX_RATES)
        create(con, out, "silver", "customers", CUSTOMERS)
        create(con, out, "silver", "products", PRODUCTS)
    with phase("gold"):
        create(con, out, "gold", "sales_lines", SALES_LINES, "invoice_month")
        create(con, out, "gold", "daily_sales", DAILY_SALES)
        create(con, out, "gold", "product_sales", PRODUCT_SALES)
        create(con, out, "gold", "customer_months", CUSTOMER_MONTHS)
        create(con, out, "gold", "customer_value", CUSTOMER_VALUE)
        create(con, out, "gold", "cohort_retention", COHORT_RETENTION)
        create(con, out, "gold", "dim_products", "FROM products")
        create(con, out, "gold", "dim_customers", DIM_CUSTOMERS)
    exported = {}
    with phase("export"):
        for name in SERVED:
            exported[name] = out / "export" / f"{name}.parquet"
            exported[name].parent.mkdir(parents=True, exist_ok=True)
            hidden = "EXCLUDE (invoice_month)" if name == "sales_lines" else ""
            con.execute(f"COPY (SELECT * {hidden} FROM {name}) TO '{exported[name]}' (FORMAT parquet)")
    with phase("serve"), duckdb.connect(out / "warehouse.duckdb") as warehouse:
        for name, file in exported.items():
            warehouse.execute(f"CREATE TABLE {name} AS FROM read_parquet('{file}')")
    return landed


# A single further day ---------------------------------------------------------------------------------------------


def show(con: duckdb.DuckDBPyConnection, name: str, table: Path, where: str | None = None) -> None:
    """Let DuckDB read the rows of a Delta table's last version that `where` names, all by default, as the view
    `name`.
    """
    delta = DeltaTable(table)
    files = delta.file_uris(file_pruning_predicate=where)
    if files:
        rows = f"read_parquet({files!r}, hive_partitioning = true, hive_types_autocast = false)"
    else:
        rows = f"{name}_empty"
        con.register(rows, delta.to_pyarrow_table().slice(0, 0))
    con.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT * FROM {rows} WHERE {where or 'true'}")


def merge(con: duckdb.DuckDBPyConnection, table: Path, changes: str, on: str) -> None:
    """Update and insert the rows of a DuckDB table, in one commit, or in none where there is no row."""
    rows = con.table(changes).to_arrow_table()
    if rows.num_rows:
        merger = DeltaTable(table).merge(rows, on, source_alias="s", target_alias="t")
        merger.when_matched_update_all().when_not_matched_insert_all().execute()


def replace(con: duckdb.DuckDBPyConnection, table: Path, query: str, where: str | None = None) -> None:
    """Put the rows of a query in the place of those that `where` names, or of all."""
    write_deltalake(table, con.sql(query).to_arrow_table(), mode="overwrite", predicate=where)


def dates(values: list[date]) -> str:
    """Dates as a list that both DuckDB and delta-rs read."""
    return ", ".join(f"DATE '{value}'" for value in values)


def texts(values: list[str]) -> str:
    """Texts as a list in SQL, which is never empty."""
    return ", ".join(f"'{value}'" for value in values or [""])


def column(con: duckdb.DuckDBPyConnection, query: str) -> list:
    """The values of a query's only column."""
    return [value for (value,) in con.sql(query).fetchall()]


def load_one_more_day(con: duckdb.DuckDBPyConnection, landing: Path, out: Path, day: date) -> int:
    """The drops of one further batch date into an existing lakehouse and warehouse; returns the landed rows."""
    silver, gold = out / "silver", out / "gold"
    first = (
        "(s.batch_date, s.path, s.content_hash, s.row_number) < (o.batch_date, o.path, o.content_hash, o.row_number)"
    )
    last = "(s.batch_date, s.path, s.content_hash, s.row_number) > (o.batch_date, o.path, o.content_hash, o.row_number)"
    with phase("bronze"):
        landed = load_bronze(con, landing, out, day, day)
    with phase("silver"):
        con.execute(f"CREATE TABLE staged AS {TYPED_LINES}")
        # Equal lines carry equal times, so every older copy of a line lies in the months of the new ones.
        months = column(con, "SELECT DISTINCT invoice_month FROM staged ORDER BY ALL")
        in_months = f"invoice_month IN ({texts(months)})"
        show(con, "old", silver / "order_lines", in_months)
        con.execute(
            "CREATE TABLE new_lines AS SELECT s.* FROM staged AS s LEFT JOIN old AS o USING (line_id) WHERE o.line_id"
            f" IS NULL OR {first}"
        )
        merge(
            con,
            silver / "order_lines",
            "new_lines",
            f"t.line_id = s.line_id AND t.invoice_month = s.invoice_month AND t.{in_months}",
        )

        show(con, "old", silver / "fx_rates")
        con.execute(
            f"CREATE TABLE new_rates AS SELECT s.* FROM ({FX_RATES}) AS s LEFT JOIN old AS o USING (rate_date,"
            f" currency) WHERE o.rate IS NULL OR {last}"
        )
        merge(con, silver / "fx_rates", "new_rates", "t.rate_date = s.rate_date AND t.currency = s.currency")

        show(con, "old", silver / "customers")
        newer = f"s.updated_at > o.updated_at OR (s.updated_at = o.updated_at AND {last})"
        con.execute(
            f"CREATE TABLE new_records AS SELECT s.* FROM ({CUSTOMERS}) AS s LEFT JOIN old AS o USING (customer_id)"
            f" WHERE o.customer_id IS NULL OR {newer}"
        )
        merge(con, silver / "customers", "new_records", "t.customer_id = s.customer_id")

        show(con, "order_lines", silver / "order_lines", "line_type = 'sale'")
        replace(con, silver / "products", PRODUCTS)
    with phase("gold"):
        show(con, "fx_rates", silver / "fx_rates")
        show(con, "daily_sales", gold / "daily_sales")
        touched = column(
            con,
            """WITH rates AS (SELECT rate_date FROM fx_rates WHERE currency = 'GBP'), days AS (SELECT DISTINCT invoice_date FROM daily_sales)
            SELECT invoice_date FROM days ASOF JOIN rates ON invoice_date >= rate_date
            WHERE rate_date IN (SELECT rate_date FROM new_rates WHERE currency = 'GBP')
            UNION SELECT invoice_date FROM new_lines ORDER BY ALL""",  # noqa: E501
        )
        if touched:
            on_days = f"invoice_date IN ({dates(touched)})"
            months = sorted({f"{day:%Y-%m}" for day in touched})
            in_months = f"invoice_month IN ({texts(months)})"
            show(con, "order_lines", silver / "order_lines", f"{in_months} AND {on_days}")
            replace(con, gold / "sales_lines", SALES_LINES, f"{in_months} AND {on_days}")
            show(con, "sales_lines", gold / "sales_lines", f"{in_months} AND {on_days}")
            replace(con, gold / "daily_sales", DAILY_SALES, on_days)
            replace(con, gold / "product_sales", PRODUCT_SALES, on_days)
            show(con, "sales_lines", gold / "sales_lines", in_months)
            replace(
                con,
                gold / "customer_months",
                CUSTOMER_MONTHS,
                f"month IN ({dates([date.fromisoformat(f'{month}-01') for month in months])})",
            )
            show(con, "customer_months", gold / "customer_months")
            replace(con, gold / "customer_value", CUSTOMER_VALUE)
            replace(con, gold / "cohort_retention", COHORT_RETENTION)
        show(con, "products", silver / "products")
        replace(con, gold / "dim_products", "FROM products")
        show(con, "customers", silver / "customers")
        replace(con, gold / "dim_customers", DIM_CUSTOMERS)
    exported = {}
    with phase("export"):
        for name in SERVED:
            by_day = name in ("sales_lines", "daily_sales", "product_sales")
            if by_day and not touched:
                continue
            show(con, name, gold / name, on_days if by_day else None)
            exported[name] = out / "export" / f"{name}_{day}.parquet"
            hidden = "EXCLUDE (invoice_month)" if name == "sales_lines" else ""
            con.execute(f"COPY (SELECT * {hidden} FROM {name}) TO '{exported[name]}' (FORMAT parquet)")
    with phase("serve"), duckdb.connect(out / "warehouse.duckdb") as warehouse:
        warehouse.execute("BEGIN")
        for name, file in exported.items():
            by_day = name in ("sales_lines", "daily_sales", "product_sales")
            warehouse.execute(f"DELETE FROM {name} WHERE {on_days if by_day else 'true'}")
            warehouse.execute(f"INSERT INTO {name} BY NAME FROM read_parquet('{file}')")
        warehouse.execute("COMMIT")
    return landed


# Measured ---------------------------------------------------------------------------------------------------------

TOTALS = {
    "sales_lines": "SELECT count(*) FROM sales_lines",
    "net_of_all_lines": "SELECT sum(amount) FROM sales_lines",
    "gross_sales": "SELECT sum(gross_sales) FROM daily_sales",
    "gross_sales_eur": "SELECT sum(gross_sales_eur) FROM daily_sales",
    "returns": "SELECT sum(returns) FROM daily_sales",
    "orders": "SELECT sum(orders) FROM daily_sales",
    "product_days": "SELECT count(*) FROM product_sales",
    "gross_sales_of_products": "SELECT sum(gross_sales) FROM product_sales WHERE is_product",
    "buying_customers": "SELECT count(*) FROM customer_value WHERE orders > 0",
    "gross_sales_of_known_customers": "SELECT sum(gross_sales) FROM customer_value",
    "active_customer_months": "SELECT sum(active_customers) FROM cohort_retention",
    "product_versions": "SELECT count(*) FROM dim_products",
    "customers": "SELECT count(*) FROM dim_customers",
}


def main() -> None:
    """Read the command line, do the work, print what it cost and what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landing", type=Path, required=True, help="folder with orders/, customers/ and fx/")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the Delta tables, the export and warehouse.duckdb"
    )
    parser.add_argument(
        "--start", metavar="D", type=date.fromisoformat, help="first batch date of a whole load into an empty --out"
    )
    parser.add_argument("--end", metavar="D", type=date.fromisoformat, help="last batch date of a whole load")
    parser.add_argument(
        "--one-more-day",
        type=date.fromisoformat,
        metavar="D",
        help="load one further batch date into an existing --out",
    )
    args = parser.parse_args()
    con = duckdb.connect()
    phases["start"] = {"wall_s": round(time.perf_counter() - STARTED, 3), "cpu_s": round(cpu_seconds(), 3)}
    if args.one_more_day is not None:
        landed = load_one_more_day(con, args.landing, args.out, args.one_more_day)
    elif args.start is not None and args.end is not None:
        landed = load_all(con, args.landing, args.out, args.start, args.end)
    else:
        parser.error("give either --start and --end, or --one-more-day")
    cost = {
        "wall_s": round(time.perf_counter() - STARTED, 3),
        "cpu_s": round(cpu_seconds(), 3),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    with duckdb.connect(args.out / "warehouse.duckdb", read_only=True) as warehouse:
        totals = {name: str(value) for name, query in TOTALS.items() for (value,) in warehouse.sql(query).fetchall()}
    print(json.dumps({**cost, "landed_rows": landed, "phases": phases, "totals": totals}, indent=2))


if __name__ == "__main__":
    main()
