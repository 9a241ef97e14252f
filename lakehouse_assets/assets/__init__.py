"""The graph. `bronze.py`, `silver.py`, `gold.py` and `snowflake.py` read like a table of contents; `table.py` holds the
one decorator.

Does not belong here: business logic (`transforms/`), storage (`delta/`, `handoff/`), anything that decides when to run
(`automation/`). Nothing imports this room but `definitions.py`.
"""
