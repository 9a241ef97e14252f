"""Contracts of the gold layer: what is served to Snowflake, and the state from which it is brought up to date."""

import pandera.polars as pa

import lakehouse_assets.contracts.checks  # noqa: F401 -- registers the whole-row checks named in Config
from lakehouse_assets.contracts.silver import LINE_TYPES
from lakehouse_assets.contracts.types import Day, Euro, Flag, Moment, Money, Price, ShopClock, Text, Whole

MEASURES = {
    "gross_sales": ["amount", {"line_type": "sale"}],
    "returns": ["amount", {"line_type": "return"}],
    "units": ["quantity", {"line_type": "sale"}],
}
"""What the measures of every aggregate come to in silver: the sum of a column over the lines of a type."""


class SalesLines(pa.DataFrameModel):
    """Order lines with keys and facts, the amount also in euro."""

    line_id: Text = pa.Field(description="key of the order line")
    invoice: Text = pa.Field(description="invoice number")
    line_type: Text = pa.Field(isin=LINE_TYPES, description="return, bad_debt, sale or adjustment")
    is_product: Flag = pa.Field(description="the product code is five digits and up to three letters")
    product_code: Text = pa.Field(description="stock code trimmed, in upper case")
    quantity: Whole = pa.Field(description="units, negative on returns")
    unit_price: Price = pa.Field(description="GBP for a unit")
    amount: Money = pa.Field(description="GBP: quantity times unit_price")
    amount_eur: Euro = pa.Field(
        nullable=True, description="EUR by the rate of fx_rate_date, half up; null where no rate is known yet"
    )
    fx_rate_date: Day = pa.Field(
        nullable=True, description="the invoice day, or the last day before it that has a rate"
    )
    customer_id: Whole = pa.Field(nullable=True, description="customer number, where one stands on the line")
    country: Text = pa.Field(description="country of the customer")
    invoiced_at: ShopClock = pa.Field(description="date and time of the invoice by the shop's clock")
    invoice_date: Day = pa.Field(description="business date")
    invoice_month: Day = pa.Field(description="first day of the month of invoice_date; the physical partition")
    batch_date: Day = pa.Field(description="the day on which the supporting drop landed")

    class Config:
        strict = True
        present = {"columns": ["amount_eur"]}
        metadata = {
            "key": ["line_id"],
            "partition_by": ["invoice_month"],
            "business_date": "invoice_date",
            "handoff": {"kind": "column", "column": "invoice_date"},
            "rows": {"min": 1},
            "references": {"line_id": "silver.order_lines", "customer_id": "silver.customers"},
            "agrees": {
                "with": "silver.order_lines",
                "by": ["invoice_date"],
                "sums": {"amount": ["amount", {}], "quantity": ["quantity", {}]},
                "gate": "silver.order_lines",
            },
            "single": {"invoice_date": ["invoice"]},
            # A customer of whom the CRM has never heard is no reason to doubt a sale, nor is a rate that lands later,
            # nor an invoice over midnight.
            "severity": {"customer_id.references": "warn", "row.present": "warn", "invoice_date.single": "warn"},
        }


class DailySales(pa.DataFrameModel):
    """Sales of a day in a country."""

    invoice_date: Day = pa.Field(description="business date")
    country: Text = pa.Field(description="country of the customer")
    gross_sales: Money = pa.Field(ge=0, description="GBP: sum of sale lines")
    returns: Money = pa.Field(description="GBP: sum of return lines, as it stands")
    net_sales: Money = pa.Field(description="GBP: gross_sales plus returns")
    gross_sales_eur: Euro = pa.Field(
        nullable=True, description="EUR: sum of sale lines; null where one of them has no rate yet"
    )
    returns_eur: Euro = pa.Field(
        nullable=True, description="EUR: sum of return lines; null where one of them has no rate yet"
    )
    net_sales_eur: Euro = pa.Field(nullable=True, description="EUR: gross_sales_eur plus returns_eur")
    orders: Whole = pa.Field(ge=0, description="distinct invoices with a sale line")
    return_invoices: Whole = pa.Field(ge=0, description="distinct invoices with a return line")
    units: Whole = pa.Field(ge=0, description="units of sale lines")
    customers: Whole = pa.Field(ge=0, description="distinct known customers with a sale line")
    average_order_value: Money = pa.Field(
        nullable=True, description="GBP: gross_sales divided by orders, half up; null without orders"
    )

    class Config:
        strict = True
        sums_to = {"total": "net_sales", "parts": ["gross_sales", "returns"]}
        metadata = {
            "key": ["invoice_date", "country"],
            "business_date": "invoice_date",
            "handoff": {"kind": "column", "column": "invoice_date"},
            "agrees": {
                "with": "silver.order_lines",
                "by": ["invoice_date", "country"],
                "sums": MEASURES,
                "gate": "gold.sales_lines",
            },
        }


class ProductSales(pa.DataFrameModel):
    """Sales of a product code on a day."""

    invoice_date: Day = pa.Field(description="business date")
    product_code: Text = pa.Field(description="stock code trimmed, in upper case")
    is_product: Flag = pa.Field(description="the product code is five digits and up to three letters")
    units: Whole = pa.Field(ge=0, description="units of sale lines")
    gross_sales: Money = pa.Field(ge=0, description="GBP: sum of sale lines")
    returns: Money = pa.Field(description="GBP: sum of return lines, as it stands")
    invoice_month: Day = pa.Field(description="first day of the month of invoice_date; the physical partition")

    class Config:
        strict = True
        metadata = {
            "key": ["invoice_date", "product_code"],
            "partition_by": ["invoice_month"],
            "business_date": "invoice_date",
            "handoff": {"kind": "column", "column": "invoice_date"},
            "agrees": {
                "with": "silver.order_lines",
                "by": ["invoice_date", "product_code"],
                "sums": MEASURES,
                "gate": "gold.sales_lines",
            },
        }


