"""From bronze to the silver table of a source: judge drops, set bad rows aside, let each key stand on the right drop.

Belongs here: which contents live, their verdicts, quarantine, and the supporters of a key. Does not belong here: what a
landed row means (`transforms/`), the rules (`core/contracts/`, `core/quality/`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import functions as F

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.delta.proof import Span
from lakehouse_assets.core.delta.staging import JOURNAL, Lakehouse, StagedSlice
from lakehouse_assets.core.delta.store import CHANGE, OPERATION, Consumed, Head, HistoryUnavailableError
from lakehouse_assets.core.frames import Recomputed, from_arrow, least_by
from lakehouse_assets.core.quality.audit import AGED, DropVerdict, as_correction, drift_of, judge
from lakehouse_assets.core.quality.rules import violations
from lakehouse_assets.core.sources.ingest import entries, refuse_short_journal
from lakehouse_assets.core.sources.journal import (
    ACCEPTED,
    LANDED,
    REFUSED,
    Content,
    Entry,
    acknowledged,
    by_path,
    standing,
)
from lakehouse_assets.errors import LakehouseError, StaleSliceError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_PROVENANCE = ("batch_date", "path", "content_hash", "row_number")

REFUSED_RULE = "drop.bad_rows"
"""The reason that stands on every row of a refused drop."""

ATTEMPTS = 5


@dataclass
class Cleansed:
    """What a run makes of the drops of a source. `judged`: the verdicts on what each affected path says now, live or
    refused.
    """

    slice: StagedSlice
    judged: list[DropVerdict] = field(default_factory=list)
    refused: list[DropVerdict] = field(default_factory=list)


def cleanse(
    lakehouse: Lakehouse, source: Source, *, fingerprint: str, force: bool = False, days: Collection[date] = ()
) -> Cleansed | None:
    """Stage the silver table of a source with its side tables. None where the journal says nothing new and `force` is
    not set.

    days: the batch dates that the run shows. Others that this makes good are recorded as `unshown`.
    """
    model = source.contract
    head = lakehouse.head(model)
    sides = {side.name: lakehouse.head(side) for side in (source.quarantine, source.verdicts)}
    journal_head = lakehouse.upstream_heads([JOURNAL])[JOURNAL]
    shown = {day.isoformat() for day in days}
    owed = [day for day in (head.consumed.unshown if head.consumed else ()) if day not in shown]
    reading = replace(lakehouse.reading(model, fingerprint, {JOURNAL: journal_head}), unshown=owed)
    if not force and not any(lakehouse.is_behind(h, reading) for h in (head, *sides.values())):
        return None
    everyone = entries(lakehouse, journal_head.version)
    refuse_short_journal(lakehouse, everyone)
    lakehouse.refuse_short(source.bronze)
    journal = [e for e in everyone if e.source == source.name]
    paths = by_path(journal)
    affected = _affected(lakehouse, [head, *sides.values()], reading, journal_head, set(paths), force)
    contents = {e.content: e.batch_date for p in affected for e in paths[p]}
    everything = len(contents) == len({e.content for e in journal})

    candidates_uri = lakehouse.scratch(f"{model.name}-candidates")
    landed = _bronze(lakehouse, source, None if everything else contents)
    typed = violations(source.typed(landed), model, problems_column="_problems")
    typed.write.mode("overwrite").parquet(candidates_uri)
    candidates = lakehouse.spark.read.schema(typed.schema).parquet(candidates_uri)
    found = {(v.path, v.content_hash): v for v in judge(candidates, model)}
    judged = {c: found.get(c) or _empty(c, day) for c, day in contents.items()}
    judged = _with_corrections(_with_words(judged, landed), (paths[p] for p in affected), model)

    verdict_of = {c: v.verdict for c, v in judged.items()}
    live: set[Content] = set()
    rejected: set[Content] = set()
    for path in affected:
        lives, newer = standing(paths[path], verdict_of)
        live |= {lives} if lives else set()
        rejected |= {newer} if newer else set()

    known = acknowledged(journal)
    refused = [judged[c] for c in sorted(rejected - known) if judged[c].verdict == REFUSED]
    earlier = [v for v in rejected_now(lakehouse, source) if v.verdict == REFUSED]
    red = {v.batch_date for v in (*refused, *(v for v in earlier if v.path not in affected))}
    turned = {v.batch_date.isoformat() for v in earlier if v.batch_date not in red} - shown
    reading = replace(reading, unshown=sorted({*owed, *turned}))

    # What a dead run took in and the journal never knew, for another content lay there by then, is in bronze as well.
    good = candidates.where("size(_violations) = 0").select(*model.names)
    came = (
        good
        if found.keys() <= live
        else good.join(_content_frame(lakehouse, live), ["path", "content_hash"], "left_semi")
    )
    slice_ = _silver_slice(lakehouse, source, head, reading, came, contents, live, everything, paths)
    slice_.side = (
        _verdict_slice(lakehouse, source, sides[source.verdicts.name], reading, affected, judged.values()),
        _quarantine_slice(
            lakehouse,
            source,
            sides[source.quarantine.name],
            reading,
            affected,
            candidates,
            landed,
            judged,
            live,
            rejected,
        ),
    )
    lakehouse.discard(candidates_uri)
    current = [judged[c] for c in sorted(live | rejected)]
    return Cleansed(slice_, current, refused)


def preview(lakehouse: Lakehouse, source: Source) -> tuple[int, int]:
    """How many rows would enter and leave quarantine, were everything judged again; nothing is published.

    Rows are told by drop and number, so a row that stays rejected under a changed contract counts as neither.
    """
    cleansed = cleanse(lakehouse, source, fingerprint="", force=True)
    assert cleansed is not None
    slices = (*cleansed.slice.side, cleansed.slice)
    quarantine = next(s for s in slices if s.contract.name == source.quarantine.name)
    entering = leaving = 0
    if quarantine.uri:
        rows = lakehouse.staged_frame(quarantine.contract, quarantine.uri).selectExpr(
            "path", "content_hash", "row_number", f"{OPERATION} AS op"
        )
        per_row = rows.groupBy("path", "content_hash", "row_number").agg({"op": "min", "*": "count"}).collect()
        for row in per_row:
            operation, times = row["min(op)"], row["count(1)"]
            entering += times == 1 and operation == "I"
            leaving += times == 1 and operation == "D"
    for staged in slices:
        lakehouse.discard(staged.uri)
    return entering, leaving


def rejected_now(lakehouse: Lakehouse, source: Source) -> list[DropVerdict]:
    """The drops of a source that wait for somebody: refused or unreadable, the newest content of their path, and not
    acknowledged. From the tables, without an engine.
    """
    known = acknowledged(entries(lakehouse))
    rows = [r for r in _standing_rows(lakehouse, source) if (r["path"], r["content_hash"]) not in known]
    return [_recorded(r, {REFUSED_RULE: r["landed"]}) for r in rows if r["verdict"] != ACCEPTED]


def refused_now(lakehouse: Lakehouse, source: Source) -> list[DropVerdict]:
    """Those of `rejected_now` that are refused: their batch dates are red, and runs go around them."""
    return [v for v in rejected_now(lakehouse, source) if v.verdict == REFUSED]


def standing_verdicts(lakehouse: Lakehouse, source: Source, days: Collection[date] | None = None) -> list[DropVerdict]:
    """What has been recorded of the drops of those batch dates (None: of all), as far as they count as things stand;
    from the tables, without an engine.

    The rules are counted in quarantine, so those that only warn are not among them, and where rows have left it by age,
    `AGED` stands for all.
    """
    rows = [r for r in _standing_rows(lakehouse, source) if days is None or r["batch_date"] in days]
    broken: dict[Content, Counter[str]] = {(r["path"], r["content_hash"]): Counter() for r in rows}
    together: dict[Content, Counter[tuple[str, ...]]] = {content: Counter() for content in broken}
    if any(r["bad_rows"] for r in rows) and lakehouse.store.exists(source.quarantine.name):
        for r in lakehouse.store.read(source.quarantine.name, columns=["path", "content_hash", "rules"]).to_pylist():
            # That its drop is refused is no rule that a row breaks.
            names = tuple(name for name in r["rules"] if name != REFUSED_RULE)
            if names and (r["path"], r["content_hash"]) in broken:
                broken[r["path"], r["content_hash"]].update(names)
                together[r["path"], r["content_hash"]][names] += 1
    for r in rows:
        content = (r["path"], r["content_hash"])
        if r["bad_rows"] and not broken[content]:
            broken[content][AGED] = together[content][(AGED,)] = r["bad_rows"]
    return [
        replace(_recorded(r, dict(broken[c])), together=dict(together[c]))
        for r in rows
        for c in [(r["path"], r["content_hash"])]
    ]


def batch_accounts(lakehouse: Lakehouse, source: Source, published: Mapping[date, int]) -> dict[date, dict[str, int]]:
    """The account of the drops of each batch date, as `silver.intake` will have it; from the tables, without an engine.

    published: the rows of the table that stand on drops of each batch date asked for, 0 where none does.
    """
    accounts = {
        day: {"landed": 0, "published": rows, "quarantined": 0, "duplicates": -rows} for day, rows in published.items()
    }
    for row in _standing_rows(lakehouse, source):
        account = accounts.get(row["batch_date"])
        if account:
            quarantined = row["bad_rows"] if row["verdict"] == ACCEPTED else row["landed"]
            account["landed"] += row["landed"]
            account["quarantined"] += quarantined
            account["duplicates"] += row["landed"] - quarantined
    return accounts


def drifted_now(lakehouse: Lakehouse, source: Source) -> list[tuple[DropVerdict, str]]:
    """The drops of a source that count now and have other columns than it, with what is other, unless somebody has
    acknowledged the same of one of its drops; from the tables, without an engine.
    """
    drifted = [(v, words) for v in standing_verdicts(lakehouse, source) if (words := drift_of(v))]
    acknowledgements = acknowledged(entries(lakehouse)) if drifted else set()
    known = {words for v, words in drifted if (v.path, v.content_hash) in acknowledgements}
    return [(v, words) for v, words in drifted if words not in known]


def _standing_rows(lakehouse: Lakehouse, source: Source) -> list[dict[str, Any]]:
    """The recorded verdicts on the live content of each path and on a newer one that is refused or unreadable."""
    side = source.verdicts.name
    if not lakehouse.store.exists(side):
        return []
    rows = {(r["path"], r["content_hash"]): r for r in lakehouse.store.read(side).to_pylist()}
    verdict_of = {content: r["verdict"] for content, r in rows.items()}
    journal = by_path(e for e in entries(lakehouse) if e.source == source.name and e.content in rows)
    last = {content for of_path in journal.values() for content in standing(of_path, verdict_of)}
    return [r for content, r in rows.items() if content in last]


def _recorded(row: Mapping[str, Any], rules: Mapping[str, int]) -> DropVerdict:
    names = ("path", "content_hash", "batch_date", "landed", "bad_rows", "warned_rows", "verdict", "reason")
    # A table of an earlier version has no drift until the next run.
    return DropVerdict(**{k: row[k] for k in names}, rules=rules, drift=row.get("drift"))


def _affected(
    lakehouse: Lakehouse, heads: Iterable[Head], reading: Consumed, journal_head: Head, paths: set[str], force: bool
) -> set[str]:
    """The paths of which the journal says something that the table or one of its side tables has not consumed."""
    since: int | None = journal_head.data_version
    for head in heads:
        was = head.consumed
        if (
            force
            or was is None
            or (was.contract, was.transform) != (reading.contract, reading.transform)
            or dict(was.ids) != dict(reading.ids)
        ):
            return paths
        since = min(since, was.upstreams[JOURNAL])  # type: ignore[type-var]
    try:
        changed = lakehouse.store.changes(lakehouse.spark, JOURNAL, since, journal_head.version)  # type: ignore[arg-type]
    except HistoryUnavailableError:
        return paths
    return {r["path"] for r in changed.where(f"{CHANGE} = 'insert'").select("path").distinct().collect()} & paths


def _bronze(lakehouse: Lakehouse, source: Source, contents: dict[Content, date] | None) -> DataFrame:
    """The landed rows of those contents (None: of all)."""
    if contents is None:
        return lakehouse.store.frame(lakehouse.spark, source.bronze)
    days = contents.values()
    within = Span("batch_date", min(days, default=date.max), max(days, default=date.min))
    frame = lakehouse.store.frame(lakehouse.spark, source.bronze, within=within)
    return frame.join(_content_frame(lakehouse, contents), ["path", "content_hash"], "left_semi")


def _with_words(judged: Mapping[Content, DropVerdict], landed: DataFrame) -> dict[Content, DropVerdict]:
    """The verdicts with what the parser said of the drops: how their columns differ, and why one cannot be read. What
    landed before bronze kept the former has none of it.
    """
    drift = "_drift" if "_drift" in landed.columns else "CAST(NULL AS STRING)"
    rows = (
        landed.where(f"{drift} IS NOT NULL OR row_number = 0")
        .selectExpr("path", "content_hash", drift, "row_number", "_detail")
        .collect()
    )
    words = {(r[0], r[1]): r for r in rows}
    found = dict(judged)
    for content in judged.keys() & words.keys():
        _, _, columns, number, detail = words[content]
        found[content] = replace(judged[content], drift=columns)
        if number == 0 and detail:
            found[content] = replace(found[content], reason=f"Drop {content[0]} cannot be read: {detail}")
    return found


def _with_corrections(
    judged: Mapping[Content, DropVerdict], paths: Iterable[list[Entry]], model: Contract
) -> dict[Content, DropVerdict]:
    """The verdicts, where those on contents that came after a good one of the same path are the stricter ones of a
    correction.

    What counts is the first time that a content landed, so that the verdict follows from the journal, whatever the runs
    were.
    """
    found = dict(judged)
    for entries_of_path in paths:
        corrects, seen = False, set()
        for entry in sorted(e for e in entries_of_path if e.state == LANDED):
            if entry.content in seen:
                continue
            seen.add(entry.content)
            if corrects:
                found[entry.content] = as_correction(judged[entry.content], model)
            verdict = found[entry.content]
            corrects |= verdict.verdict == ACCEPTED and verdict.landed > verdict.bad_rows
    return found


def _content_frame(lakehouse: Lakehouse, contents: Iterable[Content]) -> DataFrame:
    listed = sorted(contents)
    schema = pa.schema([pa.field("path", pa.string()), pa.field("content_hash", pa.string())])
    return from_arrow(
        lakehouse.spark,
        pa.table({"path": [c[0] for c in listed], "content_hash": [c[1] for c in listed]}, schema=schema),
    )


def _empty(content: Content, day: date) -> DropVerdict:
    """A drop without rows has nothing wrong with it."""
    return DropVerdict(content[0], content[1], day, 0, 0, 0, ACCEPTED, None, {}, ())


def _silver_slice(
    lakehouse: Lakehouse,
    source: Source,
    head: Head,
    reading: Consumed,
    came: DataFrame,
    contents: dict[Content, date],
    live: set[Content],
    everything: bool,
    paths: dict[str, list[Entry]],
) -> StagedSlice:
    """came: the good rows of `live`, which are those of `contents` that live."""
    model = source.contract
    key = list(model.key)
    if everything:
        target = lakehouse.store.frame(lakehouse.spark, model.name, head.version)
        # All supporters of all keys are at hand. What else the table holds was published under a contract or transform
        # that is no more.
        return lakehouse.stage_difference(model, head, reading, Recomputed(least_by(came, key, source.order), target))

    gone = _content_frame(lakehouse, set(contents) - live)
    touched = [came.select(*key, *model.partition_by)]
    supporters = [came]
    if set(contents) - live:
        target = lakehouse.store.frame(lakehouse.spark, model.name, head.version)
        orphaned = target.join(gone, ["path", "content_hash"], "left_semi").select(*key, *model.partition_by)
        touched.append(orphaned)
        if orphaned.limit(1).count():
            supporters.append(_other_supporters(lakehouse, source, orphaned.select(*key), live, set(contents), paths))
    keys = reduce(lambda a, b: a.unionByName(b), touched)
    within = None
    if model.partition_by:
        column = model.partition_by[0]
        parts = [r[0] for r in keys.select(column).distinct().collect()]
        within = Span(column, min(parts, default=date.max), max(parts, default=date.min))
    target = lakehouse.store.frame(lakehouse.spark, model.name, head.version, within)
    if model.partition_by:
        target = target.where(f"{column} IN ({', '.join(f'DATE {str(p)!r}' for p in parts)})" if parts else "false")
    replaced = target.join(keys.select(*key).distinct(), key, "left_semi").select(*model.names)
    standing_rows = replaced.join(gone, ["path", "content_hash"], "left_anti").select(*model.names)
    rows = reduce(lambda a, b: a.unionByName(b), [*supporters, standing_rows])
    return lakehouse.stage_difference(model, head, reading, Recomputed(least_by(rows, key, source.order), replaced))


def _other_supporters(
    lakehouse: Lakehouse,
    source: Source,
    keys: DataFrame,
    live: set[Content],
    judged: set[Content],
    paths: dict[str, list[Entry]],
) -> DataFrame:
    """The good rows of all other live drops that say one of the keys. Only corrections and withdrawals come here: it
    reads all of bronze.
    """
    verdicts = {
        (r["path"], r["content_hash"]): r["verdict"]
        for r in (
            lakehouse.store.frame(lakehouse.spark, source.verdicts.name)
            .select("path", "content_hash", "verdict")
            .collect()
        )
    }
    done = {p for p, _ in judged}
    others = {content for p, of_path in paths.items() if p not in done and (content := standing(of_path, verdicts)[0])}
    good = _good_rows(lakehouse, source, others)
    return good.join(keys.distinct(), list(source.contract.key), "left_semi").select(*source.contract.names)


def _good_rows(lakehouse: Lakehouse, source: Source, contents: Iterable[Content]) -> DataFrame:
    """The rows of those contents that break no rule, typed. Written to scratch and read from there, in a folder that
    `maintenance` clears: an engine that filters by the rules when it reads judges every row again for each use of the
    frame.
    """
    landed = lakehouse.store.frame(lakehouse.spark, source.bronze).join(
        _content_frame(lakehouse, contents), ["path", "content_hash"], "left_semi"
    )
    model = source.contract
    uri = lakehouse.scratch(f"{model.name}-candidates")
    judged = violations(source.typed(landed), model, problems_column="_problems").select(*model.names, "_violations")
    judged.write.mode("overwrite").parquet(uri)
    return lakehouse.spark.read.schema(judged.schema).parquet(uri).where("size(_violations) = 0").select(*model.names)


def _verdict_slice(
    lakehouse: Lakehouse,
    source: Source,
    head: Head,
    reading: Consumed,
    affected: set[str],
    judged: Iterable[DropVerdict],
) -> StagedSlice:
    model = source.verdicts
    fields = pa.schema([pa.field(f.name, f.type) for f in model.arrow_schema])
    rows = [{n: getattr(v, n) for n in model.names} for v in judged]
    frame = from_arrow(lakehouse.spark, pa.Table.from_pylist(rows, schema=fields))
    target = lakehouse.store.frame(lakehouse.spark, model.name, head.version)
    return lakehouse.stage_difference(model, head, reading, Recomputed(frame, _of_paths(lakehouse, target, affected)))


def _of_paths(lakehouse: Lakehouse, frame: DataFrame, affected: set[str]) -> DataFrame:
    listed = from_arrow(lakehouse.spark, pa.table({"path": pa.array(sorted(affected), pa.string())}))
    return frame.join(listed, ["path"], "left_semi").select(*frame.columns)


def _quarantine_slice(
    lakehouse: Lakehouse,
    source: Source,
    head: Head,
    reading: Consumed,
    affected: set[str],
    candidates: DataFrame,
    landed: DataFrame,
    judged: dict[Content, DropVerdict],
    live: set[Content],
    rejected: set[Content],
) -> StagedSlice:
    """Bad rows of what the paths say now, and every row of a refused drop."""
    model = source.quarantine
    target = _of_paths(lakehouse, lakehouse.store.frame(lakehouse.spark, model.name, head.version), affected)
    whole = {c for c in rejected if judged[c].verdict == REFUSED}
    partly = {c for c in live | rejected if judged[c].bad_rows} - whole
    if not whole and not partly:
        return lakehouse.stage_difference(model, head, reading, Recomputed(target.limit(0), target))
    identity = ["path", "content_hash", "row_number"]
    bad = candidates.where("size(_violations) > 0").join(
        _content_frame(lakehouse, partly), ["path", "content_hash"], "left_semi"
    )
    reasons = bad.selectExpr(*identity, "_violations AS rules")
    if whole:
        refused = candidates.join(_content_frame(lakehouse, whole), ["path", "content_hash"], "left_semi")
        reasons = reasons.unionByName(
            refused.selectExpr(*identity, f"sort_array(array_append(_violations, '{REFUSED_RULE}')) AS rules")
        )
    values = ", ".join(f"'{c}', `{c}`" for c in source.format.values)
    raw = landed.join(_content_frame(lakehouse, partly | whole), ["path", "content_hash"], "left_semi").selectExpr(
        *identity, "batch_date", "_detail AS detail", f"coalesce(_raw, to_json(named_struct({values}))) AS raw"
    )
    rows = raw.join(reasons, identity).selectExpr("*", f"'{reading.contract}' AS contract_fingerprint")
    return lakehouse.stage_difference(model, head, reading, Recomputed(rows, target))


def age_quarantine(lakehouse: Lakehouse, model: Contract, before: date) -> int:
    """Remove the rows of batch dates before that day from a quarantine table; returns how many.

    What the table has consumed stays as it was, so that nothing is judged again for it; judged again for another
    reason, rows come back, and age again. Starts anew when a run publishes meanwhile; raises `LakehouseError` when that
    happens `ATTEMPTS` times.
    """
    last = before - timedelta(days=1)
    for _ in range(ATTEMPTS):
        if not lakehouse.store.exists(model.name) or not lakehouse.store.counts(
            model.name, "batch_date", date.min, last
        ):
            return 0
        head = lakehouse.head(model)
        assert head.consumed is not None
        old = lakehouse.store.frame(lakehouse.spark, model.name, head.version).where(f"batch_date <= DATE '{last}'")
        uri = lakehouse.scratch(model.name)
        old.selectExpr(*(f"`{c}`" for c in model.names), f"'D' AS {OPERATION}").write.mode("overwrite").parquet(uri)
        slice_ = lakehouse.staged(model, head, head.consumed, uri)
        try:
            lakehouse.publish(slice_)
            return slice_.rows
        except StaleSliceError:
            lakehouse.discard(slice_.uri)
    raise LakehouseError(
        f"{model.name} was published by others {ATTEMPTS} times while it aged; run maintenance again when they are"
        " done."
    )


def supported_elsewhere(lakehouse: Lakehouse, source: Source, withdrawn: Entry) -> list[tuple[str, int]]:
    """The other live drops that say rows of a withdrawn one too, with how many, most first: what they say when read,
    however it is written.

    A drop that silver has not judged yet says nothing.
    """
    if not lakehouse.store.exists(source.verdicts.name):
        return []
    recorded = lakehouse.store.read(source.verdicts.name, columns=["path", "content_hash", "verdict"]).to_pylist()
    verdicts = {(r["path"], r["content_hash"]): r["verdict"] for r in recorded}
    paths = by_path(e for e in entries(lakehouse) if e.source == source.name and e.content in verdicts)
    own = standing([e for e in paths.pop(withdrawn.path, []) if e.sequence < withdrawn.sequence], verdicts)[0]
    others = {content for of_path in paths.values() if (content := standing(of_path, verdicts)[0])}
    if own is None or not others:
        return []
    key = source.contract.key
    values = [n for n in source.contract.names if n not in (*key, *_PROVENANCE)]
    said = _good_rows(lakehouse, source, others).select(*key, *values, F.col("path").alias("_other")).distinct()
    rows = _good_rows(lakehouse, source, [own]).selectExpr(*(f"`{n}` AS `_own_{n}`" for n in (*key, *values)))
    same = " AND ".join([*(f"`{n}` = `_own_{n}`" for n in key), *(f"`{n}` <=> `_own_{n}`" for n in values)])
    counts = rows.join(said, F.expr(same)).groupBy("_other").count().collect()
    return sorted(((r[0], r[1]) for r in counts), key=lambda o: (-o[1], o[0]))
