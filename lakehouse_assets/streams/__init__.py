"""Topics of a Kafka broker as sources: the process that appends their messages to bronze, exactly once.

Belongs here: brokers (`broker.py`), messages as rows (`rows.py`), the process (`process.py`). Does not belong here: the
commit (`core/delta/streamed.py`), what becomes of the rows (`core/sources/blocks.py`), what they mean (`domains/`).
"""
