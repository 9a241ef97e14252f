"""Quarantine and verdicts keep their contracts like every table."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pytest

from lakehouse_assets.core.contracts import contract
from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.rs import DeltaRsStore
from lakehouse_assets.core.delta.staging import Lakehouse
from lakehouse_assets.core.frames import Recomputed, from_arrow
from lakehouse_assets.core.quality.drops import DropVerdict
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.assets.silver import refuse_broken_sides

VERDICTS = contract("silver.order_lines_verdicts")
GOOD = DropVerdict("a.csv", "h", date(2012, 3, 1), 5, 1, 0, "accepted", None, {})
MADE_UP: Any = "maybe"


@pytest.mark.parametrize(
    ("verdicts", "says"),
    [
        ([GOOD, replace(GOOD, path="b.csv")], None),
        (
            [GOOD, replace(GOOD, path="b.csv", landed=-1)],
            r"silver\.order_lines_verdicts would break landed\.ge; nothing was published",
        ),
        ([replace(GOOD, verdict=MADE_UP)], r"verdict\.isin"),
        ([GOOD, GOOD], r"key\.unique"),
    ],
)
def test_a_side_table_that_would_break_its_contract_stops_the_step(
    spark: Any, tmp_path: Path, verdicts: list[DropVerdict], says: str | None
) -> None:
    """Else the account of what was refused is wrong, and nothing tells of it; or a good one stops every load."""
    lakehouse = Lakehouse(
        DeltaRsStore(str(tmp_path / "tables"), str(tmp_path / "changes")), lambda: spark, str(tmp_path / "staging")
    )
    rows = [{n: getattr(v, n) for n in VERDICTS.names} for v in verdicts]
    frame = from_arrow(
        spark, arrow.Table.from_pylist(rows, schema=arrow.schema([(f.name, f.type) for f in VERDICTS.arrow_schema]))
    )
    head = lakehouse.head(VERDICTS)
    target = lakehouse.store.frame(spark, VERDICTS.name, head.version)
    side = lakehouse.stage_difference(VERDICTS, head, Consumed(), Recomputed(frame, target))
    if says is None:
        refuse_broken_sides(lakehouse, [side])
        lakehouse.publish(side)
        assert sorted(lakehouse.store.read(VERDICTS.name, columns=["path"])["path"].to_pylist()) == ["a.csv", "b.csv"]
        return
    with pytest.raises(LakehouseError, match=says):
        refuse_broken_sides(lakehouse, [side])
