-- The objects that a deployment keeps, one statement each, in the order in which they are created. `deploy.py` adds the served tables.

-- name: database
CREATE DATABASE IF NOT EXISTS {database}

-- name: schema_analytics
CREATE SCHEMA IF NOT EXISTS {analytics} COMMENT = 'Served tables, each equal to a snapshot of its Delta table'

-- name: schema_ops
CREATE SCHEMA IF NOT EXISTS {ops} COMMENT = 'Record of hand-offs: state, ledger, slices, intents'

-- name: schema_staging
CREATE SCHEMA IF NOT EXISTS {staging} COMMENT = 'Files on their way in, and the views that read them in place'

-- name: file_format
CREATE FILE FORMAT IF NOT EXISTS {file_format} TYPE = PARQUET USE_LOGICAL_TYPE = TRUE BINARY_AS_TEXT = FALSE

-- name: stage
CREATE STAGE IF NOT EXISTS {stage} FILE_FORMAT = (FORMAT_NAME = '{file_format}')

-- name: handoff_state
CREATE TABLE IF NOT EXISTS {ops}.HANDOFF_STATE (
    TABLE_NAME VARCHAR,
    DELTA_TABLE_ID VARCHAR,
    DELTA_COMMIT VARCHAR,
    ACKNOWLEDGED_VERSION NUMBER(18,0),
    SCHEMA_FINGERPRINT VARCHAR,
    HANDOFF_ID VARCHAR,
    THROUGH NUMBER(18,0),
    ROW_COUNT NUMBER(18,0),
    ROW_HASH NUMBER(36,0),
    PUBLISHED_AT TIMESTAMP_NTZ,
    ACKNOWLEDGED_AT TIMESTAMP_NTZ,
    LOCKED_BY VARCHAR,
    LAKEHOUSE_ID VARCHAR,
    COMPLETE_THROUGH DATE
)
COMMENT = 'What Snowflake has acknowledged of each table; times are UTC'

-- name: handoff_ledger
CREATE TABLE IF NOT EXISTS {ops}.HANDOFF_LEDGER (
    HANDOFF_ID VARCHAR,
    TABLE_NAME VARCHAR,
    DELTA_TABLE VARCHAR,
    DELTA_TABLE_ID VARCHAR,
    SINCE_VERSION NUMBER(18,0),
    UNTIL_VERSION NUMBER(18,0),
    THROUGH NUMBER(18,0),
    SCHEMA_FINGERPRINT VARCHAR,
    SLICES NUMBER(18,0),
    ROW_COUNT NUMBER(18,0),
    ROW_HASH NUMBER(36,0),
    FILES NUMBER(18,0),
    BYTES NUMBER(18,0),
    STAGE_DIRECTORY VARCHAR,
    MANIFEST VARCHAR,
    PUBLISHED_AT TIMESTAMP_NTZ
)
COMMENT = 'Every hand-off done, written in the transaction that published it; times are UTC'

-- name: handoff_slices
CREATE TABLE IF NOT EXISTS {ops}.HANDOFF_SLICES (
    TABLE_NAME VARCHAR,
    SLICE VARCHAR,
    ROW_COUNT NUMBER(18,0),
    ROW_HASH NUMBER(36,0),
    HANDOFF_ID VARCHAR
)
COMMENT = 'Count and row hash of every slice as published, for proof without the Delta snapshot'

-- name: handoff_pending
CREATE TABLE IF NOT EXISTS {ops}.HANDOFF_PENDING (
    HANDOFF_ID VARCHAR,
    TABLE_NAME VARCHAR,
    SINCE_VERSION NUMBER(18,0),
    UNTIL_VERSION NUMBER(18,0),
    OWNER VARCHAR,
    RECORDED_AT TIMESTAMP_NTZ
)
COMMENT = 'Hand-offs recorded before their first file travelled and not yet tidied up after; times are UTC'

-- name: deployed_objects
CREATE TABLE IF NOT EXISTS {ops}.DEPLOYED_OBJECTS (
    OBJECT_NAME VARCHAR,
    FINGERPRINT VARCHAR,
    DEPLOYED_AT TIMESTAMP_NTZ
)
COMMENT = 'Fingerprint of the definition of every deployed object; times are UTC'
