"""How any table is made: contracts, the Delta store, sources, judging, the hand-off. Knows no Dagster, and no table of
anyone's (`domains/`).

`frames.py` is what every transform may use, `spark_sql.py` how names and values are written in Spark SQL.
"""
