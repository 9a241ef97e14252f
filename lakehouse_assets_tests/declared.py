"""Declared tables with another contract, for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pandera.polars as pa

from lakehouse_assets import areas
from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.orchestration.area import Area


@contextmanager
def other_contracts(*models: type[pa.DataFrameModel]) -> Iterator[None]:
    """These models in place of those that name the same tables; worlds must `load` to see it."""
    found = {Contract.of(model).name: model for model in models}
    before = list(areas.AREAS)
    areas.use([_with(area, found) for area in before])
    try:
        yield
    finally:
        areas.use(before)


def _with(area: Area, models: dict[str, Any]) -> Area:
    return replace(
        area,
        sources=tuple(replace(s, contract_model=models.get(s.table, s.contract_model)) for s in area.sources),
        tables=tuple(replace(t, contract=Contract.of(models[t.name])) if t.name in models else t for t in area.tables),
    )
