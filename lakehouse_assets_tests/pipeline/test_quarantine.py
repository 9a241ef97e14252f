"""The command's way with rejected rows: looking at them, exporting them, and what a changed contract would do to
them.
"""

import csv
import os
from pathlib import Path
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from lakehouse_assets.cli import app
from lakehouse_assets_tests.declared import other_contracts
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.test_contract_change import NAME, Stricter
from lakehouse_assets_tests.pipeline.world import World, line, order_csv

DAYS = ("2012-03-01", "2012-03-02")


def lakehouse(world: World, *arguments: str) -> str:
    """The command in this process, where a test may have changed a contract; what it printed, in one line."""
    with patch.dict(os.environ, world.environment):
        done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


@pytest.fixture(scope="module")
def world(make_world: NewWorld) -> World:
    """Two days of 20 lines of 1 to 20 units, and one line of no number."""
    world = make_world()
    for day in DAYS:
        lines = [line(500000 + int(day[-1]) * 100 + i, day, 1 + i) for i in range(20)]
        world.drop(
            f"orders/orders_{day}.csv", order_csv([*lines, *([line(599999, day, "six")] if day == DAYS[0] else [])])
        )
    world.run()
    return world


def test_rejected_rows_can_be_listed_shown_and_exported(world: World, tmp_path: Path) -> None:
    """Else nobody can tell a supplier which of the rows were refused and why."""
    assert "silver.order_lines │ quantity.type │ orders/orders_2012-03-01.csv │ 1" in lakehouse(
        world, "quarantine", "list"
    )
    assert lakehouse(world, "quarantine", "list", "--rule", "quantity.le").endswith("0 rows are rejected.")
    shown = lakehouse(world, "quarantine", "show", "--drop", "orders/orders_2012-03-01.csv")
    assert "quantity.type │ Must hold: quantity can be converted to bigint." in shown
    assert "599999" not in shown, "raw values are shown only when asked for: they may be personal"
    assert '"invoice":"599999"' in lakehouse(world, "quarantine", "show", "--raw")
    for ending in (".csv", ".json", ".parquet"):
        out = tmp_path / f"rejected{ending}"
        assert lakehouse(world, "quarantine", "export", "--out", str(out)) == f"Wrote 1 rows to {out}."
        assert out.stat().st_size
    (row,) = csv.DictReader((tmp_path / "rejected.csv").open())
    assert (row["path"], row["row_number"], row["rules"], row["batch_date"]) == (
        "orders/orders_2012-03-01.csv",
        "21",
        "quantity.type",
        DAYS[0],
    )


def test_a_changed_rule_says_what_it_would_do_before_it_does_it(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    """Else a stricter rule takes rows from finance that nobody has counted, or a fixed one brings none back."""
    assert f"{NAME}: 0 rows would enter quarantine, 0 would leave it." in lakehouse(
        world, "quarantine", "preview", NAME
    )
    with other_contracts(Stricter):
        assert (
            f"{NAME} is stale: its contract or transform has changed; `lakehouse quarantine preview {NAME}` counts"
            in lakehouse(world, "status")
        )
        before = world.versions()
        assert f"{NAME}: 2 rows would enter quarantine, 0 would leave it." in lakehouse(
            world, "quarantine", "preview", NAME
        )
        assert world.versions() == before
        lakehouse(world, "rebuild", NAME)
        assert "recomputed from its upstreams: 2 rows would enter quarantine, 0 would leave it." in " ".join(
            capfd.readouterr().err.split()
        )
        assert "3 rows were rejected before, 3 are now." in lakehouse(world, "quarantine", "replay")
        assert world.delta(NAME).num_rows == 38
    assert f"{NAME}: 0 rows would enter quarantine, 2 would leave it." in lakehouse(
        world, "quarantine", "preview", NAME
    )
    assert "3 rows were rejected before, 1 are now." in lakehouse(world, "quarantine", "replay")
    assert world.delta(NAME).num_rows == 40
    assert "Nothing is pending." in lakehouse(world, "status")
