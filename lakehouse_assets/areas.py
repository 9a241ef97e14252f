"""The areas of this application, loaded when this module is imported: afterwards the registry knows every source and
table.

Which they are is a setting: LAKEHOUSE_AREAS names the packages, each with an `AREA` in its module `area`. A package
outside this project counts as much as one inside.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Final

from lakehouse_assets.core.declarations.registry import register
from lakehouse_assets.core.sources.intake import intake_table
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.area import Area
from lakehouse_assets.settings import Settings
from lakehouse_assets.streams.extra import installed

PACKAGES: Final = (
    "lakehouse_assets.domains.sales",
    "lakehouse_assets.domains.customers",
    "lakehouse_assets.domains.rates",
    "lakehouse_assets.domains.inventory",
)
"""The areas of the example: an online retailer."""

STREAMED: Final = "lakehouse_assets.domains.web"
"""The area of the example whose rows come by a topic: there where a broker is set and its client is installed."""


def load(packages: Sequence[str]) -> tuple[Area, ...]:
    """The areas of those packages. Raises `LakehouseError` where one cannot be imported, or declares none."""
    return tuple(_area(package) for package in packages)


def _area(package: str) -> Area:
    module = f"{package}.area"
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):
            raise  # something that the area itself needs
        raise LakehouseError(
            f"LAKEHOUSE_AREAS names {package}, but there is no module {module}; install the package, or correct the"
            " name."
        ) from error
    area = getattr(found, "AREA", None)
    if not isinstance(area, Area):
        what = "has no AREA" if area is None else "has an AREA that is no Area"
        raise LakehouseError(f"{module} {what}; write AREA = Area.of({package!r}) there.")
    return area


def packages_of(settings: Settings) -> Sequence[str]:
    """The packages whose areas those settings ask for."""
    if settings.areas is not None:
        return settings.areas.replace(",", " ").split()
    return (*PACKAGES, STREAMED) if settings.kafka and installed() else PACKAGES


def left_out(settings: Settings) -> str:
    """Why an area is not there although a setting asks for it, in a sentence; empty where all are."""
    if settings.areas is not None or not settings.kafka or installed():
        return ""
    return "LAKEHOUSE_KAFKA is set, but the area web is left out; run `pip install 'lakehouse_assets[streaming]'`."


def use(areas: Sequence[Area]) -> None:
    """Make these the areas of this process, and their sources and tables those of the registry."""
    sources = [source for area in areas for source in area.sources]
    register(sources, [intake_table(sources), *(table for area in areas for table in area.tables)])
    AREAS[:] = areas


AREAS: Final[list[Area]] = []
"""The areas of this process."""

use(load(packages_of(Settings())))  # pyright: ignore[reportCallIssue] -- all fields have defaults
