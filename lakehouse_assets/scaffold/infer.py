"""What a sample of a source says of its columns: types, nullability, likely key and date.

DuckDB's readers tell the types; this module says which column type of a contract holds all values of the sample.
"""

from __future__ import annotations

import itertools
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import duckdb

from lakehouse_assets.core.contracts.naming import RESERVED
from lakehouse_assets.core.format import Format, Kind, Landed
from lakehouse_assets.core.sources.convert import LAYOUTS
from lakehouse_assets.core.sources.kinds.csv import Csv
from lakehouse_assets.core.sources.kinds.json_lines import JsonLines
from lakehouse_assets.core.sources.kinds.parquet import Parquet
from lakehouse_assets.core.sources.parse import parse_drop
from lakehouse_assets.errors import LakehouseError

KINDS: Final[dict[str, Kind]] = {"csv": Csv(), "jsonl": JsonLines(), "parquet": Parquet()}
_READERS: Final = {
    "csv": "read_csv(?, header = true, delim = ',', sample_size = -1)",
    "jsonl": "read_json(?, format = 'newline_delimited', sample_size = -1)",
    "parquet": "read_parquet(?)",
}
_ENDINGS: Final = {".csv": "csv", ".json": "jsonl", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_WHOLE: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_MOST_KEY_COLUMNS: Final = 3
_PROVENANCE: Final = frozenset({"path", "content_hash", "row_number", "batch_date"})
_PERSONAL: Final = re.compile(r"(^|_)(name|email|mail|phone|mobile|address|street|birth|ssn|iban)(_|$)")


@dataclass(frozen=True)
class SampleColumn:
    """A column of a sample. written: its name in the file. type: the name of a type in `core/contracts/types.py`, or
    `Decimal` with its scale. layout: how a day is written, where not as 2026-09-01.
    """

    written: str
    name: str
    type: str
    nullable: bool
    scale: int = 0
    layout: str = ""
    personal: bool = False


@dataclass(frozen=True)
class Sample:
    """What a sample says of a source. key: the fewest columns that tell its rows apart, none where no few do."""

    kind: str
    columns: tuple[SampleColumn, ...]
    key: tuple[str, ...]
    rows: int

    @property
    def day(self) -> str | None:
        """The first column that holds days without a gap."""
        return next((c.name for c in self.columns if c.type == "Day" and not c.nullable), None)


def infer(file: Path, kind: str | None = None) -> Sample:
    """Look at a sample. Raises `LakehouseError` where it cannot be read as drops of that kind will be."""
    kind = kind or _ENDINGS.get(Path(file.name.removesuffix(".gz")).suffix.lower(), "")
    if kind not in KINDS:
        raise LakehouseError(f"{file.name} says nothing of its kind by its ending; give --kind {', '.join(KINDS)}.")
    if not file.is_file():
        raise LakehouseError(f"There is no sample {file}; give a file of the source.")
    with duckdb.connect() as sql, tempfile.TemporaryDirectory() as folder:
        # Under a plain name, for DuckDB takes brackets and stars in a name for a pattern.
        plain = Path(folder, f"sample{''.join(file.suffixes[-2:])}")
        shutil.copyfile(file, plain)
        try:
            described = sql.execute(f"DESCRIBE SELECT * FROM {_READERS[kind]}", [str(plain)]).fetchall()
        except duckdb.Error as error:
            raise LakehouseError(
                f"{file.name} cannot be read as {kind}: {str(error).splitlines()[0]}; give another sample or --kind."
            ) from error
        types = {row[0]: row[1] for row in described}
        landed = _landed(file, kind, list(types))
        sql.register("landed", landed)
        columns = _distinct_names([_column(sql, written, types[written]) for written in types])
        names = {c.written: c.name for c in columns}
        key = _key(sql, [c for c in columns if not c.nullable])
        return Sample(kind, tuple(columns), tuple(names[w] for w in key), landed.num_rows)


def _landed(file: Path, kind: str, names: Sequence[str]) -> Any:
    """The sample as the parser of its kind will read it."""
    columns = tuple(Landed(f"c{at}", "", spellings=(name,)) for at, name in enumerate(names))
    rows = parse_drop(Format(KINDS[kind], columns), file.read_bytes())
    bad = [r for r in rows.select(["_malformed", "_detail"]).to_pylist() if r["_malformed"]]
    if bad and len(bad) == rows.num_rows:
        raise LakehouseError(f"{file.name} cannot be taken in: {bad[0]['_detail']}")
    good = rows.filter([r["_malformed"] is None for r in rows.select(["_malformed"]).to_pylist()])
    return good.select([c.name for c in columns]).rename_columns(list(names))


def _column(sql: duckdb.DuckDBPyConnection, written: str, found: str) -> SampleColumn:
    """The column type that holds all values of a column; its texts tell what the reader's type does not."""
    quoted = '"' + written.replace('"', '""') + '"'

    def all_match(pattern: str) -> bool:
        statement = f"SELECT bool_and(regexp_full_match(trim({quoted}), ?)), count({quoted}) FROM landed"
        matching, count = sql.execute(statement, [pattern]).fetchall()[0]
        return bool(matching) and count > 0

    nulls, longest = sql.execute(
        f"SELECT count(*) - count({quoted}), max(length(regexp_extract({quoted}, '[.]([0-9]*?)0*$', 1))) FROM landed"
    ).fetchall()[0]
    column = SampleColumn(written, _name(written), "Text", nulls > 0)
    if found == "BOOLEAN" and all_match("(?i)true|false|1|0"):
        return replace(column, type="Flag")
    # A code that begins with 0 is no number.
    if found in _WHOLE and all_match("[+-]?(0|[1-9][0-9]{0,17})([.]0*)?"):
        return replace(column, type="Whole")
    if (found in ("DOUBLE", "FLOAT") or found.startswith("DECIMAL")) and all_match("[+-]?[0-9]{1,20}([.][0-9]*)?"):
        return replace(column, type="Decimal", scale=min(max(longest or 0, 2), 12))
    if found == "DATE":
        layouts = {"": "[12][0-9]{3}-[0-9]{2}-[0-9]{2}", **{layout: _pattern(layout) for layout in LAYOUTS}}
        for layout, pattern in layouts.items():
            if all_match(pattern):
                return replace(column, type="Day", layout=layout)
    if found.startswith("TIMESTAMP"):
        clock = "[12][0-9]{3}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?"
        if all_match(clock):
            return replace(column, type="ShopClock")
        if all_match(f"{clock}(Z|[+-][0-9]{{2}}:?[0-9]{{2}})"):
            return replace(column, type="Moment")
    return replace(column, personal=bool(_PERSONAL.search(column.name)))


def _pattern(layout: str) -> str:
    parts = {"%d": "[0-9]{1,2}", "%m": "[0-9]{1,2}", "%Y": "[12][0-9]{3}", ".": "[.]"}
    return re.sub("%[dmY]|[.]", lambda m: parts[m[0]], layout)


def _name(written: str) -> str:
    """The name of a column in the contract: small letters, digits and underscores, and no word that SQL reserves."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", written)
    name = spaced.strip("_").lower()
    if not name or name[0].isdigit():
        name = f"column_{name}".rstrip("_")
    return f"{name}_value" if name in RESERVED or name in _PROVENANCE else name


def _distinct_names(columns: Sequence[SampleColumn]) -> list[SampleColumn]:
    taken: set[str] = set()
    found = []
    for column in columns:
        name = next(n for n in itertools.chain([column.name], _numbered(column.name)) if n not in taken)
        taken.add(name)
        found.append(replace(column, name=name))
    return found


def _numbered(name: str) -> Iterable[str]:
    return (f"{name}_{n}" for n in itertools.count(2))


def _key(sql: duckdb.DuckDBPyConnection, columns: Sequence[SampleColumn]) -> tuple[str, ...]:
    """The fewest columns that tell the rows apart, as written; those that are called so first."""
    likely = sorted(
        (c for c in columns if c.type in ("Text", "Whole", "Day", "ShopClock", "Moment")),
        key=lambda c: not re.search(r"(^|_)(id|key|code|no|number|date|day)$", c.name),
    )[:8]
    for size in range(1, _MOST_KEY_COLUMNS + 1):
        for chosen in itertools.combinations(likely, size):
            listed = ", ".join('"' + c.written.replace('"', '""') + '"' for c in chosen)
            counts = sql.execute(f"SELECT count(*), count(DISTINCT ({listed})) FROM landed").fetchall()[0]
            if counts[0] == counts[1] and counts[0] > 1:
                return tuple(c.written for c in chosen) + _snapshot_day(sql, columns, chosen)
    return ()


def _snapshot_day(
    sql: duckdb.DuckDBPyConnection, columns: Sequence[SampleColumn], key: Sequence[SampleColumn]
) -> tuple[str, ...]:
    """The day of a snapshot, which is the same in all rows of the sample and another in the next drop."""
    for column in columns:
        if column.type == "Day" and column not in key:
            quoted = '"' + column.written.replace('"', '""') + '"'
            if sql.execute(f"SELECT count(DISTINCT {quoted}) FROM landed").fetchall() == [(1,)]:
                return (column.written,)
    return ()
