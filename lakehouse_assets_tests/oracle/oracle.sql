-- The second opinion: raw_orders, raw_customers and raw_fx (strings as landed, null where empty, with batch_date, path,
-- content_hash and row_number) to every silver and gold table. Each table is written from its definition and in full;
-- nothing is incremental, and no number passes through floating point.

-- Silver ---------------------------------------------------------------------------------------------------------

CREATE MACRO exact(written, decimals) AS  -- a cast alone would round, and merge lines that differ
    CASE
        WHEN written IS NULL OR regexp_full_match(written, '[-+]?[0-9]+([.][0-9]{1,' || decimals || '}0*)?') THEN written
        ELSE error('not a number of at most ' || decimals || ' decimals: ' || written)
    END;

CREATE MACRO customer_number(written) AS CAST(regexp_replace(written, '[.]0*$', '') AS BIGINT);

CREATE TABLE silver.order_lines AS
WITH typed AS (
    SELECT
        invoice,
        stock_code,
        description,
        CAST(quantity AS BIGINT) AS quantity,
        CAST(invoiced_at AS TIMESTAMP) AS invoiced_at,
        CAST(exact(unit_price, '3') AS DECIMAL(12, 3)) AS unit_price,
        customer_number(customer_id) AS customer_id,
        country,
        batch_date, path, content_hash, row_number
    FROM raw_orders
),

distinct_lines AS (
    SELECT
        invoice, stock_code, description, quantity, invoiced_at, unit_price, customer_id, country,
        min({'batch_date': batch_date, 'path': path, 'content_hash': content_hash, 'row_number': row_number}) AS first_support
    FROM typed
    GROUP BY invoice, stock_code, description, quantity, invoiced_at, unit_price, customer_id, country
)

SELECT
    invoice, stock_code, description, quantity, invoiced_at, unit_price, customer_id, country,
    CAST(invoiced_at AS DATE) AS invoice_date,
    CASE
        WHEN starts_with(invoice, 'C') THEN 'return'
        WHEN starts_with(invoice, 'A') THEN 'bad_debt'
        WHEN quantity > 0 AND unit_price > 0 THEN 'sale'
        ELSE 'adjustment'
    END AS line_type,
    regexp_full_match(trim(stock_code, ' '), '[0-9]{5}[A-Za-z]{0,3}') AS is_product,
    upper(trim(stock_code, ' ')) AS product_code,
    CAST(quantity * unit_price AS DECIMAL(18, 3)) AS amount,
    first_support.batch_date AS batch_date,
    first_support.path AS path,
    first_support.content_hash AS content_hash,
    first_support.row_number AS row_number
FROM distinct_lines;

CREATE TABLE silver.fx_rates AS
SELECT
    CAST(rate_date AS DATE) AS rate_date,
    currency,
    CAST(exact(rate, '6') AS DECIMAL(18, 6)) AS rate
FROM raw_fx
QUALIFY row_number() OVER (
    PARTITION BY CAST(rate_date AS DATE), currency
    ORDER BY batch_date DESC, path DESC, content_hash DESC, row_number DESC
) = 1;

CREATE TABLE silver.customers AS
WITH records AS (
    SELECT
        customer_number(customer_id) AS customer_id,
        name, city, country, segment,
        CAST(updated_at AS TIMESTAMP) AS updated_at,  -- brought to UTC when read
        coalesce(CAST(deleted AS BOOLEAN), false) AS is_deleted,
        batch_date, path, content_hash, row_number
    FROM raw_customers
),

latest AS (
    FROM records
    QUALIFY row_number() OVER (
        PARTITION BY customer_id
        ORDER BY updated_at DESC, batch_date DESC, path DESC, content_hash DESC, row_number DESC
    ) = 1
)

SELECT
    customer_id,
    CASE WHEN NOT is_deleted THEN name END AS name,
    CASE WHEN NOT is_deleted THEN city END AS city,
    CASE WHEN NOT is_deleted THEN country END AS country,
    CASE WHEN NOT is_deleted THEN segment END AS segment,
    updated_at, is_deleted, batch_date, path, content_hash, row_number
FROM latest;

CREATE TABLE silver.products AS
WITH votes AS (
    SELECT product_code, invoice_date, trim(description, ' ') AS description, count(*) AS votes
    FROM silver.order_lines
    WHERE line_type = 'sale' AND trim(description, ' ') <> ''
    GROUP BY ALL
),

of_the_day AS (
    SELECT product_code, invoice_date, description
    FROM votes
    QUALIFY row_number() OVER (PARTITION BY product_code, invoice_date ORDER BY votes DESC, description) = 1
),

