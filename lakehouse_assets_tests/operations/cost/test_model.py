"""The model of a warehouse, against cases that were computed by hand, and against what must always hold."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse_assets.embedded_snowflake.history import Row
from lakehouse_assets.operations.cost import Assumptions, cost_of, running


def select(started: float, seconds: float = 1.0, **more: object) -> Row:
    """A statement that needs a warehouse."""
    return Row(started=started, seconds=seconds, kind="SELECT", needs_warehouse=True, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "resumes", "seconds"),
    [
        ([], 0, 0),
        ([Row(started=0, seconds=5, kind="SHOW"), Row(started=9, seconds=5, kind="PUT")], 0, 0),
        ([select(0)], 1, 61),
        ([select(0, 2), select(2, 3)], 1, 65),  # back to back
        ([select(0), select(61)], 1, 122),  # exactly the auto-suspend later: it still runs
        ([select(0), select(61.5)], 2, 122),  # just over it
        ([select(0, cached=True), select(500, 2)], 1, 62),
        ([select(0, 10), select(5, 10, session="b")], 1, 75),  # two sessions at once
        ([select(0, 100), select(5, 1, session="b")], 1, 160),  # one within the other
        ([select(10), select(0)], 1, 71),  # they are logged as they end
        ([select(0, warehouse="A"), select(0, warehouse="B")], 2, 122),
    ],
)
def test_by_hand(rows: list[Row], resumes: int, seconds: float) -> None:
    """Otherwise the credits are wrong, and nobody would notice."""
    found = cost_of(rows)
    assert (found.resumes, found.seconds) == (resumes, pytest.approx(seconds))
    assert found.credits == pytest.approx(seconds / 3600)


def test_a_minute_is_billed_at_least_each_time_that_it_is_resumed() -> None:
    """A short auto-suspend would look cheaper than it is."""
    rows = [select(0), select(20)]
    assert cost_of(rows, Assumptions(auto_suspend=5)).seconds == 120
    assert cost_of(rows, Assumptions(auto_suspend=60)).seconds == 81


def test_credits_go_to_tables_and_runs_by_how_long_their_statements_took() -> None:
    """A table that costs most would not be found."""
    rows = [
        select(0, 3, tag=json.dumps({"table": "SALES_LINES", "run": "r1"})),
        select(3, 1, tag=json.dumps({"table": "DAILY_SALES", "run": "r1"})),
        select(4, 2, tag="somebody's own"),
        Row(started=5, kind="UPLOAD", bytes=70),
    ]
    found = cost_of(rows)
    assert found.by_table == pytest.approx(
        {"SALES_LINES": 33 / 3600, "DAILY_SALES": 11 / 3600, "": 22 / 3600}, rel=1e-9
    )
    assert found.by_run == pytest.approx({"r1": 44 / 3600, "": 22 / 3600}, rel=1e-9)
    assert (found.statements, found.in_warehouse, found.uploads, found.bytes_uploaded) == (3, 3, 1, 70)


def test_a_statement_that_took_no_time_has_its_share_all_the_same() -> None:
    """The report would divide by zero."""
    assert cost_of([select(0, 0, tag='{"table": "A"}')]).by_table == pytest.approx({"A": 60 / 3600})


statements = st.lists(
    st.builds(
        select,
        started=st.floats(0, 1000),
        seconds=st.floats(0, 200),
        cached=st.booleans(),
        warehouse=st.sampled_from(["", "B"]),
    ),
    max_size=12,
)


@given(statements, st.floats(0, 300))
def test_never_less_than_the_time_in_which_a_statement_ran(rows: list[Row], auto_suspend: float) -> None:
    """A model that promises less than what is certain to be billed."""
    found = cost_of(rows, Assumptions(auto_suspend=auto_suspend))
    for warehouse in ("", "B"):
        busy = _union([row for row in rows if row.warehouse == warehouse and not row.cached])
        assert sum(p.ended - p.started for p in running([r for r in rows if r.warehouse == warehouse], 0)) == (
            pytest.approx(busy)
        )
    assert found.credits * 3600 >= found.busy - 1e-6
    assert sum(found.by_table.values()) == pytest.approx(found.credits)


@given(statements, st.floats(0, 1000), st.floats(0, 200), st.floats(60, 300))
def test_one_statement_more_never_makes_it_cheaper(
    rows: list[Row], started: float, seconds: float, auto_suspend: float
) -> None:
    """A model in which more work costs less."""
    assumed = Assumptions(auto_suspend=auto_suspend)
    assert cost_of([*rows, select(started, seconds)], assumed).credits >= cost_of(rows, assumed).credits - 1e-9


def _union(rows: list[Row]) -> float:
    """The time that intervals cover, counted another way: between each two ends it is asked whether one covers it."""
    ends = sorted({end for row in rows for end in (row.started, row.started + row.seconds)})
    return sum(
        right - left
        for left, right in pairwise(ends)
        if any(row.started <= left and right <= row.started + row.seconds for row in rows)
    )
