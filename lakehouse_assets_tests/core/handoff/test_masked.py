"""Masking policies, which the embedded account does not have: what it would answer under one is put in its place."""

from datetime import timedelta
from typing import Any

import pytest

from lakehouse_assets.core.contracts.types import Text
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.core.handoff.conftest import FIRST_DAY, Lakehouse
from lakehouse_assets_tests.core.handoff.test_deploy import Narrow, Scaled, shaped
from lakehouse_assets_tests.core.handoff.test_handoff import assert_equal


def mask(monkeypatch: pytest.MonkeyPatch, lakehouse: Lakehouse, *, described: bool) -> None:
    """Let every query of the served table give one text for LABEL. described: whether DESCRIBE names the policy."""
    table = lakehouse.names.table(lakehouse.contract)
    execute = Session._execute

    def masked(self: Session, statement: str, *rest: Any) -> Any:
        if statement == f"DESCRIBE TABLE {table}":
            rows = execute(self, statement, *rest)
            return [(*row[:10], "HIDE" if described and row[0] == "LABEL" else None, *row[11:]) for row in rows]
        if f"FROM {table}" in statement and not statement.startswith("DELETE"):
            seen = f"FROM (SELECT * REPLACE ('***' AS LABEL) FROM {table})"
            statement = statement.replace(f"FROM {table}", seen)
        return execute(self, statement, *rest)

    monkeypatch.setattr(Session, "_execute", masked)


@pytest.mark.parametrize(
    ("described", "named"), [(True, "a masking policy on LABEL"), (False, "a masking or row access policy")]
)
def test_a_loader_that_sees_masked_values_is_told_so(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, described: bool, named: str
) -> None:
    """The sums differ at every attempt, and the files that were sent would be blamed for it."""
    lakehouse.add(FIRST_DAY, FIRST_DAY + timedelta(days=1))
    lakehouse.hand_off()
    before = lakehouse.snowflake_rows()
    lakehouse.add(FIRST_DAY)
    lakehouse.delete(f"day = '{FIRST_DAY + timedelta(days=1)}'")  # a day without rows has no sum on either side
    with monkeypatch.context() as patched:
        mask(patched, lakehouse, described=described)
        message = rf"THINGS reads otherwise than it was filled, .*: {named} hides from this role .* and run again"
        with pytest.raises(LakehouseError, match=message):
            lakehouse.hand_off()
    assert lakehouse.snowflake_rows() == before
    assert lakehouse.hand_off().outcome == "published"
    assert_equal(lakehouse)


def test_a_table_with_a_masking_policy_is_not_made_anew(lakehouse_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made of its own rows it would hold masked values, and without its policy show true ones to everybody."""
    lakehouse: Lakehouse = lakehouse_of(deploy=False)
    lakehouse.contract = shaped(label=Text, a=Narrow)
    lakehouse.handoff.deploy([lakehouse.contract])
    wider, scaled = shaped(label=Text, a=Narrow, b=Narrow), shaped(label=Text, a=Scaled)
    mask(monkeypatch, lakehouse, described=True)
    (planned,) = lakehouse.handoff.plan([scaled])
    assert planned.kind == "unlike"
    with pytest.raises(LakehouseError, match=r"THINGS has a masking policy on LABEL .* unset the policy"):
        lakehouse.handoff.deploy([scaled])
    assert {p.kind for p in lakehouse.handoff.deploy([wider])} == {"safe"}, "a column is added in place"
