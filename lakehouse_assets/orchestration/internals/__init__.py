"""What is relied on inside Dagster, where its public names do not reach: each such name is here once, with the
behaviour that is relied on, and `lakehouse_assets_tests/orchestration/test_internals.py` tests that behaviour.

What belongs here: imports from `dagster._…` and `dagster_shared`, and classes that give private methods of Dagster's
classes names of our own. What does not: anything done with them, and what `import dagster` offers. The event log is
in modules of its own: its database tools take half a second to import, and the PostgreSQL driver is an extra.
"""
