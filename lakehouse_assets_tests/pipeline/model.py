"""What must be published, refused and counted, from nothing but what has landed: the documented rules in plain Python,
and the oracle for the rows.

Belongs here: what a landing zone says once its drops are in the journal. Does not belong here: anything of
`lakehouse_assets`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lakehouse_assets_tests.oracle.oracle import Oracle

Key = tuple[str, str]
"""A content under a path: (path, content hash)."""

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


@dataclass(frozen=True)
class Content:
    """The bytes of a drop, and what is known of them because they were made so.

    landed: its rows. bad: those that break a rule, by row number; excluded: the same by line, as the oracle counts.
    readable: whether it is a drop of its source at all.
    """

    source: str
    data: bytes
    landed: int
    bad: frozenset[int] = frozenset()
    excluded: frozenset[int] = frozenset()
    readable: bool = True

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def __repr__(self) -> str:
        return (
            f"<{self.source} {self.hash[:6]}: {len(self.bad)} of {self.landed}"
            f" bad{'' if self.readable else ', unreadable'}>"
        )

    def verdict(self, correction: bool) -> str:
        """The documented allowance. correction: whether good rows of the same path landed before it."""
        if not self.readable:
            return "unreadable"
        above_share, bad = 10 * len(self.bad) > self.landed, len(self.bad)
        nothing_good = bad == self.landed and (correction or bad > 0)
        return "refused" if nothing_good or (above_share and (correction or bad > 5)) else "accepted"


def unreadable(source: str, data: bytes) -> Content:
    return Content(source, data, 1, frozenset({0}), readable=False)


def orders(lines: Sequence[str], bad: Sequence[int]) -> Content:
    """bad: which lines (from 1) break a rule."""
    data = "".join(f"{line}\n" for line in (HEADER, *lines)).encode()
    return Content("orders", data, len(lines), frozenset(bad), frozenset(bad))


def customers(records: Sequence[Mapping[str, Any] | str], bad: Sequence[int]) -> Content:
    data = "".join(f"{r if isinstance(r, str) else json.dumps(r)}\n" for r in records).encode()
    return Content("customers", data, len(records), frozenset(bad), frozenset(bad))


def rates(values: Sequence[tuple[str, str]], bad: Sequence[int]) -> Content:
    """values: (day, GBP a euro); N/A is no rate, and no row."""
    data = "".join(f"{day},{rate}\n" for day, rate in (("Date", "GBP"), *values)).encode()
    rows = [n for n, (_, rate) in enumerate(values, 1) if rate != "N/A"]
    return Content("fx", data, len(rows), frozenset(rows.index(n) + 1 for n in bad), frozenset(bad))


@dataclass
class Said:
    """What one path says. first: the verdict on each content, from the first time it landed; before: what it said when
    it was withdrawn, None where it is not.
    """

    first: dict[str, str] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    had_good: bool = False
    last: str = ""
    live: str | None = None
    rejected: str | None = None
    before: tuple[str | None, str | None] | None = None


class Model:
    """The journal as it should be, and what follows from it."""

    def __init__(self) -> None:
        self.contents: dict[str, Content] = {}
        self.paths: dict[str, Said] = {}

    # -- what happens ------------------------------------------------------------------------------------------------

    def landed(self, path: str, content: Content) -> None:
        self.contents[content.hash] = content
        said = self.paths.setdefault(path, Said())
        verdict = said.first.setdefault(content.hash, content.verdict(said.had_good))
        said.had_good |= verdict == "accepted" and content.landed > len(content.bad)
        said.last, said.before = content.hash, None
        if verdict == "accepted":
            said.live, said.rejected = content.hash, None
        else:
            said.rejected = content.hash

    def withdrawn(self, path: str) -> None:
        said = self.paths[path]
        said.before, said.live, said.rejected = (said.live, said.rejected), None, None

    def landed_again(self, path: str) -> None:
        said = self.paths[path]
        assert said.before is not None
        (said.live, said.rejected), said.before = said.before, None

    def acknowledged(self, path: str) -> None:
        self.paths[path].known.add(self.paths[path].last)

    # -- what follows ------------------------------------------------------------------------------------------------

    def open(self, verdict: str) -> list[str]:
        """The paths whose newest content waits for somebody."""
        return sorted(
            p
            for p, s in self.paths.items()
            if s.rejected and s.first[s.rejected] == verdict and s.rejected not in s.known
        )

    def quarantine(self) -> dict[tuple[str, str, int], bool]:
        """(path, content hash, row) → whether the whole drop is refused."""
        found: dict[tuple[str, str, int], bool] = {}
        for path, said in self.paths.items():
            for hash_ in filter(None, (said.live, said.rejected)):
                content, whole = self.contents[hash_], said.first[hash_] == "refused"
                found |= {(path, hash_, n): whole for n in (range(1, content.landed + 1) if whole else content.bad)}
        return found

    def intake(self, published: Mapping[Key, int]) -> dict[Key, tuple[str, int, int, int, int]]:
        """Content → how it stands, and its rows landed, published, quarantined and doubled."""
        found = {}
        for path, said in self.paths.items():
            for hash_, verdict in said.first.items():
                content = self.contents[hash_]
                if hash_ == said.live:
                    out, bad = published.get((path, hash_), 0), len(content.bad)
                    found[path, hash_] = ("live", content.landed, out, bad, content.landed - out - bad)
                elif hash_ == said.rejected:
                    found[path, hash_] = (verdict, content.landed, 0, content.landed, 0)
                else:
                    found[path, hash_] = ("superseded" if said.before is None else "withdrawn", 0, 0, 0, 0)
        return found

    @contextmanager
    def oracle(self, folder: Path):  # type: ignore[no-untyped-def]
        """The tables that the live contents make. folder: where their files are put."""
        folder.mkdir(exist_ok=True)
        live: dict[str, Path] = {}
        for path, said in self.paths.items():
            if said.live:
                live[path] = folder / said.live
                live[path].write_bytes(self.contents[said.live].data)
        exclude = {(p, n) for p in live for n in self.contents[self.paths[p].live or ""].excluded}
        with Oracle(folder / "none", exclude=exclude, live=live) as oracle:
            yield oracle


def published(oracle: Oracle) -> Counter[Key]:
    """Content → how many rows of its silver table stand on it."""
    rates = (
        "SELECT path, content_hash FROM raw_fx QUALIFY row_number() OVER (PARTITION BY rate_date, currency "
        "ORDER BY batch_date DESC, path DESC, content_hash DESC, row_number DESC) = 1"
    )
    queries = (rates, *(f"SELECT path, content_hash FROM silver.{table}" for table in ("order_lines", "customers")))
    return Counter(row for query in queries for row in oracle.sql.sql(query).fetchall())
