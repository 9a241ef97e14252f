"""A table that others publish meanwhile: the run begins again from Stage, gates included, and gives up by a
sentence.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import pandera.polars as pa
import pyarrow as arrow
import pytest

from lakehouse_assets.core.contracts import CONTRACTS, Contract
from lakehouse_assets.core.contracts.types import Whole
from lakehouse_assets.core.declarations.table import Table
from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.rs import DeltaRsStore
from lakehouse_assets.core.frames import Inputs, Recomputed, from_arrow
from lakehouse_assets.errors import StaleSliceError
from lakehouse_assets.orchestration.assets.table import computed_table
from lakehouse_assets.orchestration.io_managers.delta import ATTEMPTS, DeltaIOManager
from lakehouse_assets.orchestration.partitions import daily
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource
from lakehouse_assets.settings import Settings


class Marks(pa.DataFrameModel):
    """Who has which mark."""

    id: Whole = pa.Field()
    mark: Whole = pa.Field(ge=0)

    class Config:
        name = "gold.marks"
        strict = True
        metadata: ClassVar = {"key": ["id"]}


MARKS = Contract("gold.marks", Marks)
OURS, THEIRS, BAD = ({"id": 1, "mark": 1}, {"id": 2, "mark": 2}, {"id": 3, "mark": -1})


class Desk:
    """One table with its asset, and others who publish to it just before each of the first `busy` commits of the
    run.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.busy, self.stagings = 0, 0
        self.computed: list[list[dict[str, int]]] = [[OURS]]
        self.folder = folder
        monkeypatch.setitem(CONTRACTS, MARKS.name, MARKS)
        settings = Settings(_env_file=None, home=folder, partitions_start=date(2026, 1, 1))  # type: ignore[call-arg]
        self.resource = LakehouseResource.of(settings)
        self.lakehouse = self.resource.tables
        self.asset = computed_table(Table(MARKS, (), self.marks)).build(daily(settings))
        really = DeltaRsStore.commit

        def commit(
            store: DeltaRsStore, contract: Contract, slice_uri: str | None, *, base_version: int, **options: Any
        ) -> int:
            if self.busy:
                self.busy -= 1
                really(store, contract, None, base_version=base_version, consumed=Consumed({"somebody": base_version}))
            return really(store, contract, slice_uri, base_version=base_version, **options)

        monkeypatch.setattr(DeltaRsStore, "commit", commit)

    def marks(self, inputs: Inputs) -> Recomputed:
        """The rows that are said for this staging, the last ones for all that follow."""
        rows = self.computed[min(self.stagings, len(self.computed) - 1)]
        self.stagings += 1
        return Recomputed(
            from_arrow(self.lakehouse.spark, arrow.Table.from_pylist(rows, schema=MARKS.arrow_schema)), inputs.target
        )

    def run(self) -> dg.ExecuteInProcessResult:
        resources = {"lakehouse": self.resource, "delta_io": DeltaIOManager(lakehouse=self.resource)}
        return dg.materialize([self.asset], partition_key="2026-01-02", resources=resources, raise_on_error=False)

    def rows(self) -> list[dict[str, int]]:
        return self.lakehouse.store.read(MARKS.name).to_pylist()

    def left(self) -> list[Path]:
        """Staged files that nobody has cleared away."""
        return list((self.folder / "staging").rglob("*.parquet"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


def why(result: dg.ExecuteInProcessResult) -> str:
    """What made the step fail."""
    said = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    return "\n".join(str(error) for error in said)


@pytest.mark.parametrize("busy", [1, ATTEMPTS - 1])
def test_a_run_that_is_overtaken_computes_anew_and_publishes(desk: Desk, busy: int):
    """Else a slice that was computed from what is no longer true is published, or a run fails because another one was
    faster.
    """
    desk.busy = busy
    desk.computed = [[OURS]] * busy + [[OURS, THEIRS]]
    assert desk.run().success
    assert desk.stagings == busy + 1
    assert desk.rows() == [OURS, THEIRS]
    assert not desk.left()


def test_a_run_that_is_overtaken_every_time_says_so_and_publishes_nothing(desk: Desk):
    """Else it computes for ever, or the user reads of a version number."""
    desk.busy = ATTEMPTS
    result = desk.run()
    assert not result.success
    assert re.search(
        rf"gold\.marks was published by others {ATTEMPTS} times while it was computed; see which runs", why(result)
    )
    assert StaleSliceError.__name__ in why(result)
    assert desk.stagings == ATTEMPTS
    assert desk.rows() == []
    assert not desk.left()


def test_a_slice_that_was_staged_again_passes_the_gates_again(desk: Desk):
    """Else a row that breaks its contract is published, because the first slice had none."""
    desk.busy = 1
    desk.computed = [[OURS], [OURS, BAD]]
    result = desk.run()
    assert not result.success
    assert "gold.marks, staged again, breaks its contract; materialise it once more to see by which rows." in why(
        result
    )
    assert desk.rows() == []
    assert not desk.left()
