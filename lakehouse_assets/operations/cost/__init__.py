"""What the statements of a day would cost on a real account, by the embedded account's log. A model, not a bill.

What belongs here: the model and its assumptions. What does not: the log (`embedded_snowflake/history/`), printing
(`cli/cost.py`).
"""

from lakehouse_assets.operations.cost.model import Assumptions, Cost, cost_of, running

__all__ = ["Assumptions", "Cost", "cost_of", "running"]
