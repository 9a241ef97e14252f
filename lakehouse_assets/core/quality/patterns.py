"""Regular expressions that Rust (polars, Sail), Java (Spark) and Snowflake read alike. No SQL, no contract.

What is allowed: characters, `.`, classes `[a-z0-9_]` and `[^…]`, groups `(…)`, `|`, the quantifiers `* + ? {n} {n,}
{n,m}`, `^` where a branch begins, `$` where one ends, and `\\` before ASCII punctuation. What differs between the three
is left out: `\\d \\w \\s \\b` (Unicode or not), flags and other `(?…)`, back-references, lazy and possessive
quantifiers, and sets within classes.
"""

from __future__ import annotations

import re
import string

import polars as pl

_QUANTIFIER = re.compile(r"[*+?]|\{[0-9]+(,[0-9]*)?\}")
# Rust reads `\<` and `\>` as word borders.
_ESCAPABLE = set(string.punctuation) - set("<>")
_PLACED = "()|^$"
"""What may stand in some places only."""


class PatternError(ValueError):
    """What in the pattern is not read alike, in a few words."""


def portable(pattern: str) -> str:
    """The pattern with the two signs spelled out that the dialects read differently.

    `$` becomes `\\z`, for Java also accepts a line end after it; `.` becomes `[^\\n]`, for Java leaves out more line
    ends than Rust. Raises `PatternError` for anything beyond the common subset.
    """
    out: list[str] = []
    depth = position = 0
    at_start, quantifiable = True, False
    while position < len(pattern):
        character = pattern[position]
        if quantifier := _QUANTIFIER.match(pattern, position):
            if not quantifiable:
                raise PatternError(f"the quantifier {quantifier[0]} after nothing or after another quantifier")
            text, length = quantifier[0], len(quantifier[0])
            quantifiable = False
        elif character in _PLACED:
            depth += {"(": 1, ")": -1}.get(character, 0)
            _refuse_misplaced(character, pattern[position + 1 :], at_start, depth)
            text, length = r"\z" if character == "$" else character, 1
            at_start, quantifiable = character in "(|^", character == ")"
        else:
            text, length = _atom(pattern[position:])
            at_start, quantifiable = False, True
        out.append(text)
        position += length
    if depth or (at_start and pattern.endswith(("|", "("))):
        raise PatternError("an empty branch or an unclosed group")
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        raise PatternError("something that no regular expression has") from error
    return "".join(out)


def _refuse_misplaced(character: str, rest: str, at_start: bool, depth: int) -> None:
    """at_start: whether it is where a branch begins; depth: how many groups are open after it."""
    if character == "(" and rest.startswith("?"):
        raise PatternError("the group (?")
    if character in ")|" and (at_start or depth < 0):
        raise PatternError(f"an empty branch or an unopened group before {character}")
    if character == "^" and not at_start:
        raise PatternError("^ within a branch")
    if character == "$" and rest and rest[0] not in ")|":
        raise PatternError("$ within a branch")


def _atom(text: str) -> tuple[str, int]:
    """The character, escape or class that `text` begins with, and its length in `text`."""
    if text[0] == "\\":
        return _escaped(text[1:]), 2
    if text[0] == "[":
        return _character_class(text)
    if text[0] in "]{}":
        raise PatternError(f"{text[0]} without \\ before it")
    return r"[^\n]" if text[0] == "." else text[0], 1


def _escaped(rest: str) -> str:
    if not rest or rest[0] not in _ESCAPABLE:
        raise PatternError(f"\\{rest[:1]}")
    return "\\" + rest[0]


def _character_class(text: str) -> tuple[str, int]:
    """The class that `text` begins with, and its length in `text`."""
    out = ["["]
    position = 1
    if text.startswith("[^"):
        out.append("^")
        position = 2
    first = position
    while position < len(text):
        character = text[position]
        if character == "]":
            if position == first:
                raise PatternError("an empty class")
            return "".join([*out, "]"]), position + 1
        if (
            character == "["
            or text[position : position + 2] in ("&&", "--", "~~")
            or (character == "^" and position == first)
        ):
            raise PatternError(f"{character} within a class")
        if character == "\\":
            out.append(_escaped(text[position + 1 :]))
            position += 2
        else:
            out.append(character)
            position += 1
    raise PatternError("an unclosed class")
