"""The log of statements: what each one was, how long it took, and whether Snowflake would have used a warehouse for it.

What belongs here: what is said of a statement, and the files it is kept in. What does not: executing statements
(`statement.py`) and what they would cost (that is the reader's to say).
"""

from lakehouse_assets.embedded_snowflake.history.log import Row, StatementLog, has_rows, read_rows

__all__ = ["Row", "StatementLog", "has_rows", "read_rows"]
