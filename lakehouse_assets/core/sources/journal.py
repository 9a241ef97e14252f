"""The landing journal: what its entries mean. Pure functions; the journal itself is the table `bronze.landings`.

An entry says that a content landed under a path, that the path was withdrawn, or that somebody has acknowledged what is
wrong with its newest content. New content under a known path is a correction. Landing the withdrawn content again
undoes the withdrawal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

LANDED, WITHDRAWN, ACKNOWLEDGED = "landed", "withdrawn", "acknowledged"
ACCEPTED, REFUSED, UNREADABLE = "accepted", "refused", "unreadable"

Content = tuple[str, str]
"""A content under a path: (path, content hash)."""


@dataclass(frozen=True, order=True)
class Entry:
    """One line of the journal."""

    path: str
    sequence: int
    content_hash: str
    batch_date: date
    state: str
    source: str = ""

    @property
    def content(self) -> Content:
        return (self.path, self.content_hash)


def by_path(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Entries of each path in their order."""
    paths: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(entries):
        paths[entry.path].append(entry)
    return paths


def effective(entries: Iterable[Entry]) -> list[Entry]:
    """The entries of one path that still count: a withdrawal and the landing that undid it cancel each other."""
    kept: list[Entry] = []
    for entry in sorted(entries):
        if entry.state == ACKNOWLEDGED:
            continue  # it changes nothing that is published
        if entry.state == WITHDRAWN:
            if kept and kept[-1].state == WITHDRAWN:
                continue
            kept.append(entry)
        elif len(kept) >= 2 and kept[-1].state == WITHDRAWN and kept[-2].content_hash == entry.content_hash:
            kept.pop()
        else:
            kept.append(entry)
    return kept


def standing(entries: Iterable[Entry], verdicts: Mapping[Content, str]) -> tuple[Content | None, Content | None]:
    """What one path says: (its live content, the newer content that is refused or unreadable), each None where there is
    none.

    A drop is live when it is the last accepted entry of its path, and not withdrawn.
    """
    rejected: Content | None = None
    for entry in reversed(effective(entries)):
        if entry.state == WITHDRAWN:
            return None, rejected
        if verdicts[entry.content] == ACCEPTED:
            return entry.content, rejected
        rejected = rejected or entry.content
    return None, rejected


def standing_contents(
    paths: Iterable[list[Entry]], verdicts: Mapping[Content, str]
) -> tuple[set[Content], set[Content]]:
    """What several paths say: their live contents, and their newer ones that are refused or unreadable."""
    found = [standing(entries, verdicts) for entries in paths]
    return {live for live, _ in found if live}, {rejected for _, rejected in found if rejected}


def acknowledged(entries: Iterable[Entry]) -> set[Content]:
    """The contents of which somebody has said that what is wrong with them is known and stays so."""
    return {e.content for e in entries if e.state == ACKNOWLEDGED}


def last_landed(entries: Iterable[Entry]) -> Entry | None:
    """The newest landing of one path, withdrawn or not."""
    return next((e for e in reversed(sorted(entries)) if e.state == LANDED), None)


def is_withdrawn(entries: Iterable[Entry]) -> bool:
    """Whether the path has been taken back."""
    kept = effective(entries)
    return bool(kept) and kept[-1].state == WITHDRAWN
