"""Anything may happen in any order: after a run, everything is what follows from what has landed, and from nothing
else.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from lakehouse_assets.core.delta.rs import DeltaRsStore
from lakehouse_assets.core.handoff import faults
from lakehouse_assets.core.sources import ingest
from lakehouse_assets.definitions import kept_tables
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.automation.jobs import LOAD_ALL
from lakehouse_assets.orchestration.automation.maintenance import compact
from lakehouse_assets.orchestration.automation.recovery import check_tables
from lakehouse_assets.orchestration.graph import served
from lakehouse_assets.orchestration.instance.runs import execute_range
from lakehouse_assets_tests.oracle.oracle import KEYS
from lakehouse_assets_tests.pipeline import model
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.model import Content, Model
from lakehouse_assets_tests.pipeline.world import BRONZE, World, day_of, differences

DAYS = ("2011-01-30", "2011-01-31", "2011-02-01", "2011-02-03")
PATHS = {
    "orders": [f"orders/{name}" for day in DAYS for name in (f"orders_{day}.csv", f"more/orders_{day}.csv")],
    "customers": [f"customers/customers_{day}.jsonl" for day in DAYS],
    "fx": [f"fx/eurofxref_{day}.csv" for day in DAYS],
}

# -- what drops say: few values, so that they say the same, contradict each other and meet ---------------------------

LINES = [
    f"{invoice},{code},{words},{quantity},{day} {clock},{price},{customer},{country}"
    for invoice, code, words, quantity, day, clock, price, customer, country in (
        ("536365", "85123A", "WHITE HEART", 6, "2011-01-30", "08:26:00", "2.55", "17850", "France"),
        # the same, written otherwise
        ("536365", "85123A", "WHITE HEART", 6, "2011-01-30", "08:26:00", "2.550", "17850.0", "France"),
        ("536366", "85123A", "RED HEART", 1, "2011-01-31", "09:00:00", "2.55", "17850", "France"),
        ("536367", "85123a", " RED HEART", 2, "2011-02-01", "09:00:00", "1.005", "", "Spain"),
        ("536368", "22423", "CAKESTAND", 3, "2011-02-01", "10:00:00", "10.95", "13047", "Spain"),
        ("C536369", "22423", "CAKESTAND", -1, "2011-02-03", "11:00:00", "10.95", "13047", "Spain"),
        ("C536370", "85123A", "WHITE HEART", -6, "2010-12-31", "11:00:00", "2.55", "17850", "France"),
        ("A563185", "B", "Adjust bad debt", 1, "2011-02-03", "14:50:00", "-11062.06", "", "Spain"),
        ("536371", "22423", "", 4, "2011-02-03", "15:00:00", "0", "12346", "France"),
        ("536372", "POST", "POSTAGE", 1, "2011-01-30", "23:59:59", "18", "12346", "France"),
    )
]
BAD_LINES = [
    LINES[0].replace(",6,", ",many,"),
    LINES[2].replace("2.55", "2.5501"),
    LINES[4].replace("536368", "X"),
    LINES[5] + ",more",
    "536365,85123A",
]
RECORDS: list[Any] = [
    {
        "customer_id": customer,
        "name": name,
        "city": "Paris",
        "country": "France",
        "segment": "shop",
        "updated_at": moment,
        **more,
    }
    for customer, name, moment, more in (
        (17850, "Ada", "2011-01-30T10:00:00Z", {}),
        ("17850", "Ada Lovelace", "2011-01-30T10:00:00Z", {}),  # as late as the one before
        (17850, "Ada", "2011-02-01T10:00:00+02:00", {"deleted": True}),
        (17850, "Augusta", "2011-02-01T08:00:00.000001Z", {}),
        (13047, "Bob", "2011-01-31T10:00:00Z", {}),
        (13047, None, "2011-02-01T10:00:00Z", {}),
        (12346, "Cy", "2011-01-29T10:00:00Z", {"deleted": True}),
    )
]
BAD_RECORDS: list[Any] = [
    {**RECORDS[0], "updated_at": None},
    {**RECORDS[4], "customer_id": "none"},
    '{"customer_id": 1, ',
    {**RECORDS[4], "updated_at": "soon"},
]
RATES = [(day, rate) for day in ("2011-01-28", *DAYS) for rate in ("0.85", "0.9012")] + [(DAYS[1], "N/A")]
BAD_RATES = [(DAYS[0], "dear"), (DAYS[1], "-1"), ("soon", "0.9"), (DAYS[2], "0")]
RUBBISH = (b"", b"<html>\n<body>Unavailable</body></html>\n", b"\xff\xfe\x00\x01")


def rows(good: list[Any], bad: list[Any], empty: bool) -> st.SearchStrategy[tuple[list[Any], list[int]]]:
    """Rows of a drop, and which of them (from 1) are bad: none mostly, else few or many. empty: whether there may be
    none.
    """
    some = st.lists(st.sampled_from(good), min_size=1, max_size=4)
    few = st.lists(st.sampled_from(bad), min_size=1, max_size=2)
    many = st.lists(st.sampled_from(bad), min_size=6, max_size=7)
    eleven = st.lists(st.sampled_from(good), min_size=11, max_size=11)
    together = st.one_of(
        st.tuples(some, st.just([])),
        st.tuples(some, st.just([])),
        st.tuples(st.just([]) if empty else some, st.just([])),
        st.tuples(some, few),
        st.tuples(some, many),
        st.tuples(eleven, few),
        st.tuples(st.just([]), few),
    )

    def mixed(drawn: tuple[list[Any], list[Any]]) -> tuple[list[Any], list[int]]:
        good, bad = drawn
        return [*bad[:1], *good, *bad[1:]], [*([1] if bad else []), *range(len(good) + 2, len(good) + len(bad) + 1)]

    return together.map(mixed)


def contents(source: str) -> st.SearchStrategy[Content]:
    make: Callable[[Any, Any], Content]
    good, bad, make = {
        "orders": (LINES, BAD_LINES, model.orders),
        "customers": (RECORDS, BAD_RECORDS, model.customers),
        "fx": (RATES, BAD_RATES, model.rates),
    }[source]
    # A file of JSON lines without a line is an empty file.
    made = rows(good, bad, empty=source != "customers").map(lambda drawn: make(*drawn))
    return st.one_of(made, made, made, made, st.sampled_from(RUBBISH).map(lambda data: model.unreadable(source, data)))


drops = st.sampled_from(["orders", "orders", "customers", "fx"]).flatmap(
    lambda s: st.tuples(st.sampled_from(PATHS[s]), contents(s))
)

PARTS = [
    BRONZE,
    ["bronze.orders", "bronze.landings"],
    ["bronze.orders"],
    ["bronze.landings"],
    [*BRONZE, "silver.order_lines", "silver.products", "gold.dim_products", "snowflake.dim_products"],
    [*BRONZE, "silver.customers", "silver.fx_rates"],
    ["silver.order_lines", "silver.customers", "silver.fx_rates"],
    ["silver.fx_rates", "gold.sales_lines", "gold.daily_sales"],
    ["silver.intake"],
    ["gold.customer_months", "gold.customer_value", "gold.cohort_retention"],
    ["snowflake.sales_lines", "snowflake.daily_sales"],
]
COMPUTED = [
    name
    for name in kept_tables()
    if not name.startswith("bronze.") and "_quarantine" not in name and "_verdicts" not in name
]


SOURCES = {"orders": "silver.order_lines", "customers": "silver.customers", "fx": "silver.fx_rates"}


class BrokenOff(Exception):
    """What a test lets fail in the middle of a run."""


class Lakehouse(RuleBasedStateMachine):
    """One lakehouse, and beside it the model of what it must hold."""

    def __init__(self, make_world: NewWorld, kills: int = 0) -> None:
        """kills: how many runs may be killed; each is a process of its own, which takes as long as all the other
        steps.
        """
        super().__init__()
        self.world: World = make_world()
        self.model = Model()
        self.made: dict[str, Content] = {}
        """Every content that ever lay in the landing zone, by its hash."""
        self.lying: dict[str, str] = {}
        """What lies there now: path → hash."""
        self.journaled: dict[str, int] = {}
        """How many entries of each path the model knows."""
        self.kills = kills
        self.clean = True
        """Whether nothing has happened since the last whole run."""

    def teardown(self) -> None:
        try:
            self.run()
            versions = self.world.versions()
            if self.model.paths:
                self.world.run(force=self.world.graph)
                assert self.world.versions() == versions, "a forced run has committed something"
        finally:
            self.world.cursor_do("DROP DATABASE IF EXISTS {db}")
            self.world.close()
            shutil.rmtree(self.world.root, ignore_errors=True)

    # -- what lands and what people say of it ------------------------------------------------------------------------

    def lay(self, path: str, content: Content) -> None:
        self.made[content.hash] = content
        self.lying[path] = content.hash
        self.clean = False
        self.world.drop(path, content.data)

    @initialize(drops=st.lists(drops, min_size=2, max_size=6))
    def begin(self, drops: list[tuple[str, Content]]) -> None:
        for drop in drops:
            self.lay(*drop)

    @rule(drop=drops)
    def land(self, drop: tuple[str, Content]) -> None:
        self.lay(*drop)

    @rule(drop=drops, day=st.sampled_from(DAYS))
    def land_twice(self, drop: tuple[str, Content], day: str) -> None:
        """The same content under two paths."""
        path, content = drop
        self.lay(path, content)
        self.lay(path.replace("_20", "_again_20").replace(str(day_of(path)), day), content)

    @precondition(lambda self: self.model.paths)
    @rule(data=st.data())
    def correct(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.model.paths)))
        self.lay(path, data.draw(contents(path.split("/")[0])))

    @precondition(lambda self: self.model.paths)
    @rule(data=st.data())
    def say_an_earlier_content_again(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.model.paths)))
        self.lay(path, self.made[data.draw(st.sampled_from(list(self.model.paths[path].first)))])

    @precondition(lambda self: self.lying)
    @rule()
    def empty_the_landing_zone(self) -> None:
        for path in self.lying:
            (self.world.landing / path).unlink()
        self.lying = {}

    @precondition(lambda self: any(s.before is None for s in self.model.paths.values()))
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(p for p, s in self.model.paths.items() if s.before is None)))
        self.world.withdraw(path)
        self.model.withdrawn(path)
        self.journaled[path] += 1
        self.clean = False

    @precondition(lambda self: any(s.before is not None for s in self.model.paths.values()))
    @rule(data=st.data())
    def land_again(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(p for p, s in self.model.paths.items() if s.before is not None)))
        self.world.land(path)
        self.model.landed_again(path)
        self.journaled[path] += 1
        self.clean = False

    @precondition(lambda self: self.model.open("refused") + self.model.open("unreadable"))
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(self.model.open("refused") + self.model.open("unreadable")))
        ingest.acknowledge(self.world.lakehouse, path)
        self.model.acknowledged(path)
        self.journaled[path] += 1
        self.clean = False

    # -- runs --------------------------------------------------------------------------------------------------------

    @precondition(lambda self: not self.clean)
    @rule()
    def run(self) -> None:
        runner = self.world.run()
        assert runner.unfinished is None, runner.unfinished
        self.whole()

    @rule(part=st.sampled_from(PARTS))
    def run_a_part(self, part: list[str]) -> None:
        self.run_some(part)

    @rule(day=st.sampled_from(DAYS))
    def run_a_day(self, day: str) -> None:
        """What a backfill of a day does in the UI."""
        result = execute_range(
            self.world.instance,
            job_name=LOAD_ALL,
            asset_keys=None,
            start_key=day,
            end_key=day,
            defs=self.world.definitions,
        )
        self.look()
        refused = any(str(day_of(path)) == day for path in self.model.open("refused"))
        assert result.success or (refused and all("AssetCheckFailedError" in s.message for s in result.failed_steps)), (
            result
        )

    @rule(commit=st.integers(0, 21), done=st.booleans())
    def break_off_at_a_commit(self, commit: int, done: bool) -> None:
        """Something fails just before, or just after, one of the commits of a run."""
        real, passed = DeltaRsStore.commit, [0]

        def breaking(store: DeltaRsStore, *args: Any, **more: Any) -> int:
            passed[0] += 1
            if passed[0] - 1 == commit and not done:
                raise BrokenOff
            version = real(store, *args, **more)
            if passed[0] - 1 == commit:
                raise BrokenOff
            return version

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(DeltaRsStore, "commit", breaking)
            self.broken_off()

    @rule(point=st.sampled_from(faults.CRASH_POINTS), nth=st.integers(1, 4))
    def break_off_in_the_handoff(self, point: str, nth: int) -> None:
        passed = [0]

        def breaking(name: str) -> None:
            passed[0] += name == point
            if passed[0] == nth:
                raise BrokenOff

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(faults, "crash_point", breaking)
            self.broken_off()

    def broken_off(self) -> None:
        try:
            self.world.run()
        except LakehouseError as error:
            if "BrokenOff" not in str(error):
                raise
        self.look()

    @precondition(lambda self: self.kills > 0)
    @rule(where=st.sampled_from([*faults.CRASH_POINTS, *kept_tables()]))
    def kill(self, where: str) -> None:
        """A run in a process of its own dies: at a point of a hand-off, or once a table has a new version."""
        self.kills -= 1
        log = None
        if "." in where:
            log = Path(
                self.world.root,
                "tables",
                *where.split("."),
                "_delta_log",
                f"{self.world.versions().get(where, 0) + 1:020}.json",
            )
        with (self.world.root / "run.log").open("w") as said:
            more = {} if log else {"LAKEHOUSE_KILL_AT": where}
            process = subprocess.Popen(
                self.world.command_line("run"),
                env=self.world.process_environment(**more),
                cwd=self.world.root,
                stdout=said,
                stderr=said,
            )
            deadline = time.monotonic() + 300
            while process.poll() is None and not (log and log.exists()):
                assert time.monotonic() < deadline, "waited in vain for the run"
                time.sleep(0.01)
            process.kill()
            process.wait()
        assert process.returncode in (-signal.SIGKILL, 0, 1), (self.world.root / "run.log").read_text()
        self.world.load()
        self.look()

    # -- keeping house -----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.journaled)
    @rule()
    def tidy(self) -> None:
        store = self.world.lakehouse.store
        for name in self.world.versions():
            compact(self.world.lakehouse, name)
            store.vacuum(name, 0, "model")
        with self.world.resources["handoff"].open() as opened:
            if self.world.resources["handoff"].state(opened) is not None:
                opened.sweep()

    @precondition(lambda self: self.journaled)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        """Somebody puts a table back to an earlier version."""
        versions = {n: v for n, v in self.world.versions().items() if n in COMPUTED and v > 0}
        if versions:
            name = data.draw(st.sampled_from(sorted(versions)))
            version = data.draw(st.integers(0, versions[name] - 1))
            self.clean = False
            try:
                if data.draw(st.booleans(), "by hand"):
                    DeltaTable(self.world.lakehouse.store.uri(name)).restore(version)
                else:
                    self.world.lakehouse.store.restore(name, version)
            except Exception as error:  # its files are vacuumed away
                if not self.world.lakehouse.store.is_gone(name, version, error):
                    raise

    @precondition(lambda self: self.journaled)
    @rule(name=st.sampled_from(COMPUTED))
    def rebuild(self, name: str) -> None:
        """What `lakehouse rebuild` does."""
        if self.world.graph[name].upstreams and set(self.world.graph[name].upstreams) <= self.world.versions().keys():
            self.run_some([name], force=[name])

    def run_some(self, part: list[str], force: Sequence[str] = ()) -> None:
        """Run a part of the graph. That a table further up has never been made, or lacks a batch, is said."""
        try:
            self.world.run(select=part, force=force)
        except LakehouseError as error:
            if "materialise" not in str(error):
                raise
        self.look()

    # -- what must hold ----------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Let the model know what has been taken in. Only content that lies there, and is new to its path, may have
        been.
        """
        entries = sorted(ingest.entries(self.world.lakehouse), key=lambda e: (e.path, e.sequence))
        seen: dict[str, int] = {}
        for entry in entries:
            seen[entry.path] = seen.get(entry.path, 0) + 1
            assert entry.sequence == seen[entry.path]
            if entry.sequence <= self.journaled.get(entry.path, 0):
                continue
            assert entry.state == "landed"
            assert entry.batch_date == day_of(entry.path)
            assert entry.content_hash == self.lying[entry.path]
            assert entry.path not in self.model.paths or self.model.paths[entry.path].last != entry.content_hash
            self.model.landed(entry.path, self.made[entry.content_hash])
        self.journaled = seen
        self.clean = False

    def whole(self) -> None:
        """Everything is as it follows from what has landed."""
        self.look()
        world = self.world
        lacking = {p: h for p, h in self.lying.items() if p not in self.model.paths or self.model.paths[p].last != h}
        assert not lacking, "not taken in"
        if not self.model.paths:
            self.clean = True
            return
        found = world.runner().found
        assert not found, "pending after a run"
        assert sorted(v.path for v in found.refused) == self.model.open("refused")
        assert sorted(v.path for v in found.unreadable) == self.model.open("unreadable")
        assert not found.damaged

        said = []
        with self.model.oracle(world.root / "contents") as oracle:
            said += [f"Delta: {wrong}" for name in KEYS if (wrong := oracle.difference(name, world.delta(name)))]
            said += [
                f"Snowflake: {wrong}"
                for name, table in world.snowflake().items()
                if (wrong := oracle.difference(name, table))
            ]
            published = model.published(oracle)
        assert not said, "\n".join(said)

        counted = ("standing", "landed", "published", "quarantined", "duplicates")
        accounts = {
            (r["path"], r["content_hash"]): tuple(r[c] for c in counted)
            for r in world.delta("silver.intake").to_pylist()
        }
        assert accounts == self.model.intake(published)
        assert all(landed == out + bad + double for _, landed, out, bad, double in accounts.values())
        sides = [row for name in SOURCES.values() for row in world.delta(f"{name}_quarantine").to_pylist()]
        quarantine = {(r["path"], r["content_hash"], r["row_number"]): "drop.bad_rows" in r["rules"] for r in sides}
        assert len(quarantine) == len(sides)
        assert quarantine == self.model.quarantine()

        with world.resources["handoff"].open() as opened:
            assert not world.resources["handoff"].altered(opened, world.resources["handoff"].state(opened))
            verified = [opened.verify(world.lakehouse.spark, contract) for contract in served().values()]
        assert all(v.equal and v.version >= 0 for v in verified), verified
        checked = list(check_tables(world.lakehouse, world.resources["handoff"], kept_tables(), full=True))
        assert not [f for c in checked for f in (*c.findings, *c.notes)]
        self.clean = True


