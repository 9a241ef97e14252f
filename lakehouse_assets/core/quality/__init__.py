"""Judging rows by their contract: which rules a row breaks, what that means for its drop, and how Dagster shows it.

Belongs here: contract → SQL (`rules.py`, `patterns.py`), verdicts on frames (`audit.py`), rules over whole tables
(`table_rules.py`), asset checks (`checks.py`, the only module of the room that imports Dagster). Does not belong here:
what a table promises (`core/contracts/`), reading or writing tables.
"""
