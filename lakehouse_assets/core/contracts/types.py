"""The column types a contract may use, each written once. Nothing else belongs here.

Floating point is left out on purpose: NaN passes some checks and not others, and sums depend on their order.
"""

from typing import Annotated

import pandera.engines.polars_engine as pe
import polars as pl

Text = pl.String
Whole = pl.Int64
Flag = pl.Boolean
Day = pl.Date
Moment = Annotated[pl.Datetime, "us", "UTC"]
"""A point in time, UTC, microseconds."""
ShopClock = Annotated[pl.Datetime, "us", None]
"""Date and time as the shop's clock showed them, without a time zone."""
Price = Annotated[pe.Decimal, 12, 3]
Money = Annotated[pe.Decimal, 18, 3]
Euro = Annotated[pe.Decimal, 24, 6]
Rate = Annotated[pe.Decimal, 18, 6]
TextList = Annotated[pl.List, pl.String]
