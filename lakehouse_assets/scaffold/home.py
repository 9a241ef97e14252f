"""Finds where a new source or table of a domain goes: in this checkout, or in a project of one's own.

Does not belong here: writing it (`source.py`, `table.py`).
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from lakehouse_assets.areas import PACKAGES, packages_of
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.scaffold.write import Home, template, write
from lakehouse_assets.settings import PROJECT, Settings

_OURS = "lakehouse_assets.domains"


def loaded_packages() -> list[str]:
    """The packages of the areas that are loaded."""
    return list(packages_of(Settings()))  # pyright: ignore[reportCallIssue] -- all fields have defaults


def home_of(domain: str | None, packages: Sequence[str]) -> Home:
    """Where the modules of a domain go. packages: those of LAKEHOUSE_AREAS, or of the example.

    A domain that is not there yet is made: in a checkout as an area of its own, elsewhere as a folder of the project.
    Raises `LakehouseError` where no domain is named and there are several.
    """
    foreign = [p for p in packages if not p.startswith(_OURS)]
    if domain is None:
        if len(foreign) != 1:
            names = ", ".join(p.rpartition(".")[2] for p in packages)
            raise LakehouseError(f"Several domains could have it; name one by --domain: {names}, or a new one.")
        return _home(foreign[0], packages)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", domain):
        raise LakehouseError(f"{domain!r} cannot be the name of a domain; write small letters, digits and underscores.")
    if found := next((p for p in packages if p.rpartition(".")[2] == domain), None):
        return _home(found, packages)
    return _folder_of_project(foreign[0], domain, packages) if foreign else _new_area(domain)


def _home(package: str, packages: Sequence[str]) -> Home:
    importlib.invalidate_caches()  # it may have been written a moment ago
    folder = Path(next(iter(importlib.import_module(package).__path__)))
    areas = " ".join(dict.fromkeys([*packages, package]))
    if package.startswith(_OURS):
        _refuse_installed()
        tests = folder.parents[1].with_name("lakehouse_assets_tests") / "domains" / folder.name
        return Home(folder, package, tests, "")
    root = folder.parents[package.count(".")]
    return Home(folder, package, root / "tests", areas)


def _folder_of_project(package: str, domain: str, packages: Sequence[str]) -> Home:
    home = _home(package, packages)
    folder = home.folder / domain
    if not folder.exists():
        write({folder / "__init__.py": f'"""{domain.replace("_", " ").capitalize()}. DECIDE: what it holds."""\n'})
    return Home(folder, f"{package}.{domain}", home.tests, home.areas)


def _refuse_installed() -> None:
    """Raise `LakehouseError` where the product is an installed package: nobody would look there for code of theirs."""
    if not (PROJECT / "pyproject.toml").is_file():
        raise LakehouseError("Make a project of your own by `lakehouse init`, and go on there.")


def _new_area(domain: str) -> Home:
    """A new domain of this checkout: its folder, and its line in `areas.py`."""
    _refuse_installed()
    package = f"{_OURS}.{domain}"
    folder = Path(next(iter(importlib.import_module(_OURS).__path__))) / domain
    listed = folder.parents[1] / "areas.py"
    if not os.access(listed, os.W_OK):
        raise LakehouseError(f"{listed} cannot be written; make a project of your own by `lakehouse init`.")
    write(
        {
            folder / "__init__.py": f'"""{domain.replace("_", " ").capitalize()}. DECIDE: what it holds."""\n',
            folder / "area.py": template("project_area").substitute(package=package),
        }
    )
    last = f'    "{PACKAGES[-1]}",\n'
    text = listed.read_text(encoding="utf-8")
    listed.write_text(text.replace(last, f'{last}    "{package}",\n'), encoding="utf-8")
    return _home(package, [*PACKAGES, package])
