"""The silver tables that are fed by drops: which source, which meaning of a row, which supporter wins. Nothing else
belongs here.
"""

from lakehouse_assets.sources.cleanse import SourceTable
from lakehouse_assets.transforms import customers, fx_rates, order_lines


def source_tables(email_key: str, keep_email: bool) -> list[SourceTable]:
    """All of them. email_key: the secret of the keyed hash of e-mail addresses; keep_email: whether the addresses go on
    beside it.
    """
    return [
        SourceTable("silver.order_lines", "orders", "bronze.orders", order_lines.typed, order_lines.ORDER),
        SourceTable(
            "silver.customers", "customers", "bronze.customers", customers.typed(email_key, keep_email), customers.ORDER
        ),
        SourceTable("silver.fx_rates", "fx", "bronze.fx_rates", fx_rates.typed, fx_rates.ORDER),
    ]
