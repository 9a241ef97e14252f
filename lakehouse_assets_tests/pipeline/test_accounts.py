"""landed = published + quarantined + duplicates for every source and batch, counted apart from the application;
quarantine says why.
"""

from datetime import date
from pathlib import Path

import pytest

from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.sample.generate import generate
from lakehouse_assets.sample.ledger import SampleLedger
from lakehouse_assets_tests.pipeline.conftest import PROJECT, NewWorld, Sample
from lakehouse_assets_tests.pipeline.world import State, World, against_oracle


def assert_accounts(world: World, ledger: SampleLedger) -> None:
    """Counts and reasons as the ledger of the generator has them; what is published, counted in the tables
    themselves.
    """
    published: dict[tuple[date, str], int] = {}
    for source, table in ((source.name, source.table) for source in SOURCES.values()):
        for row in world.delta(table).group_by("batch_date").aggregate([([], "count_all")]).to_pylist():
            published[row["batch_date"], source] = row["count_all"]
    quarantined: dict[tuple[date, str], int] = {}
    for drop in ledger.drops:
        quarantined[drop.batch_date, drop.source] = quarantined.get((drop.batch_date, drop.source), 0) + drop.dirty
    accounts = world.accounts()
    assert {k: v["landed"] for k, v in accounts.items()} == ledger.landed()
    assert {k: v["quarantined"] for k, v in accounts.items()} == quarantined
    assert {k: v["published"] for k, v in accounts.items() if v["published"]} == published
    assert all(v["landed"] == v["published"] + v["quarantined"] + v["duplicates"] for v in accounts.values())
    assert min(v["duplicates"] for v in accounts.values()) >= 0
    assert world.quarantined() == {(row.path, row.row_number): list(row.rules) for row in ledger.dirty}


def test_every_row_of_a_dirty_sample_is_accounted_for_with_its_reasons(
    loaded: tuple[World, State], sample: Sample
) -> None:
    """A user cannot say to finance where a landed row has gone, or why it was rejected."""
    assert_accounts(loaded[0], sample.ledger)


@pytest.mark.timeout(1800)
def test_the_sample_with_every_kind_of_dirt_holds_what_its_ledger_says(make_world: NewWorld, tmp_path: Path) -> None:
    """A row of a month of orders is lost, or published although its contract forbids it."""
    landing = tmp_path / "landing"
    ledger = generate(landing, date(2026, 9, 1), 30, 400, 7)
    world = make_world(landing)
    world.run()
    assert_accounts(world, ledger)
    assert not against_oracle(world, PROJECT / "data" / "landing", provenance=False)


def test_the_sample_that_comes_along_is_green(make_world: NewWorld) -> None:
    """The first thing a newcomer sees is a warning that nobody has explained."""
    world = make_world(PROJECT / "data" / "landing")
    runner = world.run()
    assert (runner.runs, runner.found.refused, runner.found.unreadable) == (1, [], [])
    assert_accounts(world, SampleLedger.read(PROJECT / "data" / "ledger.jsonl"))
    assert {(e.asset_key.to_user_string(), e.check_name) for e in world.evaluations() if not e.passed} == set()
