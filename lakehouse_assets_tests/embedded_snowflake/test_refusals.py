"""What this account can neither execute nor enforce is refused by name, whatever fakesnow or the parser would make of
it.
"""

from __future__ import annotations

import pytest
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets_tests.embedded_snowflake.conftest import Sql

RENDERED_ONLY = """
GRANT SELECT ON TABLE T TO ROLE R WITH GRANT OPTION
GRANT APPLY MASKING POLICY ON ACCOUNT TO ROLE R
GRANT DATABASE ROLE A TO ROLE B
REVOKE GRANT OPTION FOR SELECT ON TABLE T FROM ROLE R
ALTER ROLE R RENAME TO S
CREATE USER U
ALTER USER U SET DEFAULT_ROLE = R
CREATE WAREHOUSE IF NOT EXISTS W WAREHOUSE_SIZE = XSMALL
ALTER WAREHOUSE W SUSPEND
CREATE RESOURCE MONITOR M WITH CREDIT_QUOTA = 5
CREATE MASKING POLICY P AS (v VARCHAR) RETURNS VARCHAR -> '***'
CREATE ROW ACCESS POLICY P AS (v VARCHAR) RETURNS BOOLEAN -> TRUE
ALTER TABLE T MODIFY COLUMN a SET MASKING POLICY P
ALTER TABLE T ADD ROW ACCESS POLICY P ON (a)
ALTER TABLE T SET TAG cost = 'x'
CREATE TABLE U (a INT WITH MASKING POLICY P)
CREATE TAG C
CREATE TASK J SCHEDULE = '1 minute' AS SELECT 1
EXECUTE TASK J
CREATE STREAM S ON TABLE T
CREATE PIPE P AS COPY INTO T FROM @ST
CREATE DYNAMIC TABLE D TARGET_LAG = '1 minute' WAREHOUSE = W AS SELECT 1 AS a
CREATE EXTERNAL TABLE E (a INT AS (value:c1::INT)) LOCATION = @ST FILE_FORMAT = (TYPE = PARQUET)
CREATE MATERIALIZED VIEW V AS SELECT 1 AS a
CREATE SECURE VIEW V AS SELECT 1 AS a
CREATE STAGE ST URL = 's3://bucket/path'
CREATE TABLE U (a INT) DATA_RETENTION_TIME_IN_DAYS = 1
SELECT * FROM T AT (OFFSET => -60)
SELECT * FROM T BEFORE (STATEMENT => 'x')
CREATE TABLE U CLONE T AT (OFFSET => -60)
UNDROP TABLE T
ALTER TABLE T SWAP WITH U
ALTER TABLE T CLUSTER BY (a)
ALTER TABLE T ADD CONSTRAINT k UNIQUE (a)
ALTER TABLE T SET COMMENT = 'x', DATA_RETENTION_TIME_IN_DAYS = 1
CREATE PROCEDURE F() RETURNS INT LANGUAGE SQL AS 'RETURN 1'
CALL F()
CREATE FUNCTION F() RETURNS INT AS '1'
EXECUTE IMMEDIATE 'SELECT 1'
SELECT * FROM SNOWFLAKE.ACCOUNT_USAGE.QUERY_HISTORY
SELECT SYSTEM$CANCEL_ALL_QUERIES(1)
ALTER SESSION SET WEEK_START = 1
ALTER SESSION SET TIMEZONE = 'Europe/Berlin'
SHOW GRANTS ON TABLE T
SHOW ROLES
SHOW WAREHOUSES
SHOW USERS
EXPLAIN SELECT 1
COPY INTO @ST/out FROM T
GET @ST file:///tmp/
CREATE SHARE S
CREATE NETWORK POLICY N ALLOWED_IP_LIST = ('1.2.3.4')
CREATE ALERT A IF (EXISTS (SELECT 1)) THEN SELECT 1
"""


@pytest.mark.parametrize("statement", RENDERED_ONLY.strip().splitlines())
def test_a_statement_without_effect_here_is_never_answered_with_success(sql: Sql, statement: str) -> None:
    """Without it a policy, grant or task is believed to be in force."""
    sql("CREATE TABLE T (a INT)")
    with pytest.raises(ProgrammingError, match="rendered only: not executed on the embedded account"):
        sql(statement)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("SELEC 1", "SQL compilation error"),
        ("SELECT * FROM NOPE", "does not exist"),
        ("SELECT 1; SELECT 2", "statement count 2"),
        ("SELECT INTERVAL '1 day'", "INTERVAL"),
        ("SELECT 'x'::INT", "."),
        ("SELECT NO_SUCH_FUNCTION(1)", "."),
        ("CREATE TABLE T (a NO_SUCH_TYPE)", "."),
        ("INSERT INTO T VALUES (1", "."),
    ],
)
def test_whatever_is_wrong_is_a_programming_error_at_once(sql: Sql, statement: str, message: str) -> None:
    """Without it fakesnow answers HTTP 500, which the connector repeats until its time-out."""
    with pytest.raises(ProgrammingError, match=message):
        sql(statement)
    assert sql.value("1") == 1


def test_copy_options_that_would_be_ignored_are_errors(sql: Sql) -> None:
    """Without it COPY loads more files than were asked for."""
    sql("CREATE STAGE ST")
    sql("CREATE TABLE T (a INT)")
    for option in ("FILES = ('a.parquet')", "PATTERN = '.*'"):
        with pytest.raises(ProgrammingError):
            sql(f"COPY INTO T FROM @ST {option} FILE_FORMAT = (TYPE = PARQUET)")