class CustomerMonths(pa.DataFrameModel):
    """What a known customer did in a month: the state from which customer_value and cohort_retention are brought up to
    date.
    """

    customer_id: Whole = pa.Field(description="customer number")
    month: Day = pa.Field(description="first day of the month")
    first_sale_date: Day = pa.Field(nullable=True, description="business date of the first sale line of the month")
    last_sale_date: Day = pa.Field(nullable=True, description="business date of the last sale line of the month")
    orders: Whole = pa.Field(ge=0, description="distinct invoices a day with a sale line")
    units: Whole = pa.Field(ge=0, description="units of sale lines")
    gross_sales: Money = pa.Field(ge=0, description="GBP: sum of sale lines")
    returns: Money = pa.Field(description="GBP: sum of return lines, as it stands")
    net_sales: Money = pa.Field(description="GBP: gross_sales plus returns")
    sale_lines: Whole = pa.Field(ge=0, description="sale lines")
    return_lines: Whole = pa.Field(ge=0, description="return lines")

    class Config:
        strict = True
        sums_to = {"total": "net_sales", "parts": ["gross_sales", "returns"]}
        metadata = {
            "key": ["customer_id", "month"],
            "partition_by": ["month"],
            "business_date": "month",
            "agrees": {
                "with": "silver.order_lines",
                "by": {"month": "invoice_month", "customer_id": "customer_id"},
                "sums": MEASURES,
                "gate": "gold.sales_lines",
            },
        }


class CustomerValue(pa.DataFrameModel):
    """What a known customer has been worth so far."""

    customer_id: Whole = pa.Field(description="customer number")
    first_order_date: Day = pa.Field(nullable=True, description="business date of the first sale line")
    last_order_date: Day = pa.Field(nullable=True, description="business date of the last sale line")
    orders: Whole = pa.Field(ge=0, description="distinct invoices with a sale line")
    units: Whole = pa.Field(ge=0, description="units of sale lines")
    gross_sales: Money = pa.Field(ge=0, description="GBP: sum of sale lines")
    returns: Money = pa.Field(description="GBP: sum of return lines, as it stands")
    net_sales: Money = pa.Field(description="GBP: gross_sales plus returns")

    class Config:
        strict = True
        sums_to = {"total": "net_sales", "parts": ["gross_sales", "returns"]}
        metadata = {
            "key": ["customer_id"],
            "handoff": {"kind": "hash", "buckets": 16},
            "agrees": {"with": "silver.order_lines", "by": ["customer_id"], "sums": MEASURES},
        }


class CohortRetention(pa.DataFrameModel):
    """Customers by the month of their first sale, and what became of them by month; of the returns before a first sale
    those of its month count, and no earlier ones.
    """

    cohort_month: Day = pa.Field(description="first day of the month of the first sale")
    months_since: Whole = pa.Field(ge=0, description="months since cohort_month")
    cohort_size: Whole = pa.Field(ge=1, description="customers of the cohort")
    active_customers: Whole = pa.Field(ge=0, description="customers of the cohort with a sale line in that month")
    net_sales: Money = pa.Field(description="GBP: sale and return lines of the whole cohort in that month")

    class Config:
        strict = True
        metadata = {"key": ["cohort_month", "months_since"], "handoff": {"kind": "whole"}}


class DimProducts(pa.DataFrameModel):
    """Product descriptions over time, to be joined as of the invoice date."""

    product_code: Text = pa.Field(description="stock code trimmed, in upper case")
    description: Text = pa.Field(description="trimmed description")
    valid_from: Day = pa.Field(description="first day of validity; 1900-01-01 for the first version")
    valid_to: Day = pa.Field(description="last day of validity; 9999-12-31 for the current version")
    first_seen_on: Day = pa.Field(description="the business date on which this version was first sold")
    is_current: Flag = pa.Field(description="the version is the last one")

    class Config:
        strict = True
        in_order = {"columns": ["valid_from", "valid_to"]}
        metadata = {"key": ["product_code", "valid_from"], "handoff": {"kind": "hash", "buckets": 8}}


class DimCustomers(pa.DataFrameModel):
    """Living customers as the CRM knows them."""

    customer_id: Whole = pa.Field(description="customer number")
    name: Text = pa.Field(nullable=True, description="name", metadata={"personal": True})
    email: Text = pa.Field(
        nullable=True,
        description="e-mail address in lower case; null unless LAKEHOUSE_KEEP_EMAIL allows it",
        metadata={"personal": True},
    )
    email_hash: Text = pa.Field(
        nullable=True, description="keyed hash (HMAC-SHA-256) of the e-mail address in lower case"
    )
    city: Text = pa.Field(nullable=True, description="city", metadata={"personal": True})
    country: Text = pa.Field(nullable=True, description="country")
    segment: Text = pa.Field(nullable=True, description="segment")
    updated_at: Moment = pa.Field(description="when the CRM made the last change, UTC")

    class Config:
        strict = True
        metadata = {
            "key": ["customer_id"],
            "handoff": {"kind": "hash", "buckets": 8},
            "references": {"customer_id": "silver.customers"},
        }
