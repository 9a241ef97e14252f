"""Objects that somebody else made before: they are looked for, not created again, and put right where they differ."""

from typing import Any

import pytest

from lakehouse_assets.core.handoff import Handoff
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.core.handoff.conftest import FIRST_DAY, Lakehouse
from lakehouse_assets_tests.core.handoff.test_handoff import assert_equal


def sent_by(monkeypatch: pytest.MonkeyPatch, handoff: Handoff) -> list[str]:
    """The statements that a hand-off's session sends from now on."""
    sent: list[str] = []
    execute = Session._execute

    def recorded(self: Session, statement: str, *rest: Any) -> Any:
        if self is handoff.session:
            sent.append(" ".join(statement.split()))
        return execute(self, statement, *rest)

    monkeypatch.setattr(Session, "_execute", recorded)
    return sent


def without_record(lakehouse: Lakehouse) -> None:
    """Let the account know of no deployment, as where an administrator has made all objects by hand."""
    lakehouse.sql(f"DELETE FROM {lakehouse.names.sql['ops']}.DEPLOYED_OBJECTS")


def test_what_an_administrator_has_made_is_not_created_again(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CREATE … IF NOT EXISTS asks for the privilege to create, also where the object is there: a role that may not
    create databases could never deploy.
    """
    without_record(lakehouse)
    sent = sent_by(monkeypatch, lakehouse.handoff)
    lakehouse.handoff.deploy([lakehouse.contract])
    created = [s for s in sent if s.startswith("CREATE") and not s.startswith("CREATE OR REPLACE VIEW")]
    assert created == []
    assert lakehouse.handoff.deployed([lakehouse.contract])


def test_only_what_is_missing_is_created(lakehouse: Lakehouse) -> None:
    """Nor may looking first leave out what is not there, also where it was there and somebody dropped it."""
    names = lakehouse.names
    lakehouse.sql(f"DROP STAGE {names.sql['stage']}")
    assert [p.sql.split()[:2] for p in lakehouse.handoff.plan([lakehouse.contract])] == [["CREATE", "STAGE"]]
    lakehouse.sql(f"DROP SCHEMA {names.sql['staging']}")
    planned = lakehouse.handoff.deploy([lakehouse.contract])
    assert [p.sql.split()[1] for p in planned] == ["SCHEMA", "FILE", "STAGE"]
    lakehouse.add(FIRST_DAY)
    lakehouse.hand_off()
    assert_equal(lakehouse)


def test_a_file_format_that_reads_otherwise_is_altered_before_it_counts_as_deployed(lakehouse: Lakehouse) -> None:
    """Without logical types every timestamp is an invalid date, and the record would say that all is as it should
    be.
    """
    name = lakehouse.names.sql["file_format"]
    without_record(lakehouse)
    lakehouse.sql(f"CREATE OR REPLACE FILE FORMAT {name} TYPE = PARQUET TRIM_SPACE = TRUE")
    (altered,) = [p for p in lakehouse.handoff.deploy([lakehouse.contract]) if p.object == name]
    assert altered.sql == (
        f"ALTER FILE FORMAT {name} SET USE_LOGICAL_TYPE = TRUE BINARY_AS_TEXT = FALSE TRIM_SPACE = FALSE"
    )
    assert altered.reason == ("has USE_LOGICAL_TYPE = false, BINARY_AS_TEXT = true, TRIM_SPACE = true")
    assert lakehouse.handoff.plan([lakehouse.contract]) == []
    lakehouse.add(FIRST_DAY)
    lakehouse.hand_off()
    assert_equal(lakehouse)


def test_a_file_format_of_another_type_stops_a_deployment_and_is_named(lakehouse: Lakehouse) -> None:
    """An account cannot alter the type, and a recorded fingerprint would hide it until the first hand-off fails."""
    name = lakehouse.names.sql["file_format"]
    without_record(lakehouse)
    lakehouse.sql(f"CREATE OR REPLACE FILE FORMAT {name} TYPE = CSV")
    with pytest.raises(LakehouseError, match=rf"{name} is a file format of type CSV, not PARQUET; drop or rename it"):
        lakehouse.handoff.deploy([lakehouse.contract])
    assert not lakehouse.handoff.deployed([lakehouse.contract])


def test_an_external_stage_stops_a_deployment_and_is_named(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are sent to an internal stage only. The embedded account has no external ones, so its answer is given."""
    without_record(lakehouse)
    execute = Session._execute

    def external(self: Session, statement: str, *rest: Any) -> Any:
        if statement.startswith("DESCRIBE STAGE"):
            return [("STAGE_LOCATION", "URL", "String", '["s3://elsewhere/"]', "")]
        return execute(self, statement, *rest)

    monkeypatch.setattr(Session, "_execute", external)
    with pytest.raises(LakehouseError, match=r"LAKEHOUSE_STAGE is an external stage over s3://elsewhere/"):
        lakehouse.handoff.deploy([lakehouse.contract])
    assert not lakehouse.handoff.deployed([lakehouse.contract])
