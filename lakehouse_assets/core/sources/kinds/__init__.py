"""How drops are written: one module a kind, each a class with `parse`. Pure: bytes in, Arrow out.

Does not belong here: what lines and CSV records are (`lines.py`), the shape of the answer (`rows.py`), any source.
"""
