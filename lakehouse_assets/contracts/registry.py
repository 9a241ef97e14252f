"""The list of all contracts, by table name. Add your own table here; nothing else belongs here."""

from lakehouse_assets.contracts import bronze, gold, silver
from lakehouse_assets.contracts.contract import Contract
from lakehouse_assets.errors import LakehouseError

_MODELS = {
    "bronze.orders": bronze.Orders,
    "bronze.customers": bronze.Customers,
    "bronze.fx_rates": bronze.FxRates,
    "bronze.landings": bronze.Landings,
    "silver.order_lines": silver.OrderLines,
    "silver.order_lines_quarantine": silver.Quarantine,
    "silver.order_lines_verdicts": silver.Verdicts,
    "silver.customers": silver.Customers,
    "silver.customers_quarantine": silver.Quarantine,
    "silver.customers_verdicts": silver.Verdicts,
    "silver.fx_rates": silver.FxRates,
    "silver.fx_rates_quarantine": silver.Quarantine,
    "silver.fx_rates_verdicts": silver.Verdicts,
    "silver.products": silver.Products,
    "silver.intake": silver.Intake,
    "gold.sales_lines": gold.SalesLines,
    "gold.daily_sales": gold.DailySales,
    "gold.product_sales": gold.ProductSales,
    "gold.customer_months": gold.CustomerMonths,
    "gold.customer_value": gold.CustomerValue,
    "gold.cohort_retention": gold.CohortRetention,
    "gold.dim_products": gold.DimProducts,
    "gold.dim_customers": gold.DimCustomers,
}

CONTRACTS: dict[str, Contract] = {name: Contract(name, model) for name, model in _MODELS.items()}
"""Every table of the lakehouse by its name `layer.table`."""


def contract(name: str) -> Contract:
    """The contract of a table, by its name `layer.table`. Raises `LakehouseError` for an unknown name."""
    if name not in CONTRACTS:
        raise LakehouseError(f"There is no table {name}; the tables are {', '.join(sorted(CONTRACTS))}.")
    return CONTRACTS[name]
