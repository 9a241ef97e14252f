"""Bronze and its journal, made whole again after files of them were damaged or an older copy was put in their place.

Belongs here: what can be had back from where. Does not belong here: finding the damage (`core/delta/check.py`), tables
that are computed from others.

Bronze only ever adds, and a row of it is known by its key, so every file that is still as it was committed is good,
whatever the log says. What these do not hold is landed again from the drops that lie in the landing zone. The journal
is had back from what it left elsewhere: the contents that bronze holds and that were judged, and the account of every
drop, which says which of them counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds

from lakehouse_assets.core.contracts import Contract, contract
from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.delta.check import check, set_aside, short
from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.findings import DamagedTableError
from lakehouse_assets.core.delta.proof import Proof
from lakehouse_assets.core.delta.slice_rules import OPERATION
from lakehouse_assets.core.delta.staging import JOURNAL, Lakehouse
from lakehouse_assets.core.frames import from_arrow
from lakehouse_assets.core.sources.ingest import (
    entries,
    journal_slice,
    read_bronze,
    unjournaled_paths,
    write_drops,
)
from lakehouse_assets.core.sources.intake import INTAKE
from lakehouse_assets.core.sources.journal import (
    LANDED,
    UNREADABLE,
    WITHDRAWN,
    Content,
    Entry,
    by_path,
    is_withdrawn,
    last_landed,
    standing,
)
from lakehouse_assets.core.sources.landing import Drop, LandingZone
from lakehouse_assets.core.sources.pull import remembered
from lakehouse_assets.errors import LakehouseError


@dataclass
class Recovered:
    """What was done for a table. aside: where the damaged one lies now. kept, landed: contents of drops had back from
    its own files and from the landing zone; added: entries of the journal. lost: drops that count and can be had back
    from nowhere; superseded: earlier contents of drops that are gone.
    """

    table: str
    aside: Path | None = None
    kept: int = 0
    landed: int = 0
    added: int = 0
    lost: list[str] = field(default_factory=list)
    superseded: list[str] = field(default_factory=list)


def recover_bronze(lakehouse: Lakehouse, zone: LandingZone, source: Source) -> Recovered:
    """Make the bronze table of a source hold every content that the journal knows, as far as it can be had back.

    As long as a drop that counts is lost the journal keeps what it has recorded of the former table, so that nothing is
    made from this one. Raises `DamagedTableError` where the journal itself is damaged, and `LakehouseError` for a table
    that a topic fills: its commits record how far it is, and a new table would take messages in twice.
    """
    store, model = lakehouse.store, source.bronze_contract
    if source.topic:
        raise LakehouseError(
            f"{model.name} cannot be made anew, for its rows came by the topic {source.topic}, and the broker keeps"
            f" only the newest; put its folder {store.uri(model.name)} back from a backup."
        )
    journal = [e for e in entries(lakehouse) if e.source == source.name]
    landed = {e.content: e for e in sorted(journal) if e.state == LANDED}
    verdicts = _verdicts(lakehouse, source)
    found = Recovered(model.name)
    watermark: Mapping[str, Any] = {}
    with suppress(DamagedTableError):
        watermark = remembered(store.head(model.name))
    if check(store, model.name, full=True).findings:
        found.aside = set_aside(store, model.name)
    store.create(model)
    head = store.head(model.name)
    assert head is not None
    # What the journal does not know and the landing zone has is taken in by the next run.
    waiting = {(d.path, d.content_hash) for d in zone.scan(source.name)[0]}
    kept = list(_kept_rows(found.aside, model, landed, verdicts, waiting)) if found.aside else []
    held = {c for table in kept for c in _contents(table)} if found.aside else _held_contents(lakehouse, model.name)
    missing = {c: e for c, e in landed.items() if c not in held and verdicts.get(c, {"landed": 1})["landed"]}
    again = [Drop(source.name, c[0], c[1], e.batch_date, 0.0) for c, e in missing.items() if c in waiting]
    lost = {c for c in missing if c not in waiting}
    counting = _counting(journal, verdicts)
    found.lost, found.superseded = (sorted(p for p, _ in part) for part in (lost & counting, lost - counting))
    found.kept, found.landed = len(held) if found.aside else 0, len(again)
    uri = lakehouse.scratch(model.name)
    if again:
        write_drops(lakehouse, source, zone, again, uri)
    for table in kept:
        from_arrow(lakehouse.spark, table).selectExpr("*", f"'I' AS {OPERATION}").write.mode("append").parquet(uri)
    consumed = Consumed(contract=model.fingerprint, watermark=watermark)
    store.commit(model, uri if again or kept else None, base_version=head.version, consumed=consumed, append=True)
    lakehouse.discard(uri)
    if not found.lost and (journal_head := store.head(JOURNAL)):
        store.commit(
            contract(JOURNAL), None, base_version=journal_head.version, consumed=read_bronze(lakehouse, model.name)
        )
    return found


def recover_journal(lakehouse: Lakehouse) -> Recovered:
    """Make the journal anew from its own files, bronze, the verdicts and the accounts; nothing where nothing is wrong
    with it.
    """
    store, found = lakehouse.store, Recovered(JOURNAL)
    damaged = bool(check(store, JOURNAL, full=True).findings)
    if (
        not damaged
        and not short(store, JOURNAL, lakehouse.readers.get(JOURNAL, ()))
        and not unjournaled_paths(lakehouse, entries(lakehouse))
    ):
        return found
    journal = [] if damaged else entries(lakehouse)
    found.aside = set_aside(store, JOURNAL)
    if damaged and found.aside:
        files = Proof(JOURNAL, found.aside).sound_files()
        rows = ds.dataset([str(f) for f in files], format="parquet").to_table().to_pylist() if files else []
        journal = sorted(
            {Entry(r["path"], r["sequence"], r["content_hash"], r["batch_date"], r["state"], r["source"]) for r in rows}
        )
    known = len(journal)
    ahead: set[str] = set()
    for source in SOURCES.values():
        verdicts, held = _verdicts(lakehouse, source), {}
        with suppress(DamagedTableError):
            held = _held_contents(lakehouse, source.bronze)
        judged = {c: v["batch_date"] for c, v in verdicts.items()}
        mine = [e for e in journal if e.source == source.name]
        journal += _lacking(source.name, mine, {**judged, **held}, _accounts(lakehouse, source))
        if any(v["landed"] and c not in held for c, v in verdicts.items()):
            ahead.add(source.bronze)
    found.added = len(journal) - known
    if journal:
        slice_ = journal_slice(lakehouse, journal, lakehouse.head(contract(JOURNAL)))
        # It knows contents that bronze lacks, so bronze is behind it, and is to be made whole before anything is made
        # from it.
        read = slice_.consumed
        slice_.consumed = replace(read, upstreams={n: v + (n in ahead) for n, v in read.upstreams.items()})
        lakehouse.publish(slice_)
    return found


def _lacking(
    source: str, journal: list[Entry], contents: Mapping[Content, date], accounts: Mapping[Content, str]
) -> list[Entry]:
    """The entries that bring the journal of a source to all contents that are known, and each path to what its account
    says of it.
    """
    paths = by_path(journal)
    of_path: dict[str, list[tuple[date, str]]] = defaultdict(list)
    for (path, content_hash), day in contents.items():
        of_path[path].append((day, content_hash))
    found: list[Entry] = []
    for path, known in sorted(of_path.items()):
        mine = list(paths.get(path, []))
        days = {content_hash: day for day, content_hash in known}

        def add(
            content_hash: str, state: str, path: str = path, mine: list[Entry] = mine, days: dict[str, date] = days
        ) -> None:
            entry = Entry(
                path, max((e.sequence for e in mine), default=0) + 1, content_hash, days[content_hash], state, source
            )
            mine.append(entry)
            found.append(entry)

        said = {h: accounts.get((path, h), "") for _, h in known}
        # A content that counts came after those that do not, and one that is refused after the one that it was to
        # replace.
        order = {"": 1, "live": 2, "refused": 3, UNREADABLE: 3}
        for _, content_hash in sorted(known, key=lambda k: (order.get(said[k[1]], 0), k)):
            if all(e.content_hash != content_hash for e in mine):
                add(content_hash, LANDED)
        last = last_landed(mine)
        newest = next((h for h in said if said[h] in ("refused", UNREADABLE)), None) or next(
            (h for h in said if said[h] == "live"), None
        )
        if newest and last and (last.content_hash != newest or is_withdrawn(mine)):
            add(newest, LANDED)
        elif "withdrawn" in said.values() and not newest and last and not is_withdrawn(mine):
            add(last.content_hash, WITHDRAWN)
    return found


def _kept_rows(
    folder: Path,
    model: Contract,
    landed: Iterable[Content],
    verdicts: Mapping[Content, Mapping[str, Any]],
    waiting: set[Content],
) -> Iterable[pa.Table]:
    """The rows of the files of a damaged table that are as they were committed, partition by partition, each row once;
    of contents that are whole.
    """
    journaled, schema = set(landed), pa.schema([pa.field(f.name, f.type) for f in model.arrow_schema])
    hive = ds.partitioning(pa.schema([pa.field(c, schema.field(c).type) for c in model.partition_by]), flavor="hive")
    partitions: dict[Path, list[str]] = defaultdict(list)
    for file in Proof(model.name, folder).sound_files():
        partitions[file.parent].append(str(file))
    for files in partitions.values():
        rows = ds.dataset(files, format="parquet", partitioning=hive, partition_base_dir=str(folder)).to_table()
        table = pa.table(
            [rows[f.name].cast(f.type) if f.name in rows.column_names else pa.nulls(len(rows), f.type) for f in schema],
            schema=schema,
        )
        frame = pl.DataFrame(table).unique(list(model.key), maintain_order=True)
        counted = frame.group_by("path", "content_hash").len().rows()
        whole = [
            (path, content_hash)
            for path, content_hash, n in counted
            if (
                verdicts.get((path, content_hash), {}).get("landed") == n
                if (path, content_hash) in journaled
                else (path, content_hash) not in waiting
            )
        ]
        chosen = frame.join(
            pl.DataFrame(whole, schema={"path": pl.String, "content_hash": pl.String}, orient="row"),
            ["path", "content_hash"],
            "semi",
        )
        if chosen.height:
            kept = chosen.to_arrow()
            yield pa.table([kept[f.name].cast(f.type) for f in schema], schema=schema)


def _contents(table: pa.Table) -> set[Content]:
    rows = table.select(["path", "content_hash"]).group_by(["path", "content_hash"]).aggregate([]).to_pylist()
    return {(r["path"], r["content_hash"]) for r in rows}


def _held_contents(lakehouse: Lakehouse, name: str) -> dict[Content, date]:
    """The contents that a bronze table holds → batch date."""
    if not lakehouse.store.exists(name):
        return {}
    rows = (
        lakehouse.store.frame(lakehouse.spark, name).select("path", "content_hash", "batch_date").distinct().collect()
    )
    return {(r[0], r[1]): r[2] for r in rows}


def _verdicts(lakehouse: Lakehouse, source: Source) -> dict[Content, dict[str, Any]]:
    """What was recorded of every content of a source that was ever judged; nothing where that is damaged."""
    side = source.verdicts.name
    with suppress(DamagedTableError):
        if lakehouse.store.exists(side):
            columns = ["path", "content_hash", "batch_date", "verdict", "landed"]
            return {(r["path"], r["content_hash"]): r for r in lakehouse.store.read(side, columns=columns).to_pylist()}
    return {}


def _accounts(lakehouse: Lakehouse, source: Source) -> dict[Content, str]:
    """The standing of every content of a source in its account; nothing where that is damaged."""
    with suppress(DamagedTableError):
        if lakehouse.store.exists(INTAKE):
            rows = lakehouse.store.read(INTAKE, columns=["source", "path", "content_hash", "standing"]).to_pylist()
            return {(r["path"], r["content_hash"]): r["standing"] for r in rows if r["source"] == source.name}
    return {}


def _counting(journal: Iterable[Entry], verdicts: Mapping[Content, Mapping[str, Any]]) -> set[Content]:
    """The contents that count as things stand; all of a path of which one was never judged."""
    found: set[Content] = set()
    for of_path in by_path(journal).values():
        if all(e.content in verdicts for e in of_path):
            found |= {c for c in standing(of_path, {e.content: verdicts[e.content]["verdict"] for e in of_path}) if c}
        elif not is_withdrawn(of_path):
            found |= {e.content for e in of_path}
    return found
