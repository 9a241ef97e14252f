-- Roles with least privilege, for an administrator to run on a real account. Rendered only: the embedded account has no roles.

-- name: loader_role
CREATE ROLE IF NOT EXISTS {loader} COMMENT = 'Hands snapshots off and creates nothing but the views of its hand-offs'

-- name: loader_warehouse
GRANT USAGE ON WAREHOUSE {warehouse} TO ROLE {loader}

-- name: loader_database
GRANT USAGE ON DATABASE {database} TO ROLE {loader}

-- name: loader_analytics
GRANT USAGE ON SCHEMA {analytics} TO ROLE {loader}

-- name: loader_ops
GRANT USAGE ON SCHEMA {ops} TO ROLE {loader}

-- name: loader_staging
GRANT USAGE, CREATE VIEW ON SCHEMA {staging} TO ROLE {loader}

-- name: loader_tables
GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA {analytics} TO ROLE {loader}

-- name: loader_future_tables
GRANT SELECT, INSERT, DELETE ON FUTURE TABLES IN SCHEMA {analytics} TO ROLE {loader}

-- name: loader_record
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {ops} TO ROLE {loader}

-- name: loader_views
GRANT SELECT ON ALL VIEWS IN SCHEMA {ops} TO ROLE {loader}

-- name: loader_stage
GRANT READ, WRITE ON STAGE {stage} TO ROLE {loader}

-- name: loader_file_format
GRANT USAGE ON FILE FORMAT {file_format} TO ROLE {loader}

-- name: reader_role
CREATE ROLE IF NOT EXISTS {reader} COMMENT = 'Reads what is served'

-- name: reader_warehouse
GRANT USAGE ON WAREHOUSE {warehouse} TO ROLE {reader}

-- name: reader_database
GRANT USAGE ON DATABASE {database} TO ROLE {reader}

-- name: reader_analytics
GRANT USAGE ON SCHEMA {analytics} TO ROLE {reader}

-- name: reader_tables
GRANT SELECT ON ALL TABLES IN SCHEMA {analytics} TO ROLE {reader}

-- name: reader_future_tables
GRANT SELECT ON FUTURE TABLES IN SCHEMA {analytics} TO ROLE {reader}

-- name: reader_views
GRANT SELECT ON ALL VIEWS IN SCHEMA {analytics} TO ROLE {reader}

-- name: reader_future_views
GRANT SELECT ON FUTURE VIEWS IN SCHEMA {analytics} TO ROLE {reader}

-- name: reader_ops
GRANT USAGE ON SCHEMA {ops} TO ROLE {reader}

-- name: reader_freshness
GRANT SELECT ON VIEW {ops}.FRESHNESS TO ROLE {reader}
