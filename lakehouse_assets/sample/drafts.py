"""A drop being written: its lines with what is wrong with them, and how they become bytes. Knows no source in
particular.
"""

import csv
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from lakehouse_assets.sample.ledger import DirtyRow, SampleDrop


@dataclass(frozen=True)
class Line:
    """A line of a drop without its end: how many rows it lands, and the rules that each of them breaks."""

    content: bytes
    rows: int = 1
    rules: tuple[str, ...] = ()


@dataclass
class Draft:
    """A drop before it is written. `columns` says how a source lays out its lines there; `raw` replaces everything by
    bytes that break the drop-level rule of that name.
    """

    source: str
    path: str
    batch_date: date
    header: bytes | None = None
    lines: list[Line] = field(default_factory=list)
    end: bytes = b"\n"
    byte_order_mark: bool = False
    columns: tuple[str, ...] = ()
    takes_dirt: bool = True
    torn_at: bytes | None = None
    broken: tuple[str, bytes] | None = None
    refused: bool = False

    @property
    def gzipped(self) -> bool:
        """Whether the drop is written as gzip; the name says so."""
        return self.path.endswith(".gz")

    def content(self) -> bytes:
        """The bytes of the drop."""
        if self.broken is not None:
            return self.broken[1]
        parts = [self.header] if self.header is not None else []
        body = b"".join(part + self.end for part in (*parts, *(line.content for line in self.lines)))
        body = b"\xef\xbb\xbf" * self.byte_order_mark + body
        if self.torn_at is not None:
            # A flush in place of the end: what can be read of the torn stream does not depend on how well it was
            # compressed.
            stream = zlib.compressobj(9, zlib.DEFLATED, 31)
            return stream.compress(body + self.torn_at) + stream.flush(zlib.Z_SYNC_FLUSH)
        return zlib.compress(body, 9, 31) if self.gzipped else body

    def entries(self) -> tuple[SampleDrop, list[DirtyRow]]:
        """What the ledger says of the drop."""
        dirty: list[DirtyRow] = []
        number = 0
        if self.broken is not None:
            dirty.append(DirtyRow(self.source, self.path, 0, (self.broken[0],)))
            return SampleDrop(self.source, self.path, self.batch_date, 1, 1), dirty
        for line in self.lines:
            if line.rules:
                dirty += [DirtyRow(self.source, self.path, number + row, line.rules) for row in range(1, line.rows + 1)]
            number += line.rows
        if self.torn_at is not None:
            number += 1
            dirty.append(DirtyRow(self.source, self.path, number, ("row.truncated",)))
        return SampleDrop(self.source, self.path, self.batch_date, number, len(dirty), refused=self.refused), dirty


def csv_line(values: Sequence[str]) -> bytes:
    """A CSV line without its end, quoted where it must be."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue().encode()
