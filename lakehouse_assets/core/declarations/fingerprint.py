"""The fingerprint of a transform: of its function, and of what it calls in code of the same package.

Editing one transform of a module leaves the others as they were. Comments, docstrings and layout do not count, nor does
code of other packages, whose versions are pinned.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

_NAME = re.compile(r"\bName\(id='(\w+)'")
"""A name as `ast.dump` writes it: to find them in the text takes a tenth of looking at every node again."""


def digest(text: str) -> str:
    """The SHA-256 of a text, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(code: Callable[..., Any]) -> str:
    """12 hex digits over a function and everything that it names, directly or through what it names."""
    ours = {code.__module__.partition(".")[0], __name__.partition(".")[0]}
    found: dict[tuple[str, str], str] = {}
    trees: dict[str, ast.Module] = {}
    waiting = [(code.__module__, code.__qualname__.partition(".")[0])]
    while waiting:
        module, name = waiting.pop()
        if (module, name) in found or module.partition(".")[0] not in ours or module not in sys.modules:
            continue
        if f"{module}.{name}" in sys.modules:  # a module imported as a whole counts as a whole
            found[module, name], _ = _text(_tree(inspect.getsource(sys.modules[f"{module}.{name}"])))
            continue
        tree = trees.get(module) or _tree(inspect.getsource(sys.modules[module]))
        trees[module] = tree
        if (node := _definitions(tree).get(name)) is not None:
            found[module, name], named = _text(node)
            waiting += [(module, other) for other in named]
        elif (imported := _imports(tree).get(name)) is not None:
            waiting.append(imported)
    # Where a definition is does not count, so that a module may be moved or cut.
    return digest("\n".join(sorted(f"{name} {text}" for (_, name), text in found.items())))[:12]


@cache
def _tree(source: str) -> ast.Module:
    """A module without docstrings, and without the declarations around functions: to which table one belongs is no part
    of what it computes.
    """
    tree = ast.parse(source)
    for node in _statements(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            first.value.value = ""
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = [d for d in node.decorator_list if not _declares_table(d)]
    return tree


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """A module and all statements in it, outer ones first. Their expressions are most of a tree, and passed over."""
    waiting: deque[ast.AST] = deque([tree])
    while waiting:
        yield (node := waiting.popleft())
        for part in ("body", "handlers", "orelse", "finalbody", "cases"):
            waiting.extend(getattr(node, part, ()))


@cache
def _text(node: ast.AST) -> tuple[str, frozenset[str]]:
    """What a definition says, and the names in it."""
    text = ast.dump(node)
    return text, frozenset(_NAME.findall(text))


def _declares_table(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "table"


@cache
def _definitions(tree: ast.Module) -> dict[str, ast.AST]:
    """Name → what a module defines under it: functions, classes and values."""
    found: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) or (isinstance(node, ast.ClassDef) and not _is_contract(node)):
            found[node.name] = node
        for target in _targets(node):
            found |= {n.id: node for n in ast.walk(target) if isinstance(n, ast.Name)}
    return found


def _is_contract(node: ast.ClassDef) -> bool:
    """Whether a class is the model of a table. It has a fingerprint of its own, to which descriptions do not count."""
    return any(isinstance(part, ast.ClassDef) and part.name == "Config" for part in node.body)


def _targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign) and node.value else []


@cache
def _imports(tree: ast.Module) -> dict[str, tuple[str, str]]:
    """Name → (module, name there) of what a module imports by name."""
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in _statements(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
