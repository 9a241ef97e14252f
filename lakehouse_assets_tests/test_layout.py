"""The rooms of the house: which may know which, which may know Dagster, that each module says what it is for, and how
long it may be.
"""

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

import lakehouse_assets

PACKAGE = Path(lakehouse_assets.__file__).parent
MODULES = sorted(str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.py"))

_GROUND = {"errors", "lean", "paths", "private", "processes", "settings", "disks", "shown"}
_CORE = _GROUND | {
    "core",
    "core/contracts",
    "core/declarations",
    "core/quality",
    "core/delta",
    "core/handoff",
    "core/sources",
}
_ORCHESTRATION = {
    "orchestration",
    "orchestration/assets",
    "orchestration/automation",
    "orchestration/instance",
    "orchestration/internals",
    "orchestration/io_managers",
    "orchestration/resources",
}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "errors": set(),
    "disks": {"errors"},
    "private": {"errors"},
    "processes": set(),
    "lean": set(),
    "paths": {"errors"},
    "shown": set(),
    "settings": {"errors", "paths"},
    "embedded_snowflake": {"errors", "paths", "private", "processes"},
    "core/contracts": {"errors", "lean", "core"},
    "core": {"errors"},
    "core/declarations": {"errors", "lean", "settings", "core", "core/contracts"},
    "core/quality": {"errors", "shown", "core", "core/contracts"},
    "core/delta": {"errors", "processes", "core/contracts", "core"},
    "core/handoff": _GROUND | {"core", "core/contracts", "core/delta"},
    "core/sources": _GROUND | {"core", "core/contracts", "core/declarations", "core/delta", "core/quality"},
    "orchestration": _CORE,
    "orchestration/internals": set(),
    "orchestration/instance": _GROUND | {"orchestration/internals"},
    "orchestration/resources": _CORE | {"orchestration", "embedded_snowflake"},
    "orchestration/io_managers": _CORE | {"orchestration", "orchestration/resources"},
    "orchestration/assets": _CORE | _ORCHESTRATION - {"orchestration/automation"},
    "orchestration/automation": _CORE | _ORCHESTRATION - {"orchestration/assets"},
    "streams": _CORE,
    "domains": _CORE | {"orchestration"},
    "operations": set(),
    "operations/cost": {"embedded_snowflake"},
    "sample": {"errors", "core/sources", "domains"},
    "scaffold": {"core", "errors", "settings", "areas", "core/contracts", "core/declarations", "core/sources"},
    "areas": _CORE | {"orchestration", "streams"},
    "definitions": _CORE | _ORCHESTRATION | {"areas"},
    "cli": _CORE
    | _ORCHESTRATION
    | {"areas", "definitions", "embedded_snowflake", "operations/cost", "sample", "scaffold", "streams"},
}
"""Of each room or module at the top, the others that it may import. Arrows point one way: no two may import each
other.
"""

KNOW_DAGSTER = {"orchestration", "cli", "definitions"}
"""The rooms that may import Dagster, each with the rooms in it."""

MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION = 350, 60

ROOMS = sorted((name for name in MAY_IMPORT if "/" in name), key=len, reverse=True)


def room(module: str) -> str:
    """The room of a module: the deepest folder of the plan that holds it, else the folder or module at the top."""
    deepest = next((name for name in ROOMS if module.startswith(f"{name}/")), None)
    return deepest or module.partition("/")[0].removesuffix(".py")


def imported(module: str) -> set[str]:
    """Every module that this one imports, wherever in its text, as dotted names."""
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    here = ["lakehouse_assets", *Path(module).with_suffix("").parts]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join([*here[: len(here) - node.level], *([node.module] if node.module else [])])
                if node.level
                else node.module or ""
            )
            names |= {f"{base}.{alias.name}" if _is_package(base) else base for alias in node.names}
    return names


def _is_package(name: str) -> bool:
    """Whether it is a package of ours, so that what is imported from it is a module or stands in its `__init__`."""
    return name.startswith("lakehouse_assets") and (PACKAGE.parent / name.replace(".", "/")).is_dir()


def room_of_name(name: str) -> str:
    """The room of a dotted name; of a package itself, where its `__init__` is."""
    path = "/".join(name.split(".")[1:])
    inside = (PACKAGE / f"{path}.py").exists() or (PACKAGE / path).is_dir()
    return room(f"{path}/" if inside or "/" not in path else f"{path.rpartition('/')[0]}/")


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module):
    """Else two rooms grow into one, and neither can be understood or replaced by itself."""
    assert room(module) in MAY_IMPORT, f"{module} is in no room of the plan"
    rooms = {room_of_name(name) for name in imported(module) if name.startswith("lakehouse_assets.")} - {room(module)}
    assert not rooms - MAY_IMPORT[room(module)], f"{module} must not know {sorted(rooms - MAY_IMPORT[room(module)])}"


def test_the_plan_itself_has_no_circle():
    """Else the rule above allows what it is there to forbid."""
    above: dict[str, set[str]] = {name: may - {name} for name, may in MAY_IMPORT.items()}
    while above:
        free = {name for name, may in above.items() if not may & above.keys()}
        assert free, f"a circle among {sorted(above)}"
        above = {name: may for name, may in above.items() if name not in free}


@pytest.mark.parametrize("module", MODULES)
def test_only_some_rooms_know_dagster(module):
    """Else the business logic cannot be run or tested without the orchestrator."""
    if room(module).partition("/")[0] in KNOW_DAGSTER:
        return
    assert not {name for name in imported(module) if name.split(".")[0].startswith("dagster")}


@pytest.mark.parametrize("module", MODULES)
def test_only_one_room_looks_inside_dagster(module):
    """Else an upgrade of Dagster breaks what nobody has named, and no test says where."""
    if room(module) == "orchestration/internals":
        return
    dotted: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            dotted |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            dotted |= {alias.name for alias in node.names}
        elif (
            isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("dg", "dagster")
        ):
            dotted.add(f"dagster.{node.attr}")
    inside = re.compile(r"dagster_shared\b|dagster(_\w+)?(\.\w+)*\._")
    assert not [name for name in dotted if inside.match(name)]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_for(module):
    """Else nobody knows where a new thing belongs."""
    assert ast.get_docstring(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))), f"{module} has no docstring"


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_are_short(module):
    """Else a reader must hold too much in mind at once."""
    text = (PACKAGE / module).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES_OF_A_FILE, f"{module}: cut it where a reader would look for a part"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= MOST_LINES_OF_A_FUNCTION, f"{module}: {node.name} has {lines} lines"


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("domains/")])
def test_domains_do_not_know_each_other(module):
    """Else no domain can be left out, and a change in one breaks another: they meet in tables."""
    own = module.split("/")[1]
    others = {name.split(".")[2] for name in imported(module) if name.startswith("lakehouse_assets.domains.")}
    assert others <= {own}


def test_the_way_of_a_row_leads_through_functions_that_exist():
    """Else a new reader follows a row into nothing."""
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page[page.index("## The way of a row") : page.index("## Decisions, and why")]
    steps = re.findall(r"`([\w/]+)\.py::([\w.]+)`", table)
    assert len(steps) == 12
    for path, name in steps:
        found: Any = importlib.import_module(f"lakehouse_assets.{path.replace('/', '.')}")
        for part in name.split("."):
            found = getattr(found, part)
        assert callable(found), f"{path}.py::{name}"
