"""A source pulled from a database by its time of change: what is new there since the last pull, as the rows of one more
drop.

Belongs here: when a pull is due, what it takes, and what is remembered of it. Does not belong here: how the database is
asked (`database.py`), the commit (`ingest.py`).

A pull is a drop that no file can be: its path begins with `<source>/_database/`, and the landing zone passes such
folders over. Everything else about it is as with a file: rows in bronze, then an entry in the journal, verdicts,
account, `lakehouse withdraw`. What is remembered (`Consumed.watermark`) is in the very commit that adds the rows,
so neither can be without the other.

- **A pull is due** when the database differs from what it was at the last one: in its keys and their times, all of
  them, or in any value of a row that is not older than `since`, the watermark less the overlap. One statement tells,
  and where it tells nothing, nothing is written.
- **The watermark** is the greatest time of change that is not in the future by the database's own clock.
- **A pull takes** the rows not older than `since` whose content differs from the last one pulled for their key. So
  equal times lose nothing and double nothing. The keys that were compared tell of commits from further back: the pull
  then reaches back to the oldest of them.
- **A row that is gone** lands as a record that is marked as deleted, where the source has a column for that.
- **The latest pulled record of a key wins:** where the time of a row does not say so by itself (it was set
  back, it did not move, the row had been gone), the record lands with the next microsecond, and its own time is kept in
  `_rescued`.
- **A refused pull** is corrected under its own path, as files are, by the next one, which takes its rows again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pyarrow as pa

from lakehouse_assets.core.declarations.source import Source, pulled_by
from lakehouse_assets.core.delta.heads import Head
from lakehouse_assets.core.delta.staging import Lakehouse
from lakehouse_assets.core.names import PULLS
from lakehouse_assets.core.sources.instants import INSTANT, instant
from lakehouse_assets.core.sources.journal import REFUSED, Content, Entry, by_path, last_landed
from lakehouse_assets.core.sources.landing import Drop
from lakehouse_assets.core.sources.rows import rescued_json
from lakehouse_assets.core.spark_sql import in_list, literal, quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from lakehouse_assets.core.sources.database import SourceDatabase

_OWN: Final = "_own"
"""The time that a row has in the database."""
_GONE: Final = "gone"
_GONE_KEY = "row_in_database"
_NOT_UTF8 = "The row holds a text that is not UTF-8; correct it in the database."
_NEVER: Final[Mapping[str, Any]] = {"since": None, "rows": 0, "keys": "0", "recent": "0"}
"""The summary of a table from which nothing has been pulled."""


@dataclass(frozen=True)
class Pull:
    """What one pull takes: a drop with its rows (None where nothing is new after all), and what is to be remembered.
    head: the table as it was when the rows were compared with it, to which alone they may be added.
    """

    drop: Drop
    rows: pa.Table | None
    watermark: Mapping[str, Any]
    head: Head


def folder(source: Source) -> str:
    """Where pulls stand among the drops. The numbers of pulls run on, so that their paths sort as they were made."""
    return f"{source.name}/{PULLS}/"


def _own_key(source: Source) -> str:
    """Under what name the time that a row has in the database is kept, where it landed with another."""
    return f"{pulled_by(source).stamp}_in_database"


def remembered(head: Head | None) -> Mapping[str, Any]:
    """What the last pull left; empty before the first."""
    return head.consumed.watermark if head and head.consumed else {}


def due(lakehouse: Lakehouse, database: SourceDatabase, journal: Sequence[Entry], today: date) -> Drop | None:
    """The pull that is to be made, as the drop that it will be; None where the database says nothing new. Starts no
    engine.

    Raises `SourceUnavailableError`.
    """
    source = database.source
    last = remembered(lakehouse.store.head(source.bronze))
    refused = _refused(lakehouse, source)
    with database.snapshot() as snapshot:
        now = snapshot.summary(last.get("since"))
        if all(now[name] == last.get(name, _NEVER[name]) for name in _NEVER):
            return None
        if pulled_by(source).deleted and now["keys"] != last.get("keys", _NEVER["keys"]):
            held = _keys_held(lakehouse, source, refused | _overtaken(source, journal))
            key = pulled_by(source).key
            database.refuse_emptied(len(held), len(held - set(snapshot.keys()[key].to_pylist())))
    path, day = _place(source, last, [e.path for e in journal], refused, today)
    return Drop(source.name, path, hashlib.sha256(json.dumps(now).encode()).hexdigest(), day, 0.0)


def half_done(lakehouse: Lakehouse, source: Source, journal: Iterable[Entry]) -> Drop | None:
    """The last pull, where its rows are in bronze and the journal does not know it yet. Starts no engine."""
    last = remembered(lakehouse.store.head(source.bronze))
    if not last.get("path") or any(e.content == (last["path"], last["content_hash"]) for e in journal):
        return None
    return Drop(source.name, last["path"], last["content_hash"], date.fromisoformat(last["batch_date"]), 0.0)


def unjournaled(lakehouse: Lakehouse, source: Source, journal: Iterable[Entry]) -> list[tuple[str, str, date]]:
    """(path, content hash, batch date) of the pulls of a source whose rows are in bronze and of which the journal does
    not know.
    """
    known = {e.content for e in journal}
    if half_done(lakehouse, source, journal) is None:
        return []
    ours = folder(source)
    newest = max((path for path, _ in known if path.startswith(ours)), default=ours)
    rows = (
        _pulled(lakehouse, source)
        .where(f"path >= {literal(newest)}")
        .select("path", "content_hash", "batch_date")
        .distinct()
        .collect()
    )
    return sorted((r[0], r[1], r[2]) for r in rows if (r[0], r[1]) not in known)


def pull(
    lakehouse: Lakehouse, database: SourceDatabase, head: Head, journal: Sequence[Entry], drop: Drop, today: date
) -> Pull:
    """Take what is new in the database. head: the table that the rows will be added to; drop: the pull as it was found
    due.

    Raises `SourceUnavailableError`.
    """
    source, last = database.source, remembered(head)
    by = pulled_by(source)
    refused = _refused(lakehouse, source)
    known = _known(lakehouse, source, head, refused | _overtaken(source, journal))
    held = known.select(by.key, pl.col(_OWN).alias("_held"), "_last", "_gone")
    with database.snapshot() as snapshot:
        now, greatest = snapshot.clock()
        keys = _frame(snapshot.keys())
        differing = keys.join(held.filter(~pl.col("_gone")), on=by.key, how="left").filter(
            pl.col(by.stamp).ne_missing(pl.col("_held"))
        )
        since = _reaching_back(last.get("since"), differing[by.stamp])
        rows = _frame(snapshot.rows(since)).with_columns(pl.col(by.stamp).alias(_OWN))
        watermark = snapshot.summary(_moved(greatest, -database.overlap) if greatest else None)

    content = [c for c in source.format.values if c != by.stamp] + [_OWN]
    fresh = rows.join(known.filter(~pl.col("_gone")), on=content, how="anti", nulls_equal=True)
    came = fresh.join(held.select(by.key, "_last"), on=by.key, how="left")
    went = held.filter(~pl.col("_gone") & bool(by.deleted)).join(keys, on=by.key, how="anti")
    database.refuse_emptied(held.filter(~pl.col("_gone")).height, went.height)
    if came.is_empty() and went.is_empty():
        return Pull(drop, None, {**last, "watermark": greatest, **watermark}, head)

    path, day = _place(source, last, [*(e.path for e in journal), *known["path"]], refused, today)
    landing = _landing(source, came, went, now)
    # The bytes are those of a file that the source would have sent, with the time of its making, so that no two are the
    # same.
    content_hash = hashlib.sha256(f"{now}\n{landing.write_ndjson()}".encode()).hexdigest()
    made = Drop(source.name, path, content_hash, day, 0.0)
    name = {"path": path, "content_hash": content_hash, "batch_date": day.isoformat()}
    return Pull(made, _bronze_rows(source, landing, made), {**name, "watermark": greatest, **watermark}, head)


def _overtaken(source: Source, journal: Iterable[Entry]) -> set[Content]:
    """The pulls that were corrected under their paths."""
    pulls = by_path(e for e in journal if e.path.startswith(folder(source))).values()
    return {
        e.content for entries in pulls for e in entries if (last := last_landed(entries)) and e.content != last.content
    }


def _place(
    source: Source, last: Mapping[str, Any], paths: Iterable[str], refused: set[Content], today: date
) -> tuple[str, date]:
    """Path and batch date of the next pull: those of the last one where that is refused, else a new path of today."""
    if (last.get("path"), last.get("content_hash")) in refused:
        return last["path"], date.fromisoformat(last["batch_date"])
    ours = folder(source)
    newest = max((p for p in (*paths, last.get("path", "")) if p.startswith(ours)), default=f"{ours}0")
    number = int(newest.removeprefix(ours).partition("_")[0]) + 1
    return f"{ours}{number:08}_{today}", today


def _refused(lakehouse: Lakehouse, source: Source) -> set[Content]:
    """The pulls that are refused as silver has judged them."""
    side = source.verdicts.name
    if not lakehouse.store.exists(side):
        return set()
    rows = lakehouse.store.read(side, columns=["path", "content_hash", "verdict"]).to_pylist()
    return {
        (r["path"], r["content_hash"]) for r in rows if r["verdict"] == REFUSED and r["path"].startswith(folder(source))
    }


def _pulled(lakehouse: Lakehouse, source: Source, version: int | None = None) -> DataFrame:
    """All rows that were ever pulled; the bounds of the path let files be passed over."""
    frame = lakehouse.store.frame(lakehouse.spark, source.bronze, version)
    ours = folder(source)
    after = f"{ours[:-1]}0"  # 0 is the character after /
    return frame.where(f"path >= {literal(ours)} AND path < {literal(after)}")


def _keys_held(lakehouse: Lakehouse, source: Source, dead: set[Content]) -> set[str]:
    """The keys whose record pulled last, but for those of `dead` contents, is not one of a row that is gone. Starts no
    engine of ours.
    """
    if not lakehouse.store.exists(source.bronze):
        return set()
    key = pulled_by(source).key
    rows = lakehouse.store.read(source.bronze, columns=["path", "content_hash", key, "_rescued"])
    ours = _frame(rows).filter(
        pl.col("path").str.starts_with(folder(source)) & ~pl.col("content_hash").is_in([h for _, h in dead])
    )
    latest = ours.sort("path").group_by(key).last()
    return set(latest.filter(~_says_gone(pl.col("_rescued")))[key])


def _says_gone(rescued: pl.Expr) -> pl.Expr:
    return rescued.str.json_path_match(f"$.{_GONE_KEY}").eq_missing(pl.lit(_GONE))


def _known(lakehouse: Lakehouse, source: Source, head: Head, dead: set[Content]) -> pl.DataFrame:
    """Of every key the record pulled last, but for those of `dead` contents: its values, `path`, `_own`, `_gone`, and
    `_last`, the greatest time that a record of the key ever had.
    """
    values, by = source.format.values, pulled_by(source)
    schema = {c: pl.String for c in (*values, "path", "_last", _OWN)} | {"_gone": pl.Boolean}
    if not remembered(head) and head.data_version == 0:
        return pl.DataFrame(schema=schema)
    rows = _pulled(lakehouse, source, head.version)
    if dead:
        rows = rows.where(f"NOT {in_list('content_hash', (h for _, h in sorted(dead)))}")
    key, stamp = quoted(by.key), quoted(by.stamp)
    ranked = rows.selectExpr(
        *map(quoted, values),
        "_rescued",
        "path",
        f"row_number() OVER (PARTITION BY {key} ORDER BY path DESC) AS _rank",
        f"max(CASE WHEN {stamp} RLIKE '^{INSTANT}$' THEN {stamp} END) OVER (PARTITION BY {key}) AS _last",
    )
    found = _frame(ranked.where("_rank = 1").drop("_rank").toArrow()).cast(
        dict.fromkeys([*values, "_rescued", "path", "_last"], pl.String)
    )  # type: ignore[arg-type]
    said = pl.col("_rescued")
    own = said.str.json_path_match(f"$.{_own_key(source)}").fill_null(pl.col(by.stamp))
    return found.with_columns(own.alias(_OWN), _says_gone(said).alias("_gone")).select(*schema)


def _frame(table: pa.Table) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(table))


def _reaching_back(since: str | None, differing: pl.Series) -> str | None:
    """From when on rows must be read, so that those of the differing keys are among them; None for all."""
    if since is None or not differing.str.contains(f"^{INSTANT}$").fill_null(False).all():
        return None
    return min([since, *differing])


def _moved(stamp: str, by: timedelta) -> str:
    return instant(datetime.fromisoformat(stamp) + by)


def _landing(source: Source, came: pl.DataFrame, went: pl.DataFrame, now: str) -> pl.DataFrame:
    """The records of rows that came and of rows that went, each with a time later than that of any record of its key
    before; numbered by key.
    """
    values, by = source.format.values, pulled_by(source)
    last = pl.col("_last").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us")
    after = (last + timedelta(microseconds=1)).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").alias("_after")
    own = pl.col(_OWN)
    late = own.str.contains(f"^{INSTANT}$") & (own < pl.col("_after"))
    spoiled = pl.col("_malformed").is_not_null()
    arrivals = (
        came.with_columns(
            pl.when(spoiled).then(pl.lit(_NOT_UTF8)).alias("_detail"),
            pl.when(spoiled).then(pl.struct(values).struct.json_encode()).alias("_raw"),
        )
        .with_columns(after)
        .with_columns(
            pl.when(late).then("_after").otherwise(own).alias(by.stamp),
            pl.when(late).then(pl.concat_str(pl.lit(f'{{"{_own_key(source)}":"'), own, pl.lit('"}'))).alias("_rescued"),
        )
    )
    ends = went.with_columns(after).select(
        by.key,
        pl.max_horizontal(pl.lit(now), "_after").alias(by.stamp),
        pl.lit("true").alias(by.deleted or "_deleted"),
        pl.lit(rescued_json({_GONE_KEY: _GONE})).alias("_rescued"),
    )
    columns = [*values, "_rescued", "_malformed", "_detail", "_raw"]
    records = pl.concat([arrivals.select(columns), ends], how="diagonal").select(columns)
    return records.sort(pl.col(by.key).str.len_chars(), by.key).with_row_index("row_number", 1)


def _bronze_rows(source: Source, records: pl.DataFrame, drop: Drop) -> pa.Table:
    rows = records.with_columns(
        path=pl.lit(drop.path), content_hash=pl.lit(drop.content_hash), batch_date=pl.lit(drop.batch_date)
    ).to_arrow()
    schema = pa.schema([pa.field(f.name, f.type) for f in source.bronze_contract.arrow_schema])
    columns = [
        rows[f.name].cast(f.type) if f.name in rows.column_names else pa.nulls(len(rows), f.type) for f in schema
    ]
    return pa.table(columns, schema=schema)
