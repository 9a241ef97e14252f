-- What silver and gold of the area `web` must hold, from the messages in bronze alone.
CREATE OR REPLACE TEMP TABLE read AS
SELECT batch_date, path, row_number, TRY_CAST(value AS JSON) AS value
FROM bronze
WHERE _malformed IS NULL AND value IS NOT NULL AND json_valid(value) AND json_type(value) = 'OBJECT'
  AND NOT contains(value, '\u0000');

CREATE OR REPLACE TEMP TABLE parts AS
SELECT batch_date, path, row_number,
       value ->> '$.event_id' AS event_id,
       value ->> '$.visitor_id' AS visitor_id,
       value ->> '$.type' AS event_type,
       upper(trim(value ->> '$.product_code')) AS product_code,
       TRY_CAST(value ->> '$.quantity' AS BIGINT) AS quantity,
       value ->> '$.unit_price' AS price_text,
       value ->> '$.currency' AS currency,
       value ->> '$.country' AS country,
       TRY_CAST(replace(value ->> '$.occurred_at', '+00:00', '') AS TIMESTAMP) AS occurred_at -- all are sent in UTC
FROM read;

CREATE OR REPLACE TEMP TABLE good AS
SELECT *, CAST(price_text AS DECIMAL(12,3)) AS unit_price
FROM parts
WHERE event_id IS NOT NULL AND event_type IN ('view', 'basket', 'order') AND quantity >= 1 AND currency = 'GBP'
  AND country IS NOT NULL AND occurred_at IS NOT NULL AND product_code IS NOT NULL AND visitor_id IS NOT NULL
  AND regexp_full_match(price_text, '[0-9]+([.][0-9]{1,3})?');

CREATE OR REPLACE TEMP TABLE events AS
SELECT * EXCLUDE (price_text), CAST(quantity * unit_price AS DECIMAL(18,3)) AS amount,
       CAST(occurred_at AS DATE) AS occurred_on
FROM good
QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY batch_date, path, row_number) = 1;

CREATE OR REPLACE TEMP TABLE live_sales AS
SELECT date_trunc('minute', occurred_at) AS minute, country,
       count(*) FILTER (event_type = 'view') AS views, count(*) FILTER (event_type = 'basket') AS baskets,
       count(*) FILTER (event_type = 'order') AS orders,
       CAST(coalesce(sum(quantity) FILTER (event_type = 'order'), 0) AS BIGINT) AS units,
       CAST(coalesce(sum(amount) FILTER (event_type = 'order'), 0) AS DECIMAL(18,3)) AS amount, occurred_on
FROM events GROUP BY ALL;

CREATE OR REPLACE TEMP TABLE funnel_daily AS
SELECT occurred_on, country, count(*) AS events, count(DISTINCT visitor_id) AS visitors,
       count(DISTINCT visitor_id) FILTER (event_type = 'view') AS viewers,
       count(DISTINCT visitor_id) FILTER (event_type = 'basket') AS collectors,
       count(DISTINCT visitor_id) FILTER (event_type = 'order') AS buyers,
       CAST(coalesce(sum(amount) FILTER (event_type = 'order'), 0) AS DECIMAL(18,3)) AS amount
FROM events GROUP BY ALL;

-- By another way than windows: an event begins a session where none of its visitor is in the half hour before it.
CREATE OR REPLACE TEMP TABLE begins AS
SELECT DISTINCT e.visitor_id, e.occurred_at
FROM events e
WHERE NOT EXISTS (
    SELECT 1 FROM events b
    WHERE b.visitor_id = e.visitor_id AND b.occurred_at < e.occurred_at
      AND b.occurred_at >= e.occurred_at - INTERVAL 30 MINUTE
);

CREATE OR REPLACE TEMP TABLE sessions AS
SELECT e.visitor_id, b.occurred_at AS started_at, max(e.occurred_at) AS ended_at,
       CAST(b.occurred_at AS DATE) AS started_on,
       arg_min(e.country, e.event_id) FILTER (e.occurred_at = b.occurred_at) AS country,
       count(*) AS events, count(DISTINCT e.product_code) AS products,
       count(*) FILTER (e.event_type = 'order') AS orders,
       CAST(coalesce(sum(e.amount) FILTER (e.event_type = 'order'), 0) AS DECIMAL(18,3)) AS amount,
       count(*) FILTER (e.event_type = 'order') > 0 AS is_converted
FROM events e ASOF JOIN begins b ON e.visitor_id = b.visitor_id AND e.occurred_at >= b.occurred_at
GROUP BY ALL;