def play(make_world: NewWorld, number: int, examples: int, steps: int, kills: int) -> None:
    """Let hypothesis play with lakehouses. number: of the seed; examples: how many of them, of which the first is the
    simplest one; steps: of each.
    """

    @seed(number)
    class Played(Lakehouse):
        def __init__(self) -> None:
            super().__init__(make_world, kills)

    run_state_machine_as_test(
        Played,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        ),
    )


def test_after_any_steps_a_run_gives_what_has_landed(make_world: NewWorld) -> None:
    """Features that are right one by one, and wrong one after the other, lose rows of those who use them so."""
    play(make_world, 1, examples=1, steps=4, kills=0)


@pytest.mark.heavy
@pytest.mark.timeout(7200)
def test_after_many_other_steps_a_run_gives_what_has_landed(make_world: NewWorld) -> None:
    """The same, as often as goes into twelve minutes, and not more than 25 times."""
    end = time.monotonic() + 12 * 60
    for number in range(2, 7):
        if time.monotonic() < end:
            play(make_world, number, examples=5, steps=12, kills=1)


# -- found so, and pinned --------------------------------------------------------------------------------------------


def test_tables_that_somebody_restored_are_brought_up_to_date_again(make_world: NewWorld) -> None:
    """A table that was restored to its beginning would say that it is up to date, and its rows would be gone from
    Snowflake for good.
    """
    world = make_world()
    world.drop(PATHS["orders"][0], model.orders(LINES, []).data)
    world.run()
    state = world.state()
    restored = {"silver.products", "gold.daily_sales"}
    for name in restored:
        DeltaTable(world.lakehouse.store.uri(name)).restore(0)
    assert world.runner().found.behind.keys() >= restored
    assert not world.run().found
    assert not differences(state, world.state())


@pytest.mark.heavy
def test_what_a_dead_run_left_in_bronze_and_was_replaced_before_the_next_one_is_not_published(
    make_world: NewWorld,
) -> None:
    """A drop that nobody has ever taken in, for its file was fixed meanwhile, would be published beside what replaced
    it.
    """
    played = Lakehouse(make_world)
    path = PATHS["orders"][0]
    played.lay(path, model.orders(LINES[:4], []))
    played.world.run(select=["bronze.orders"])
    played.lay(path, model.orders(LINES[4:6], []))
    played.run()
    played.lay(path, model.orders(LINES[6:8], []))
    played.world.run(select=["bronze.orders"])
    played.lay(path, model.orders(LINES[5:], []))
    played.world.run(force=["silver.order_lines"])
    played.whole()
