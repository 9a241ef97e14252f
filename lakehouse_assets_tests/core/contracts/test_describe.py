"""A contract in words says all that the contract says."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from lakehouse_assets.cli import app
from lakehouse_assets.core.contracts import CONTRACTS
from lakehouse_assets.core.contracts.describe import column_rules, markdown, page, rule_text, spark_ddl
from lakehouse_assets.errors import LakehouseError

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", sorted(CONTRACTS))
def test_every_column_and_rule_is_in_the_docs(name):
    """Else people rely on docs that leave something out."""
    contract = CONTRACTS[name]
    text = markdown(contract)
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| `")}
    assert list(rows) == [f"`{n}`" for n in contract.names]
    for column in contract.columns:
        assert all(rule in rows[f"`{column.name}`"].replace("\\|", "|") for rule in column_rules(contract, column))
        assert ("personal data" in rows[f"`{column.name}`"]) == column.personal
    assert all(line.replace("\\|", "").count("|") == 6 for line in rows.values())
    assert contract.fingerprint in text


def test_rules_are_said_as_phrases():
    """Else a check's description is a Python representation."""
    said = {rule.name: rule_text(rule) for rule in CONTRACTS["silver.order_lines"].rules}
    assert said["customer_id.ge"] == "customer_id ≥ 1"
    assert said["line_type.isin"] == "line_type is one of `adjustment`, `bad_debt`, `return`, `sale`"
    assert said["line_id.str_length"] == "line_id has 32 characters"
    assert said["invoiced_at.in_range"] == "1995-01-01 00:00:00 ≤ invoiced_at ≤ 2100-01-01 00:00:00"
    assert said["invoice.nullable"] == "invoice is not null"


def test_the_page_holds_every_table_once():
    """Else a table is missing from the docs."""
    headings = [line[3:] for line in page(CONTRACTS).splitlines() if line.startswith("## ")]
    assert headings == list(CONTRACTS)


@pytest.mark.parametrize("name", sorted(CONTRACTS))
def test_the_ddl_makes_the_columns_of_the_contract(spark, name):
    """Else the DDL that people copy makes another table."""
    contract = CONTRACTS[name]
    schema = spark.createDataFrame([], spark_ddl(contract)).schema
    assert [f.name for f in schema] == list(contract.names)
    assert [f.dataType.simpleString() for f in schema] == [c.type.spark for c in contract.columns]
    assert [f.nullable for f in schema] == [c.nullable for c in contract.columns]


def test_the_page_in_the_docs_is_the_one_that_the_command_writes(tmp_path):
    """Else the docs promise what the tables no longer do."""
    out = tmp_path / "contracts.md"
    done = CliRunner().invoke(app, ["contracts", "--export", str(out)], catch_exceptions=False)
    assert done.output == f"Wrote {out}.\n"
    assert out.read_text(encoding="utf-8") == page(CONTRACTS) == (DOCS / "contracts.md").read_text(encoding="utf-8")


def test_the_command_prints_one_contract_or_says_which_there_are():
    """Else one has to read the whole page for a table, or a misspelt name gives a traceback."""
    said = CliRunner().invoke(app, ["contracts", "gold.daily_sales"], catch_exceptions=False).output
    assert "gold.daily_sales" in said
    assert "gold.product_sales" not in said
    with pytest.raises(
        LakehouseError, match=r"There is no table gold\.dayly_sales; the tables are .*gold\.daily_sales"
    ):
        CliRunner().invoke(app, ["contracts", "gold.dayly_sales"], catch_exceptions=False)
