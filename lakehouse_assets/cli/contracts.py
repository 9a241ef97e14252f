"""The command `contracts`. Does not belong here: what a contract says in words (`core/contracts/describe.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def contracts(
    table: Annotated[str | None, typer.Argument(help="One table, as gold.daily_sales; default all.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write Markdown to this file instead.")] = None,
) -> None:
    """Print or export what each table promises.

    Example: `lakehouse contracts gold.daily_sales`
    """
    from rich.markdown import Markdown

    import lakehouse_assets.areas  # noqa: F401 -- fills the registry
    from lakehouse_assets.core.contracts import CONTRACTS, contract
    from lakehouse_assets.core.contracts.describe import markdown, page

    text = markdown(contract(table)) if table else page(CONTRACTS)
    if export:
        export.write_text(text, encoding="utf-8")
        print(f"Wrote {export}.")
    else:
        Console().print(Markdown(text))
