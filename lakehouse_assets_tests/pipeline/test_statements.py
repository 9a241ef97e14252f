"""What a run asks of Snowflake: each statement is a round trip, and on a real account a warehouse that wakes up."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rich.console import Console
from snowflake.connector.cursor import SnowflakeCursor

from lakehouse_assets.cli.load import print_summary
from lakehouse_assets.embedded_snowflake import account_directory
from lakehouse_assets.orchestration.graph import served
from lakehouse_assets_tests.pipeline.world import State, World

NOT_CACHED = re.compile(r"SYSDATE|CURRENT_|RANDOM|UUID|GETDATE|LOCALTIME|INFORMATION_SCHEMA|ALTER|USE ", re.IGNORECASE)
"""What keeps an account from answering a statement out of its result cache, or is answered by a warehouse."""


@contextmanager
def recording(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every statement that a cursor of the connector sends."""
    execute, sent = SnowflakeCursor.execute, []

    def recorded(self: SnowflakeCursor, command: str, *rest: Any, **named: Any) -> object:
        sent.append(" ".join(command.split()))
        return execute(self, command, *rest, **named)

    with monkeypatch.context() as patched:
        patched.setattr(SnowflakeCursor, "execute", recorded)
        yield sent


def only_looks(sent: list[str]) -> bool:
    """Whether what was sent is the state with one look at all served objects, which an account answers from its cache
    without a warehouse: it reads what the time is nowhere.
    """
    (look,) = sent
    return "HANDOFF_STATE" in look and "SALES_LINES WHERE 1 = 0)" in look and not NOT_CACHED.search(look)


def statements_of(log: Path) -> int:
    """How many statements the account's own log tells of."""
    return len(re.findall(r" ms: (?!ALTER SESSION)", log.read_text()))


def test_a_quiet_night_is_one_statement_a_look_by_the_accounts_own_log(
    loaded: tuple[World, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a sensor or schedule that finds nothing keeps a warehouse awake; the same text, for the result cache
    knows a statement by it.
    """
    world, _ = loaded
    handoff = world.resources["handoff"]
    log = account_directory(world.settings.home) / "server.log"
    with recording(monkeypatch) as sent:
        for _ in range(3):
            before = statements_of(log)
            with handoff.open() as opened:
                assert handoff.behind(opened) == {}
            assert statements_of(log) - before == 1
    assert len(set(sent)) == 1
    assert only_looks(sent[:1]), sent


def test_a_command_with_nothing_to_do_sends_one_statement(
    loaded: tuple[World, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schedule that runs it every five minutes would keep a warehouse awake."""
    world, _ = loaded
    with recording(monkeypatch) as sent:
        runner = world.run()
        told = io.StringIO()
        print_summary(Console(file=told, width=200), world.lakehouse.store, runner.look, runner.results, {}, 1.0)
    assert runner.runs == 0
    assert "SALES_LINES" in told.getvalue()
    assert only_looks(sent), sent


def test_a_run_over_unchanged_tables_sends_one_statement_for_all_of_them(
    loaded: tuple[World, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Materialising again from the UI must cost one read of the state, however many tables are served."""
    world, _ = loaded
    tables = [dg.AssetKey(["snowflake", table]) for table in served()]
    job = world.definitions.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(tables), asset_check_selection=set()
    )
    key = sorted(world.materialized("snowflake.sales_lines"))[-1]
    with recording(monkeypatch) as sent:
        result = job.execute_in_process(instance=world.instance, partition_key=key)
    assert result.success
    outcomes = [
        m.metadata["run/outcome"].value
        for table in tables
        for m in result.asset_materializations_for_node("__".join(table.path))
    ]
    assert outcomes == ["unchanged"] * len(tables)
    assert only_looks(sent), sent
