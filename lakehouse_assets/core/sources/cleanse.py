"""From bronze to the silver table of a source: judge drops, set bad rows aside, let each key be that of the right drop.

The rows are computed here, once. What is known beforehand is read in `known.py`; what follows from the verdicts is
decided in `decide.py`. Does not belong here: what a landed row means (the source), the rules (its contract).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import reduce
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F

from lakehouse_assets.core.declarations.source import Source
from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.files import Span
from lakehouse_assets.core.delta.staging import Lakehouse, StagedSlice
from lakehouse_assets.core.frames import Recomputed, from_arrow, least_by, least_by_where_doubled
from lakehouse_assets.core.quality.drops import DropVerdict, judge
from lakehouse_assets.core.quality.rules import violations
from lakehouse_assets.core.sources.decide import Decision, decide, live_elsewhere
from lakehouse_assets.core.sources.ingest import entries
from lakehouse_assets.core.sources.journal import Content, Entry, by_path, standing
from lakehouse_assets.core.sources.known import Known, read_known
from lakehouse_assets.core.sources.verdicts import REFUSED_RULE, recorded_verdicts
from lakehouse_assets.core.spark_sql import in_list, literal, quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_PROVENANCE = ("batch_date", "path", "content_hash", "row_number")
_CONTENT = ["path", "content_hash"]
_ROW = [*_CONTENT, "row_number"]


@dataclass(frozen=True)
class Cleansed:
    """What a run makes of the drops of a source. judged: the verdicts on what each affected path says now; refused:
    those among them that make a batch date red.
    """

    slice: StagedSlice
    judged: list[DropVerdict]
    refused: list[DropVerdict]


def cleanse(
    lakehouse: Lakehouse, source: Source, *, fingerprint: str, force: bool = False, days: Collection[date] = ()
) -> Cleansed | None:
    """Stage the silver table of a source with its side tables. None where the journal says nothing new and `force` is
    not set.

    days: the batch dates that the run shows. Others that this makes good are recorded as `unshown`.
    """
    known = read_known(lakehouse, source, fingerprint=fingerprint, force=force, days=days)
    if known is None:
        return None
    landed = _landed(lakehouse, source, None if known.everything else known.contents)
    uri = lakehouse.scratch(f"{source.table}-candidates")
    candidates = _judged_rows(lakehouse, source, landed, uri)
    found = {(v.path, v.content_hash): v for v in judge(candidates, source.contract)}
    decision = decide(known, _with_parser_notes(found, landed))
    reading = replace(known.reading, unshown=list(decision.unshown))
    slice_ = _silver_slice(lakehouse, known, decision, reading, _came(lakehouse, known, decision, candidates, found))
    slice_.side = (
        _verdict_slice(lakehouse, known, decision, reading),
        _quarantine_slice(lakehouse, known, decision, reading, candidates, landed),
    )
    lakehouse.discard(uri)
    return Cleansed(slice_, decision.current, list(decision.refused))


def _landed(lakehouse: Lakehouse, source: Source, contents: Mapping[Content, date] | None) -> DataFrame:
    """The landed rows of those contents (None: of all)."""
    if contents is None:
        return lakehouse.store.frame(lakehouse.spark, source.bronze)
    days = contents.values()
    within = Span("batch_date", min(days, default=date.max), max(days, default=date.min))
    return _of_contents(lakehouse, lakehouse.store.frame(lakehouse.spark, source.bronze, within=within), contents)


def _judged_rows(lakehouse: Lakehouse, source: Source, landed: DataFrame, uri: str) -> DataFrame:
    """Landed rows typed, each with the rules that it breaks in `_violations`. Written to `uri` and read from there: an
    engine that filters by the rules when it reads judges every row again for each use of the frame.
    """
    judged = violations(source.typed(landed), source.contract, problems_column="_problems")
    judged.write.mode("overwrite").parquet(uri)
    return lakehouse.spark.read.schema(judged.schema).parquet(uri)


def _with_parser_notes(found: Mapping[Content, DropVerdict], landed: DataFrame) -> dict[Content, DropVerdict]:
    """The verdicts with what the parser has noted of the drops: how their columns differ, and why one cannot be read.
    What landed before bronze kept the former has none of it.
    """
    drift = "_drift" if "_drift" in landed.columns else "CAST(NULL AS STRING)"
    rows = (
        landed.where(f"{drift} IS NOT NULL OR row_number = 0")
        .selectExpr(*_CONTENT, drift, "row_number", "_detail")
        .collect()
    )
    noted = dict(found)
    for path, content_hash, columns, number, detail in rows:
        if verdict := found.get((path, content_hash)):
            reason = f"Drop {path} cannot be read: {detail}" if number == 0 and detail else verdict.reason
            noted[path, content_hash] = replace(verdict, drift=columns, reason=reason)
    return noted


def _came(
    lakehouse: Lakehouse, known: Known, decision: Decision, candidates: DataFrame, found: Mapping[Content, DropVerdict]
) -> DataFrame:
    """The good rows of the affected contents that count."""
    good = candidates.where("size(_violations) = 0").select(*known.source.contract.names)
    # What a dead run took in and the journal never knew, for another content was there by then, is in bronze as well.
    return good if found.keys() <= decision.live else _of_contents(lakehouse, good, decision.live)


def _of_contents(lakehouse: Lakehouse, rows: DataFrame, contents: Iterable[Content]) -> DataFrame:
    """The rows of those contents."""
    return rows.join(_content_frame(lakehouse, contents), _CONTENT, "left_semi")


def _content_frame(lakehouse: Lakehouse, contents: Iterable[Content]) -> DataFrame:
    listed = sorted(contents)
    schema = pa.schema([pa.field(name, pa.string()) for name in _CONTENT])
    columns = {"path": [c[0] for c in listed], "content_hash": [c[1] for c in listed]}
    return from_arrow(lakehouse.spark, pa.table(columns, schema=schema))


def _silver_slice(
    lakehouse: Lakehouse, known: Known, decision: Decision, reading: Consumed, came: DataFrame
) -> StagedSlice:
    """came: the good rows of the affected contents that count."""
    source, model, head = known.source, known.source.contract, known.silver
    key = list(model.key)
    if known.everything:
        target = lakehouse.store.frame(lakehouse.spark, model.name, head.version)
        # All supporters of all keys are at hand. What else the table holds was published under a contract or transform
        # that is no more.
        first = least_by_where_doubled(came, key, source.order)
        return lakehouse.stage_difference(model, head, reading, Recomputed(first, target))

    touched = [came.select(*key, *model.partition_by)]
    supporters = [came]
    if decision.gone:
        target = lakehouse.store.frame(lakehouse.spark, model.name, head.version)
        orphaned = _of_contents(lakehouse, target, decision.gone).select(*key, *model.partition_by)
        touched.append(orphaned)
        if orphaned.limit(1).count():
            supporters.append(_other_supporters(lakehouse, known, orphaned.select(*key)))
    keys = reduce(lambda a, b: a.unionByName(b), touched)
    replaced = _target_rows(lakehouse, known, keys)
    gone = _content_frame(lakehouse, decision.gone)
    remaining = replaced.join(gone, _CONTENT, "left_anti").select(*model.names)
    rows = reduce(lambda a, b: a.unionByName(b), [*supporters, remaining])
    return lakehouse.stage_difference(model, head, reading, Recomputed(least_by(rows, key, source.order), replaced))


def _target_rows(lakehouse: Lakehouse, known: Known, keys: DataFrame) -> DataFrame:
    """What the silver table holds of some keys, looked for in their partitions alone. keys: with the partition column,
    where the contract has one.
    """
    model, key = known.source.contract, list(known.source.contract.key)
    within, only = None, "true"
    if model.partition_by:
        column = model.partition_by[0]
        parts = [r[0] for r in keys.select(column).distinct().collect()]
        within = Span(column, min(parts, default=date.max), max(parts, default=date.min))
        only = in_list(column, parts)
    target = lakehouse.store.frame(lakehouse.spark, model.name, known.silver.version, within)
    return target.where(only).join(keys.select(*key).distinct(), key, "left_semi").select(*model.names)


def _other_supporters(lakehouse: Lakehouse, known: Known, keys: DataFrame) -> DataFrame:
    """The good rows of all other live drops that say one of the keys. Only corrections and withdrawals come here: it
    reads all of bronze.
    """
    model = known.source.contract
    good = _good_rows(lakehouse, known.source, live_elsewhere(known))
    return good.join(keys.distinct(), list(model.key), "left_semi").select(*model.names)


def _good_rows(lakehouse: Lakehouse, source: Source, contents: Iterable[Content]) -> DataFrame:
    """The rows of those contents that break no rule, typed; in a folder of their own, which `maintenance` clears."""
    landed = _of_contents(lakehouse, lakehouse.store.frame(lakehouse.spark, source.bronze), contents)
    judged = _judged_rows(lakehouse, source, landed, lakehouse.scratch(f"{source.table}-candidates"))
    return judged.where("size(_violations) = 0").select(*source.contract.names)


def _verdict_slice(lakehouse: Lakehouse, known: Known, decision: Decision, reading: Consumed) -> StagedSlice:
    model, head = known.source.verdicts, known.verdicts
    fields = pa.schema([pa.field(f.name, f.type) for f in model.arrow_schema])
    rows = [{n: getattr(v, n) for n in model.names} for v in decision.judged.values()]
    frame = from_arrow(lakehouse.spark, pa.Table.from_pylist(rows, schema=fields))
    target = lakehouse.store.frame(lakehouse.spark, model.name, head.version)
    replaced = _of_paths(lakehouse, target, known.affected)
    return lakehouse.stage_difference(model, head, reading, Recomputed(frame, replaced))


def _of_paths(lakehouse: Lakehouse, frame: DataFrame, paths: Iterable[str]) -> DataFrame:
    listed = from_arrow(lakehouse.spark, pa.table({"path": pa.array(sorted(paths), pa.string())}))
    return frame.join(listed, ["path"], "left_semi").select(*frame.columns)


def _quarantine_slice(
    lakehouse: Lakehouse,
    known: Known,
    decision: Decision,
    reading: Consumed,
    candidates: DataFrame,
    landed: DataFrame,
) -> StagedSlice:
    """Bad rows of what the paths say now, and every row of a refused drop."""
    model, head = known.source.quarantine, known.quarantine
    target = _of_paths(lakehouse, lakehouse.store.frame(lakehouse.spark, model.name, head.version), known.affected)
    whole, partly = decision.refused_whole, decision.refused_partly
    if not whole and not partly:
        return lakehouse.stage_difference(model, head, reading, Recomputed(target.limit(0), target))
    bad = _of_contents(lakehouse, candidates.where("size(_violations) > 0"), partly)
    reasons = bad.selectExpr(*_ROW, "_violations AS rules")
    if whole:
        refused = _of_contents(lakehouse, candidates, whole)
        rules = f"sort_array(array_append(_violations, {literal(REFUSED_RULE)})) AS rules"
        reasons = reasons.unionByName(refused.selectExpr(*_ROW, rules))
    values = ", ".join(f"{literal(c)}, {quoted(c)}" for c in known.source.format.values)
    raw = _of_contents(lakehouse, landed, partly | whole).selectExpr(
        *_ROW, "batch_date", "_detail AS detail", f"coalesce(_raw, to_json(named_struct({values}))) AS raw"
    )
    rows = raw.join(reasons, _ROW).selectExpr("*", f"{literal(reading.contract)} AS contract_fingerprint")
    return lakehouse.stage_difference(model, head, reading, Recomputed(rows, target))


def supported_elsewhere(lakehouse: Lakehouse, source: Source, withdrawn: Entry) -> list[tuple[str, int]]:
    """The other live drops that say rows of a withdrawn one too, with how many, most first: what they say when read,
    however it is written.

    A drop that silver has not judged yet says nothing.
    """
    verdicts = {content: verdict.verdict for content, verdict in recorded_verdicts(lakehouse, source).items()}
    paths = by_path(e for e in entries(lakehouse) if e.source == source.name and e.content in verdicts)
    own = standing([e for e in paths.pop(withdrawn.path, []) if e.sequence < withdrawn.sequence], verdicts)[0]
    others = {content for of_path in paths.values() if (content := standing(of_path, verdicts)[0])}
    if own is None or not others:
        return []
    key = source.contract.key
    values = [n for n in source.contract.names if n not in (*key, *_PROVENANCE)]
    said = _good_rows(lakehouse, source, others).select(*key, *values, F.col("path").alias("_other")).distinct()
    rows = _good_rows(lakehouse, source, [own]).selectExpr(
        *(f"{quoted(n)} AS {quoted(f'_own_{n}')}" for n in (*key, *values))
    )
    same = " AND ".join(
        [
            *(f"{quoted(n)} = {quoted(f'_own_{n}')}" for n in key),
            *(f"{quoted(n)} <=> {quoted(f'_own_{n}')}" for n in values),
        ]
    )
    counts = rows.join(said, F.expr(same)).groupBy("_other").count().collect()
    return sorted(((r[0], r[1]) for r in counts), key=lambda o: (-o[1], o[0]))
