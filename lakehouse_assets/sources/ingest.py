"""From drops to bronze: rows first, journal after. Adding again is a no-op.

Belongs here: which drops are new, their rows as one append, their entries in the journal. Does not belong here: the formats (`parse.py`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
from deltalake.exceptions import DeltaError
from pyspark.errors import PySparkException

from lakehouse_assets.contracts import Contract, contract
from lakehouse_assets.delta.staging import JOURNAL, Lakehouse, StagedSlice
from lakehouse_assets.delta.store import OPERATION, Consumed
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.sources.journal import ACKNOWLEDGED, LANDED, WITHDRAWN, Entry, acknowledged, by_path, is_withdrawn, last_landed
from lakehouse_assets.sources.landing import SOURCES, Drop, LandingZone, date_in
from lakehouse_assets.sources.parse import parse_drop
from lakehouse_assets.sources.pull import SOURCE as CUSTOMERS
from lakehouse_assets.sources.pull import Pull, remembered, unjournaled
from lakehouse_assets.transforms.frames import from_arrow

_CHUNK = 50_000
"""How many pulled rows travel to the engine at once."""

_PARTITIONS = 32
"""Into how many parts the drops of a run are spread over the workers at most."""


def entries(lakehouse: Lakehouse, version: int | None = None) -> list[Entry]:
    """The journal at a version (default: now); empty where it does not exist."""
    if not lakehouse.store.exists(JOURNAL):
        return []
    rows = lakehouse.store.read(JOURNAL, version).to_pylist()
    return [Entry(r["path"], r["sequence"], r["content_hash"], r["batch_date"], r["state"], r["source"]) for r in rows]


def entries_after(lakehouse: Lakehouse, version: int, journal: Sequence[Entry]) -> list[Entry]:
    """Those entries of the journal that it did not have at a version; all of them where that can no longer be told."""
    head = lakehouse.store.head(JOURNAL)
    if version < 0 or head is None:
        return list(journal)
    if version >= head.data_version:
        return []
    try:
        before = {(e.path, e.sequence) for e in entries(lakehouse, version)}
    except (DeltaError, PySparkException, OSError):
        # That version can no longer be read: its files were vacuumed, or the journal was made anew. Every batch date is then looked at again.
        return list(journal)
    return [e for e in journal if (e.path, e.sequence) not in before]


def new_drops(drops: Iterable[Drop], journal: Iterable[Entry]) -> list[Drop]:
    """The drops whose content is not the last that landed under their path. A file that is gone says nothing."""
    last = {path: last_landed(of_path) for path, of_path in by_path(journal).items()}
    return [d for d in drops if (entry := last.get(d.path)) is None or entry.content_hash != d.content_hash]


def landed_drops(lakehouse: Lakehouse, source: str, drops: Iterable[Drop]) -> Counter[date]:
    """How many contents of a source bronze has taken in of each batch date: those of the journal, and `drops`, which it is about to know."""
    journal = entries(lakehouse)
    landed = {e.content: e.batch_date for e in journal if e.source == source and e.state == LANDED}
    landed |= {(d.path, d.content_hash): d.batch_date for d in drops}
    if source == CUSTOMERS:
        landed |= {(path, content_hash): day for path, content_hash, day in unjournaled(lakehouse, journal)}
    return Counter(landed.values())


def stage_bronze(lakehouse: Lakehouse, source: str, zone: LandingZone, drops: list[Drop], pulled: Pull | None = None) -> StagedSlice | None:
    """Stage the rows of those drops that bronze does not hold yet, and those that were pulled. None where there are none.

    What is remembered of pulls goes with every commit, so that the newest one always has it.
    """
    model = contract(f"bronze.{SOURCES[source]}")
    head = lakehouse.head(model)
    held = {(p, h) for p, h, _ in _held(lakehouse, model.name, drops)}
    missing = [d for d in drops if (d.path, d.content_hash) not in held]
    consumed = Consumed(contract=model.fingerprint, watermark=pulled.watermark if pulled else remembered(head))
    rows = pulled.rows if pulled else None
    if not missing and rows is None:
        return StagedSlice(model, head.version, consumed) if pulled and consumed.watermark != remembered(head) else None
    uri = lakehouse.scratch(model.name)
    if missing:
        _write_drops(lakehouse, model, source, zone, missing, uri)
    for start in range(0, rows.num_rows if rows else 0, _CHUNK):
        assert rows
        frame = from_arrow(lakehouse.spark, rows.slice(start, _CHUNK))
        frame.selectExpr("*", f"'I' AS {OPERATION}").write.mode("append").parquet(uri)
    slice_ = lakehouse.staged(model, head, consumed, uri)
    slice_.metadata["drops"] = len(missing) + (rows is not None)
    return slice_


def _write_drops(lakehouse: Lakehouse, model: Contract, source: str, zone: LandingZone, missing: list[Drop], uri: str) -> None:
    # The paths travel and the workers open the files. The engine's own binaryFile source leaves out empty files, takes brackets in a name
    # for a pattern, and on Sail 0.7.2 reads the files at which its list is cut into equal parts twice.
    names = pa.table({"path": [d.path for d in missing]})
    paths = from_arrow(lakehouse.spark, names).repartition(min(len(missing), _PARTITIONS), "path")
    schema = ", ".join(f"`{c.name}` {c.type.spark}" for c in model.columns)
    arrow_schema = pa.schema([pa.field(f.name, f.type) for f in model.arrow_schema])
    parser = _parser(source, str(zone.root), {d.path: d.batch_date for d in missing}, arrow_schema)
    paths.mapInArrow(parser, schema).selectExpr("*", f"'I' AS {OPERATION}").write.mode("overwrite").parquet(uri)


def _parser(source: str, root: str, dates: dict[str, date], schema: pa.Schema):  # type: ignore[no-untyped-def]
    """The function that the engine maps over paths: bytes of a drop → bronze rows with their provenance."""

    def parse(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for path in batch.column("path").to_pylist():
                data = Path(root, path).read_bytes()
                table = parse_drop(source, data)
                provenance = {"path": path, "content_hash": hashlib.sha256(data).hexdigest(), "batch_date": dates[path]}
                columns = [
                    table.column(f.name).cast(f.type)
                    if f.name in table.column_names
                    else pa.repeat(pa.scalar(provenance[f.name], f.type), len(table))
                    for f in schema
                ]
                yield from pa.table(columns, schema=schema).combine_chunks().to_batches(max_chunksize=64_000)

    return parse


def stage_journal(lakehouse: Lakehouse, zone: LandingZone, drops: list[Drop]) -> StagedSlice | None:
    """Stage the entries of those drops whose rows are in bronze, and of all pulls whose rows are. None where there are none."""
    journal = entries(lakehouse)
    sequences = {path: max(e.sequence for e in of_path) for path, of_path in by_path(journal).items()}
    found = [Entry(path, sequences.get(path, 0) + 1, h, day, LANDED, CUSTOMERS) for path, h, day in unjournaled(lakehouse, journal)]
    for source, table in SOURCES.items():
        fresh = new_drops([d for d in drops if d.source == source], journal)
        held = {(p, h): day for p, h, day in _held(lakehouse, f"bronze.{table}", fresh)}
        for drop in fresh:
            day = held.get((drop.path, drop.content_hash))
            if day is None and _is_empty(zone, drop):
                day = drop.batch_date
            if day is not None:
                found.append(Entry(drop.path, sequences.get(drop.path, 0) + 1, drop.content_hash, day, LANDED, source))
    return _journal_slice(lakehouse, found) if found else None


def _is_empty(zone: LandingZone, drop: Drop) -> bool:
    """Whether the drop has no rows, so that bronze cannot tell that it was taken in."""
    content = (zone.root / drop.path).read_bytes()
    return hashlib.sha256(content).hexdigest() == drop.content_hash and parse_drop(drop.source, content).num_rows == 0


def _journal_slice(lakehouse: Lakehouse, found: list[Entry]) -> StagedSlice:
    model = contract(JOURNAL)
    head = lakehouse.head(model)
    rows = [{**vars(e), OPERATION: "I"} for e in sorted(found)]
    uri = lakehouse.scratch(JOURNAL)
    schema = pa.schema([*(pa.field(f.name, f.type) for f in model.arrow_schema), pa.field(OPERATION, pa.string())])
    # The engine writes it, for the staging folder may lie where this process writes no file.
    from_arrow(lakehouse.spark, pa.Table.from_pylist(rows, schema=schema)).write.parquet(uri)
    bronze = {f"bronze.{t}": h for t in SOURCES.values() if (h := lakehouse.store.head(f"bronze.{t}"))}
    return StagedSlice(
        model, head.version, lakehouse.reading(model, "", bronze), uri=uri, counts={"I": len(rows)}, metadata={"entries": len(rows)}
    )


def withdraw(lakehouse: Lakehouse, path: str) -> Entry:
    """Take a drop back: journal that nothing of it counts any more. Raises `LakehouseError` for a path that never landed or is out."""
    return _journal_state(lakehouse, path, WITHDRAWN)


def land_again(lakehouse: Lakehouse, path: str) -> Entry:
    """Undo a withdrawal. Raises `LakehouseError` for a path that is not withdrawn."""
    return _journal_state(lakehouse, path, LANDED)


def acknowledge(lakehouse: Lakehouse, path: str) -> Entry:
    """Journal that what is wrong with the newest content of a path is known and stays so: it is reported no more, and nothing waits for it. What is
    published stays as it is. Raises `LakehouseError` for a path that never landed or is acknowledged."""
    of_path = by_path(entries(lakehouse)).get(path, [])
    last = last_landed(of_path)
    if last is None:
        raise never_landed(path)
    if last.content in acknowledged(of_path):
        raise LakehouseError(f"{path} is already acknowledged; there is nothing to do.")
    entry = replace(last, sequence=max(e.sequence for e in of_path) + 1, state=ACKNOWLEDGED)
    lakehouse.publish(_journal_slice(lakehouse, [entry]))
    return entry


def _journal_state(lakehouse: Lakehouse, path: str, state: str) -> Entry:
    of_path = by_path(entries(lakehouse)).get(path, [])
    last = last_landed(of_path)
    if last is None:
        raise never_landed(path)
    if is_withdrawn(of_path) == (state == WITHDRAWN):
        raise LakehouseError(f"{path} is {'already withdrawn' if state == WITHDRAWN else 'not withdrawn'}; there is nothing to do.")
    entry = Entry(path, max(e.sequence for e in of_path) + 1, last.content_hash, last.batch_date, state, last.source)
    lakehouse.publish(_journal_slice(lakehouse, [entry]))
    return entry


def never_landed(path: str) -> LakehouseError:
    """What is wrong with a path that the journal does not know."""
    return LakehouseError(f"No drop has landed as {path!r}; give the path below the landing zone, as orders/orders_2010-12-01.csv.")


def _held(lakehouse: Lakehouse, name: str, drops: list[Drop]) -> list[tuple[str, str, date]]:
    """(path, content hash, batch date) of those drops that bronze holds, looked up in the batch dates they can have.

    That is the date in the name. A drop without one may have been seen first on any day, if a run died before its entry was in the journal.
    """
    head = lakehouse.store.head(name)
    if not drops or head is None or head.data_version == 0:
        return []
    frame = lakehouse.store.frame(lakehouse.spark, name, head.version)
    days = {date_in(d.path) for d in drops}
    if None not in days:
        frame = frame.where(f"batch_date IN ({', '.join(f'DATE {str(day)!r}' for day in sorted(filter(None, days)))})")
    paths = lakehouse.spark.createDataFrame(pa.table({"path": [d.path for d in drops]}))
    rows = frame.join(paths, ["path"], "left_semi").select("path", "content_hash", "batch_date").distinct().collect()
    return [(r[0], r[1], r[2]) for r in rows]
