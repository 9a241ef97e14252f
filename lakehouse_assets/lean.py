"""Libraries imported without pandas, which nothing here uses: pandera, which brings all of its own pandas layer along,
pyarrow's datasets, and the Snowflake connector. It would be a third of what a short command costs.

Whoever uses pandas after all finds everything as it is elsewhere: these libraries are told when it is imported. Where
it has been imported before, they take it. Does not belong here: any use of these libraries.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_STRATEGIES = "pandera.strategies.pandas_strategies"


def import_contracts() -> None:
    """Import pandera for polars, and pyarrow, as where pandas is not installed; both support that."""
    if {"pandera", "pandas"} & sys.modules.keys():
        return
    importlib.import_module("polars")  # it looks whether pandas is there, and imports it when it is needed
    with _hidden("pandas"):
        importlib.import_module("pandera.polars")
        importlib.import_module("pyarrow.dataset")
    sys.meta_path.insert(0, _Told())


@contextmanager
def registering() -> Iterator[None]:
    """Held while a check is registered with pandera. It imports pandas for the types that a check may take, and
    hypothesis for what makes up rows; the checks here are for polars, and make up none.
    """
    if "pandas" in sys.modules or _STRATEGIES in sys.modules:
        yield
        return
    unused: Any = ModuleType(_STRATEGIES)
    unused.register_check_constraint = unused.register_check_strategy = None
    sys.modules[_STRATEGIES] = unused
    try:
        with _hidden("pandas", "pyspark"):
            yield
    finally:
        del sys.modules[_STRATEGIES]


def import_connector() -> None:
    """Import `snowflake.connector`; it imports pandas when it is asked for a data frame."""
    if {"snowflake.connector", "pandas"} & sys.modules.keys():
        return
    later = _Later("pandas")
    later.DataFrame = None  # it is imported by name, to see whether pandas is there
    sys.modules["pandas"] = later
    try:
        importlib.import_module("snowflake.connector")
    finally:
        del sys.modules["pandas"]
        del later.DataFrame


@contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """Packages are not installed for a while, as far as imports can tell."""
    finder = _Hidden(packages)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Hidden:
    def __init__(self, packages: Sequence[str]):
        self.packages = packages

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        """Raise what Python raises for a module that is not there, else leave it to others."""
        if name.partition(".")[0] in self.packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


class _Told:
    """Tells pyarrow and pandera when pandas is imported after all: pyarrow would else take a missing value of a series
    for a number that is none, and pandera has left names out.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Leave the import to others, but for what is done after it (pandas) or before it (pandera's own layer)."""
        if name == "pandera.pandas":
            importlib.reload(sys.modules["pandera.typing"])
        if name != "pandas":
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, others), None)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def told(module: ModuleType) -> None:
                execute(module)
                _ = sys.modules["pyarrow"].lib._pandas_api.pd

            spec.loader.exec_module = told
        return spec


class _Later(ModuleType):
    """A module that is imported when something of it is asked for."""

    DataFrame: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python asks of every module that it imports
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)
