"""The gates of a table, judged in its step, as blocking asset checks: specs, results, evaluations (see `Gates`).

Does not belong here: judging (`core/quality/`), deciding whether a slice is published (`assets/step.py`), checks that
stand alone (`checks.py`), how tables and texts are shown (`presentation.py`).

A table has at most four gates, because each costs an event for every partition: `complete` (nothing missing),
`readable` (read and converted), `valid` (values, rows, and sums by day), `unique` (keys).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.contracts.describe import allowance_text, column_rules, row_rules, table_rule_text
from lakehouse_assets.core.quality.drops import AGED, DropVerdict, drift_of, remedy
from lakehouse_assets.core.quality.refusals import refuse_unreadable
from lakehouse_assets.core.quality.rules import severity_of
from lakehouse_assets.core.quality.samples import Sample
from lakehouse_assets.core.quality.slices import UNIQUE, Broken
from lakehouse_assets.core.sources.journal import REFUSED
from lakehouse_assets.orchestration.keys import asset_key
from lakehouse_assets.orchestration.presentation import SHOWN_ROWS, markdown_table, plain, rule_table, summary

COMPLETE, READABLE, VALID, UNIQUE_GATE = "complete", "readable", "valid", "unique"


def gate_of(contract: Contract, rule: str) -> str:
    """The gate under which a rule or a problem is shown."""
    if rule == UNIQUE:
        return UNIQUE_GATE
    if rule in {r.name for r in contract.table_rules}:
        return VALID
    if rule not in {r.name for r in contract.rules}:
        return READABLE
    return COMPLETE if rule.endswith(".nullable") else VALID


def gate_names(contract: Contract) -> list[str]:
    """The gates that a table has."""
    return list(_gate_texts(contract))


def gate_specs(contract: Contract, partitions_def: dg.PartitionsDefinition | None = None) -> list[dg.AssetCheckSpec]:
    """The blocking checks of a table's step, described by the rules they stand for.

    Raises `LakehouseError` where the contract says something of its rows that the audit does not judge.
    """
    refuse_unreadable(contract)
    return [
        dg.AssetCheckSpec(
            name, asset=asset_key(contract.name), description=text, blocking=True, partitions_def=partitions_def
        )
        for name, text in _gate_texts(contract).items()
    ]


def _gate_texts(contract: Contract) -> dict[str, str]:
    required = [c.name for c in contract.columns if not c.nullable]
    values = [text for column in contract.columns for text in column_rules(contract, column)] + row_rules(contract)
    values += [f"{table_rule_text(rule)}, on every day that is touched" for rule in contract.table_rules if rule.gate]
    texts: dict[str, str] = {}
    if required:
        texts[COMPLETE] = f"Never null: {', '.join(required)}."
    if contract.blocking:
        texts[READABLE] = "Every row can be read, and every value is converted to its type without loss."
    if values:
        texts[VALID] = "\n".join(f"- {text}" for text in values)
    if contract.blocking:
        said = (
            f"Bad rows go to quarantine; a drop in which more than {allowance_text(contract.blocking, 'and')} are bad"
            " is refused."
        )
        texts = {gate: f"{text}\n\n{said}" for gate, text in texts.items()}
    if contract.key:
        texts[UNIQUE_GATE] = f"One row for each {', '.join(contract.key)}."
    return texts


@dataclass(frozen=True)
class Gates:
    """What a table's gates say of one run.

    results: one aggregate a gate, to be yielded. evaluations: one a gate and partition, to be logged with
    `context.log_event`; without them Dagster shows the partitions of a range as skipped. refused: the partitions with a
    drop that may not enter.
    """

    results: tuple[dg.AssetCheckResult, ...]
    evaluations: tuple[dg.AssetCheckEvaluation, ...]
    refused: tuple[str, ...] = ()

    @property
    def blocked(self) -> bool:
        """Whether some gate has failed for good, so that something must not be published."""
        return any(not r.passed and r.severity == dg.AssetCheckSeverity.ERROR for r in self.results)


@dataclass(frozen=True)
class _Outcome:
    passed: bool
    severity: dg.AssetCheckSeverity
    description: str
    metadata: Mapping[str, Any]


def drop_gates(
    contract: Contract,
    verdicts: Sequence[DropVerdict],
    partition_keys: Iterable[str],
    doubled: Broken | None = None,
    elsewhere: Sequence[DropVerdict] = (),
) -> Gates:
    """The gates of a table that takes in drops, from the verdicts on them; each partition shows the drops of its batch
    date.

    A gate fails with severity ERROR where a refused drop breaks one of its rules, and with WARN where rows, or a drop
    that cannot be read, went to quarantine or were warned of. elsewhere: drops of other batch dates that are refused or
    cannot be read; the results, which stand for the table, warn of them, for they are open whatever this run was over.
    doubled: what `unique_key_violations` says of the slice; it stops the whole slice, so every partition shows it.
    """
    by_day: dict[str, list[DropVerdict]] = {key: [] for key in partition_keys}
    for verdict in verdicts:
        by_day.setdefault(verdict.batch_date.isoformat(), []).append(verdict)
    names = gate_names(contract)

    def outcome(gate: str, drops: Sequence[DropVerdict]) -> _Outcome:
        if gate == UNIQUE_GATE:
            return _slice_outcome(contract, gate, sum(d.landed for d in drops), {UNIQUE: doubled} if doubled else {})
        return _drop_outcome(contract, gate, drops)

    return Gates(
        results=tuple(
            _result(contract, gate, _and_open(_of_run(outcome(gate, verdicts)), outcome(gate, elsewhere)))
            for gate in names
        ),
        evaluations=tuple(
            _evaluation(contract, gate, outcome(gate, drops), day) for day, drops in by_day.items() for gate in names
        ),
        refused=tuple(sorted({v.batch_date.isoformat() for v in verdicts if v.verdict == REFUSED})),
    )


def slice_gates(contract: Contract, rows: int, broken: Mapping[str, Broken], doubled: Broken | None) -> Gates:
    """The gates of a table computed from others, judged once for the slice.

    broken, doubled: from `slice_violations` and `disagreements_of_slice`, and from `unique_key_violations`. Here every
    rule blocks unless its severity is `warn`: there is no drop that a row could be sent back to.
    """
    found = {**broken, **({UNIQUE: doubled} if doubled else {})}
    outcomes = {gate: _slice_outcome(contract, gate, rows, found) for gate in gate_names(contract)}
    return Gates(results=tuple(_result(contract, gate, outcome) for gate, outcome in outcomes.items()), evaluations=())


def _drop_outcome(contract: Contract, gate: str, drops: Sequence[DropVerdict]) -> _Outcome:
    counts: Counter[str] = Counter()
    for drop in drops:
        # Which of the gates the rows did not pass is no longer known when they have aged, so each of them says so.
        counts.update(
            {name: count for name, count in drop.rules.items() if name == AGED or gate_of(contract, name) == gate}
        )
    severities = severity_of(contract, counts)
    bad = {name for name in counts if severities[name] != "warn"}
    # A drop that is refused without saying by which rule must still be red somewhere.
    stopped = [
        d for d in drops if d.verdict == "refused" and (bad & set(d.rules) or (gate == READABLE and not d.rules))
    ]
    unread = [d for d in drops if d.verdict == "unreadable" and gate == READABLE]
    landed = sum(d.landed for d in drops)
    broken = sum(
        _bad_rows(contract, gate, d.together or {(name,): count for name, count in d.rules.items()}) for d in drops
    )
    metadata: dict[str, Any] = {
        "drops": len(drops),
        "rows": landed,
        **_share(broken, landed),
        "bad_rows_of_drops": sum(d.bad_rows for d in drops),
    }
    if gate == READABLE:
        metadata |= drift_metadata(drops)
    if counts:
        metadata["rules"] = rule_table(contract, counts)
        samples = [
            {"drop": d.path, **s}
            for d in drops
            for s in d.samples
            if any(gate_of(contract, r) == gate for r in _names(s))
        ]
        metadata["samples"] = markdown_table(samples)
    if stopped or unread:
        rejected = [*stopped, *unread]
        # the UI reads it as Markdown
        reasons = plain(" ".join(f"{d.reason} {remedy(d)}" for d in rejected[:SHOWN_ROWS]))
        more = f" And {len(rejected) - SHOWN_ROWS} more drops." if len(rejected) > SHOWN_ROWS else ""
        severity = dg.AssetCheckSeverity.ERROR if stopped else dg.AssetCheckSeverity.WARN
        return _Outcome(False, severity, reasons + more, metadata)
    return _Outcome(not counts, dg.AssetCheckSeverity.WARN, summary(counts, "rows"), metadata)


def _and_open(outcome: _Outcome, elsewhere: _Outcome) -> _Outcome:
    """What a gate says of a run, with a warning of what is open on other days."""
    if elsewhere.passed or (outcome.severity == dg.AssetCheckSeverity.ERROR and not outcome.passed):
        return outcome
    said = f"Open on other batch dates: {elsewhere.description}"
    return _Outcome(
        False, dg.AssetCheckSeverity.WARN, said if outcome.passed else f"{outcome.description} {said}", outcome.metadata
    )


def _of_run(outcome: _Outcome) -> _Outcome:
    """What a gate says of a run over several days: its numbers as a text, for numbers are plotted, and those of the
    days stand under the same check.
    """
    numbers = {name: value for name, value in outcome.metadata.items() if isinstance(value, (int, float))}
    said = ", ".join(
        f"{name} {value:,.4g}" if isinstance(value, float) else f"{name} {value:,}" for name, value in numbers.items()
    )
    return replace(outcome, metadata={"run": said, **{n: v for n, v in outcome.metadata.items() if n not in numbers}})


def drift_metadata(drops: Iterable[DropVerdict]) -> dict[str, dg.MetadataValue]:
    """Which drops have other columns than their source, as the metadata `drift`; empty where none has."""
    drifted = [{"drop": drop.path, "columns": words} for drop in drops if (words := drift_of(drop))]
    return {"drift": markdown_table(drifted)} if drifted else {}


def _slice_outcome(contract: Contract, gate: str, rows: int, found: Mapping[str, Broken]) -> _Outcome:
    mine = {name: broken for name, broken in found.items() if gate_of(contract, name) == gate}
    counts = Counter({name: broken.count for name, broken in mine.items()})
    groups = {r.name for r in contract.table_rules}
    together = {
        names: count
        for name, broken in mine.items()
        if name not in groups
        for names, count in (broken.together or {(name,): broken.count}).items()
    }
    metadata: dict[str, Any] = {"rows": rows, **_share(_bad_rows(contract, gate, together), rows)}
    if gate == UNIQUE_GATE:
        metadata = {"rows": rows, "doubled_keys": counts[UNIQUE]}
    elif gate == VALID and any(rule.gate for rule in contract.table_rules):
        metadata["disagreeing_groups"] = max((counts[name] for name in groups), default=0)
    if counts:
        metadata["rules"] = rule_table(contract, counts)
        metadata["samples"] = markdown_table([sample for broken in mine.values() for sample in broken.samples])
    stops = any(broken.severity != "warn" for broken in mine.values())
    severity = dg.AssetCheckSeverity.ERROR if stops else dg.AssetCheckSeverity.WARN
    return _Outcome(not counts, severity, summary(counts, "keys" if gate == UNIQUE_GATE else "rows"), metadata)


def _bad_rows(contract: Contract, gate: str, together: Mapping[tuple[str, ...], int]) -> int:
    """How many rows break a rule of that gate which is no mere warning."""
    severities = severity_of(contract, {name for names in together for name in names})
    return sum(
        rows
        for names, rows in together.items()
        if any(gate_of(contract, name) == gate and severities[name] != "warn" for name in names)
    )


def _share(bad: int, rows: int) -> dict[str, int | float]:
    return {"bad_rows": bad, "bad_share": bad / rows if rows else 0.0}


def _names(sample: Sample) -> list[str]:
    return str(sample["rules"]).split(", ")


def _result(contract: Contract, gate: str, outcome: _Outcome) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=asset_key(contract.name),
        check_name=gate,
        passed=outcome.passed,
        severity=outcome.severity,
        description=outcome.description,
        metadata=dict(outcome.metadata),
    )


def _evaluation(contract: Contract, gate: str, outcome: _Outcome, partition: str) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(contract.name),
        check_name=gate,
        passed=outcome.passed,
        severity=outcome.severity,
        description=outcome.description,
        metadata=dict(outcome.metadata),
        blocking=True,
        partition=partition,
    )
