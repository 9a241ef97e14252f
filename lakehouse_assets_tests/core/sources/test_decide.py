"""What counts of what has landed, decided for generated histories and compared with a model written from the documents
(docs/architecture.md, docs/operations.md); no table and no engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random
from typing import Literal

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.heads import Head
from lakehouse_assets.core.quality.drops import DropVerdict, Verdict
from lakehouse_assets.core.sources.decide import Decision, decide, live_elsewhere
from lakehouse_assets.core.sources.journal import ACKNOWLEDGED, LANDED, WITHDRAWN, Content, Entry, by_path
from lakehouse_assets.core.sources.known import Known

SOURCE = SOURCES["orders"]
PATHS = ("orders/a.csv", "orders/b.csv", "orders/c.csv")
DAYS = {path: date(2026, 9, 1) + timedelta(days=number // 2) for number, path in enumerate(PATHS)}
"""Two paths share a day: one of them may be refused while the other is good."""
EVERY_DAY = frozenset(day.isoformat() for day in DAYS.values())

Action = Literal["land", "withdraw", "undo", "acknowledge"]


@dataclass(frozen=True)
class Drop:
    """Rows of a content, and how many of them are bad; rows of None: it cannot be read."""

    hash: str
    rows: int | None
    bad: int

    def verdict(self, correction: bool) -> Verdict:
        """As the documents say it: a drop is refused with more than 5 and more than 10 % bad rows, and when none is
        good; a correction with more than 10 %, and when it has no row.
        """
        if self.rows is None:
            return "unreadable"
        if self.rows == 0:
            return "refused" if correction else "accepted"
        too_many = self.bad * 10 > self.rows and (correction or self.bad > 5)
        return "refused" if too_many or self.bad == self.rows else "accepted"

    def judged(self, path: str) -> DropVerdict | None:
        """What judging its rows says, before it is known what it replaces; None where it has none."""
        if self.rows == 0:
            return None
        rules = {"quantity.type": self.bad} if self.bad else {}
        rows, bad = (1, 1) if self.rows is None else (self.rows, self.bad)
        verdict = self.verdict(correction=False)
        reason = None if verdict == "accepted" else "it is bad"
        rules = rules or ({"row.encoding": 1} if self.rows is None else {})
        return DropVerdict(path, self.hash, DAYS[path], rows, bad, 0, verdict, reason, rules)


DROPS = (
    Drop("all good", 20, 0),
    Drop("also good", 30, 0),
    Drop("few bad of few", 10, 3),
    Drop("a tenth bad", 20, 2),
    Drop("many bad", 40, 20),
    Drop("none good", 2, 2),
    Drop("header alone", 0, 0),
    Drop("no text", None, 0),
)
BY_HASH = {drop.hash: drop for drop in DROPS}


@dataclass
class Said:
    """What a path says, by the documents. before: what it said when it was withdrawn."""

    first: dict[str, Verdict] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    corrects: bool = False
    live: str | None = None
    rejected: str | None = None
    last: str | None = None
    before: tuple[str | None, str | None] | None = None

    def land(self, drop: Drop) -> None:
        if self.before is not None and drop.hash == self.last:
            (self.live, self.rejected), self.before = self.before, None
            return
        verdict = self.first.setdefault(drop.hash, drop.verdict(self.corrects))
        # A path that once had good rows: what comes later corrects them, whatever has been withdrawn meanwhile.
        self.corrects |= verdict == "accepted" and (drop.rows or 0) > drop.bad
        self.last, self.before = drop.hash, None
        self.live, self.rejected = (drop.hash, None) if verdict == "accepted" else (self.live, drop.hash)

    def withdraw(self) -> None:
        self.before = (self.live, self.rejected)
        self.live = self.rejected = None

    @property
    def is_red(self) -> bool:
        """Whether a refused content waits for somebody."""
        return bool(self.rejected and self.first[self.rejected] == "refused" and self.rejected not in self.known)


class History:
    """A journal that grows, the model of it, and the runs that decide. Actions that a command would refuse are left
    out.
    """

    def __init__(self) -> None:
        self.journal: list[Entry] = []
        self.said = {path: Said() for path in PATHS}
        self.consumed = 0
        self.recorded: dict[Content, DropVerdict] = {}
        self.unshown: Sequence[str] = ()

    def act(self, action: Action, path: str, drop: Drop) -> None:
        said = self.said[path]
        if action == "land" and (said.before is not None or drop.hash != said.last):
            said.land(drop)
            self._enter(path, drop.hash, LANDED)
        elif action == "undo" and said.before is not None and said.last:
            said.land(BY_HASH[said.last])
            self._enter(path, said.last, LANDED)
        elif action == "withdraw" and said.last and said.before is None:
            said.withdraw()
            self._enter(path, said.last, WITHDRAWN)
        elif action == "acknowledge" and said.last and said.last not in said.known:
            said.known.add(said.last)
            self._enter(path, said.last, ACKNOWLEDGED)

    def _enter(self, path: str, content: str, state: str) -> None:
        self.journal.append(Entry(path, len(self.journal), content, DAYS[path], state, SOURCE.name))

    def affected(self, everything: bool = False) -> frozenset[str]:
        return frozenset(e.path for e in self.journal[0 if everything else self.consumed :])

    def run(self, shown: Iterable[str] = EVERY_DAY, everything: bool = False) -> Decision:
        """Decide over what is new, or over everything, and keep what a run would commit."""
        known = known_of(
            self.journal, self.affected(everything), self.recorded, shown, self.unshown, self.journal[self.consumed :]
        )
        decision = decide(known, found_of(known))
        self.consumed = len(self.journal)
        kept = {c: v for c, v in self.recorded.items() if c[0] not in known.affected}
        self.recorded, self.unshown = {**kept, **decision.judged}, decision.unshown
        return decision

    def red(self) -> set[str]:
        return {DAYS[path].isoformat() for path, said in self.said.items() if said.is_red}


def known_of(
    journal: Sequence[Entry],
    affected: frozenset[str],
    recorded: Mapping[Content, DropVerdict],
    shown: Iterable[str],
    unshown: Sequence[str] = (),
    fresh: Sequence[Entry] = (),
) -> Known:
    head = Head("silver.order_lines", 3, 3, "an id", Consumed(unshown=list(unshown)))
    paths = by_path(journal)
    return Known(
        SOURCE, head, head, head, Consumed(), paths, affected, dict(recorded), frozenset(shown), frozenset(fresh)
    )


def found_of(known: Known) -> dict[Content, DropVerdict]:
    verdicts = {content: BY_HASH[content[1]].judged(content[0]) for content in known.contents}
    return {content: verdict for content, verdict in verdicts.items() if verdict}


def outcome(decision: Decision) -> tuple[object, ...]:
    """All that the tables show of a decision over everything."""
    verdicts = {content: (v.verdict, v.reason) for content, v in decision.judged.items()}
    return verdicts, decision.live, decision.rejected, decision.refused


Step = tuple[Action, str, Drop] | tuple[frozenset[str], bool]
"""What happens: an action, or a run that shows some days, over what is new or over everything."""
_ACTIONS: list[Action] = ["land", "land", "land", "withdraw", "undo", "acknowledge"]
ACTIONS = st.tuples(
    st.sampled_from(_ACTIONS),
    st.sampled_from(PATHS),
    st.sampled_from(DROPS),
)
RUNS = st.tuples(st.frozensets(st.sampled_from(sorted(EVERY_DAY))), st.booleans())
STEPS: st.SearchStrategy[list[Step]] = st.lists(ACTIONS | RUNS, max_size=25)
EXAMPLES = settings(max_examples=150, deadline=None)


def after(steps: Sequence[Step]) -> History:
    history = History()
    for step in steps:
        if len(step) == 3:
            history.act(*step)
        else:
            history.run(*step)
    return history


@EXAMPLES
@given(STEPS)
def test_each_content_stands_as_the_documents_say(steps: list[Step]):
    """Else a drop counts that was refused or taken back, or one that is good does not."""
    history = after(steps)
    decision = history.run(everything=True)
    contents = {e.content for e in history.journal}
    live = {(path, said.live) for path, said in history.said.items() if said.live}
    rejected = {(path, said.rejected) for path, said in history.said.items() if said.rejected}
    said = {(path, content): v for path, of in history.said.items() for content, v in of.first.items()}
    assert {content: v.verdict for content, v in decision.judged.items()} == said
    assert (decision.live, decision.rejected) == (live, rejected)
    assert {v.path for v in decision.refused} == {path for path, of in history.said.items() if of.is_red}
    # Each content is in just one of these, and what is neither live nor rejected was superseded or withdrawn.
    assert set(decision.judged) == contents
    assert decision.live | decision.rejected | (decision.gone - decision.rejected) == contents
    assert not decision.live & decision.gone
    assert not decision.refused_whole & decision.refused_partly
    bad = {c for c in live | rejected if decision.judged[c].bad_rows}
    refused = {c for c in rejected if said[c] == "refused"}
    assert decision.refused_whole == refused
    assert decision.refused_partly == bad - refused


@EXAMPLES
@given(STEPS)
def test_the_grouping_of_runs_makes_no_difference(steps: list[Step]):
    """Else the tables depend on when somebody ran what, and nobody could make them anew."""
    history, at_once = after(steps), after([step for step in steps if len(step) == 3])
    history.run()
    assert {c: v.verdict for c, v in history.recorded.items()} == {
        c: v.verdict for c, v in at_once.run().judged.items()
    }
    live = at_once.run(everything=True).live
    for judged in (frozenset[str](), frozenset({PATHS[0]}), frozenset(PATHS)):
        known = known_of(history.journal, judged, history.recorded, EVERY_DAY)
        assert live_elsewhere(known) == {content for content in live if content[0] not in judged}


@EXAMPLES
@given(STEPS, st.randoms(use_true_random=False))
def test_the_order_of_other_paths_makes_no_difference(steps: list[Step], random: Random):
    """Else two drops that land at once would make one table or another."""
    actions = [step for step in steps if len(step) == 3]
    order = {path: [step for step in actions if step[1] == path] for path in PATHS}
    turns = [step[1] for step in actions]
    random.shuffle(turns)
    other = after([order[path].pop(0) for path in turns])
    assert outcome(after(actions).run()) == outcome(other.run())


@EXAMPLES
@given(STEPS)
def test_deciding_again_decides_the_same(steps: list[Step]):
    """Else running anything again would change something."""
    history = after(steps)
    first = outcome(history.run(everything=True))
    assert outcome(history.run(everything=True)) == first
    assert history.run().judged == {}
    assert history.unshown == ()


@EXAMPLES
@given(STEPS, STEPS)
def test_after_a_restore_all_is_decided_as_before(early: list[Step], late: list[Step]):
    """Else a table that is restored to an earlier version would become another one."""
    history = after(early)
    history.run()
    earlier = dict(history.recorded)
    for step in late:
        if len(step) == 3:
            history.act(*step)
    now = outcome(history.run(everything=True))
    history.recorded, history.unshown = earlier, ()  # the verdicts were restored too
    assert outcome(history.run(everything=True)) == now
    history.recorded = {}
    assert outcome(history.run(everything=True)) == now


@EXAMPLES
@given(STEPS, st.sampled_from(PATHS))
def test_a_withdrawn_path_counts_nowhere_and_comes_back_as_it_was(steps: list[Step], path: str):
    """Else a drop that was taken back is still published, or cannot be had back."""
    history = after(steps)
    history.run(everything=True)
    before = history.run(everything=True)
    if history.said[path].last is None or history.said[path].before is not None:
        return
    history.act("withdraw", path, DROPS[0])
    gone = history.run()
    assert {content for content in gone.judged if content[0] == path} <= gone.gone
    assert not gone.rejected
    assert not gone.current
    everything = history.run(everything=True)
    assert everything.live == {content for content in before.live if content[0] != path}
    history.act("undo", path, DROPS[0])
    assert outcome(history.run(everything=True)) == outcome(before)


@EXAMPLES
@given(STEPS, st.sampled_from(PATHS), st.sampled_from(DROPS))
def test_a_correction_replaces_what_its_path_said_and_nothing_else(steps: list[Step], path: str, drop: Drop):
    """Else a correction of one day takes another with it, or a refused one takes away what was good."""
    history = after(steps)
    before = history.run(everything=True)
    entries = len(history.journal)
    history.act("land", path, drop)
    new = history.run()
    assert {content[0] for content in new.judged} == ({path} if len(history.journal) > entries else set())
    now = history.run(everything=True)
    assert {c for c in now.live if c[0] != path} == {c for c in before.live if c[0] != path}
    assert {c: v for c, v in now.judged.items() if c in before.judged} == before.judged
    mine = {c for c in now.live if c[0] == path}
    content = (path, drop.hash)
    if now.judged.get(content) and now.judged[content].verdict == "accepted" and new.judged:
        assert content in mine or history.said[path].live != drop.hash
    elif history.said[path].before is None:
        assert mine == {c for c in before.live if c[0] == path}


@EXAMPLES
@example([("land", PATHS[0], DROPS[4]), (EVERY_DAY, False), ("acknowledge", PATHS[0], DROPS[4])], frozenset())
@example([("land", PATHS[0], DROPS[4]), (EVERY_DAY, False), ("withdraw", PATHS[0], DROPS[4])], frozenset())
@example(
    [*(("land", PATHS[0], DROPS[n]) for n in (0, 2)), (EVERY_DAY, False), ("land", PATHS[0], DROPS[0])], frozenset()
)
@given(STEPS, st.frozensets(st.sampled_from(sorted(EVERY_DAY))))
def test_a_day_that_becomes_good_is_owed_until_it_is_shown(steps: list[Step], shown: frozenset[str]):
    """Else a partition stays red for ever although nothing is wrong with it any more: after its drop was corrected by
    what had landed before, withdrawn or acknowledged, and another day's run was the first to see that.
    """
    history, red = History(), set[str]()
    for step in [*steps, (shown, False)]:
        if len(step) == 3:
            history.act(*step)
            continue
        owed = (set(history.unshown) | (red - history.red())) - step[0]
        assert history.run(*step).unshown == tuple(sorted(owed))
        red = history.red()