starts AS (
    SELECT product_code, invoice_date AS first_seen_on, description
    FROM of_the_day
    QUALIFY description IS DISTINCT FROM lag(description) OVER (PARTITION BY product_code ORDER BY invoice_date)
)

SELECT
    product_code,
    description,
    CASE WHEN lag(first_seen_on) OVER version IS NULL THEN DATE '1900-01-01' ELSE first_seen_on END AS valid_from,
    coalesce(lead(first_seen_on) OVER version - 1, DATE '9999-12-31') AS valid_to,
    first_seen_on,
    lead(first_seen_on) OVER version IS NULL AS is_current
FROM starts
WINDOW version AS (PARTITION BY product_code ORDER BY first_seen_on);

-- Gold -----------------------------------------------------------------------------------------------------------

CREATE TABLE gold.sales_lines AS
WITH rates AS (
    SELECT rate_date, CAST(rate * 1000000 AS HUGEINT) AS millionths FROM silver.fx_rates WHERE currency = 'GBP'
),

priced AS (
    SELECT lines.*, rates.rate_date, rates.millionths, CAST(amount * 1000 AS HUGEINT) AS thousandths
    FROM silver.order_lines AS lines
    ASOF LEFT JOIN rates ON lines.invoice_date >= rates.rate_date
)

