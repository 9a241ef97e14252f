"""Writes a project of one's own: a package with an area, its settings, a Makefile and a test, without the example.

Does not belong here: its sources and tables (`source.py`, `table.py`).
"""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.scaffold.write import Home, template, write

_FILES = {
    "pyproject.toml": "project_pyproject",
    "setup.py": "project_setup",
    "workspace.yaml": "project_workspace",
    "Makefile": "project_makefile",
    "README.md": "project_readme",
    ".env": "project_env",
    ".gitignore": "project_gitignore",
    "{package}/__init__.py": "project_package",
    "{package}/area.py": "project_area",
    "tests/test_definitions.py": "project_test",
}


def new_project(folder: Path, name: str | None) -> Home:
    """Write a project into a folder, which may be there; returns where its modules go. name: of its package, default
    that of the folder. Raises `LakehouseError` where the name cannot be one, or a file is there already.
    """
    package = name or re.sub(r"\W+", "_", folder.resolve().name).strip("_").lower()
    if not re.fullmatch(r"[a-z][a-z0-9_]*", package):
        raise LakehouseError(
            f"{package!r} cannot be the name of a package; give one by --package, in small letters, digits and"
            " underscores."
        )
    if package == "lakehouse_assets":
        raise LakehouseError("A project of one's own cannot be called lakehouse_assets; give another --package.")
    given = {"package": package, "version": version("lakehouse_assets")}
    write({folder / path.format(**given): template(name).substitute(given) for path, name in _FILES.items()})
    (folder / "data" / "landing").mkdir(parents=True, exist_ok=True)
    return Home(folder / package, package, folder / "tests", package)
