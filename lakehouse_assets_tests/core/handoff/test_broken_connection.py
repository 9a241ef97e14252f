"""A connection that breaks at any statement: what is raised says that trying again helps, and it then ends equal."""

from collections.abc import Callable
from typing import Any

import pytest
from snowflake.connector import errors

from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.core.handoff.trouble import is_transient
from lakehouse_assets.errors import AccountUnavailableError, LakehouseError
from lakehouse_assets_tests.core.handoff.conftest import FIRST_DAY, Lakehouse
from lakehouse_assets_tests.core.handoff.test_handoff import assert_equal


class Breaking:
    """Breaks the n-th statement of a session, once: before it is sent, or after it was done and its answer is lost."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.nth, self.sent, self.done, self.statement = 0, 0, False, ""
        self.kind: type[errors.Error] = errors.OperationalError
        execute = Session._execute

        def breaking(session: Session, statement: str, values: Any, read: Any) -> Any:
            self.sent += 1
            if self.sent != self.nth:
                return execute(session, statement, values, read)
            self.statement = " ".join(statement.split()[:3])
            if self.done:
                execute(session, statement, values, read)
            raise self.kind(msg="the connection broke")

        monkeypatch.setattr(Session, "_execute", breaking)

    def at(self, nth: int) -> None:
        self.nth, self.sent, self.statement = nth, 0, ""


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Breaking:
    return Breaking(monkeypatch)


def until_it_succeeds(work: Callable[[], Any]) -> Any:
    """What a step that is tried again does: once more after a transient error, and never after another one."""
    for _ in range(3):
        try:
            return work()
        except Exception as error:
            if not is_transient(error):
                raise
    raise AssertionError("it did not succeed")


@pytest.mark.parametrize(
    ("kind", "done"),
    [
        (errors.OperationalError, False),
        (errors.InterfaceError, True),
        pytest.param(errors.OperationalError, True, marks=pytest.mark.heavy),
        pytest.param(errors.InterfaceError, False, marks=pytest.mark.heavy),
    ],
)
def test_a_hand_off_whose_nth_statement_breaks_is_tried_again_and_ends_equal(
    lakehouse: Lakehouse, breaking: Breaking, kind: type[errors.Error], done: bool
) -> None:
    """Otherwise a network that fails for a second makes a red step, at some statements and not at others. COMMIT is
    among them, both done and not done.
    """
    lakehouse.add(FIRST_DAY, None)
    lakehouse.hand_off()
    breaking.kind, breaking.done = kind, done
    broken = []
    for nth in range(1, 60):
        lakehouse.replace(FIRST_DAY)
        breaking.at(nth)
        until_it_succeeds(lakehouse.hand_off)
        breaking.nth = 0
        if not breaking.statement:
            break
        broken.append(breaking.statement)
        assert lakehouse.snowflake_rows() == lakehouse.lakehouse_rows(), broken
        ledger = lakehouse.sql(
            f"SELECT COUNT(*) FROM {lakehouse.names.sql['ops']}.HANDOFF_LEDGER"
            f" WHERE UNTIL_VERSION = {lakehouse.version}"
        )
        assert int(ledger[0][0]) == 1, broken
    assert {"BEGIN", "COMMIT"} <= {*broken}
    assert [s for s in broken if s.startswith("PUT")]
    assert [s for s in broken if s.startswith(f"INSERT INTO {lakehouse.names.table(lakehouse.contract)}")]
    assert_equal(lakehouse)


@pytest.mark.parametrize(
    "kind", [errors.OperationalError, pytest.param(errors.InterfaceError, marks=pytest.mark.heavy)]
)
def test_a_verification_whose_nth_statement_breaks_says_that_it_can_be_tried_again(
    lakehouse: Lakehouse, breaking: Breaking, kind: type[errors.Error]
) -> None:
    """Otherwise a check is red, or says that tables differ, because of the network."""
    lakehouse.add(FIRST_DAY, None)
    lakehouse.hand_off()
    table = lakehouse.names.table(lakehouse.contract)
    lakehouse.sql(f"DELETE FROM {table} WHERE DAY IS NULL")  # so that it looks for the rows too
    breaking.kind = kind
    broken = []
    for nth in range(1, 30):
        breaking.at(nth)
        result = until_it_succeeds(lambda: lakehouse.handoff.verify(lakehouse.spark, lakehouse.contract))
        assert [d.slice for d in result.slices] == ["null"]
        assert {d.kind for d in result.row_differences} == {"missing"}
        if not breaking.statement:
            break
        broken.append(breaking.statement)
    assert len(broken) >= 6, broken


def test_a_connection_that_always_breaks_at_its_transaction_stays_a_broken_connection(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it is reported as a lost race, which is not tried again and has another remedy."""
    lakehouse.add(FIRST_DAY)
    execute = Session._execute

    def refusing(self: Session, statement: str, values: Any, read: Any) -> Any:
        if statement == "BEGIN":
            raise errors.OperationalError(msg="the connection broke")
        return execute(self, statement, values, read)

    monkeypatch.setattr(Session, "_execute", refusing)
    with pytest.raises(errors.OperationalError, match="the connection broke"):
        lakehouse.handoff.hand_off(lakehouse.spark, lakehouse.contract, lakehouse.version)


def test_only_what_another_session_cures_is_transient() -> None:
    """Otherwise a token that has expired overnight makes a red step, or a wrong password locks the user by retries."""

    def unreachable(cause: Exception) -> AccountUnavailableError:
        error = AccountUnavailableError("The Snowflake account cannot be reached.")
        error.__cause__ = cause
        return error

    network = errors.OperationalError(msg="no route", errno=250001)
    assert is_transient(network)
    assert is_transient(unreachable(network))
    assert is_transient(errors.DatabaseError(msg="Connection is closed", errno=250002))
    assert is_transient(errors.ProgrammingError(msg="Authentication token has expired.", errno=390114))
    assert not is_transient(unreachable(errors.DatabaseError(msg="Incorrect password", errno=390100)))
    assert not is_transient(errors.ProgrammingError(msg="does not exist", errno=2003))
    assert not is_transient(errors.NonRetryableTlsError(msg="certificate", errno=250003))
    assert not is_transient(LakehouseError("what arrived is not what was sent"))