SELECT
    invoice, line_type, is_product, product_code, quantity, unit_price, amount,
    -- (t / 1000) / (m / 1000000) in millionths is t * 10^9 / m; adding half of m to the magnitude rounds half away from zero.
    CAST(
        sign(thousandths) * ((2 * abs(thousandths) * 1000000000 + millionths) // (2 * millionths)) AS DECIMAL(24, 0)
    ) * CAST('0.000001' AS DECIMAL(6, 6)) AS amount_eur,
    rate_date AS fx_rate_date,
    customer_id, country, invoiced_at, invoice_date, batch_date
FROM priced;

ALTER TABLE gold.sales_lines ALTER amount_eur TYPE DECIMAL(24, 6);

CREATE TABLE gold.daily_sales AS
WITH sums AS (
    SELECT
        invoice_date,
        country,
        coalesce(sum(amount) FILTER (line_type = 'sale'), 0) AS gross_sales,
        coalesce(sum(amount) FILTER (line_type = 'return'), 0) AS returns,
        -- A sum of the known amounts would look like the whole: one line without a rate leaves the sum unknown.
        CASE WHEN bool_or(line_type = 'sale' AND amount_eur IS NULL) THEN NULL
            ELSE coalesce(sum(amount_eur) FILTER (line_type = 'sale'), 0) END AS gross_sales_eur,
        CASE WHEN bool_or(line_type = 'return' AND amount_eur IS NULL) THEN NULL
            ELSE coalesce(sum(amount_eur) FILTER (line_type = 'return'), 0) END AS returns_eur,
        count(DISTINCT invoice) FILTER (line_type = 'sale') AS orders,
        count(DISTINCT invoice) FILTER (line_type = 'return') AS return_invoices,
        coalesce(sum(quantity) FILTER (line_type = 'sale'), 0) AS units,
        count(DISTINCT customer_id) FILTER (line_type = 'sale') AS customers
    FROM gold.sales_lines
    GROUP BY invoice_date, country
)

SELECT
    invoice_date,
    country,
    CAST(gross_sales AS DECIMAL(18, 3)) AS gross_sales,
    CAST(returns AS DECIMAL(18, 3)) AS returns,
    CAST(gross_sales + returns AS DECIMAL(18, 3)) AS net_sales,
    CAST(gross_sales_eur AS DECIMAL(24, 6)) AS gross_sales_eur,
    CAST(returns_eur AS DECIMAL(24, 6)) AS returns_eur,
    CAST(gross_sales_eur + returns_eur AS DECIMAL(24, 6)) AS net_sales_eur,
    orders,
    return_invoices,
    CAST(units AS BIGINT) AS units,
    customers,
    CASE WHEN orders > 0 THEN
        CAST(
            CAST((2 * CAST(gross_sales * 1000 AS HUGEINT) + orders) // (2 * orders) AS DECIMAL(18, 0)) * CAST('0.001' AS DECIMAL(3, 3))
            AS DECIMAL(18, 3)
        ) END AS average_order_value
FROM sums;

CREATE TABLE gold.product_sales AS
SELECT
    invoice_date,
    product_code,
    is_product,
    CAST(coalesce(sum(quantity) FILTER (line_type = 'sale'), 0) AS BIGINT) AS units,
    CAST(coalesce(sum(amount) FILTER (line_type = 'sale'), 0) AS DECIMAL(18, 3)) AS gross_sales,
    CAST(coalesce(sum(amount) FILTER (line_type = 'return'), 0) AS DECIMAL(18, 3)) AS returns
FROM gold.sales_lines
GROUP BY invoice_date, product_code, is_product;

CREATE MACRO customer_measures(grain) AS TABLE
SELECT
    customer_id,
    CASE WHEN grain = 'month' THEN CAST(date_trunc('month', invoice_date) AS DATE) END AS month,
    min(invoice_date) FILTER (line_type = 'sale') AS first_sale_date,
    max(invoice_date) FILTER (line_type = 'sale') AS last_sale_date,
    count(DISTINCT {'invoice': invoice, 'day': invoice_date}) FILTER (line_type = 'sale') AS orders,
    CAST(coalesce(sum(quantity) FILTER (line_type = 'sale'), 0) AS BIGINT) AS units,
    CAST(coalesce(sum(amount) FILTER (line_type = 'sale'), 0) AS DECIMAL(18, 3)) AS gross_sales,
    CAST(coalesce(sum(amount) FILTER (line_type = 'return'), 0) AS DECIMAL(18, 3)) AS returns,
    CAST(coalesce(sum(amount) FILTER (line_type IN ('sale', 'return')), 0) AS DECIMAL(18, 3)) AS net_sales,
    count(*) FILTER (line_type = 'sale') AS sale_lines,
    count(*) FILTER (line_type = 'return') AS return_lines
FROM gold.sales_lines
WHERE customer_id IS NOT NULL
GROUP BY ALL;

CREATE TABLE gold.customer_months AS FROM customer_measures('month');

CREATE TABLE gold.customer_value AS
SELECT customer_id, first_sale_date AS first_order_date, last_sale_date AS last_order_date, orders, units, gross_sales, returns, net_sales
FROM customer_measures('ever');

CREATE TABLE gold.cohort_retention AS
WITH members AS (
    SELECT customer_id, CAST(date_trunc('month', min(invoice_date)) AS DATE) AS cohort_month
    FROM gold.sales_lines
    WHERE customer_id IS NOT NULL AND line_type = 'sale'
    GROUP BY customer_id
),

sizes AS (
    SELECT cohort_month, count(*) AS cohort_size FROM members GROUP BY cohort_month
),

activity AS (
    SELECT
        members.cohort_month,
        CAST(
            12 * (year(lines.invoice_date) - year(members.cohort_month)) + month(lines.invoice_date) - month(members.cohort_month) AS INTEGER
        ) AS months_since,
        lines.customer_id, lines.line_type, lines.amount
    FROM gold.sales_lines AS lines
    JOIN members USING (customer_id)
    WHERE lines.line_type IN ('sale', 'return')
)

SELECT
    cohort_month,
    months_since,
    any_value(cohort_size) AS cohort_size,
    count(DISTINCT customer_id) FILTER (line_type = 'sale') AS active_customers,
    CAST(sum(amount) AS DECIMAL(18, 3)) AS net_sales
FROM activity JOIN sizes USING (cohort_month)
WHERE months_since >= 0
GROUP BY cohort_month, months_since;

CREATE TABLE gold.dim_products AS FROM silver.products;

CREATE TABLE gold.dim_customers AS
SELECT customer_id, name, city, country, segment, updated_at FROM silver.customers WHERE NOT is_deleted;

CREATE TABLE silver.stock_levels AS
SELECT product_code, CAST(on_hand AS BIGINT) AS on_hand, CAST(counted_on AS DATE) AS counted_on
FROM raw_stock_levels
QUALIFY row_number() OVER (
    PARTITION BY product_code, counted_on ORDER BY batch_date DESC, path DESC, content_hash DESC, row_number DESC
) = 1;

CREATE TABLE gold.stock_days AS
WITH counts AS (SELECT DISTINCT counted_on AS day FROM silver.stock_levels),

pace AS (
    SELECT product_code, CAST(sum(units) AS BIGINT) AS units_sold
    FROM gold.product_sales
    WHERE invoice_date > (SELECT max(day) FROM counts) - 28 AND invoice_date <= (SELECT max(day) FROM counts)
    GROUP BY product_code
)

SELECT
    product_code,
    arg_max(on_hand, counted_on) AS on_hand,
    max(counted_on) AS counted_on,
    (SELECT min(day) FROM counts WHERE day > max(levels.counted_on)) AS ended_on,
    coalesce(any_value(units_sold), 0) AS units_sold,
    CASE WHEN any_value(units_sold) > 0 THEN arg_max(on_hand, counted_on) * 28 // any_value(units_sold) END AS days_left
FROM silver.stock_levels AS levels LEFT JOIN pace USING (product_code)
GROUP BY product_code;
