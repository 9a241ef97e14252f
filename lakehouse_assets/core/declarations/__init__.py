"""Declarations: what a source is (`source.py`), what a table is (`table.py`), and all that this lakehouse holds
(`registry.py`). Everything else follows from them.

Does not belong here: any source or table (`domains/`), I/O, Dagster.
"""

from lakehouse_assets.lean import import_contracts

import_contracts()
