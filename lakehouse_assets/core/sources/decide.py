"""What follows from what is known of the drops of a source: which count, which are refused, which days become good.
Pure: no table, no engine.

Does not belong here: reading (`known.py`), computing rows (`cleanse.py`), the verdict on one drop
(`core/quality/drops.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.quality.drops import DropVerdict, as_correction
from lakehouse_assets.core.sources.journal import (
    ACCEPTED,
    LANDED,
    REFUSED,
    Content,
    Entry,
    acknowledged,
    standing,
    standing_contents,
)
from lakehouse_assets.core.sources.known import Known


@dataclass(frozen=True)
class Decision:
    """judged: the verdict on every content that the affected paths have ever said. live: those that count now;
    rejected: newer ones that are refused or unreadable. refused: the verdicts that make a batch date red, for nobody
    has acknowledged them. unshown: batch dates that this run makes good and does not show.
    """

    judged: Mapping[Content, DropVerdict]
    live: frozenset[Content]
    rejected: frozenset[Content]
    refused: tuple[DropVerdict, ...]
    unshown: tuple[str, ...]

    @property
    def gone(self) -> set[Content]:
        """Contents of the affected paths that do not count."""
        return set(self.judged) - self.live

    @property
    def refused_whole(self) -> set[Content]:
        """Contents of which every row goes to quarantine."""
        return {c for c in self.rejected if self.judged[c].verdict == REFUSED}

    @property
    def refused_partly(self) -> set[Content]:
        """Contents of which the bad rows go to quarantine."""
        return {c for c in self.live | self.rejected if self.judged[c].bad_rows} - self.refused_whole

    @property
    def current(self) -> list[DropVerdict]:
        """The verdicts on what the affected paths say now."""
        return [self.judged[c] for c in sorted(self.live | self.rejected)]


def decide(known: Known, found: Mapping[Content, DropVerdict]) -> Decision:
    """found: the verdicts on the affected contents that have rows, by what their rows break."""
    judged = {content: found.get(content) or _without_rows(content, known) for content in known.contents}
    for path in known.affected:
        judged |= _corrections(known.paths[path], judged, known.source.contract)
    verdict_of = {content: verdict.verdict for content, verdict in judged.items()}
    live, rejected = standing_contents((known.paths[path] for path in known.affected), verdict_of)
    dismissed = acknowledged(e for of_path in known.paths.values() for e in of_path)
    refused = [judged[c] for c in sorted(rejected - dismissed) if judged[c].verdict == REFUSED]
    before = _refused_before(known)
    red = {v.batch_date for v in (*refused, *(v for v in before if v.path not in known.affected))}
    turned = {v.batch_date.isoformat() for v in before if v.batch_date not in red} - known.shown
    if known.source.topic:  # the journal knows of all that has come, whatever days a run is over
        turned |= {d.isoformat() for c, d in known.contents.items() if c not in known.recorded} - known.shown
    unshown = sorted({*known.owed, *turned})
    return Decision(judged, frozenset(live), frozenset(rejected), tuple(refused), tuple(unshown))


def _without_rows(content: Content, known: Known) -> DropVerdict:
    """A drop without rows has nothing wrong with it."""
    return DropVerdict(content[0], content[1], known.contents[content], 0, 0, 0, ACCEPTED, None, {}, ())


def _corrections(
    entries: list[Entry], judged: Mapping[Content, DropVerdict], model: Contract
) -> dict[Content, DropVerdict]:
    """The verdicts on contents of a path that came after a good one: the stricter ones of a correction.

    What counts is the first time that a content landed, so that the verdict follows from the journal, whatever the runs
    were.
    """
    found: dict[Content, DropVerdict] = {}
    corrects, seen = False, set()
    for entry in sorted(e for e in entries if e.state == LANDED):
        if entry.content in seen:
            continue
        seen.add(entry.content)
        verdict = judged[entry.content]
        if corrects:
            verdict = found[entry.content] = as_correction(verdict, model)
        corrects |= verdict.verdict == ACCEPTED and verdict.landed > verdict.bad_rows
    return found


def _refused_before(known: Known) -> list[DropVerdict]:
    """The drops that were refused before this run, and that nobody had acknowledged then."""
    verdict_of = {content: verdict.verdict for content, verdict in known.recorded.items()}
    # A new entry may be about a content that has a verdict already: it came again, was withdrawn or acknowledged.
    paths = [
        [e for e in of_path if e.content in verdict_of and e not in known.fresh] for of_path in known.paths.values()
    ]
    _, rejected = standing_contents(paths, verdict_of)
    dismissed = acknowledged(e for of_path in paths for e in of_path)
    return [known.recorded[c] for c in rejected - dismissed if verdict_of[c] == REFUSED]


def live_elsewhere(known: Known) -> set[Content]:
    """The live contents of the paths that are not affected, as they were judged."""
    verdict_of = {content: verdict.verdict for content, verdict in known.recorded.items()}
    others = (of_path for path, of_path in known.paths.items() if path not in known.affected)
    return {content for of_path in others if (content := standing(of_path, verdict_of)[0])}
