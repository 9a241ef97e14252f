-- Three roles with least privilege, and the database and schemas that they need, for an administrator to run on a real account before
-- anything is deployed, or again at any time. The embedded account executes it and checks it.

-- name: deployer_role
CREATE ROLE IF NOT EXISTS {deployer} COMMENT = 'Makes and changes what is served, and the record of hand-offs'

-- name: deployer_above
GRANT ROLE {deployer} TO ROLE SYSADMIN

-- name: deployer_warehouse
GRANT USAGE ON WAREHOUSE {warehouse} TO ROLE {deployer}

-- name: loader_role
CREATE ROLE IF NOT EXISTS {loader} COMMENT = 'Hands snapshots off and creates nothing but the views of its hand-offs'

-- name: loader_above
GRANT ROLE {loader} TO ROLE SYSADMIN

-- name: loader_warehouse
GRANT USAGE ON WAREHOUSE {warehouse} TO ROLE {loader}

-- name: reader_role
CREATE ROLE IF NOT EXISTS {reader} COMMENT = 'Reads what is served'

-- name: reader_above
GRANT ROLE {reader} TO ROLE SYSADMIN

-- name: reader_warehouse
GRANT USAGE ON WAREHOUSE {warehouse} TO ROLE {reader}

-- name: database
CREATE DATABASE IF NOT EXISTS {database}

-- name: schema_analytics
CREATE SCHEMA IF NOT EXISTS {analytics}

-- name: schema_ops
CREATE SCHEMA IF NOT EXISTS {ops}

-- name: schema_staging
CREATE SCHEMA IF NOT EXISTS {staging}

-- name: deployer_database
GRANT USAGE ON DATABASE {database} TO ROLE {deployer}

-- name: loader_database
GRANT USAGE ON DATABASE {database} TO ROLE {loader}

-- name: reader_database
GRANT USAGE ON DATABASE {database} TO ROLE {reader}

-- name: deployer_analytics
GRANT OWNERSHIP ON SCHEMA {analytics} TO ROLE {deployer} COPY CURRENT GRANTS

-- name: deployer_ops
GRANT OWNERSHIP ON SCHEMA {ops} TO ROLE {deployer} COPY CURRENT GRANTS

-- name: deployer_staging
GRANT OWNERSHIP ON SCHEMA {staging} TO ROLE {deployer} COPY CURRENT GRANTS

-- name: deployer_analytics_tables
GRANT OWNERSHIP ON ALL TABLES IN SCHEMA {analytics} TO ROLE {deployer} COPY CURRENT GRANTS

-- name: deployer_analytics_views
GRANT OWNERSHIP ON ALL VIEWS IN SCHEMA {analytics} TO ROLE {deployer} COPY CURRENT GRANTS

-- name: deployer_ops_tables
GRANT OWNERSHIP ON ALL TABLES IN SCHEMA {ops} TO ROLE {deployer} COPY CURRENT GRANTS

-- name: deployer_ops_views
GRANT OWNERSHIP ON ALL VIEWS IN SCHEMA {ops} TO ROLE {deployer} COPY CURRENT GRANTS

-- name: deployer_stages
GRANT OWNERSHIP ON ALL STAGES IN SCHEMA {staging} TO ROLE {deployer} COPY CURRENT GRANTS

-- name: deployer_file_formats
GRANT OWNERSHIP ON ALL FILE FORMATS IN SCHEMA {staging} TO ROLE {deployer} COPY CURRENT GRANTS

-- name: loader_analytics
GRANT USAGE ON SCHEMA {analytics} TO ROLE {loader}

-- name: loader_ops
GRANT USAGE ON SCHEMA {ops} TO ROLE {loader}

-- name: loader_staging
GRANT USAGE, CREATE VIEW ON SCHEMA {staging} TO ROLE {loader}

-- name: loader_tables
GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA {analytics} TO ROLE {loader}

-- name: loader_tables_to_come
GRANT SELECT, INSERT, DELETE ON FUTURE TABLES IN SCHEMA {analytics} TO ROLE {loader}

-- name: loader_views
GRANT SELECT ON ALL VIEWS IN SCHEMA {analytics} TO ROLE {loader}

-- name: loader_views_to_come
GRANT SELECT ON FUTURE VIEWS IN SCHEMA {analytics} TO ROLE {loader}

-- name: loader_record
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {ops} TO ROLE {loader}

-- name: loader_record_to_come
GRANT SELECT, INSERT, UPDATE, DELETE ON FUTURE TABLES IN SCHEMA {ops} TO ROLE {loader}

-- name: loader_freshness
GRANT SELECT ON ALL VIEWS IN SCHEMA {ops} TO ROLE {loader}

-- name: loader_freshness_to_come
GRANT SELECT ON FUTURE VIEWS IN SCHEMA {ops} TO ROLE {loader}

-- name: loader_stage
GRANT READ, WRITE ON ALL STAGES IN SCHEMA {staging} TO ROLE {loader}

-- name: loader_stage_to_come
GRANT READ, WRITE ON FUTURE STAGES IN SCHEMA {staging} TO ROLE {loader}

-- name: loader_file_format
GRANT USAGE ON ALL FILE FORMATS IN SCHEMA {staging} TO ROLE {loader}

-- name: loader_file_format_to_come
GRANT USAGE ON FUTURE FILE FORMATS IN SCHEMA {staging} TO ROLE {loader}

-- name: reader_analytics
GRANT USAGE ON SCHEMA {analytics} TO ROLE {reader}

-- name: reader_ops
GRANT USAGE ON SCHEMA {ops} TO ROLE {reader}

-- name: reader_tables
GRANT SELECT ON ALL TABLES IN SCHEMA {analytics} TO ROLE {reader}

-- name: reader_tables_to_come
GRANT SELECT ON FUTURE TABLES IN SCHEMA {analytics} TO ROLE {reader}

-- name: reader_views
GRANT SELECT ON ALL VIEWS IN SCHEMA {analytics} TO ROLE {reader}

-- name: reader_views_to_come
GRANT SELECT ON FUTURE VIEWS IN SCHEMA {analytics} TO ROLE {reader}

-- name: reader_freshness
GRANT SELECT ON ALL VIEWS IN SCHEMA {ops} TO ROLE {reader}

-- name: reader_freshness_to_come
GRANT SELECT ON FUTURE VIEWS IN SCHEMA {ops} TO ROLE {reader}
