"""The landing sensor: asks what is pending and requests a bounded range run for it, one at a time.

Belongs here: from what is pending and under way to the next run, and what is remembered from tick to tick. Does not
belong here: what is pending (`pending.py`), what a run is to do (`work.py`), when failed work is tried again
(`attempts.py`), what a run does.

What is loaded is read from the tables, never from the cursor: a cursor cannot follow how runs end. The cursor remembers
what Snowflake was last seen to have, so that ticks that find nothing to do do not keep a warehouse awake, and what a
person should know, for the watch (`alerts.py`). Lost, it costs one question.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from lakehouse_assets.errors import AccountUnavailableError
from lakehouse_assets.orchestration.automation.attempts import (
    ATTEMPT_TAG,
    ATTEMPTS,
    PAUSES,
    SENSOR,
    History,
    in_pieces,
    set_aside,
)
from lakehouse_assets.orchestration.automation.inflight import under_way
from lakehouse_assets.orchestration.automation.jobs import ASIDE, LAKEHOUSE_ONLY, LOAD_ALL
from lakehouse_assets.orchestration.automation.pending import Pending, TableNode, pending
from lakehouse_assets.orchestration.automation.work import Work, open_work
from lakehouse_assets.orchestration.graph import served
from lakehouse_assets.orchestration.internals.runs import MAX_RETRIES_TAG
from lakehouse_assets.orchestration.resources.handoff_resource import HandoffResource
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource

ASK_SECONDS = 3600
"""How long Snowflake is believed to have what it was last seen to have, while no gold table changes."""


class Memory:
    """What the cursor holds: what Snowflake was last seen to have, since when it cannot be reached and why, and what
    was given up.
    """

    def __init__(self, cursor: str | None):
        held, self.lost = cursor_object(cursor)
        """Why the cursor could not be read; everything is then looked at anew. None where it could."""
        self.seen: dict[str, list] = {}
        self.asked: float = 0.0
        self.unreachable: str = ""
        self.in_vain: int = 0
        """How often it was asked since it last answered."""
        self.given_up: dict[str, str] = {}
        """Range of batch dates → one sentence."""
        wrong = [
            name
            for name, usual in vars(self).items()
            if name in held and not isinstance(held[name], _LIKE[type(usual)])
        ]
        if wrong:
            self.lost = f"The cursor holds no usable {', '.join(sorted(wrong))}; it is started over."
        else:
            vars(self).update({name: held[name] for name in vars(self).keys() & held.keys() - {"lost"}})

    def behind(self, lakehouse: LakehouseResource, handoff: HandoffResource, pause: float) -> dict[str, str]:
        """Snowflake table → why it is behind; asked of Snowflake only where a gold table has changed or the answer is
        old.

        Nothing where it cannot be reached: `unreachable` then says why. It is asked again with growing pauses, for
        whoever calls at every tick with a password that has expired locks the user.
        """
        if self.unreachable and time.time() - self.asked < pause * PAUSES[min(self.in_vain, len(PAUSES)) - 1]:
            return {}
        store = lakehouse.tables.store
        heads = {c.name: store.head(c.name) for c in served().values()}
        now = {name: [head.data_version, head.table_id] for name, head in heads.items() if head}
        if not self.unreachable and now == self.seen and time.time() - self.asked < ASK_SECONDS:
            return {}
        try:
            with handoff.open() as open_handoff:
                behind = handoff.behind(open_handoff)
        except AccountUnavailableError as error:
            self.unreachable, self.in_vain, self.asked = str(error), self.in_vain + 1, time.time()
            return {}
        self.unreachable, self.in_vain = "", 0
        self.seen, self.asked = ({}, 0.0) if behind else (now, time.time())
        return behind

    def give_up(self, work: Iterable[Work]) -> None:
        """Remember just this as given up."""
        self.given_up = {
            f"{w.first}/{w.last}": (
                f"Batch dates {w.first} to {w.last}: tried {ATTEMPTS} times; see why its runs failed, then "
                "materialise it by hand."
            )
            for w in work
        }

    def text(self) -> str:
        return json.dumps({name: value for name, value in vars(self).items() if name != "lost"})


_LIKE: Mapping[type, tuple[type, ...]] = {dict: (dict,), float: (int, float), int: (int,), str: (str,), type(None): ()}
"""What a value of the cursor may be, by what it is at first."""


def cursor_object(cursor: str | None) -> tuple[dict[str, Any], str | None]:
    """The JSON object in a cursor, and why there is none: a cursor can be set by hand, to anything."""
    try:
        held = json.loads(cursor or "{}")
    except (ValueError, RecursionError):
        held = None
    if not isinstance(held, dict):
        return {}, "The cursor is no JSON object; it is started over."
    return held, None


def landing_sensor(graph: Mapping[str, TableNode], pause: float, jobs: Mapping[str, Any]) -> dg.SensorDefinition:
    """Requests runs for what is pending. pause: how many seconds are waited after a run that failed; after several in a
    row, longer. jobs: by name.
    """

    @dg.sensor(
        name=SENSOR,
        jobs=[jobs[LOAD_ALL], jobs[LAKEHOUSE_ONLY]],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            "Loads what lands: new, corrected and late drops, and tables that a died run left behind. One run at a"
            f" time; failed work comes again with growing pauses, {ATTEMPTS} times in all, and in halves where it spans"
            " several days. Without Snowflake, as far as gold."
        ),
    )
    def sensor(
        context: dg.SensorEvaluationContext, lakehouse: LakehouseResource, handoff: HandoffResource
    ) -> dg.SensorResult:
        runs = under_way(context.instance, ASIDE)
        loading = next((run for run in runs if run.job_name in (LOAD_ALL, LAKEHOUSE_ONLY)), None)
        if loading:
            return dg.SensorResult(
                skip_reason=f"Run {loading.run_id[:8]} is loading; what it leaves pending is taken up at the next tick."
            )
        memory, history = Memory(context.cursor), History(context.instance)
        if memory.lost:
            context.log.warning(memory.lost)
        behind = {} if runs else memory.behind(lakehouse, handoff, pause)
        found = pending(lakehouse.tables, lakehouse.zone, graph, behind, lakehouse.databases)
        rest, given_up = set_aside(found, history, lakehouse.zone)
        ready, hopeless, waiting = _next(open_work(rest, runs), history, pause)
        memory.give_up([*given_up, *hopeless])
        said = [*memory.given_up.values(), *waiting, *_remarks(found, memory)]
        if ready is None:
            return dg.SensorResult(skip_reason=" ".join(said) or "Nothing to do.", cursor=memory.text())
        for sentence in said:
            context.log.warning(sentence)
        job = LAKEHOUSE_ONLY if memory.unreachable else LOAD_ALL
        return dg.SensorResult(run_requests=[_request(ready, history.attempt(ready), job)], cursor=memory.text())

    return sensor


def _next(open_: Sequence[Work], history: History, pause: float) -> tuple[Work | None, list[Work], list[str]]:
    """The work of the next run, the work that is given up, and a sentence about each that waits."""
    ready: Work | None = None
    given_up: list[Work] = []
    waiting: list[str] = []
    for work in (piece for whole in open_ for piece in in_pieces(whole, history)):
        wait = history.not_before(work, pause) - time.time()
        if history.failures(work) >= ATTEMPTS:
            given_up.append(work)
        elif wait > 0:
            waiting.append(
                f"Batch dates {work.first} to {work.last}: the last run failed; the next one starts in {wait:.0f} s."
            )
        else:
            ready = ready or work
    return ready, given_up, waiting


def _remarks(found: Pending, memory: Memory) -> list[str]:
    """What a person should know beside the work: one sentence each."""
    said = []
    if memory.unreachable:
        said.append(f"{memory.unreachable} The lakehouse is loaded meanwhile, and handed off once it can be.")
    if rejected := len(found.refused) + len(found.unreadable):
        said.append(f"{rejected} drops that are refused or cannot be read wait for their correction.")
    said += found.unavailable.values()
    if found.refused_names:
        said.append(f"{len(found.refused_names)} files are not taken in; `lakehouse status` says why.")
    return said


def _request(work: Work, attempt: int, job: str) -> dg.RunRequest:
    # This sensor tries again by itself, and knows what is left to be done; a retry of the daemon would do it once more.
    tags = {**work.tags(SENSOR), ATTEMPT_TAG: str(attempt), MAX_RETRIES_TAG: "0"}
    return dg.RunRequest(run_key=f"{work.mark}-{attempt}", job_name=job, tags=tags)
