"""The embedded Snowflake account: one server process with one persistent catalogue, shared by every process that works
on the same home.

What belongs here: the names that others import: finding, starting and stopping that process, and how to connect to it.
What does not: the server itself (`serving.py`, `protocol/`), what it executes (`session.py`, `statement.py`) and
anything heavy to import, for every process of the application imports this module.

On disk, below `<home>/account/`: `databases/` (one DuckDB file a Snowflake database, and `_fs_global` for stages and
file formats), `stages/` (the staged files), `uploads/` (files on their way in), `server.json` (the address of the
running server), `server.lock` (held while it runs), `server.log`, `secret` (what a login must know),
`privileges.json` (roles and grants), `statements.jsonl` (the log of statements). All of it is for its owner alone.

Where it answers otherwise than Snowflake, beside what it refuses as "rendered only" (`refusals.py`): a transaction
reads a snapshot taken at its first statement, not what is committed meanwhile; a statement that fails ends its
transaction; a lock is waited for only while the transaction has changed nothing. VARCHAR(n) is recorded and not
enforced. Integer types hold 64 bits, NUMBER all its digits; division and AVG give FLOAT. Quoted names are not
case-sensitive. MERGE takes duplicate source keys. Row counts and sizes in the information schema are estimates or 0.
PUT reports UPLOADED also for a file that it left as it was.
"""

from lakehouse_assets.embedded_snowflake.address import AccountAddress, account_directory, read_address
from lakehouse_assets.embedded_snowflake.connection import USER, connection_arguments
from lakehouse_assets.embedded_snowflake.lifecycle import ensure_running, running, stop

__all__ = [
    "USER",
    "AccountAddress",
    "account_directory",
    "connection_arguments",
    "ensure_running",
    "read_address",
    "running",
    "stop",
]
