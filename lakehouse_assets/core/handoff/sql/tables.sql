-- Definition and evolution of a served table, generated from its contract.

-- name: create
CREATE TABLE IF NOT EXISTS {table} (
    {columns}
)
COMMENT = {comment}

-- name: rebuild
CREATE OR REPLACE TABLE {table} COPY GRANTS AS
SELECT
    {columns}
FROM {table}

-- name: replace
CREATE OR REPLACE TABLE {table} (
    {columns}
)
COPY GRANTS
COMMENT = {comment}

-- name: add_column
ALTER TABLE {table} ADD COLUMN {column} {type} COMMENT {comment}

-- name: add_record_column
ALTER TABLE {table} ADD COLUMN {column} {type}

-- name: widen_column
ALTER TABLE {table} ALTER COLUMN {column} SET DATA TYPE {type}

-- name: drop_not_null
ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL

-- name: set_not_null
ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL

-- name: drop_column
ALTER TABLE {table} DROP COLUMN {column}

-- name: drop_table
DROP TABLE {table}

-- name: comment_table
COMMENT ON TABLE {table} IS {comment}

-- name: comment_column
COMMENT ON COLUMN {table}.{column} IS {comment}

-- name: read_columns
SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, NUMERIC_PRECISION, NUMERIC_SCALE, IS_NULLABLE, COMMENT
FROM {database}.INFORMATION_SCHEMA.COLUMNS
WHERE TABLE_SCHEMA IN (%s, %s)
ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION

-- name: show_schemas
SHOW SCHEMAS IN DATABASE {database}

-- name: describe
DESCRIBE {kind} {object}

-- name: describe_table
DESCRIBE TABLE {table}

-- name: alter_file_format
ALTER FILE FORMAT {file_format} SET {options}

-- name: read_kinds
SELECT TABLE_NAME, TABLE_TYPE FROM {database}.INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = %s

-- name: count_rows
SELECT COUNT(*) FROM {table}

-- name: count_named
SELECT {label} AS NAME, COUNT(*) AS N FROM {table}

-- name: compiles
SELECT {label} AS NAME, COUNT(*) AS N FROM (SELECT {columns} FROM {object} WHERE 1 = 0)

-- name: read_fingerprints
SELECT OBJECT_NAME, FINGERPRINT FROM {ops}.DEPLOYED_OBJECTS

-- name: forget_fingerprints
DELETE FROM {ops}.DEPLOYED_OBJECTS WHERE OBJECT_NAME IN ({objects})

-- name: record_fingerprints
INSERT INTO {ops}.DEPLOYED_OBJECTS (OBJECT_NAME, FINGERPRINT, DEPLOYED_AT)
SELECT COLUMN1, COLUMN2, SYSDATE() FROM VALUES {rows}
