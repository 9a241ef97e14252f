"""What `lakehouse account` says, and that what it says works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lakehouse_assets.embedded_snowflake import account_directory, ensure_running, stop
from lakehouse_assets.orchestration.resources.clients import HIDDEN, how_to_connect
from lakehouse_assets.settings import Settings


def test_the_python_that_is_printed_connects_and_the_secret_is_printed_only_when_asked(tmp_path: Path) -> None:
    """Without it a user copies what does not work, or a password stands in a terminal that others see."""
    settings = Settings(_env_file=None, home=tmp_path)  # type: ignore[call-arg]
    said = how_to_connect(settings, show_secret=False)
    secret = (account_directory(tmp_path) / "secret").read_text()
    assert secret not in said
    assert HIDDEN in said
    shown = how_to_connect(settings, show_secret=True)
    assert secret in shown
    assert HIDDEN not in shown
    code = re.search(r"import snowflake\.connector\n\s*(snowflake\.connector\.connect\(.*?\))\n\n", shown, re.DOTALL)
    assert code
    import snowflake.connector  # noqa: F401

    connection = eval(code[1])
    assert connection.cursor().execute("SELECT CURRENT_SCHEMA()").fetchall() == [("ANALYTICS",)]
    connection.close()
    assert f":{ensure_running(tmp_path).port}/?account=embedded" in shown
    stop(tmp_path)


def test_of_a_real_account_it_names_the_variables_and_no_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it a password of the environment is shown, or the user is sent to the embedded account."""
    monkeypatch.setenv("SNOWFLAKE_PASSWORD", "CANARY")
    monkeypatch.delenv("SNOWFLAKE_USER", raising=False)
    said = how_to_connect(Settings(_env_file=None, home=tmp_path, snowflake="account"), show_secret=True)  # type: ignore[call-arg]
    assert "CANARY" not in said
    assert re.search(r"SNOWFLAKE_PASSWORD +is set", said)
    assert re.search(r"SNOWFLAKE_USER +is not set", said)
    assert not account_directory(tmp_path).exists()
