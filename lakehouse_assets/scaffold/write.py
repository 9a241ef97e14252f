"""Where files of the user go, and writing them: nothing that is there already is overwritten.

Does not belong here: what is in them (`source.py`, `table.py`, `project.py`).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from keyword import iskeyword
from pathlib import Path
from string import Template
from typing import Final

from lakehouse_assets.core.contracts import CONTRACTS
from lakehouse_assets.core.contracts.naming import refuse_names
from lakehouse_assets.errors import LakehouseError


@dataclass(frozen=True)
class Home:
    """Where the modules and tests of a domain are. package: its dotted name; areas: what LAKEHOUSE_AREAS must be for it
    to be loaded, empty where it is loaded without.
    """

    folder: Path
    package: str
    tests: Path
    areas: str


def template(name: str) -> Template:
    """A file of `templates/`."""
    return Template(resources.files("lakehouse_assets.scaffold").joinpath("templates", f"{name}.tmpl").read_text())


USED: Final = frozenset({
    "convert", "copied", "typed", "table", "row_hash", "area", "pa", "pe",
    "source", "landed", "pulled", "contract", "inputs", "recomputed", "csv", "json_lines", "parquet", "provenance",
    "text", "whole", "day", "moment", "flag", "money", "annotated", "shop_clock", "data_frame",
})  # fmt: skip
"""Names that the written modules use themselves, also as names of classes."""


def refuse_name(name: str, what: str, taken: Iterable[str]) -> None:
    """Raise `LakehouseError` for a name that a source or table cannot have. taken: the tables that it would make, which
    must not be there yet.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise LakehouseError(f"{name!r} cannot be the name of a {what}; write small letters, digits and underscores.")
    refuse_names(f"silver.{name}", name, [])
    if iskeyword(name) or name in USED:
        raise LakehouseError(f"{name!r} cannot be the name of a {what}, for Python uses it; choose another.")
    if there := [table for table in taken if table in CONTRACTS]:
        raise LakehouseError(f"There is a table {there[0]} already; choose another name than {name}.")


def quoted(text: str) -> str:
    """A text as Python writes it between double quotes."""
    return json.dumps(text, ensure_ascii=False)


def write(files: Mapping[Path, str]) -> None:
    """Write files that are not there yet, the Python ones formatted. Raises `LakehouseError` where one is."""
    if there := [str(path) for path in files if path.exists()]:
        raise LakehouseError(
            f"{', '.join(there)} is there already; nothing was written. Choose another name, or remove it."
        )
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    _formatted([path for path in files if path.suffix == ".py"])


def _formatted(paths: list[Path]) -> None:
    """Format by ruff, where it is installed: it is a tool of those who write code, and no part of a plain install."""
    ruff = Path(sys.executable).with_name("ruff")
    if ruff.exists() and paths:
        given = ["--line-length", "120", *map(str, paths)]
        subprocess.run([ruff, "check", "--no-cache", "--quiet", "--select", "I", "--fix", *given], check=False)
        subprocess.run([ruff, "format", "--no-cache", "--quiet", *given], check=False)
