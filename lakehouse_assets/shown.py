"""How texts from data, paths and messages are shown in a terminal: as texts, never as markup or control sequences.

Belongs here: cells, tables and lines for people. Does not belong here: what is said, and formats for programs (CSV,
JSON), which carry data as it is.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

WIDE = 240
"""So many characters a table may take where nobody looks at a terminal: a cut number is worse than a long line."""


def printable(text: str) -> str:
    """A text with every character that a terminal would not show, or obey, as its escape; line ends too."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def pasted(text: str) -> str:
    """A text as one word of a shell's command line, for a command that a message proposes."""
    if text.isprintable():
        return shlex.quote(text)
    escaped = printable(text.replace("\\", "\\\\").replace("'", "\\'"))
    return f"$'{escaped}'"


def cell(value: Any, missing: str = "") -> Text:
    """One value as a cell; `missing` is shown for none."""
    return Text(missing if value is None else printable(str(value)))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> Table:
    """A table of values; long texts go on in the next line."""
    shown = Table(*(escape(printable(name)) for name in columns), title=title)
    for column in shown.columns:
        column.overflow = "fold"
    for row in rows:
        shown.add_row(*map(cell, row))
    return shown


def say(console: Console, text: str, label: str = "", style: str = "") -> None:
    """One line: an optional label in a style, then the text as it is."""
    console.print(Text.assemble((label + " " if label else "", style), printable(text)), soft_wrap=True)


def wide() -> Console:
    """A console for tables: as wide as the terminal, and where there is none, wide enough that nothing is cut."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, WIDE))
