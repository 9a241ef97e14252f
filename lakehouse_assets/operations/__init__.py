"""What is asked of a lakehouse that runs, one folder a question. What belongs here: reading what the rest has recorded,
and judging it. What does not: loading tables, Dagster.
"""
