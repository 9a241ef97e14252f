"""Writes what a user adds: the folder of a source, the file of a table, a project of one's own.

`infer.py` looks at a sample, `source.py`, `table.py` and `project.py` fill in `templates/`. What is written runs as it
is; what is to be decided is marked `DECIDE`. Does not belong here: anything that runs afterwards.
"""
