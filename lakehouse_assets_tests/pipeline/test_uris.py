"""Tables and staged slices that lie elsewhere: their roots are URIs, and nothing else changes."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from lakehouse_assets_tests.pipeline.world import World, against_oracle, line, order_csv, rates_csv

FIRST, SECOND = "2026-09-01", "2026-09-02"


@pytest.mark.heavy
def test_roots_that_are_uris_hold_the_same_tables_as_paths_do(make_world: Callable[..., World]):
    """Else a bucket is taken for a folder below the current one, and slices, changes and hand-off files are written
    where nobody reads them.
    """
    world = make_world()
    world.drop(f"orders/orders_{FIRST}.csv", order_csv([line(536365, FIRST), line(536366, FIRST)]))
    world.drop(f"fx/fx_{FIRST}.csv", rates_csv({FIRST: "0.85"}))
    world.run()
    world.drop(f"orders/orders_{SECOND}.csv", order_csv([line("C536367", SECOND, quantity=-1), line(536368, SECOND)]))
    elsewhere = {f"LAKEHOUSE_{root.upper()}": f"file://{world.root}/{root}" for root in ("tables", "staging")}
    done = world.command("run", **elsewhere)
    assert done.returncode == 0, done.stderr
    assert re.search(r"The engine embedded started in \d+\.\d s\.", done.stdout)
    assert not against_oracle(world)
    assert not world.runner().found
    assert not list(world.root.rglob("file:*"))
