"""This application on a Dagster instance: its event log, its local instance, runs made by the command, and clearing up
after dead ones.

What belongs here: whatever touches Dagster's instance, its storage or its processes. What does not: assets and jobs,
which never look at the instance, and anything about tables: what is pending is read from those, never from Dagster's
records.
"""
