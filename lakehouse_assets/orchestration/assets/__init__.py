"""Declarations → assets: `bronze.py` and `silver.py` of a source, `table.py` of a table computed from others,
`snowflake.py` of a served one; `step.py` holds the one step that all lakehouse tables go through.

Does not belong here: business logic (`domains/`), storage (`core/delta/`, `core/handoff/`), anything that decides when
to run (`orchestration/automation/`). Nothing imports this room but `definitions.py`.
"""
