-- The view over the staged files, and the one transaction that publishes them.

-- name: create_view
CREATE OR REPLACE VIEW {view} AS
SELECT
    {columns}
FROM {directory} (FILE_FORMAT => '{file_format}')

-- name: drop_view
DROP VIEW IF EXISTS {view}

-- name: lock
UPDATE {ops}.HANDOFF_STATE SET LOCKED_BY = %s WHERE TABLE_NAME = %s

-- name: check
SELECT HANDOFF_ID, ACKNOWLEDGED_VERSION, LAKEHOUSE_ID, DELTA_TABLE_ID FROM {ops}.HANDOFF_STATE WHERE TABLE_NAME = %s ORDER BY ACKNOWLEDGED_VERSION DESC

-- name: delete
DELETE FROM {table} WHERE {predicate}

-- name: insert
INSERT INTO {table} ({columns})
SELECT {columns} FROM {view}

-- name: delete_slices
DELETE FROM {ops}.HANDOFF_SLICES WHERE TABLE_NAME = %s AND {predicate}

-- name: count_slices
INSERT INTO {ops}.HANDOFF_SLICES (TABLE_NAME, SLICE, ROW_COUNT, ROW_HASH, HANDOFF_ID)
SELECT %s, SLICE, ROW_COUNT, ROW_HASH, %s FROM ({sums})

-- name: sums
SELECT {slice_name} AS SLICE, ROW_COUNT, ROW_HASH
FROM (
    SELECT SLICE_VALUE, COUNT(*) AS ROW_COUNT, SUM(ROW_HASH::NUMBER(20,0))::NUMBER(36,0) AS ROW_HASH
    FROM (SELECT {slice_value} AS SLICE_VALUE, {row_hash} AS ROW_HASH FROM {table} WHERE {predicate})
    GROUP BY SLICE_VALUE
)

-- name: counted_slices
SELECT SLICE, ROW_COUNT, ROW_HASH FROM {ops}.HANDOFF_SLICES WHERE TABLE_NAME = %s AND HANDOFF_ID = %s

-- name: enter
INSERT INTO {ops}.HANDOFF_LEDGER (
    HANDOFF_ID, TABLE_NAME, DELTA_TABLE, DELTA_TABLE_ID, SINCE_VERSION, UNTIL_VERSION, THROUGH, SCHEMA_FINGERPRINT,
    SLICES, ROW_COUNT, ROW_HASH, FILES, BYTES, STAGE_DIRECTORY, MANIFEST, PUBLISHED_AT
)
SELECT %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, SYSDATE()

-- name: advance
UPDATE {ops}.HANDOFF_STATE
SET DELTA_TABLE_ID = %s, ACKNOWLEDGED_VERSION = %s, SCHEMA_FINGERPRINT = %s, HANDOFF_ID = %s, THROUGH = %s,
    ROW_COUNT = %s, ROW_HASH = %s, PUBLISHED_AT = SYSDATE(), ACKNOWLEDGED_AT = SYSDATE(), LOCKED_BY = NULL,
    COMPLETE_THROUGH = %s, LAKEHOUSE_ID = %s
WHERE TABLE_NAME = %s

-- name: rows
SELECT {columns} FROM {table} WHERE {predicate}
