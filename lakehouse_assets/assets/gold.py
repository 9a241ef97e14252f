"""Gold: what is served, and the state from which it is brought up to date."""

from lakehouse_assets.assets.table import table
from lakehouse_assets.transforms import customer_value as customer_transforms
from lakehouse_assets.transforms import customers as crm
from lakehouse_assets.transforms import products, sales

sales_lines = table("gold.sales_lines", upstreams=["silver.order_lines", "silver.fx_rates"])(sales.sales_lines)
daily_sales = table("gold.daily_sales", upstreams=["gold.sales_lines"])(sales.daily_sales)
product_sales = table("gold.product_sales", upstreams=["gold.sales_lines"])(sales.product_sales)
customer_months = table("gold.customer_months", upstreams=["gold.sales_lines"])(customer_transforms.customer_months)
customer_value = table("gold.customer_value", upstreams=["gold.customer_months"])(customer_transforms.customer_value)
cohort_retention = table("gold.cohort_retention", upstreams=["gold.customer_months"])(
    customer_transforms.cohort_retention
)
dim_products = table("gold.dim_products", upstreams=["silver.products"])(products.dim_products)
dim_customers = table("gold.dim_customers", upstreams=["silver.customers"])(crm.dim_customers)

TABLES = [
    sales_lines,
    daily_sales,
    product_sales,
    customer_months,
    customer_value,
    cohort_retention,
    dim_products,
    dim_customers,
]
