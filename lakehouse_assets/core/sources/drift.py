"""How the columns of a drop differ from those of its source, in a few words for people. Pure; a parser says which names
it saw and which it knows.

Belongs here: the wording, the same for every source. Does not belong here: what becomes of such a drop (the parsers,
the contracts), nor values that have changed their type, which only conversion can tell (`core/quality/drops.py`).

| words | what they say of the drop |
|---|---|
| `+ channel` | it has a column that the source does not know; the values are kept in `_rescued` |
| `- Country` | it lacks a column of the source |
| `twice: Quantity` | it names a column more than once |
| `other case: COUNTRY` | it writes a name in another case |
| `other order` | the columns of the source stand in another order |
"""

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

_LONGEST_NAME = 60
_MOST_NAMES = 20


def column_drift(
    landed: Sequence[str],
    spellings: Mapping[str, Sequence[str]],
    *,
    optional: Collection[str] = (),
    ordered: bool = True,
) -> str | None:
    """What is other about the names in a drop; None where nothing is.

    spellings: how each column of the source may be written, in their order. optional: columns that may be missing
    without a word. ordered: whether the order says anything. A name of no letters at the end is a comma too many, and
    not a column.
    """
    column_of = {spelling.lower(): column for column, written in spellings.items() for spelling in written}
    names = list(landed[:-1] if landed and not landed[-1] else landed)
    known = [column_of[name.lower()] for name in names if name.lower() in column_of]
    times = Counter(column_of.get(name.lower(), name) for name in names)
    by_list = {
        "+ ": [name or f"column {position}" for position, name in enumerate(names, 1) if name.lower() not in column_of],
        "- ": [
            " or ".join(written)
            for column, written in spellings.items()
            if column not in known and column not in optional
        ],
        "twice: ": [name for name in names if name and times[column_of.get(name.lower(), name)] > 1],
        "other case: ": [
            name for name in names if name.lower() in column_of and name not in spellings[column_of[name.lower()]]
        ],
    }
    said = [words + _listed(found) for words, found in by_list.items() if found]
    if ordered and list(dict.fromkeys(known)) != [column for column in spellings if column in known]:
        said.append("other order")
    # Half a character, which JSON can spell, is not text that a table could hold.
    return "; ".join(said).encode(errors="backslashreplace").decode() or None


def look_alikes(names: Iterable[str], known: Collection[str]) -> str:
    """Names that look like a known column but are written with a foreign letter, for a message: ` (… has …)`; empty
    where there is none.

    known: the names of columns in lower case. A foreign letter is one that is not ASCII where the known name has one
    that is.
    """
    for name in names:
        for other in known:
            odd = [c for c, usual in zip(name.lower(), other, strict=False) if c != usual]
            if len(name) == len(other) and odd and not any(c.isascii() for c in odd):
                letters = ", ".join(f"U+{ord(c):04X} {unicodedata.name(c, '')}".strip() for c in dict.fromkeys(odd))
                return f" ({name!r} looks like it, but is written with {letters})"
    return ""


def _listed(names: Sequence[str]) -> str:
    once = [name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…" for name in dict.fromkeys(names)]
    more = f" and {len(once) - _MOST_NAMES} more" if len(once) > _MOST_NAMES else ""
    return ", ".join(once[:_MOST_NAMES]) + more
