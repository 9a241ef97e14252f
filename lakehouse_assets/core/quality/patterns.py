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
_META = set("\\[](){}*+?|^$.")


class PatternError(ValueError):
    """What in the pattern is not read alike, in a few words."""


def portable(pattern: str) -> str:
    """The pattern with the two signs spelled out that the dialects read differently.

    `$` becomes `\\z`, for Java also accepts a line end after it; `.` becomes `[^\\n]`, for Java leaves out more line
    ends than Rust. Raises `PatternError` for anything beyond the common subset.
    """
    out: list[str] = []
    depth = 0
    at_start, quantifiable = True, False
    position = 0
    while position < len(pattern):
        character = pattern[position]
        rest = pattern[position + 1 :]
        if quantifier := _QUANTIFIER.match(pattern, position):
            if not quantifiable:
                raise PatternError(f"the quantifier {quantifier[0]} after nothing or after another quantifier")
            out.append(quantifier[0])
            position, quantifiable = quantifier.end(), False
            continue
        if character == "\\":
            out.append(_escaped(rest))
            position += 1
            at_start, quantifiable = False, True
        elif character == "[":
            text, length = _character_class(pattern[position:])
            out.append(text)
            position += length - 1
            at_start, quantifiable = False, True
        elif character == "(":
            if rest.startswith("?"):
                raise PatternError("the group (?")
            depth += 1
            out.append("(")
            at_start, quantifiable = True, False
        elif character in ")|":
            depth -= character == ")"
            if at_start or depth < 0:
                raise PatternError(f"an empty branch or an unopened group before {character}")
            out.append(character)
            at_start, quantifiable = character == "|", character == ")"
        elif character == "^":
            if not at_start:
                raise PatternError("^ within a branch")
            out.append("^")
            quantifiable = False
        elif character == "$":
            if rest and rest[0] not in ")|":
                raise PatternError("$ within a branch")
            out.append(r"\z")
            at_start, quantifiable = False, False
        elif character == ".":
            out.append(r"[^\n]")
            at_start, quantifiable = False, True
        elif character in _META:
            raise PatternError(f"{character} without \\ before it")
        else:
            out.append(character)
            at_start, quantifiable = False, True
        position += 1
    if depth or (at_start and pattern.endswith(("|", "("))):
        raise PatternError("an empty branch or an unclosed group")
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        raise PatternError("something that no regular expression has") from error
    return "".join(out)


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
