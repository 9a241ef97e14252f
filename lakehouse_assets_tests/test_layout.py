"""The rooms of the house: which may know which, which may know Dagster, and that each module says what it is for."""

import ast
from pathlib import Path

import pytest

import lakehouse_assets

PACKAGE = Path(lakehouse_assets.__file__).parent
MODULES = sorted(str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.py"))

_GROUND = {"errors", "paths", "private", "processes", "settings"}
_TABLES = _GROUND | {"contracts", "transforms", "delta", "quality", "sources", "handoff"}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "errors": set(),
    "disks": set(),
    "private": {"errors"},
    "processes": set(),
    "paths": {"errors"},
    "shown": set(),
    "settings": {"errors", "paths"},
    "partitions": _GROUND | {"delta", "sources"},
    "contracts": {"errors"},
    "transforms": {"errors", "contracts"},
    "quality": {"errors", "contracts", "shown"},
    "delta": {"errors", "processes", "contracts", "transforms"},
    "handoff": _GROUND | {"contracts", "delta"},
    "sources": _GROUND | {"contracts", "transforms", "delta", "quality"},
    "sample": {"errors"},
    "instance": _GROUND,
    "embedded_snowflake": {"errors", "paths", "private", "processes"},
    "resources": _TABLES | {"partitions", "embedded_snowflake"},
    "io_managers": _TABLES | {"resources"},
    "assets": _TABLES | {"resources", "io_managers", "partitions", "instance"},
    "automation": _TABLES | {"resources", "io_managers", "partitions", "instance"},
    "definitions": _TABLES | {"resources", "io_managers", "partitions", "instance", "automation", "assets"},
    "cli": _TABLES
    | {"resources", "io_managers", "partitions", "instance", "automation", "definitions", "sample", "shown", "disks"}
    | {"embedded_snowflake"},
}
"""Of each room or module at the top, the others that it may import. Arrows point one way: no two may import each
other.
"""

KNOW_DAGSTER = {
    "assets",
    "io_managers",
    "resources",
    "automation",
    "instance",
    "cli",
    "definitions",
    "partitions",
    "quality/checks.py",
}


def room(module: str) -> str:
    return module.partition("/")[0].removesuffix(".py")


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
            names |= {f"{base}.{alias.name}" for alias in node.names} if base == "lakehouse_assets" else {base}
    return names


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module):
    """Else two rooms grow into one, and neither can be understood or replaced by itself."""
    assert room(module) in MAY_IMPORT, f"{module} is in no room of the plan"
    rooms = {name.split(".")[1] for name in imported(module) if name.startswith("lakehouse_assets.")} - {room(module)}
    assert not rooms - MAY_IMPORT[room(module)], f"{module} must not know {sorted(rooms - MAY_IMPORT[room(module)])}"


def test_the_plan_itself_has_no_circle():
    """Else the rule above allows what it is there to forbid."""
    above: dict[str, set[str]] = {name: set(may) for name, may in MAY_IMPORT.items()}
    while above:
        free = {name for name, may in above.items() if not may & above.keys()}
        assert free, f"a circle among {sorted(above)}"
        above = {name: may for name, may in above.items() if name not in free}


@pytest.mark.parametrize("module", MODULES)
def test_only_some_rooms_know_dagster(module):
    """Else the business logic cannot be run or tested without the orchestrator."""
    if room(module) in KNOW_DAGSTER or module in KNOW_DAGSTER:
        return
    assert not {name for name in imported(module) if name.split(".")[0].startswith("dagster")}


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_for(module):
    """Else nobody knows where a new thing belongs."""
    assert ast.get_docstring(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))), f"{module} has no docstring"
