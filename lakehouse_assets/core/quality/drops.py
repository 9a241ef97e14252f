"""What judged rows mean for drops: verdicts, counts and samples. Pure functions of frames; few, bounded queries.

Does not belong here: the SQL of a rule (`rules.py`), Dagster (`orchestration/gates.py`), writing quarantine or verdict
tables (`core/sources/`).

`judge` runs two aggregations over the frame, and another query for samples only where something is broken: hand in
staged or cached rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from pyspark.sql import functions as F

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.contracts.describe import allowance_text
from lakehouse_assets.core.contracts.parts import Blocking
from lakehouse_assets.core.names import PULLS
from lakehouse_assets.core.quality.rules import VIOLATIONS, WARNINGS, joined, names_in, severity_of
from lakehouse_assets.core.quality.samples import SAMPLED_GROUPS, Sample, sample_rows
from lakehouse_assets.core.spark_sql import in_list
from lakehouse_assets.shown import pasted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Verdict = Literal["accepted", "refused", "unreadable"]


@dataclass(frozen=True)
class DropVerdict:
    """What the contract says of one content that landed under a path.

    landed: rows of the drop. bad_rows: rows that break a rule of severity `quarantine` or `block`. warned_rows: rows
    that break one of severity `warn`. reason: one sentence where the verdict is not `accepted`. rules: how many rows
    break each rule, warnings included; together: how many break just these rules, where that is known. drift: how the
    columns of the drop differ from those of its source, where they do; `drift_of` says it with the columns that changed
    type.
    """

    path: str
    content_hash: str
    batch_date: date
    landed: int
    bad_rows: int
    warned_rows: int
    verdict: Verdict
    reason: str | None
    rules: Mapping[str, int]
    samples: tuple[Sample, ...] = ()
    drift: str | None = None
    together: Mapping[tuple[str, ...], int] = field(default_factory=dict)


AGED = "rows.aged"
"""What is recorded in place of the rules that the rows of a drop broke once these have left quarantine by age: how many
they were stays known, which rules does not.
"""


def judge(df: DataFrame, contract: Contract, samples: int = 5) -> list[DropVerdict]:
    """The verdict on every drop in the frame, sorted by (batch date, path, content hash).

    df: rows with the columns of `violations` and `path`, `content_hash`, `batch_date`, `row_number`. A drop is refused
    when none of its rows is good, when its bad rows are more than `blocking.rows` and more than `blocking.share` of its
    rows, or when rows break a rule of severity `block` and are more than its allowance, where it has one; it is
    unreadable when it is the single row with the number 0. What corrects an earlier content is judged again by
    `as_correction`. samples: at most so many rows for each of at most `SAMPLED_GROUPS` drops, refused ones first.
    """
    verdicts = [_verdict(contract, *drop) for drop in _tallies(df).items()]
    marred = sorted(
        (v for v in verdicts if v.bad_rows or v.warned_rows),
        key=lambda v: (v.verdict == "accepted", -v.bad_rows, v.path),
    )
    wanted = marred[:SAMPLED_GROUPS] if samples else []
    found = _drop_samples(df, contract, wanted, samples) if wanted else {}
    sampled = [replace(v, samples=tuple(found.get((v.path, v.content_hash), ()))) for v in verdicts]
    return sorted(sampled, key=lambda v: (v.batch_date, v.path, v.content_hash))


@dataclass
class _Tally:
    rows: int
    bad: int = 0
    warned: int = 0
    first_row: int | None = None
    rules: Counter[str] = field(default_factory=Counter)
    together: Counter[tuple[str, ...]] = field(default_factory=Counter)


def _tallies(df: DataFrame) -> dict[tuple[str, str, date], _Tally]:
    drop = ("path", "content_hash", "batch_date")
    # Most rows are good, so that all are counted without a look at their rules. The others of a drop break few distinct
    # combinations of rules: counting these brings every count home in one small result.
    every = df.groupBy(*drop).agg(F.expr("count(*)").alias("_rows"), F.expr("min(row_number)").alias("_first"))
    tallies = {(r[0], r[1], r[2]): _Tally(r["_rows"], first_row=r["_first"]) for r in every.collect()}
    marred = df.where(f"size({VIOLATIONS}) > 0 OR size({WARNINGS}) > 0")
    sets = marred.selectExpr(*drop, f"{joined(VIOLATIONS)} AS _broken", f"{joined(WARNINGS)} AS _warned")
    counted = sets.groupBy(*drop, "_broken", "_warned").agg(F.expr("count(*)").alias("_rows"))
    for path, content_hash, batch_date, broken, warned, rows in counted.collect():
        tally = tallies[path, content_hash, batch_date]
        tally.bad += rows if broken else 0
        tally.warned += rows if warned else 0
        names = (*names_in(broken), *names_in(warned))
        tally.together[names] += rows
        for name in names:
            tally.rules[name] += rows
    return tallies


def remedy(verdict: DropVerdict) -> str:
    """What to do about a drop that is refused or cannot be read, as a sentence."""
    path = pasted(verdict.path)
    correct = (
        "Correct the rows in the database, so that the next pull takes this one's place"
        if verdict.path.split("/")[1:2] == [PULLS]
        else "Send a correction under the same path"
    )
    return (
        f"{correct}, take the drop back (`lakehouse withdraw {path}`), or leave it out for good (`lakehouse acknowledge"
        f" {path}`)."
    )


def as_correction(verdict: DropVerdict, contract: Contract) -> DropVerdict:
    """The verdict on a content that replaces an earlier one of its path, which had good rows: no number of bad rows is
    allowed, only a share.

    A first drop of a few lines may hold a few bad ones; were a correction judged so, a few lines of nonsense would take
    back what was good.
    """
    if verdict.verdict != "accepted":
        return verdict
    if not verdict.landed:
        return replace(
            verdict,
            verdict="refused",
            reason=f"Drop {verdict.path} is refused: it holds no row, and would take back what landed before.",
        )
    judged, reason = _judgement(
        contract, verdict.path, verdict.landed, verdict.bad_rows, verdict.rules, correction=True
    )
    return replace(verdict, verdict=judged, reason=reason)


def _verdict(contract: Contract, drop: tuple[str, str, date], tally: _Tally) -> DropVerdict:
    path, content_hash, batch_date = drop
    if tally.rows == 1 and tally.first_row == 0:
        verdict, reason = "unreadable", f"Drop {path} cannot be read: it breaks {', '.join(sorted(tally.rules))}."
    else:
        verdict, reason = _judgement(contract, path, tally.rows, tally.bad, tally.rules)
    rules = dict(sorted(tally.rules.items()))
    return DropVerdict(
        path,
        content_hash,
        batch_date,
        tally.rows,
        tally.bad,
        tally.warned,
        verdict,
        reason,
        rules,
        together=dict(tally.together),
    )


def _judgement(
    contract: Contract, path: str, rows: int, bad: int, rules: Mapping[str, int], *, correction: bool = False
) -> tuple[Verdict, str | None]:
    severities = severity_of(contract, rules)
    allowances = {name: _for(allowance, correction) for name, allowance in contract.allowances.items()}
    blocking = {
        name: count
        for name, count in rules.items()
        if severities[name] == "block" and _above(allowances.get(name, Blocking()), count, rows)
    }
    if blocking:
        name, count = _most(blocking)
        may = f"where {_allowed(allowances[name], correction)} may" if name in allowances else "which none may"
        return "refused", f"Drop {path} is refused: {count} of {rows} rows break {name}, {may}."
    allowed = contract.blocking and _for(contract.blocking, correction)
    if allowed and (_above(allowed, bad, rows) or bad == rows > 0):
        name, count = _most({n: c for n, c in rules.items() if severities[n] != "warn"})
        may = f" where {_allowed(allowed, correction)} may" if _above(allowed, bad, rows) else ", so none is good"
        return (
            "refused",
            f"Drop {path} is refused: {bad} of {rows} rows break a rule{may}, most often {name} ({count} rows).",
        )
    return "accepted", None


def _for(allowance: Blocking, correction: bool) -> Blocking:
    return replace(allowance, rows=0) if correction else allowance


def _allowed(allowance: Blocking, correction: bool) -> str:
    return f"{allowance.share:.0%} of the rows of a correction" if correction else allowance_text(allowance)


def _above(allowed: Blocking, bad: int, rows: int) -> bool:
    return bad > allowed.rows and bad > Fraction(str(allowed.share)) * rows


def drift_of(verdict: DropVerdict) -> str | None:
    """How the columns of a drop differ from what they should be, in a few words; None where they do not.

    A column has changed its type where more than half of the rows hold a value that cannot be converted; fewer are bad
    rows.
    """
    retyped = [
        f"{name.rpartition('.')[0]} retyped: {count} of {verdict.landed} rows"
        for name, count in sorted(verdict.rules.items())
        if name.endswith((".type", ".scale")) and 2 * count > verdict.landed
    ]
    return "; ".join(filter(None, [verdict.drift, *retyped])) or None


def _most(rules: Mapping[str, int]) -> tuple[str, int]:
    return min(rules.items(), key=lambda item: (-item[1], item[0]))


def _drop_samples(
    df: DataFrame, contract: Contract, drops: Sequence[DropVerdict], samples: int
) -> dict[tuple[str, str], list[Sample]]:
    paths, hashes = sorted({v.path for v in drops}), sorted({v.content_hash for v in drops})
    rows = df.where(f"{in_list('path', paths)} AND {in_list('content_hash', hashes)}")
    names = {name for v in drops for name in v.rules}
    wanted = {(v.path, v.content_hash) for v in drops}
    found: dict[tuple[str, str], list[Sample]] = {}
    for row, sample in sample_rows(rows, contract, names, "path, content_hash", samples, ("row_number",)):
        if (row["path"], row["content_hash"]) in wanted:
            found.setdefault((row["path"], row["content_hash"]), []).append(sample)
    return found
