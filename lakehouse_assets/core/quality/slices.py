"""What judged rows mean for a slice: broken rules, and keys that occur more than once. Pure functions of frames; few,
bounded queries.

Does not belong here: verdicts on drops (`drops.py`), rules over whole tables (`table_rules.py`), Dagster
(`orchestration/gates.py`).

Every function runs one or two aggregations over the frame, and another query for samples only where something is
broken: hand in staged or cached rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.contracts.parts import Severity
from lakehouse_assets.core.quality.rules import (
    SEPARATOR,
    VIOLATIONS,
    WARNINGS,
    joined,
    names_in,
    severity_of,
    violations,
)
from lakehouse_assets.core.quality.samples import SAMPLED_GROUPS, Sample, sample_rows, shown
from lakehouse_assets.core.spark_sql import in_list, literal, quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Broken:
    """A broken rule: by how many rows (for `key.unique`: by how many keys), some of them, and what follows. together:
    how many rows break just these rules.
    """

    count: int
    samples: tuple[Sample, ...]
    severity: Severity
    together: Mapping[tuple[str, ...], int] = field(default_factory=dict)


UNIQUE = "key.unique"
"""The name of the rule that a key occurs once."""


def slice_violations(df: DataFrame, contract: Contract, samples: int = 5) -> dict[str, Broken]:
    """Which rules the rows of a slice break, by rule name; empty where every row keeps the contract.

    df: rows with all columns of the contract; judged here unless they carry the columns of `violations` already.
    samples: at most so many rows a rule.
    """
    judged = df if VIOLATIONS in df.columns else violations(df, contract)
    sets = judged.selectExpr(f"{joined(VIOLATIONS)} AS _broken", f"{joined(WARNINGS)} AS _warned")
    combinations = (
        sets.where("_broken <> '' OR _warned <> ''")
        .groupBy("_broken", "_warned")
        .agg(F.expr("count(*)").alias("_rows"))
        .collect()
    )
    counts: Counter[str] = Counter()
    by_rule: dict[str, dict[tuple[str, ...], int]] = {}
    for broken, warned, rows in combinations:
        names = (*names_in(broken), *names_in(warned))
        for name in names:
            counts[name] += rows
            by_rule.setdefault(name, {})[names] = rows
    if not counts:
        return {}
    found: dict[str, list[Sample]] = {name: [] for name in counts}
    if samples:
        covering = _covering([{*names_in(b), *names_in(w)} for b, w, _ in sorted(combinations, key=lambda c: -c[2])])
        group = f"concat({joined(VIOLATIONS)}, {literal(SEPARATOR * 2)}, {joined(WARNINGS)})"
        chosen = [SEPARATOR.join(sorted(names)) for names in covering]
        together = f"array_join(sort_array(concat({VIOLATIONS}, {WARNINGS})), {literal(SEPARATOR)})"
        for row, sample in sample_rows(
            judged.where(in_list(together, chosen)), contract, counts, group, samples, contract.key
        ):
            for name in (*row[VIOLATIONS], *row[WARNINGS]):
                found[name].append(sample)
    severities = severity_of(contract, counts)
    return {
        name: Broken(counts[name], tuple(found[name][:samples]), severities[name], by_rule[name])
        for name in sorted(counts)
    }


def _covering(combinations: Sequence[set[str]]) -> list[set[str]]:
    """Combinations that together hold every rule, the most frequent first; a bounded number more to look at."""
    seen: set[str] = set()
    needed = [names for names in combinations if names - seen and not seen.update(names)]
    return [*needed, *(names for names in combinations if names not in needed)][: max(SAMPLED_GROUPS, len(needed))]


def unique_key_violations(df: DataFrame, contract: Contract, samples: int = 5) -> Broken | None:
    """The keys that occur more than once, null counting as a value; None where there are none, or the contract has no
    key.
    """
    if not contract.key:
        return None
    # Different marks are different keys, and to group by a number is cheaper than by texts; only where two are the same
    # the keys are looked at.
    marks = (
        df.selectExpr(f"xxhash64({', '.join(map(quoted, contract.key))}) AS _mark")
        .groupBy("_mark")
        .agg(F.expr("count(*)").alias("_times"))
    )
    if not marks.where("_times > 1").limit(1).count():
        return None
    doubled = (
        df.groupBy(*(F.expr(quoted(k)) for k in contract.key))
        .agg(F.expr("count(*)").alias("_times"))
        .where("_times > 1")
    )
    count = doubled.count()
    if not count:
        return None
    rows = doubled.orderBy(*(F.expr(quoted(k)) for k in contract.key)).limit(samples).collect()
    said = tuple({**shown(row.asDict(), contract, [UNIQUE], contract.key), "times": row["_times"]} for row in rows)
    return Broken(count, said, "block")
