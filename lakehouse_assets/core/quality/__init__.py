"""Judging rows by their contract: which rules a row breaks, and what that means for its drop or slice.

Belongs here: contract → SQL (`check_sql.py`, `patterns.py`, `rules.py`), what a model may not say (`refusals.py`), what
follows for drops and slices (`drops.py`, `slices.py`), rows as they are shown (`samples.py`), rules over whole tables
(`table_rules.py`). Does not belong here: what a table promises (`core/contracts/`), reading or writing tables, Dagster
(`orchestration/gates.py`, `orchestration/checks.py`).
"""
