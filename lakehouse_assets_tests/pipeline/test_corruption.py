"""What is kept is damaged: it is named with its remedy, nothing of it is published, the rest goes on, and the remedy
makes everything equal again.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakehouse_assets.sample.dirt import DIRT_KINDS
from lakehouse_assets.sample.generate import generate
from lakehouse_assets_tests.pipeline.conftest import FIRST_DAY, NewWorld, Sample
from lakehouse_assets_tests.pipeline.world import World, differences, drops_of, line, order_csv

heavy = partial(pytest.param, marks=pytest.mark.heavy)
LAYERS = ("bronze", "silver", "gold", "snowflake")


class Kept:
    """A world with one load behind it, another one after that, and copies of its tables after each."""

    def __init__(self, world: World, sample: Sample, root: Path):
        self.world, self.root = world, root
        paths = drops_of(sample.landing)
        world.take(sample.landing, [p for p in paths if "09-05" not in p])
        world.run()
        shutil.copytree(self.tables, root / "yesterday")
        world.take(sample.landing, [p for p in paths if "09-05" in p])
        world.run()
        shutil.copytree(self.tables, root / "today")
        shutil.copytree(world.landing, root / "landing")
        self.state = world.state(LAYERS)

    @property
    def tables(self) -> Path:
        return self.world.root / "tables"

    def folder(self, table: str) -> Path:
        return self.tables / table.replace(".", "/")

    def back(self) -> None:
        """Tables and drops as they were after the last load."""
        for folder, source in ((self.tables, "today"), (self.world.landing, "landing")):
            shutil.rmtree(folder)
            shutil.copytree(self.root / source, folder)
        self.world.load()

    def yesterday(self, table: str) -> None:
        """Put the former copy of a table in its place."""
        shutil.rmtree(self.folder(table))
        shutil.copytree(self.root / "yesterday" / table.replace(".", "/"), self.folder(table))
        self.world.load()

    def files(self, table: str) -> list[Path]:
        """The data files of a table, largest first."""
        found = [
            p
            for p in self.folder(table).rglob("*.parquet")
            if not p.relative_to(self.folder(table)).parts[0].startswith("_")
        ]
        return sorted(found, key=lambda p: -p.stat().st_size)

    def entries(self, table: str) -> list[Path]:
        return sorted((self.folder(table) / "_delta_log").glob("*.json"))

    def assert_named(self, table: str, *words: str, full: bool = False) -> None:
        """`check`, or with `full` its content, says what is wrong with a table, and what to do."""
        done = self.world.command("check", *(["--full"] if full else []))
        assert done.returncode == 1, done.stdout + done.stderr
        said = next((row for row in done.stdout.splitlines() if row.startswith(f"{table}: ")), done.stdout)
        assert "run `lakehouse rebuild " in said, said
        assert all(word in said for word in words), said

    def assert_served_unchanged(self) -> None:
        assert not differences(
            {k: v for k, v in self.state.items() if k.startswith("snowflake")}, self.world.state(("snowflake",))
        )

    def assert_whole(self) -> None:
        """Everything is as it was, and nothing is wrong."""
        assert not differences(self.state, self.world.state(LAYERS))
        done = self.world.command("check", "--full")
        assert done.returncode == 0, done.stdout


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """As the others', without drops that cannot be read: they would let every command exit with 1."""
    root = tmp_path_factory.mktemp("sample")
    readable = [kind for kind in DIRT_KINDS if not kind.startswith("drop.")]
    ledger = generate(root / "dirty" / "landing", FIRST_DAY, 5, 30, 11, dirt=readable)
    generate(root / "clean" / "landing", FIRST_DAY, 5, 30, 11, dirt=())
    return Sample(root / "dirty" / "landing", root / "clean" / "landing", ledger)


