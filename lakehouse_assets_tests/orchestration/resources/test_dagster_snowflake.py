"""dagster-snowflake's own resource, as a real account is reached by it, against the embedded account."""

from decimal import Decimal

from dagster_snowflake import SnowflakeResource

from lakehouse_assets.embedded_snowflake import connection_arguments, ensure_running, stop
from lakehouse_assets_tests.given import present


def test_the_resource_of_dagster_snowflake_reaches_the_embedded_account(tmp_path):
    """Else what runs on the laptop is not what runs against an account."""
    arguments = connection_arguments(ensure_running(tmp_path), "LAKEHOUSE", "ANALYTICS")
    named = {k: arguments.pop(k) for k in ("account", "user", "password", "database", "schema") if k in arguments}
    try:
        with SnowflakeResource(**named, additional_snowflake_connection_args=arguments).get_connection() as connection:
            cursor = connection.cursor()
            cursor.execute("CREATE TABLE T (AMOUNT NUMBER(18,3))")
            cursor.execute("INSERT INTO T VALUES (1.125), (2.250)")
            assert present(cursor.execute("SELECT SUM(AMOUNT) FROM T")).fetchone() == (Decimal("3.375"),)
    finally:
        stop(tmp_path)
