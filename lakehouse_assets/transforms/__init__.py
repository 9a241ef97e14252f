"""The business logic: DataFrames in, DataFrame out.

Belongs here: one module a table (or a family of tables), each a pure function of the frames it is given, by `Inputs`
and `Recomputed`. Does not belong here: Dagster, storage, the engine's name.
"""
