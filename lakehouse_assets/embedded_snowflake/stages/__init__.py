"""Stages: the files on them, and reading staged Parquet where it lies (`FROM @stage/path (FILE_FORMAT => …)`), in
queries and in views.

What belongs here: everything that turns a stage reference into files or into a read of them, with Snowflake's
strictness. What does not: COPY INTO and CREATE STAGE, which are fakesnow's, and sessions.
"""
