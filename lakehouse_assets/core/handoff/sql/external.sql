-- The lane over an external stage, where the cloud storage is the customer's own. Rendered only: not tried on the embedded account.

-- name: stage
CREATE STAGE IF NOT EXISTS {stage}_EXTERNAL
URL = {url}
STORAGE_INTEGRATION = {integration}
FILE_FORMAT = (FORMAT_NAME = '{file_format}')

-- name: table
CREATE OR REPLACE EXTERNAL TABLE {staging}.{external} (
    {columns}
)
LOCATION = @{stage}_EXTERNAL/{table}/
AUTO_REFRESH = FALSE
PATTERN = '.*[.]parquet'
FILE_FORMAT = (FORMAT_NAME = '{file_format}')
COPY GRANTS

-- name: grant
GRANT SELECT ON EXTERNAL TABLE {staging}.{external} TO ROLE {loader}

-- name: refresh
ALTER EXTERNAL TABLE {staging}.{external} REFRESH
