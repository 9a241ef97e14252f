"""Runs what is pending, in this process, until nothing is or no run makes progress any more.

Belongs here: from what is pending to runs and back. Does not belong here: how a run is put on the instance
(`orchestration/instance/runs.py`), printing.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import dagster as dg

from lakehouse_assets.core.delta.findings import DamagedTableError
from lakehouse_assets.core.delta.staging import JOURNAL
from lakehouse_assets.core.handoff.state import State
from lakehouse_assets.core.sources.ingest import entries
from lakehouse_assets.core.sources.progress import Batches, Reason
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.automation.inflight import is_refusal
from lakehouse_assets.orchestration.automation.jobs import LOAD_ALL
from lakehouse_assets.orchestration.automation.look import Look
from lakehouse_assets.orchestration.automation.pending import Pending
from lakehouse_assets.orchestration.graph import TableNode
from lakehouse_assets.orchestration.instance.runs import RunResult, StepProgress, execute_range
from lakehouse_assets.orchestration.keys import asset_key, step_name, table_of
from lakehouse_assets.orchestration.resources.handoff_resource import HandoffResource
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource

ROUNDS = 3
"""A refused drop stops its run after silver; what lies downstream of the other drops follows in a run of its own."""

_TOLD = 5
"""How many things that are still pending are named in a message."""


class Runner:
    """One go at bringing everything up to date.

    start, end: batch dates to which new drops are restricted. select: asset keys as lists of parts, None for all. say:
    takes a sentence for the user. effect: what recomputing a stale table will do to quarantine, in words, where it has
    one. look: what was seen just before, if anybody has looked. `results` are the runs made; `damaged` says of which
    step why it read or wrote nothing; `unfinished` says what they left undone though they should not have, None where
    nothing.
    """

    def __init__(
        self,
        *,
        instance: dg.DagsterInstance,
        definitions: dg.Definitions,
        graph: Mapping[str, TableNode],
        lakehouse: LakehouseResource,
        handoff: HandoffResource,
        start: date | None = None,
        end: date | None = None,
        select: Sequence[Sequence[str]] | None = None,
        say: Callable[[str], Any] = lambda _: None,
        effect: Callable[[str], str | None] = lambda _: None,
        observer: Callable[[StepProgress], None] | None = None,
        echo: bool = False,
        look: Look | None = None,
    ):
        self.instance, self.definitions, self.graph = instance, definitions, graph
        self.lakehouse, self.handoff = lakehouse, handoff
        self.start, self.end = start, end
        self.select = [dg.AssetKey(list(s)) for s in select] if select else None
        self.say, self.effect, self.observer, self.echo = say, effect, observer, echo
        self.results: list[RunResult] = []
        self.unfinished: str | None = None
        self.damaged: dict[str, str] = {}
        self.look = look or self._look()

    @property
    def found(self) -> Pending:
        """What is pending within the range, as last seen."""
        return self.look.found

    @property
    def state(self) -> State | None:
        """What Snowflake has acknowledged, as last seen."""
        return self.look.state

    @property
    def runs(self) -> int:
        """How many runs were made."""
        return len(self.results)

    def _look(self) -> Look:
        return Look.taken(self.lakehouse, self.handoff, self.graph, self.start, self.end)

    def run(self, *, force: Collection[str] = ()) -> None:
        """Make the runs. force: tables to recompute although nothing is pending.

        Raises `LakehouseError` for a step that failed for another reason than a refused drop; drops that are refused
        stand in `found`.
        """
        if not self.found and not force:
            self.say("Nothing to do.")
            return
        for name, reason in self.found.behind.items():
            if reason.reason is Reason.STALE:
                effect = self.effect(name)
                self.say(f"{name} is {reason}; it is recomputed from its upstreams{f': {effect}' if effect else ''}.")
        for round_ in range(ROUNDS):
            before = self.found
            forced = force if round_ == 0 else ()
            for first, last in self._whole_range() if forced else self._stretches():
                self._execute(first, last, forced)
                forced = ()
            self.look = self._look()
            if self.select or self.found.only_messages:
                return
            if self.damaged:
                return  # what is left undone is so because of that
            if self.found == before:
                break
        if not set(self.found.dates) <= self.found.red:  # else it waits for corrections, which are asked for by name
            self.unfinished = self._unfinished()

    def _unfinished(self) -> str:
        drops = [f"the drop {d.path} has not been taken in" for d in self.found.drops]
        tables = [f"{name} is {reason}" for name, reason in {**self.found.behind, **self.found.handoffs}.items()]
        said = [*drops, *tables]
        more = f"; and {len(said) - _TOLD} more" if len(said) > _TOLD else ""
        made = f"{self.runs} run{'' if self.runs == 1 else 's'}"
        return (
            f"After {made} this is still pending: {'; '.join(said[:_TOLD])}{more}. Run the command again; if it stays,"
            " look at the last run in the UI."
        )

    def _stretches(self) -> list[tuple[date, date]]:
        """What is pending. Tables asked for without their upstreams are run over the dates that these include, if there
        are any: it need not be all of them.
        """
        lacking = self._lacking(self.found.dates)
        if not lacking:
            return self.found.stretches()
        red = self.found.red | lacking
        dates = [d for d in self.found.dates if d not in red]
        if not dates and (self.found.behind or self.found.handoffs):
            landed = {e.batch_date for e in entries(self.lakehouse.tables)}
            dates = sorted(landed - red - self._lacking(landed))[-1:]
        return replace(self.found, dates=dates, red=red).stretches() or self.found.stretches()

    def _lacking(self, days: Collection[date]) -> frozenset[date]:
        """Those batch dates that an upstream which is not part of the selection does not include."""
        if self.select is None:
            return frozenset()
        chosen = {table_of(key) for key in self.select}
        batches = Batches(self.lakehouse.tables, self.lakehouse.zone)
        found: set[date] = set()
        for reader in chosen:
            table = reader.removeprefix("snowflake.")
            upstreams = (
                (f"gold.{table}",) if table != reader else self.graph[reader].upstreams if reader in self.graph else ()
            )
            for upstream in upstreams:
                if upstream in self.graph and upstream not in chosen:
                    found |= batches.lacking(upstream, days, reader, landing=JOURNAL not in chosen).keys()
        return frozenset(found)

    def _whole_range(self) -> list[tuple[date, date]]:
        """From the first to the last batch date, in pieces around those that wait for a correction or are not in the
        upstreams of a selection.
        """
        days = [e.batch_date for e in entries(self.lakehouse.tables)] + [d.batch_date for d in self.found.drops]
        if not days:
            raise LakehouseError(
                f"Nothing has landed below {self.lakehouse.landing}; put drops there or name another folder with"
                " --landing."
            )
        first, last = self.start or min(days), self.end or max(days)
        pieces = []
        begin = first
        every = [date.fromordinal(n) for n in range(first.toordinal(), last.toordinal() + 1)]
        closed = self.found.red | self._lacking(every)
        for red in sorted(d for d in closed if first <= d <= last):
            pieces += [(begin, red - timedelta(days=1))] if begin < red else []
            begin = red + timedelta(days=1)
        pieces += [(begin, last)] if begin <= last else []
        return pieces or [(first, last)]

    def _execute(self, first: date, last: date, force: Collection[str]) -> None:
        inside = [d for d in self.found.drops if first <= d.batch_date <= last]
        outside = (self.start and last < self.start) or (self.end and first > self.end)
        more = "; outside the range, for tables catch up with what had landed" if outside else ""
        self.say(f"Batch dates {first} to {last}, {len(inside)} new drops{more}")
        chosen = {
            name for name in force if name in self.graph and (self.select is None or asset_key(name) in self.select)
        }
        config = {"ops": {step_name(name): {"config": {"force": True}} for name in chosen}} if chosen else {}
        result = execute_range(
            self.instance,
            job_name=LOAD_ALL,
            asset_keys=self.select,
            start_key=first.isoformat(),
            end_key=last.isoformat(),
            run_config=config,
            tags={
                "lakehouse/trigger": "command",
                "lakehouse/sources": ",".join(sorted({d.source for d in inside})) or "none",
                "lakehouse/drops": str(len(inside)),
                "lakehouse/span": f"{first}/{last}",
            },
            defs=self.definitions,
            observer=self.observer,
            echo=self.echo,
        )
        self.results.append(result)
        if result.error and not result.failed_steps:
            raise LakehouseError(f"Run {result.run_id} failed: {_said(result.error)}; -v shows where.")
        for step in result.failed_steps:
            # A gate that blocks is reported by `found.refused` and by its check; a damaged table has stopped itself and
            # what lies downstream of it, and the other tables of the run are done; anything else is an error of the
            # run.
            if DamagedTableError.__name__ in step.message:
                self.damaged[step.step_key] = step.message.partition(": ")[2]
            elif not is_refusal(step.step_key, step.message):
                said = _said(step.message)
                raise LakehouseError(f"Step {step.step_key} of run {result.run_id} failed: {said}; -v shows where.")


def _said(message: str) -> str:
    return message.strip().removeprefix(f"{LakehouseError.__module__}.{LakehouseError.__name__}: ").rstrip(".")
