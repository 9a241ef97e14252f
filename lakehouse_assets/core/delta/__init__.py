"""The Delta store: one interface, with delta-rs and delta-spark behind it.

Belongs here: creating, reading, committing, comparing and maintaining Delta tables. Does not belong here: what the
tables mean, Dagster.
"""
