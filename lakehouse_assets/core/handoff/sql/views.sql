-- Views that a deployment keeps beside the served tables. `deploy.py` says which served tables each needs.
-- None reads the clock: every look at what is deployed names them all, and an account answers no query over the clock from its result cache.

-- name: sales
CREATE OR REPLACE VIEW {analytics}.SALES
COPY GRANTS
COMMENT = 'Order lines with the product as of the invoice date and the customer as known today; without personal data'
AS
SELECT
    L.LINE_ID,
    L.INVOICE,
    L.LINE_TYPE,
    L.INVOICE_DATE,
    L.INVOICED_AT,
    L.PRODUCT_CODE,
    L.IS_PRODUCT,
    P.DESCRIPTION AS PRODUCT_DESCRIPTION,
    L.QUANTITY,
    L.UNIT_PRICE,
    L.AMOUNT,
    L.AMOUNT_EUR,
    L.FX_RATE_DATE,
    L.CUSTOMER_ID,
    C.SEGMENT AS CUSTOMER_SEGMENT,
    C.COUNTRY AS CUSTOMER_COUNTRY,
    L.COUNTRY,
    L.BATCH_DATE
FROM {analytics}.SALES_LINES AS L
LEFT JOIN {analytics}.DIM_PRODUCTS AS P
    ON L.PRODUCT_CODE = P.PRODUCT_CODE AND L.INVOICE_DATE BETWEEN P.VALID_FROM AND P.VALID_TO
LEFT JOIN {analytics}.DIM_CUSTOMERS AS C
    ON L.CUSTOMER_ID = C.CUSTOMER_ID

-- name: freshness
CREATE OR REPLACE VIEW {ops}.FRESHNESS
COPY GRANTS
COMMENT = 'How far each served table is, and since when; times are UTC'
AS
SELECT
    S.TABLE_NAME,
    S.ACKNOWLEDGED_VERSION,
    S.THROUGH,
    S.COMPLETE_THROUGH,
    S.ROW_COUNT,
    S.PUBLISHED_AT,
    S.ACKNOWLEDGED_AT,
    COALESCE(P.UNDER_WAY, 0) AS HANDOFFS_UNDER_WAY
FROM (
    SELECT
        TABLE_NAME,
        MAX(ACKNOWLEDGED_VERSION) AS ACKNOWLEDGED_VERSION,
        MAX(THROUGH) AS THROUGH,
        MAX(COMPLETE_THROUGH) AS COMPLETE_THROUGH,
        MAX(ROW_COUNT) AS ROW_COUNT,
        MAX(PUBLISHED_AT) AS PUBLISHED_AT,
        MAX(ACKNOWLEDGED_AT) AS ACKNOWLEDGED_AT
    FROM {ops}.HANDOFF_STATE
    GROUP BY TABLE_NAME
) AS S
LEFT JOIN (
    SELECT
        TABLE_NAME,
        COUNT(*) AS UNDER_WAY
    FROM {ops}.HANDOFF_PENDING
    GROUP BY TABLE_NAME
) AS P
    ON S.TABLE_NAME = P.TABLE_NAME
