"""Where the code and the contract of an asset stand, as links: to the files of this checkout, or to where its
repository can be browsed.

Does not belong here: links to data, which IO managers give.
"""

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.settings import PROJECT

CONTRACTS_PAGE = PROJECT / "docs" / "contracts.md"


def linked(
    asset: dg.AssetsDefinition, code: ModuleType | Callable[..., Any], contract: Contract, base: str | None
) -> dg.AssetsDefinition:
    """The asset with links to its code, its contract and what the docs say of that. base: where the repository can be
    browsed; None links to files.
    """
    model = contract.model
    links = [
        _reference("code", *_code(code), base),
        # The contract of a bronze table has no class: it follows from the declaration of its source.
        _reference("contract", *_line(_file(model.__module__), f"class {model.__name__}(", "= Source("), base),
    ]
    if CONTRACTS_PAGE.exists():  # an installed package comes without docs
        anchor = contract.name.replace(".", "")
        links.append(_reference("docs", *_line(CONTRACTS_PAGE, f"## {contract.name}\n"), base, anchor))
    references = dg.CodeReferencesMetadataValue(code_references=links)
    return asset.map_asset_specs(lambda spec: spec.merge_attributes(metadata={"dagster/code_references": references}))


def _code(code: ModuleType | Callable[..., Any]) -> tuple[Path, int]:
    if isinstance(code, ModuleType):
        return _file(code.__name__), 1
    file, first = _file(code.__module__), code.__code__.co_firstlineno
    # The first line of a function is that of its first decorator.
    below = enumerate(_lines(file)[first - 1 :], first)
    return file, next((number for number, line in below if line.lstrip().startswith("def ")), first)


def _file(module: str) -> Path:
    return Path(str(sys.modules[module].__file__))


def _line(file: Path, *texts: str) -> tuple[Path, int]:
    """The first line that holds one of the texts, the first of them first; 1 where none does."""
    lines = _lines(file)
    return file, next((n for text in texts for n, line in enumerate(lines, start=1) if text in line), 1)


@cache
def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines(keepends=True)


def _reference(
    label: str, file: Path, line: int, base: str | None, anchor: str = ""
) -> dg.LocalFileCodeReference | dg.UrlCodeReference:
    if base and file.is_relative_to(PROJECT):
        return dg.UrlCodeReference(
            url=f"{base.rstrip('/')}/{file.relative_to(PROJECT).as_posix()}#{anchor or f'L{line}'}", label=label
        )
    return dg.LocalFileCodeReference(file_path=str(file), line_number=line, label=label)