@pytest.fixture(scope="module")
def once(make_world: NewWorld, sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(make_world(), sample, tmp_path_factory.mktemp("kept"))


@pytest.fixture
def kept(once: Kept) -> Iterator[Kept]:
    yield once
    once.back()
    # What Snowflake has recorded of the tables that are no more is of no use to the next test.
    once.world.cursor_do("DROP DATABASE IF EXISTS {db}")
    once.world.run()


def flip(file: Path, rng: random.Random) -> None:
    """Turn one bit over."""
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def flip_middle(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def rebuild(kept: Kept, table: str) -> str:
    done = kept.world.command("rebuild", table)
    assert done.returncode == 0, done.stdout + done.stderr
    again = kept.world.command("run")
    assert again.returncode == 0, again.stdout + again.stderr
    kept.world.load()
    return done.stdout


def test_a_flip_in_gold_is_named_and_neither_sent_nor_repaired_from(kept: Kept):
    """Else `verify --repair` publishes rotten rows."""
    flip_middle(kept.files("gold.sales_lines")[0])
    kept.world.cursor_do("DELETE FROM {db}.ANALYTICS.SALES_LINES")
    done = kept.world.command("verify", "--repair", "--tables", "sales_lines,daily_sales")
    assert done.returncode == 1
    assert "SALES_LINES          DAMAGED" in done.stdout
    assert "DAILY_SALES          equal" in done.stdout
    assert not kept.world.snowflake()["gold.sales_lines"].num_rows
    kept.assert_named("gold.sales_lines", "is not as it was committed", "rows", full=True)
    rebuild(kept, "gold.sales_lines")
    kept.world.command("verify", "--repair")
    kept.assert_whole()


@pytest.mark.heavy
def test_a_flip_in_silver_stops_its_table_and_the_others_go_on(kept: Kept, sample: Sample):
    """Else a day's merge writes the rot into a new file, with a new proof."""
    before = kept.world.versions()
    for file in kept.files("silver.order_lines"):
        flip_middle(file)
    kept.world.drop("orders/orders_2026-09-05_more.csv", order_csv([line(581999, "2026-09-05")]))
    kept.world.drop(
        "customers/crm_2026-09-05_more.jsonl",
        '{"customer_id": 999, "updated_at": "2026-09-05T10:00:00Z", "name": "N", "country": "EIRE"}\n',
    )
    done = kept.world.command("run")
    assert done.returncode == 1
    assert "silver.order_lines: " in done.stderr
    assert "run `lakehouse rebuild silver.order_lines`" in done.stderr
    after = kept.world.versions()
    assert after["silver.order_lines"] == before["silver.order_lines"]
    assert after["silver.customers"] > before["silver.customers"]
    assert kept.world.snowflake()["gold.dim_customers"].num_rows == kept.state["snowflake.dim_customers"].height + 1
    assert kept.world.snowflake()["gold.sales_lines"].num_rows == kept.state["snowflake.sales_lines"].height
    rebuild(kept, "silver.order_lines")
    assert kept.world.snowflake()["gold.sales_lines"].num_rows == kept.state["snowflake.sales_lines"].height + 1
    assert kept.world.command("verify").returncode == 0


def drop_last(kept: Kept, table: str) -> None:
    kept.entries(table)[-1].unlink()


def empty_last(kept: Kept, table: str) -> None:
    kept.entries(table)[-1].write_bytes(b"")


def empty_first(kept: Kept, table: str) -> None:
    kept.entries(table)[0].write_bytes(b"")


def another(kept: Kept, table: str) -> None:
    kept.entries(table)[-1].write_bytes(kept.entries(table)[-2].read_bytes())


def no_log(kept: Kept, table: str) -> None:
    shutil.rmtree(kept.folder(table) / "_delta_log")


@pytest.mark.parametrize(
    ("damage", "table", "words"),
    [
        (drop_last, "bronze.orders", "the log ends at version"),
        heavy(empty_last, "bronze.orders", "is empty"),
        heavy(empty_first, "silver.order_lines", "is empty"),
        heavy(another, "gold.daily_sales", "is another one than was committed"),
        heavy(drop_last, "bronze.landings", "the log ends at version"),
        heavy(no_log, "silver.customers", "was committed"),
        heavy(drop_last, "silver.order_lines_verdicts", "the log ends at version"),
    ],
)
def test_a_log_that_lacks_something_is_named_by_a_run_and_made_whole(
    kept: Kept, damage: Callable[[Kept, str], None], table: str, words: str
):
    """Else a table goes on from an older state, without a word."""
    damage(kept, table)
    done = kept.world.command("run")
    assert done.returncode == 1, done.stderr
    assert words in done.stderr, done.stderr
    assert "lakehouse rebuild" in done.stderr, done.stderr
    assert words in kept.world.command("status").stdout.replace("\n", "")
    kept.assert_named(table, words)
    kept.assert_served_unchanged()
    rebuild(kept, table.removesuffix("_verdicts"))
    kept.assert_whole()


@pytest.mark.parametrize("table", ["bronze.orders", heavy("bronze.landings"), heavy("gold.sales_lines")])
def test_yesterdays_copy_is_noticed_by_what_others_have_recorded(kept: Kept, table: str):
    """Else the only raw copy is short, and the next rebuild loses rows."""
    kept.yesterday(table)
    done = kept.world.command("run")
    assert done.returncode == 1, done.stderr
    assert f"{table}: " in done.stderr, done.stderr
    assert "ends early" in done.stderr, done.stderr
    kept.assert_served_unchanged()
    rebuild(kept, table)
    kept.assert_whole()


@pytest.mark.heavy
@pytest.mark.parametrize("table", ["bronze.orders", "bronze.landings"])
def test_bronze_that_somebody_restored_is_named_and_made_whole(kept: Kept, table: str):
    """A RESTORE makes the version greater and the table smaller: the only raw copy would be short, and everything be
    equal to it.
    """
    DeltaTable(str(kept.folder(table))).restore(0)
    kept.world.load()
    done = kept.world.command("run")
    assert done.returncode == 1, done.stderr
    assert f"{table}: " in done.stderr, done.stderr
    assert "put back to an earlier version" in done.stderr, done.stderr
    kept.assert_named(table, "put back to an earlier version")
    kept.assert_served_unchanged()
    rebuild(kept, table)
    kept.assert_whole()


def test_bronze_is_had_back_from_its_own_files_and_the_drops_and_says_which_are_missing(kept: Kept):
    """Else a rebuild serves a part of what was there."""
    file = next(f for f in kept.files("bronze.orders") if "2026-09-02" in str(f))
    flip_middle(file)
    emptied = [p for p in drops_of(kept.world.landing) if p.startswith("orders/") and "09-02" in p]
    for path in emptied:
        (kept.world.landing / path).rename(kept.root / Path(path).name)
    kept.assert_named("bronze.orders", "is not as it was committed", full=True)
    done = kept.world.command("rebuild", "bronze.orders")
    assert done.returncode == 1
    assert all(f"{path} is missing" in done.stderr for path in emptied if "unreadable" not in path)
    stopped = kept.world.command("run")
    assert stopped.returncode == 1
    assert "bronze.orders" in stopped.stderr
    for path in emptied:
        shutil.copy(kept.root / Path(path).name, kept.world.landing / path)
    rebuild(kept, "bronze.orders")
    kept.assert_whole()


@pytest.mark.heavy
def test_the_journal_and_bronze_of_yesterday_are_made_whole_one_after_the_other(kept: Kept):
    """Else the journal, made from a short bronze, blesses it."""
    kept.yesterday("bronze.orders")
    kept.yesterday("bronze.landings")
    assert kept.world.command("rebuild", "bronze.landings").returncode == 0
    done = kept.world.command("run")
    assert done.returncode == 1
    assert "bronze.orders: " in done.stderr
    rebuild(kept, "bronze.orders")
    kept.assert_whole()


# -- at random -------------------------------------------------------------------------------------------------------


def random_damage(kept: Kept, rng: random.Random) -> str:
    """Damage one file of the tables; returns what was done to which."""
    files = sorted(p for p in kept.tables.rglob("*") if p.is_file() and "_change_data" not in str(p))
    file = rng.choice(files)
    kind = rng.choice(["flip", "cut", "delete", "empty"])
    if kind == "flip":
        flip(file, rng)
    elif kind == "cut":
        file.write_bytes(file.read_bytes()[: rng.randrange(file.stat().st_size)])
    elif kind == "delete":
        file.unlink()
    else:
        file.write_bytes(b"")
    return f"{kind} {file.relative_to(kept.tables)}"


def survive(kept: Kept, seed: int) -> None:
    """Damage something; it is named, a forced run publishes nothing of it."""
    kept.back()
    said = random_damage(kept, random.Random(seed))
    checked = kept.world.command("check", "--full")
    if "_sums" in said and "delete" in said:
        # What is gone proves nothing: those files are said to have no proof.
        assert checked.returncode == 0, (said, checked.stdout)
    else:
        assert checked.returncode == 1, (said, checked.stdout)
        table = ".".join(said.split()[1].split("/")[:2])
        assert f"{table}: " in checked.stdout, (said, checked.stdout)
        assert "lakehouse rebuild" in checked.stdout or "maintenance" in checked.stdout, (said, checked.stdout)
    kept.world.command("run", "--force", "--quiet")
    kept.assert_served_unchanged()


@pytest.mark.parametrize("seed", [0, 1, *map(heavy, range(2, 6))])
def test_damage_at_random_is_named_and_not_published(kept: Kept, seed: int):
    survive(kept, seed)


@pytest.mark.heavy
def test_fifty_damages_at_random_are_named_and_not_published(kept: Kept):
    for seed in range(100, 150):
        survive(kept, seed)
