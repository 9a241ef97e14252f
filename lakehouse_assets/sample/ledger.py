"""The ledger of a sample: which drops were written, how many rows each holds, and which rows break which rules. No
generating here.

As a file it is JSON lines of three kinds: a dirty row (`source`, `path`, `row_number`, `rules`), a drop (`drop`, …), a
batch (`batch_date`, `source`, `drops`, `landed`).
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DirtyRow:
    """A row that breaks rules: the drop's path below the landing zone, the running number of the landed row (0: the
    drop as a whole), the rules, sorted.
    """

    source: str
    path: str
    row_number: int
    rules: tuple[str, ...]


@dataclass(frozen=True)
class SampleDrop:
    """A drop that was written; `same_as` is the path whose content it delivers again, `refused` says that it holds too
    many bad rows to be taken in.
    """

    source: str
    path: str
    batch_date: date
    landed: int
    dirty: int
    same_as: str | None = None
    refused: bool = False


@dataclass(frozen=True)
class SampleLedger:
    """Everything a sample holds, in the order in which it was written."""

    dirty: tuple[DirtyRow, ...]
    drops: tuple[SampleDrop, ...]

    def landed(self) -> dict[tuple[date, str], int]:
        """Landed rows of each (batch date, source) that has a drop."""
        counts: dict[tuple[date, str], int] = {}
        for drop in self.drops:
            key = (drop.batch_date, drop.source)
            counts[key] = counts.get(key, 0) + drop.landed
        return counts

    def rules(self) -> frozenset[str]:
        """The rules that at least one row breaks."""
        return frozenset(rule for row in self.dirty for rule in row.rules)

    def lines(self) -> Iterator[dict[str, Any]]:
        """The ledger as JSON objects: dirty rows, drops, batches."""
        for row in self.dirty:
            yield {"source": row.source, "path": row.path, "row_number": row.row_number, "rules": list(row.rules)}
        for drop in self.drops:
            line: dict[str, Any] = {"drop": drop.path, "source": drop.source, "batch_date": drop.batch_date.isoformat()}
            line |= {"landed": drop.landed, "dirty": drop.dirty}
            line |= {"same_as": drop.same_as} if drop.same_as else {}
            yield line | ({"refused": True} if drop.refused else {})
        for (batch_date, source), landed in sorted(self.landed().items()):
            drops = sum((drop.batch_date, drop.source) == (batch_date, source) for drop in self.drops)
            yield {"batch_date": batch_date.isoformat(), "source": source, "drops": drops, "landed": landed}

    def write(self, file: Path) -> None:
        """Write the ledger as JSON lines."""
        file.write_bytes("".join(json.dumps(line) + "\n" for line in self.lines()).encode())

    @classmethod
    def read(cls, file: Path) -> "SampleLedger":
        """Read a ledger that `write` wrote."""
        return cls.from_lines(json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())

    @classmethod
    def from_lines(cls, lines: Iterable[dict[str, Any]]) -> "SampleLedger":
        """The ledger that `lines` wrote out."""
        dirty: list[DirtyRow] = []
        drops: list[SampleDrop] = []
        for line in lines:
            if "rules" in line:
                dirty.append(DirtyRow(line["source"], line["path"], line["row_number"], tuple(line["rules"])))
            elif "drop" in line:
                batch_date = date.fromisoformat(line["batch_date"])
                same_as, refused = line.get("same_as"), line.get("refused", False)
                drops.append(
                    SampleDrop(
                        line["source"], line["drop"], batch_date, line["landed"], line["dirty"], same_as, refused
                    )
                )
        return cls(tuple(dirty), tuple(drops))
