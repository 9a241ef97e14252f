"""Dagster: declarations → assets and checks, IO managers, resources, what decides when to run, the instance.

Does not belong here: how a table is made (`core/`), any table (`domains/`).
"""
