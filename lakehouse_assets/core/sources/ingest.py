"""From drops to bronze: rows first, journal after. Adding again is a no-op.

Belongs here: which drops are new, their rows as one append, their entries in the journal. Does not belong here: the
formats (`parse.py`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake.exceptions import DeltaError
from pyspark.errors import PySparkException

from lakehouse_assets.core.contracts import contract
from lakehouse_assets.core.declarations.registry import SOURCES, pulled_sources, streamed_sources
from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.files import Span
from lakehouse_assets.core.delta.findings import DamagedTableError, Finding
from lakehouse_assets.core.delta.heads import Head
from lakehouse_assets.core.delta.slice_rules import OPERATION
from lakehouse_assets.core.delta.staging import JOURNAL, Lakehouse, StagedSlice
from lakehouse_assets.core.format import Format
from lakehouse_assets.core.frames import from_arrow
from lakehouse_assets.core.sources.blocks import content_hash, grown, journaled, positions
from lakehouse_assets.core.sources.intake import INTAKE
from lakehouse_assets.core.sources.journal import (
    ACKNOWLEDGED,
    LANDED,
    WITHDRAWN,
    Entry,
    acknowledged,
    by_path,
    is_withdrawn,
    last_landed,
)
from lakehouse_assets.core.sources.landing import Drop, LandingZone, date_in
from lakehouse_assets.core.sources.parse import parse_drop
from lakehouse_assets.core.sources.pull import Pull, remembered, unjournaled
from lakehouse_assets.core.spark_sql import in_list, quoted
from lakehouse_assets.errors import LakehouseError, StaleSliceError

_CHUNK = 50_000
"""How many pulled rows travel to the engine at once."""

COUNTING = ("live", "refused", "unreadable")
"""Of the standings of a drop in its account, those in which its rows count."""

_ATTEMPTS = 5

_PARTITIONS = 32
"""Into how many parts the drops of a run are spread over the workers at most."""


def entries(lakehouse: Lakehouse, version: int | None = None) -> list[Entry]:
    """The journal at a version (default: now); empty where it does not exist."""
    if not lakehouse.store.exists(JOURNAL):
        return []
    rows = lakehouse.store.read(JOURNAL, version).to_pylist()
    return [Entry(r["path"], r["sequence"], r["content_hash"], r["batch_date"], r["state"], r["source"]) for r in rows]


def entries_after(lakehouse: Lakehouse, version: int, journal: Sequence[Entry]) -> list[Entry]:
    """Those entries of the journal that it did not have at a version; all of them where that is no longer known."""
    head = lakehouse.store.head(JOURNAL)
    if version < 0 or head is None:
        return list(journal)
    if version >= head.data_version:
        return []
    try:
        before = {(e.path, e.sequence) for e in entries(lakehouse, version)}
    except (DeltaError, PySparkException, OSError):
        # That version can no longer be read: its files were vacuumed, or the journal was made anew. Every batch date is
        # then looked at again.
        return list(journal)
    return [e for e in journal if (e.path, e.sequence) not in before]


def new_drops(drops: Iterable[Drop], journal: Iterable[Entry]) -> list[Drop]:
    """The drops whose content is not the last that landed under their path. A file that is gone says nothing."""
    last = {path: last_landed(of_path) for path, of_path in by_path(journal).items()}
    return [d for d in drops if (entry := last.get(d.path)) is None or entry.content_hash != d.content_hash]


def landed_drops(lakehouse: Lakehouse, source: Source, drops: Iterable[Drop]) -> Counter[date]:
    """How many contents of a source bronze has taken in of each batch date: those of the journal, and `drops`, which it
    is about to know.
    """
    journal = entries(lakehouse)
    landed = {e.content: e.batch_date for e in journal if e.source == source.name and e.state == LANDED}
    landed |= {(d.path, d.content_hash): d.batch_date for d in drops}
    if source.pulled:
        landed |= {(path, content_hash): day for path, content_hash, day in unjournaled(lakehouse, source, journal)}
    return Counter(landed.values())


def stage_bronze(
    lakehouse: Lakehouse, source: Source, zone: LandingZone, drops: list[Drop], pulled: Pull | None = None
) -> StagedSlice | None:
    """Stage the rows of those drops that bronze does not hold yet, and those that were pulled. None where there are
    none.

    What is remembered of pulls goes with every commit, so that the newest one always has it.
    """
    model = source.bronze_contract
    head = pulled.head if pulled else lakehouse.head(model)
    held = {(p, h) for p, h, _ in _held(lakehouse, model.name, drops)}
    missing = [d for d in drops if (d.path, d.content_hash) not in held]
    consumed = Consumed(contract=model.fingerprint, watermark=pulled.watermark if pulled else remembered(head))
    rows = pulled.rows if pulled else None
    if not missing and rows is None:
        return StagedSlice(model, head.version, consumed) if pulled and consumed.watermark != remembered(head) else None
    uri = lakehouse.scratch(model.name)
    if missing:
        write_drops(lakehouse, source, zone, missing, uri)
    for start in range(0, rows.num_rows if rows else 0, _CHUNK):
        assert rows
        frame = from_arrow(lakehouse.spark, rows.slice(start, _CHUNK))
        frame.selectExpr("*", f"'I' AS {OPERATION}").write.mode("append").parquet(uri)
    slice_ = lakehouse.staged(model, head, consumed, uri)
    slice_.metadata["drops"] = len(missing) + (rows is not None)
    return slice_


def write_drops(lakehouse: Lakehouse, source: Source, zone: LandingZone, missing: list[Drop], uri: str) -> None:
    """Write the rows of those drops, as bronze takes them in, into a folder of its own."""
    model = source.bronze_contract
    # The paths travel and the workers open the files. The engine's own binaryFile source leaves out empty files, takes
    # brackets in a name for a pattern, and on Sail 0.7.2 reads the files at which its list is cut into equal parts
    # twice.
    names = pa.table({"path": [d.path for d in missing]})
    paths = from_arrow(lakehouse.spark, names).repartition(min(len(missing), _PARTITIONS), "path")
    schema = ", ".join(f"{quoted(c.name)} {c.type.spark}" for c in model.columns)
    arrow_schema = pa.schema([pa.field(f.name, f.type) for f in model.arrow_schema])
    parser = _parser(source.format, str(zone.root), {d.path: d.batch_date for d in missing}, arrow_schema)
    paths.mapInArrow(parser, schema).selectExpr("*", f"'I' AS {OPERATION}").write.mode("overwrite").parquet(uri)


def _parser(format: Format, root: str, dates: dict[str, date], schema: pa.Schema):  # type: ignore[no-untyped-def]
    """The function that the engine maps over paths: bytes of a drop → bronze rows with their provenance."""

    def parse(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for path in batch.column("path").to_pylist():
                data = Path(root, path).read_bytes()
                table = parse_drop(format, data)
                provenance = {"path": path, "content_hash": hashlib.sha256(data).hexdigest(), "batch_date": dates[path]}
                columns = [
                    (
                        table.column(f.name).cast(f.type)
                        if f.name in table.column_names
                        else pa.repeat(pa.scalar(provenance[f.name], f.type), len(table))
                    )
                    for f in schema
                ]
                yield from pa.table(columns, schema=schema).combine_chunks().to_batches(max_chunksize=64_000)

    return parse


def stage_journal(lakehouse: Lakehouse, zone: LandingZone, drops: list[Drop]) -> StagedSlice | None:
    """Stage the entries of the drops whose rows are in bronze, of all pulls whose rows are, and of all blocks of topics
    that have grown. None where there are none.
    """
    # In this order: what somebody journals after that makes the slice a stale one.
    head = lakehouse.head(contract(JOURNAL))
    journal = entries(lakehouse, head.version)
    sequences = {path: max(e.sequence for e in of_path) for path, of_path in by_path(journal).items()}

    def landed(path: str, h: str, day: date, source: str) -> Entry:
        return Entry(path, sequences.get(path, 0) + 1, h, day, LANDED, source)

    found = [
        landed(path, h, day, source.name)
        for source in pulled_sources()
        for path, h, day in unjournaled(lakehouse, source, journal)
    ]
    for source in SOURCES.values():
        fresh = new_drops([d for d in drops if d.source == source.name], journal)
        held = {(p, h): day for p, h, day in _held(lakehouse, source.bronze, fresh)}
        for drop in fresh:
            day = held.get((drop.path, drop.content_hash))
            if day is None and _is_empty(zone, drop):
                day = drop.batch_date
            if day is not None:
                found.append(landed(drop.path, drop.content_hash, day, source.name))
    reached = dict(journaled(lakehouse))
    for source in streamed_sources():
        now = positions(lakehouse.store.head(source.bronze))
        blocks = grown(lakehouse, source, journal, now)
        found += [landed(d.path, content_hash(d.path), d.batch_date, d.source) for d in blocks]
        if blocks:
            reached[source.name] = {key: vars(position) for key, position in now.items()}
    return journal_slice(lakehouse, found, head, reached) if found else None


def _is_empty(zone: LandingZone, drop: Drop) -> bool:
    """Whether the drop has no rows, so that bronze cannot tell that it was taken in."""
    content = (zone.root / drop.path).read_bytes()
    return (
        hashlib.sha256(content).hexdigest() == drop.content_hash
        and parse_drop(SOURCES[drop.source].format, content).num_rows == 0
    )


def journal_slice(
    lakehouse: Lakehouse, found: list[Entry], head: Head, reached: Mapping[str, Any] | None = None
) -> StagedSlice:
    """Stage entries that follow on those at `head`. reached: source → how far the journal knows its topic then."""
    model = contract(JOURNAL)
    rows = [{**vars(e), OPERATION: "I"} for e in sorted(found)]
    uri = lakehouse.scratch(JOURNAL)
    schema = pa.schema([*(pa.field(f.name, f.type) for f in model.arrow_schema), pa.field(OPERATION, pa.string())])
    # The engine writes it, for the staging folder may lie where this process writes no file.
    from_arrow(lakehouse.spark, pa.Table.from_pylist(rows, schema=schema)).write.parquet(uri)
    consumed = read_bronze(lakehouse)
    if reached is not None:
        consumed = replace(consumed, watermark=reached)
    return StagedSlice(model, head.version, consumed, uri=uri, counts={"I": len(rows)}, metadata={"entries": len(rows)})


def read_bronze(lakehouse: Lakehouse, whole: str = "") -> Consumed:
    """What the journal records of the tables of bronze, as they are now. One that is damaged or behind keeps what was
    recorded of it, so that it stays known; `whole` is the table that has just been made whole again.
    """
    journal = lakehouse.store.head(JOURNAL)
    was = journal.consumed if journal and journal.consumed else Consumed()
    bronze, kept = {}, set()
    for name in (source.bronze for source in SOURCES.values()):
        try:
            if name != whole:
                lakehouse.refuse_short(name)
            if head := lakehouse.store.head(name):
                bronze[name] = head
        except DamagedTableError:
            kept.add(name)
    read = lakehouse.reading(contract(JOURNAL), "", bronze)
    upstreams = {**read.upstreams, **{n: v for n, v in was.upstreams.items() if n in kept}}
    ids = {**read.ids, **{n: i for n, i in was.ids.items() if n in kept}}
    return replace(read, upstreams=upstreams, ids=ids, watermark=was.watermark)


def unjournaled_paths(lakehouse: Lakehouse, journal: Iterable[Entry]) -> list[str]:
    """The drops that count by their account in `silver.intake` and of which the journal says nothing: it lacks entries
    that it had.
    """
    if not lakehouse.store.exists(INTAKE):
        return []
    known = {e.path for e in journal}
    try:
        rows = lakehouse.store.read(INTAKE, columns=["path", "standing"]).to_pylist()
    except DamagedTableError:
        return []  # it says nothing then, and is named where it is made
    return sorted({r["path"] for r in rows if r["standing"] in COUNTING and r["path"] not in known})


def refuse_short_journal(lakehouse: Lakehouse, journal: Iterable[Entry]) -> None:
    """Raise `DamagedTableError` where the journal lacks entries of drops that count."""
    if lacking := unjournaled_paths(lakehouse, journal):
        what = f"lacks the entries of {len(lacking)} drops that {INTAKE} counts, such as {lacking[0]}"
        raise DamagedTableError([Finding(JOURNAL, "_delta_log", what, f"the rows of {len(lacking)} drops")])


def withdraw(lakehouse: Lakehouse, path: str) -> Entry:
    """Take a drop back: journal that nothing of it counts any more. Raises `LakehouseError` for a path that never
    landed or is out.
    """
    return _journal_state(lakehouse, path, WITHDRAWN)


def land_again(lakehouse: Lakehouse, path: str) -> Entry:
    """Undo a withdrawal. Raises `LakehouseError` for a path that is not withdrawn."""
    return _journal_state(lakehouse, path, LANDED)


def acknowledge(lakehouse: Lakehouse, path: str) -> Entry:
    """Journal that what is wrong with the newest content of a path is known and stays so: it is reported no more, and
    nothing waits for it. What is published stays as it is. Raises `LakehouseError` for a path that never landed or is
    acknowledged.
    """
    return _journal_state(lakehouse, path, ACKNOWLEDGED)


def _journal_state(lakehouse: Lakehouse, path: str, state: str) -> Entry:
    """Journal a state of a path; again where a run has written to the journal meanwhile, at most `_ATTEMPTS` times."""
    for _ in range(_ATTEMPTS):
        if not lakehouse.store.exists(JOURNAL):
            raise never_landed(path)
        head = lakehouse.head(contract(JOURNAL))
        entry = _entry_of(entries(lakehouse, head.version), path, state)
        staged = journal_slice(lakehouse, [entry], head)
        try:
            lakehouse.publish(staged)
            return entry
        except StaleSliceError:
            lakehouse.discard(staged.uri)
    raise StaleSliceError(
        f"Runs wrote to {JOURNAL} {_ATTEMPTS} times meanwhile, so nothing was journaled of {path}; try again when they"
        " are done."
    )


def _entry_of(journal: Iterable[Entry], path: str, state: str) -> Entry:
    of_path = by_path(journal).get(path, [])
    last = last_landed(of_path)
    if last is None:
        raise never_landed(path)
    if state == ACKNOWLEDGED and last.content in acknowledged(of_path):
        raise LakehouseError(f"{path} is already acknowledged; there is nothing to do.")
    if state != ACKNOWLEDGED and is_withdrawn(of_path) == (state == WITHDRAWN):
        raise LakehouseError(
            f"{path} is {'already withdrawn' if state == WITHDRAWN else 'not withdrawn'}; there is nothing to do."
        )
    return replace(last, sequence=max(e.sequence for e in of_path) + 1, state=state)


def never_landed(path: str) -> LakehouseError:
    """What is wrong with a path that the journal does not know."""
    return LakehouseError(
        f"No drop has landed as {path!r}; give the path below the landing zone, as orders/orders_2010-12-01.csv."
    )


def _held(lakehouse: Lakehouse, name: str, drops: list[Drop]) -> list[tuple[str, str, date]]:
    """(path, content hash, batch date) of those drops that bronze holds, looked up in the batch dates they can have.

    That is the date in the name. A drop without one may have been seen first on any day, if a run died before its entry
    was in the journal.
    """
    head = lakehouse.store.head(name)
    if not drops or head is None or head.data_version == 0:
        return []
    days = {date_in(d.path) for d in drops}
    dated = sorted(filter(None, days)) if None not in days else []
    frame = lakehouse.store.frame(
        lakehouse.spark, name, head.version, Span("batch_date", dated[0], dated[-1]) if dated else None
    )
    if dated:
        frame = frame.where(in_list("batch_date", dated))
    paths = lakehouse.spark.createDataFrame(pa.table({"path": [d.path for d in drops]}))
    rows = frame.join(paths, ["path"], "left_semi").select("path", "content_hash", "batch_date").distinct().collect()
    return [(r[0], r[1], r[2]) for r in rows]
