"""Texts of data are shown as texts: no markup, no control sequence, nothing cut where nobody looks at a terminal."""

import io
import subprocess
from datetime import date, datetime
from decimal import Decimal

import pytest
from rich.console import Console

from lakehouse_assets.cli.account import only_reads
from lakehouse_assets.core.handoff.verify import RowDifference
from lakehouse_assets.shown import WIDE, pasted, printable, say, table

TEXTS = [
    "mug [pack of 6] blue",
    "sign [/b] end",
    "[red]x[/red]",
    "[link=https://example.org]a[/link]",
    "a\\[b]",
    "plain",
    "ünï 日本語",
]


def shown(width: int, *values: object) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(table(["v [b]"], [[v] for v in values], "title"))
    return out.getvalue()


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_shown_as_it_is(text: str) -> None:
    """A description with brackets lost them, and one with a closing tag ended the command."""
    assert text in shown(WIDE, text)
    assert "v [b]" in shown(WIDE, text)
    out = io.StringIO()
    say(Console(file=out, width=WIDE), text, "Label:", "red")
    assert out.getvalue() == f"Label: {text}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\rb\nc\td", "a\\rb\\nc\\td"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\0", "\\x00"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(text: str, said: str) -> None:
    """A name in a drop could otherwise rewrite what the command has said before."""
    assert printable(text) == said
    assert said in shown(WIDE, text)


def test_a_table_fits_the_terminal_and_loses_nothing() -> None:
    """Lines that are wider than the terminal are unreadable, and a number that is cut is wrong."""
    said = shown(40, "0123456789" * 10, Decimal("1.500"), date(2026, 9, 1), None)
    assert max(map(len, said.splitlines())) <= 40
    assert "".join(c for c in said if c.isdigit()).startswith("0123456789" * 10)
    assert "1.500" in said
    assert "2026-09-01" in said


@pytest.mark.parametrize("name", ["plain", "a b", "it's", "a\nb", "\x1b[31mit's\\n", "Ä\u200b"])
def test_a_name_in_a_proposed_command_is_one_word_of_the_shell(name: str) -> None:
    """A command that is pasted would otherwise end within a name, or run a part of it."""
    said = pasted(name)
    assert said.isprintable()
    run = subprocess.run(
        ["bash", "-c", f"printf %s {said}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert run.stdout.decode() == name


@pytest.mark.parametrize(
    ("statement", "reads"),
    [
        ("SELECT 1", True),
        ("  -- a note\n with x as (select 1) select * from x", True),
        ("(SELECT 1)", True),
        ("/* why */ SHOW TABLES", True),
        ("describe table DAILY_SALES", True),
        ("DROP TABLE DAILY_SALES", False),
        ("/* select */ DELETE FROM DAILY_SALES", False),
        ("-- select\nUPDATE t SET a = 1", False),
        ("selection", False),
        ("CREATE TABLE t AS SELECT 1", False),
        ("// a note of Snowflake's\nSELECT 1", True),
        ("SELECT 'delete', \"UPDATE\", $$into$$, 'it''s into', 'a\\' into' FROM t -- delete", True),
        ("SELECT updated_at, INSERT('abc', 1, 1, 'x') FROM t", True),
        ("WITH x AS (SELECT 1) DELETE FROM DAILY_SALES", False),
        ("WITH x AS (SELECT 1) INSERT/**/INTO t SELECT * FROM x", False),
        ("WITH x AS (SELECT 1) MERGE INTO t USING x ON 1 = 1", False),
        ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", False),
        ("SELECT * INTO t FROM DAILY_SALES", False),
        ("explain analyze update t SET a = 'x'", False),
    ],
)
def test_only_what_reads_is_executed_unless_told(statement: str, reads: bool) -> None:
    """`lakehouse sql` is what people paste into."""
    assert only_reads(statement) == reads


def test_a_difference_is_said_in_values() -> None:
    """`Decimal('1.500')` is what Python calls a number, and which side has it nobody could tell."""
    values = {"amount": (Decimal("1.500"), Decimal("1.501")), "at": (datetime(2026, 9, 1, 8, 0), None)}
    row = RowDifference("changed", {"day": date(2026, 9, 1), "code": "A"}, ("amount", "at"), values)
    assert (
        str(row) == "changed: day 2026-09-01, code A: amount is 1.501, not 1.500; at is null, not 2026-09-01 08:00:00"
    )
    assert str(RowDifference("missing", {"day": date(2026, 9, 1)})) == "missing: day 2026-09-01"
